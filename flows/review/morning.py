"""The morning list: one question after the other, answered by keyboard; what the answers did, and what is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from anoclust_core.errors import ConfigError
from flows.review.forms import NAMELESS, first, form_of, named, who_decides
from flows.review.site import TEMPLATES, Address, Site, is_part, number_of, who_asks
from flows.review.words import can_be_undone
from tasks.export.clusters import cluster_table
from tasks.review.clusters import CategoryState
from tasks.review.morning.answers import Offer, give, given_since, offers, take_back, told
from tasks.review.morning.handing_on import images_to_label, question_rows
from tasks.review.morning.listed import KINDS, Question, called, morning_list
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.facts import UNKNOWN
from tasks.stores.files import safe_name
from tasks.stores.written_tables import csv_of_frame, csv_of_rows

N_OF_CLUSTER: Final = 12
"""Pictures of the cluster that is asked about."""

N_BESIDE: Final = 6
"""Pictures of each cluster that an image is compared with."""

END: Final = "end"
"""Stands for the place behind the last question."""

TEMPLATES.globals |= {"called": called, "question_kinds": KINDS}


@dataclass(frozen=True)
class Shown:
    """What a page of the list shows.

    Attributes
    ----------
    question
        The one that is asked; None at the end of the list.
    number, n_left
        Its number from 1, and how many are open.
    offers
        Its answers.
    back, next
        Names of the questions before and after it; `END` behind the last.
    beside
        Clusters to compare with, and pictures of each, by content.
    path
        Of its image.
    """

    question: Question | None
    number: int
    n_left: int
    offers: Sequence[Offer]
    back: str | None
    next: str
    beside: Sequence[tuple[str, Sequence[str]]]
    path: str


def routes(site: Site) -> APIRouter:
    """Addresses of the list."""
    router = APIRouter(prefix="/c/{folder}/morning")
    reading, catalog = site.reading, site.reading.catalog

    def page(request: Request, folder: str, *, at: str, since: int | None, error: str | None = None) -> Response:
        state = site.state(folder)
        questions = morning_list(reading, state.category)
        who = who_asks(request)
        history = catalog.history(state.category)
        start = since if since is not None else max((one.number for one in history), default=0)
        answers = given_since(catalog, state.category, who, start)
        undoable = [one[0].number for one in answers if all(can_be_undone(part) for part in one)]
        shown = _shown(site, state, questions, at)
        values: dict[str, Any] = {
            "state": state,
            "shown": shown,
            "since": start,
            "answers": [told(one, state) for one in reversed(answers)],
            "last": undoable[-1] if undoable else None,
            "seen": catalog.versions(state.category).get(shown.question.cluster or "") if shown.question else None,
            "error": error,
            "link": f"{request.url.scheme}://{request.url.netloc}{Address().category(state.category, '/morning')}",
        }
        part = is_part(request)
        template = "morning_part.html.jinja" if part else "morning.html.jinja"
        answer = site.page(request, template, status=409 if error and not part else 200, **values)
        if part and request.method == "GET":
            answer.headers["HX-Push-Url"] = f"{request.url.path}?{request.url.query}"
        return answer

    @router.get("")
    def asked(request: Request, folder: str) -> Response:
        """One question with its answers."""
        since = request.query_params.get("since")
        at = request.query_params.get("at", "")
        return page(request, folder, at=at, since=None if since is None else number_of(since, least=0))

    @router.post("/answer")
    def answer(request: Request, folder: str) -> Response:
        """Give an answer, and ask the next question."""
        state, form = site.state(folder), form_of(request)
        name, since, who = first(form, "question"), number_of(first(form, "since"), least=0), who_decides(request)
        before = [one.name for one in morning_list(reading, state.category)]
        question = next((one for one in morning_list(reading, state.category) if one.name == name), None)
        if question is None:
            gone = "Somebody has answered this question already. This is the next one."
            return page(request, folder, at="", since=since, error=gone)
        seen = first(form, "seen")
        try:
            if not who:
                raise ConfigError(NAMELESS)  # noqa: TRY301 - told like others
            give(
                catalog,
                state,
                question,
                first(form, "answer"),
                first(form, "text"),
                who=who,
                seen=int(seen) if seen.isdecimal() else None,
            )
        except ConfigError as error:
            return page(request, folder, at=name, since=since, error=str(error))
        open_now = {one.name for one in morning_list(reading, state.category)}
        following = before[before.index(name) + 1 :]
        at = next((one for one in following if one in open_now), END)
        return named(request, _to(state, at, since), who)

    @router.post("/undo")
    def undo(request: Request, folder: str) -> Response:
        """Take an answer back, and ask its question again."""
        state, form = site.state(folder), form_of(request)
        number, since = number_of(first(form, "number"), least=0), number_of(first(form, "since"), least=0)
        before = {one.name for one in morning_list(reading, state.category)}
        try:
            take_back(catalog, state.category, number, who=who_decides(request))
        except ConfigError as error:
            return page(request, folder, at=first(form, "at"), since=since, error=str(error))
        reopened = [one.name for one in morning_list(reading, state.category) if one.name not in before]
        return _to(state, reopened[0] if reopened else first(form, "at"), since)

    @router.get("/waiting")
    def waiting(request: Request, folder: str) -> Response:
        """How many questions wait, as a part of another page."""
        state = site.state(folder)
        n_left = len(morning_list(reading, state.category))
        return site.page(request, "morning_waiting.html.jinja", state=state, n_left=n_left)

    @router.get("/questions.csv")
    def questions_csv(folder: str) -> Response:
        """The open questions as a table."""
        category = site.category(folder)
        return _csv(csv_of_rows(question_rows(reading, category, morning_list(reading, category))), category, "asks")

    @router.get("/to-label.csv")
    def to_label_csv(folder: str) -> Response:
        """Images for a labeller, the most telling first."""
        category = site.category(folder)
        return _csv(csv_of_frame(images_to_label(reading, category)), category, "to-label")

    @router.get("/clusters.csv")
    def clusters_csv(folder: str) -> Response:
        """Cluster of every image."""
        category = site.category(folder)
        return _csv(csv_of_frame(cluster_table(catalog, category)), category, "clusters")

    return router


def _shown(site: Site, state: CategoryState, questions: Sequence[Question], at: str) -> Shown:
    """Question of a name, by default the first, with all that is shown of it."""
    names = [one.name for one in questions]
    place = len(names) if at == END else names.index(at) if at in names else 0
    question = questions[place] if place < len(questions) else None
    if question is None:
        return Shown(None, 0, len(names), (), names[-1] if names else None, END, (), "")
    beside = [(name, N_BESIDE) for name in (question.cluster, question.suggested) if name and question.content]
    if question.content is None:
        beside = [(one, n) for one, n in ((question.cluster, N_OF_CLUSTER), (question.suggested, N_BESIDE)) if one]
        beside += [(UNKNOWN, N_OF_CLUSTER)] if question.kind == "surge" else []
    fact = site.reading.catalog.known_images(state.category, [question.content] if question.content else [])
    return Shown(
        question,
        place + 1,
        len(names),
        offers(question, state),
        names[place - 1] if place else None,
        names[place + 1] if place + 1 < len(names) else END,
        [(name, site.reading.members(state.category, name, Chosen())[:n]) for name, n in beside],
        fact[question.content].path if question.content in fact else "",
    )


def _to(state: CategoryState, at: str, since: int) -> Response:
    where = Address().asked(Address().category(state.category, "/morning"), Chosen(), at=at, since=since)
    return RedirectResponse(where, 303)


def _csv(text: str, category: str, what: str) -> Response:
    name = f"{safe_name(category)}-{what}.csv"
    return Response(text, media_type="text/csv", headers={"content-disposition": f'attachment; filename="{name}"'})
