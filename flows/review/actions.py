"""What people decide: first a form that says what it will do, then the decision, and a page that can undo it.

Every action is also a command, and both write the same rows of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from anoclust_core.errors import ConfigError
from flows.review.site import TEMPLATES, Address, Site, chosen_of, clean_name, is_part, remember_name, who_asks
from flows.review.words import can_be_undone, in_words, leads_to
from tasks.review.clusters import CategoryState, ClusterRow
from tasks.stores.catalog.catalog import Catalog

_AT_ONCE: Final = 500
"""Images of a choice that are compared with the catalog in one statement."""


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
    """What an action is about: a cluster of a category, and the images that were chosen of it."""

    state: CategoryState
    row: ClusterRow
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
    of_unknown
        Whether it can be done to images without a cluster.
    """

    kind: str
    button: str
    ask: Callable[[Target], Asked]
    do: Callable[[Catalog, Target, Mapping[str, str], str], object]
    of_unknown: bool = field(default=False)


def _images(n: int) -> str:
    return f"{n:,} image{'' if n == 1 else 's'}"


def _ask_name(target: Target) -> Asked:
    return Asked(
        f"Rename {target.called}",
        "Rename",
        [
            "The name stands beside the identity everywhere, in past nights and in all coming ones.",
            f"{target.cluster} keeps its identity. An empty name removes it.",
        ],
        [Field("name", "Name", target.row.name or "")],
    )


def _ask_note(target: Target) -> Asked:
    note = target.row.fact.note if target.row.fact else ""
    lines = [f"The note stands on the page of {target.cluster} for everybody. An empty one removes it."]
    return Asked(f"Note on {target.called}", "Save the note", lines, [Field("note", "Note", note, long=True)])


def _ask_merge(target: Target) -> Asked:
    return Asked(
        f"Merge {target.called} into another cluster",
        "Merge",
        [
            f"All {_images(target.row.n_images)} of {target.cluster}, those of past nights too, count as the other "
            "cluster's.",
            "What nights would give to it goes there from now on, and re-clusterings keep the merge.",
        ],
        [Field("into", "Into", choices=target.others)],
    )


def _ask_retire(target: Target) -> Asked:
    return Asked(
        f"Retire {target.called}",
        "Retire",
        [
            f"{target.cluster} is no longer listed and gets no more images; no re-clustering brings it back.",
            f"Its {_images(target.row.n_images)} stay in the catalog.",
        ],
    )


def _ask_split(target: Target) -> Asked:
    n_images = len(target.images)
    return Asked(
        f"Split {_images(n_images)} off {target.called}",
        "Split off",
        [
            f"{_images(n_images)} leave{'s' if n_images == 1 else ''} {target.cluster} for a new cluster; "
            f"{target.row.n_images - n_images:,} stay.",
            "No night and no re-clustering puts them back.",
        ],
    )


CLUSTER_ACTIONS: Final = (
    Action("rename", "Rename", _ask_name, lambda c, t, f, who: c.rename(t.category, t.cluster, f["name"], who=who)),
    Action("note", "Note", _ask_note, lambda c, t, f, who: c.annotate(t.category, t.cluster, f["note"], who=who)),
    Action(
        "merge", "Merge…", _ask_merge, lambda c, t, f, who: c.merge(t.category, [t.cluster], into=f["into"], who=who)
    ),
    Action("retire", "Retire", _ask_retire, lambda c, t, _, who: c.retire(t.category, t.cluster, who=who)),
)
"""What is done to a whole cluster."""

IMAGE_ACTIONS: Final = (
    Action("split", "Split off", _ask_split, lambda c, t, _, who: c.split(t.category, t.cluster, t.images, who=who)),
)
"""What is done to images that were chosen."""

_ACTIONS: Final = MappingProxyType({action.kind: action for action in (*CLUSTER_ACTIONS, *IMAGE_ACTIONS)})

TEMPLATES.globals |= {"cluster_actions": CLUSTER_ACTIONS, "image_actions": IMAGE_ACTIONS}
TEMPLATES.filters |= {"in_words": in_words, "can_be_undone": can_be_undone, "leads_to": leads_to}


