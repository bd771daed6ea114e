"""What people decide: first a form that says what it will do, then the decision, and a page that can undo it.

Every action is also a command, and both write the same rows of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from anoclust_core.errors import ConfigError
from anoclust_core.wording import counted
from flows.review.forms import NAMELESS, first, form_of, is_own, named, who_decides
from flows.review.site import TEMPLATES, Address, Site, chosen_of, clean_name, is_part, remember_name
from flows.review.words import can_be_undone, leads_to, when
from tasks.review.clusters import CategoryState, ClusterRow
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.seen import ChangedSinceError
from tasks.stores.catalog.decisions.words import in_words

_MOST_TOLD: Final = 5
"""Changes of others that are told, the last ones."""


@dataclass(frozen=True)
class Field:
    """One thing that a form asks for; ``choices`` are values and texts, ``long`` is a text of several lines."""

    name: str
    label: str
    value: str = ""
    choices: Sequence[tuple[str, str]] | None = None
    long: bool = False


@dataclass(frozen=True)
class Asked:
    """A form that says what it will do."""

    title: str
    button: str
    lines: Sequence[str]
    fields: Sequence[Field] = ()


@dataclass(frozen=True)
class Target:
    """What an action is about: a cluster of a category as a person saw it, and the images that were chosen of it.

    ``seen`` is the cluster's version then; None of unknown images, which have none.
    """

    state: CategoryState
    row: ClusterRow
    seen: int | None
    images: Sequence[str] = ()

    @property
    def category(self) -> str:
        """Name of the category."""
        return self.state.category

    @property
    def cluster(self) -> str:
        """Identity of the cluster."""
        return self.row.cluster

    @property
    def called(self) -> str:
        """The cluster as people call it."""
        return f"{self.cluster} “{self.row.name}”" if self.row.name else self.cluster

    @property
    def others(self) -> list[tuple[str, str]]:
        """The other living clusters, as choices."""
        rows = [row for row in self.state.rows if row.fact is not None and row.cluster != self.cluster]
        return [(row.cluster, f"{row.cluster} {row.name or ''} ({row.n_images:,})") for row in rows]

    def counted(self, n: int) -> str:
        """So many images, or parts where these are clustered."""
        return counted(n, self.state.unit)

    @property
    def expected(self) -> dict[str, int] | None:
        """Version that the cluster has to have still."""
        return None if self.seen is None else {self.cluster: self.seen}


@dataclass(frozen=True)
class Action:
    """Something that people do to a cluster, or to images of one.

    Attributes
    ----------
    kind
        Its word in addresses.
    button
        What is written on its button.
    ask
        Says what it will do.
    do
        Does it, of the catalog, the target, what the form says, and who decides.
    fits
        Whether it can be done to a cluster, or to images of it.
    """

    kind: str
    button: str
    ask: Callable[[Target], Asked]
    do: Callable[[Catalog, Target, Mapping[str, str], str], object]
    fits: Callable[[ClusterRow], bool] = lambda row: row.fact is not None


def _rename() -> Action:
    def ask(target: Target) -> Asked:
        lines = [
            "The name stands beside the identity everywhere, in past nights and in all coming ones.",
            f"{target.cluster} keeps its identity. An empty name removes the name.",
        ]
        return Asked(f"Rename {target.called}", "Rename", lines, [Field("name", "Name", target.row.name or "")])

    def do(catalog: Catalog, target: Target, form: Mapping[str, str], who: str) -> object:
        return catalog.rename(target.category, target.cluster, form["name"], who=who, expected=target.expected)

    return Action("rename", "Rename", ask, do)


def _note() -> Action:
    def ask(target: Target) -> Asked:
        note = target.row.fact.note if target.row.fact else ""
        lines = [f"The note stands on the page of {target.cluster} for everybody. An empty one removes it."]
        return Asked(f"Note on {target.called}", "Save the note", lines, [Field("note", "Note", note, long=True)])

    def do(catalog: Catalog, target: Target, form: Mapping[str, str], who: str) -> object:
        return catalog.annotate(target.category, target.cluster, form["note"], who=who, expected=target.expected)

    return Action("note", "Note", ask, do)


def _merge() -> Action:
    def ask(target: Target) -> Asked:
        lines = [
            f"All {target.counted(target.row.n_images)} of {target.cluster}, those of past nights too, count as the "
            "other cluster's.",
            "What nights would give to it goes there from now on, and re-clusterings keep the merge.",
        ]
        title = f"Merge {target.called} into another cluster"
        return Asked(title, "Merge", lines, [Field("into", "Into", choices=target.others)])

    def do(catalog: Catalog, target: Target, form: Mapping[str, str], who: str) -> object:
        clusters, into = [target.cluster], form["into"]
        return catalog.merge(target.category, clusters, into=into, who=who, expected=target.expected)

    return Action("merge", "Merge…", ask, do)


def _ordinary(is_ordinary: bool) -> Action:
    word = "no defect" if is_ordinary else "a defect"

    def ask(target: Target) -> Asked:
        effect = (
            "It is listed last. If it grows, that is told later and in other words."
            if is_ordinary
            else "Nights treat it as one, whatever its images look like."
        )
        lines = [f"{target.cluster} counts as {word} from now on. {effect}"]
        return Asked(f"{target.called} is {word}", f"Mark as {word}", lines)

    def do(catalog: Catalog, target: Target, _: Mapping[str, str], who: str) -> object:
        return catalog.mark_ordinary(target.category, target.cluster, is_ordinary, who=who, expected=target.expected)

    def fits(row: ClusterRow) -> bool:
        return row.fact is not None and row.tells.is_ordinary is not is_ordinary

    return Action("no-defect" if is_ordinary else "defect", f"Mark as {word}", ask, do, fits)


def _retire() -> Action:
    def ask(target: Target) -> Asked:
        lines = [
            f"{target.cluster} is no longer listed and gets no more images; no re-clustering brings it back.",
            f"Its {target.counted(target.row.n_images)} stay in the catalog.",
        ]
        return Asked(f"Retire {target.called}", "Retire", lines)

    def do(catalog: Catalog, target: Target, _: Mapping[str, str], who: str) -> object:
        return catalog.retire(target.category, target.cluster, who=who, expected=target.expected)

    return Action("retire", "Retire", ask, do)


def _split() -> Action:
    def ask(target: Target) -> Asked:
        n_images = len(target.images)
        lines = [
            f"{target.counted(n_images)} leave{'s' if n_images == 1 else ''} {target.cluster} for a new cluster; "
            f"{target.row.n_images - n_images:,} stay.",
            "No night and no re-clustering puts them back.",
        ]
        return Asked(f"Split {target.counted(n_images)} off {target.called}", "Split off", lines)

    def do(catalog: Catalog, target: Target, _: Mapping[str, str], who: str) -> object:
        return catalog.split(target.category, target.cluster, target.images, who=who, expected=target.expected)

    return Action("split", "Split off", ask, do)


def _start() -> Action:
    def ask(target: Target) -> Asked:
        n_images = len(target.images)
        lines = [
            f"{target.counted(n_images)} {'is' if n_images == 1 else 'are'} a new cluster from now on; images of "
            "coming nights that look like them go there too.",
            "No night and no re-clustering moves them. You can name the cluster on its page.",
        ]
        return Asked(f"Start a cluster with {target.counted(n_images)}", "Start it", lines)

    def do(catalog: Catalog, target: Target, _: Mapping[str, str], who: str) -> object:
        return catalog.start(target.category, target.images, who=who, expected=target.expected)

    return Action("start", "New cluster", ask, do, fits=lambda row: row.fact is None)


def _move() -> Action:
    def ask(target: Target) -> Asked:
        n_images = len(target.images)
        lines = [
            f"{target.counted(n_images)} leave{'s' if n_images == 1 else ''} {target.called} for the cluster that you "
            "choose.",
            "No night and no re-clustering moves them again.",
        ]
        fields = [Field("to", "To", choices=target.others)]
        return Asked(f"Move {target.counted(n_images)} to another cluster", "Move", lines, fields)

    def do(catalog: Catalog, target: Target, form: Mapping[str, str], who: str) -> object:
        return catalog.move(target.category, target.images, to=form["to"], who=who, expected=target.expected)

    return Action("move", "Move…", ask, do, fits=lambda _: True)


def _wrong() -> Action:
    def ask(target: Target) -> Asked:
        n_images = len(target.images)
        lines = [
            f"{target.counted(n_images)} leave{'s' if n_images == 1 else ''} {target.cluster} and "
            f"{'is' if n_images == 1 else 'are'} unknown until a re-clustering or a person puts "
            f"{'it' if n_images == 1 else 'them'} elsewhere.",
            f"No night puts {'it' if n_images == 1 else 'them'} back into {target.cluster}.",
        ]
        return Asked(f"{target.counted(n_images)} wrong in {target.called}", "Mark as wrong here", lines)

    def do(catalog: Catalog, target: Target, _: Mapping[str, str], who: str) -> object:
        return catalog.mark_wrong(target.category, target.images, who=who, expected=target.expected)

    return Action("wrong", "Wrong here", ask, do)


CLUSTER_ACTIONS: Final = (_rename(), _note(), _merge(), _ordinary(True), _ordinary(False), _retire())
"""What is done to a whole cluster."""

IMAGE_ACTIONS: Final = (_move(), _split(), _start(), _wrong())
"""What is done to images that were chosen."""

_ACTIONS: Final = MappingProxyType({action.kind: action for action in (*CLUSTER_ACTIONS, *IMAGE_ACTIONS)})

TEMPLATES.globals |= {"cluster_actions": CLUSTER_ACTIONS, "image_actions": IMAGE_ACTIONS}
TEMPLATES.filters |= {"in_words": in_words, "can_be_undone": can_be_undone, "leads_to": leads_to, "when": when}


def routes(site: Site) -> APIRouter:
    """Addresses that ask and that decide."""
    router = APIRouter()
    catalog = site.reading.catalog

    def form_page(
        request: Request, target: Target, action: Action, *, given: Mapping[str, str], error: str | None = None
    ) -> Response:
        where = Address().cluster(target.category, target.cluster)
        asked = action.ask(target)
        hidden = {"images": " ".join(target.images), "seen": "" if target.seen is None else str(target.seen)}
        return site.page(
            request,
            "ask_part.html.jinja" if is_part(request) else "ask.html.jinja",
            status=200 if error is None or is_part(request) else 409,
            state=target.state,
            cluster=target.cluster,
            action=f"{where}/do/{action.kind}",
            back=where,
            asked=replace(asked, fields=[replace(one, value=given.get(one.name, one.value)) for one in asked.fields]),
            hidden={name: value for name, value in hidden.items() if value},
            error=error,
        )

    @router.api_route("/c/{folder}/clusters/{cluster}/ask/{kind}", methods=["GET", "POST"])
    def ask(request: Request, folder: str, cluster: str, kind: str) -> Response:
        """Say what an action will do, and ask for what it needs."""
        action = known(kind)
        target = target_of(site, folder, cluster, form_of(request))
        error = "Select images first." if action in IMAGE_ACTIONS and not target.images else None
        return form_page(request, target, action, given={}, error=error)

    @router.post("/c/{folder}/clusters/{cluster}/do/{kind}")
    def decide(request: Request, folder: str, cluster: str, kind: str) -> Response:
        """Do it, and show the cluster with what was done."""
        action, form = known(kind), form_of(request)
        target = target_of(site, folder, cluster, form)
        who = who_decides(request)
        given = {one.name: first(form, one.name) for one in action.ask(target).fields}
        try:
            if not who:
                raise ConfigError(NAMELESS)  # noqa: TRY301 - told like others
            action.do(catalog, target, given, who)
        except ChangedSinceError as error:
            now = replace(target, seen=catalog.versions(target.category).get(cluster))
            return form_page(request, now, action, given=given, error=_changed(error))
        except ConfigError as error:
            return form_page(request, target, action, given=given, error=str(error))
        return named(request, after(site, target.category, cluster, who), who)

    @router.post("/c/{folder}/undo")
    def undo(request: Request, folder: str) -> Response:
        """Take a decision back."""
        state, form = site.state(folder), form_of(request)
        number, who = first(form, "number"), who_decides(request)
        found = next((one for one in catalog.history(state.category) if str(one.number) == number), None)
        if found is None:
            raise HTTPException(404, "There is no such decision.")
        if who:
            catalog.undo(state.category, found.number, who=who)
            return named(request, after(site, state.category, found.cluster, who), who)
        where = Address().category(state.category)
        return site.page(
            request,
            "ask.html.jinja",
            state=state,
            cluster=found.cluster,
            action=f"{where}/undo",
            back=where,
            asked=Asked(f"Undo decision {number}", "Undo", [f"{found.who} {in_words(found)}."]),
            hidden={"number": number},
            error=None,
        )

    @router.post("/c/{folder}/answer")
    def answer(request: Request, folder: str) -> Response:
        """Answer what a re-clustering left open of earlier decisions."""
        state, form = site.state(folder), form_of(request)
        asked = {one.question: one for one in catalog.questions(state.category)}.get(first(form, "question"))
        if asked is None or first(form, "answer") not in {"yes", "no"}:
            raise HTTPException(404, "This is not asked any more: somebody has answered it, or settled it otherwise.")
        is_yes, who = first(form, "answer") == "yes", who_decides(request)
        if who:
            catalog.answer(state.category, asked.question, is_yes, who=who)
            return named(request, after(site, state.category, asked.cluster, who), who)
        where = Address().category(state.category)
        return site.page(
            request,
            "ask.html.jinja",
            state=state,
            cluster=asked.cluster,
            action=f"{where}/answer",
            back=where,
            asked=Asked(f"Answer with {first(form, 'answer')}", "Answer", [asked.text]),
            hidden={"question": asked.question, "answer": first(form, "answer")},
            error=None,
        )

    @router.post("/name")
    def name(request: Request) -> Response:
        """Remember who uses this browser."""
        form = form_of(request)
        back = first(form, "back")
        answer = RedirectResponse(back if is_own(back) else "/", 303)
        given = clean_name(first(form, "name"))
        if given:
            remember_name(answer, given)
        return answer

    return router


def target_of(site: Site, folder: str, cluster: str, form: Mapping[str, list[str]]) -> Target:
    """What a form is about: the images that were chosen one by one, or all of a choice but some exceptions."""
    state = site.state(folder)
    row = state.row(cluster)
    if row is None:
        raise HTTPException(404, "There is no such cluster, or it is gone by now.")
    said = first(form, "seen")
    seen = int(said) if said.isdecimal() else site.reading.catalog.versions(state.category).get(cluster)
    if first(form, "everything") == "1":
        chosen = chosen_of(dict(parse_qsl(first(form, "choice").lstrip("?"))))
        left_out = set(first(form, "exceptions").split())
        members = site.reading.members(state.category, cluster, chosen)
        return Target(state, row, seen, [content for content in members if content not in left_out])
    images = [*form.get("image", []), *first(form, "images").split()]
    return Target(state, row, seen, list(dict.fromkeys(images)))


def after(site: Site, category: str, cluster: str, who: str) -> Response:
    """Page of the cluster that somebody has just decided about, with what was decided.

    Of all clusters where that one is gone: after the undoing of a cut, or of the start of a cluster.
    """
    history = site.reading.catalog.history(category)
    last = [one for one in history if one.who == who][-1]
    undone = next((one for one in history if last.kind == "undo" and one.number == last.after["undone"]), None)
    if undone is not None and (undone.kind == "cut" or undone.after.get("started")):
        return RedirectResponse(f"{Address().category(category)}?done={last.number}", 303)
    shown = last.after["merged_into"] if last.kind == "merge" else cluster
    if last.after.get("started"):
        shown = last.cluster
    return RedirectResponse(f"{Address().cluster(category, shown)}?done={last.number}", 303)


def known(kind: str) -> Action:
    """An action by its word in an address."""
    if kind not in _ACTIONS:
        raise HTTPException(404, "There is no such action.")
    return _ACTIONS[kind]


def _changed(error: ChangedSinceError) -> str:
    """What somebody else did meanwhile."""
    told = "; ".join(f"{one.who} {in_words(one)} ({when(one)})" for one in error.changes[-_MOST_TOLD:])
    return f"{error.cluster} has changed since you saw it: {told}. Look at it again, or decide all the same."