def routes(site: Site) -> APIRouter:
    """Addresses that ask and that decide."""
    router = APIRouter()
    reading, catalog = site.reading, site.reading.catalog

    def target_of(folder: str, cluster: str, form: Mapping[str, list[str]]) -> Target:
        state = site.state(folder)
        row = state.row(cluster)
        if row is None:
            raise HTTPException(404, "There is no such cluster, or it is gone by now.")
        if first(form, "everything") == "1":
            chosen = chosen_of(dict(parse_qsl(first(form, "choice").lstrip("?"))))
            return Target(state, row, reading.members(state.category, cluster, chosen))
        images = [*form.get("image", []), *first(form, "images").split()]
        return Target(state, row, list(dict.fromkeys(images)))

    def form_page(
        request: Request, target: Target, action: Action, *, given: Mapping[str, str], error: str | None = None
    ) -> Response:
        where = Address().cluster(target.category, target.cluster)
        asked = action.ask(target)
        return site.page(
            request,
            "ask_part.html.jinja" if is_part(request) else "ask.html.jinja",
            status=200 if error is None or is_part(request) else 409,
            state=target.state,
            cluster=target.cluster,
            action=f"{where}/do/{action.kind}",
            back=where,
            asked=Asked(asked.title, asked.button, asked.lines, [_with(one, given) for one in asked.fields]),
            hidden={"images": " ".join(target.images)} if target.images else {},
            error=error,
        )

    @router.api_route("/c/{folder}/clusters/{cluster}/ask/{kind}", methods=["GET", "POST"])
    def ask(request: Request, folder: str, cluster: str, kind: str) -> Response:
        """Say what an action will do, and ask for what it needs."""
        action = known(kind)
        form = form_of(request)
        target = target_of(folder, cluster, form)
        error = "Select images first." if action in IMAGE_ACTIONS and not target.images else None
        return form_page(request, target, action, given={}, error=error)

    @router.post("/c/{folder}/clusters/{cluster}/do/{kind}")
    def decide(request: Request, folder: str, cluster: str, kind: str) -> Response:
        """Do it, and show the cluster with what was done."""
        action, form = known(kind), form_of(request)
        target = target_of(folder, cluster, form)
        who = who_asks(request) or clean_name(first(form, "who"))
        given = {one.name: first(form, one.name) for one in action.ask(target).fields}
        try:
            if not who:
                raise ConfigError("say who you are: a name of at most 100 characters")  # noqa: TRY301 - told like others
            action.do(catalog, target, given, who)
        except ConfigError as error:
            return form_page(request, target, action, given=given, error=str(error))
        return named(request, after(target.category, cluster), who)

    @router.post("/c/{folder}/undo")
    def undo(request: Request, folder: str) -> Response:
        """Take a decision back."""
        state, form = site.state(folder), form_of(request)
        number, who = first(form, "number"), who_asks(request) or clean_name(first(form, "who"))
        found = next((one for one in catalog.history(state.category) if str(one.number) == number), None)
        if found is None:
            raise HTTPException(404, "There is no such decision.")
        if who:
            catalog.undo(state.category, found.number, who=who)
            return named(request, after(state.category, None), who)
        asked = Asked(f"Undo decision {number}", "Undo", [f"{found.who} {in_words(found)}."])
        where = Address().category(state.category)
        return site.page(
            request,
            "ask.html.jinja",
            state=state,
            cluster=found.cluster,
            action=f"{where}/undo",
            back=where,
            asked=asked,
            hidden={"number": number},
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

    def after(category: str, cluster: str | None) -> Response:
        """Page of the cluster that was decided about, with what was decided."""
        last = catalog.history(category)[-1]
        where = Address().cluster(category, cluster or last.cluster)
        if last.kind == "merge":
            where = Address().cluster(category, last.after["merged_into"])
        return RedirectResponse(f"{where}?done={last.number}", 303)

    return router


def named(request: Request, answer: Response, who: str) -> Response:
    """An answer that lets the browser keep a name that it was just told."""
    if not who_asks(request):
        remember_name(answer, who)
    return answer


def known(kind: str) -> Action:
    """An action by its word in an address."""
    if kind not in _ACTIONS:
        raise HTTPException(404, "There is no such action.")
    return _ACTIONS[kind]


def form_of(request: Request) -> Mapping[str, list[str]]:
    """What a form says; nothing of a GET."""
    found: Mapping[str, list[str]] = getattr(request.state, "form", {})
    return found


def first(form: Mapping[str, list[str]], name: str) -> str:
    """Value of a field, or the empty text."""
    return next(iter(form.get(name, [])), "")


def is_own(address: str) -> bool:
    """Whether an address is a page of this server: neither another server's nor a script.

    Examples
    --------
    >>> is_own("/c/bottle?page=2"), is_own("//example.org/"), is_own("/\\\\example.org"), is_own("https://example.org")
    (True, False, False, False)
    """
    return address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()


def _with(one: Field, given: Mapping[str, str]) -> Field:
    return Field(one.name, one.label, given.get(one.name, one.value), one.choices, one.long)
