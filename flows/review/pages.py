"""The pages: home, a category, a cluster, an image, and the history; they only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from flows.review.charts import by_night
from flows.review.site import Address, Site, chosen_by, is_part, number_of
from tasks.review.clusters import CategoryState, ClusterRow
from tasks.review.columns import column_table
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.undoing import BY_PEOPLE
from tasks.stores.catalog.facts import UNKNOWN, ClusterFact, DecisionFact
from tasks.stores.files import safe_name

PAGE_SIZE: Final = 60
"""Pictures of a page: five screens of a large window."""

N_NEAREST: Final = 12
N_COVERS: Final = 6
"""Pictures of a category on the first page: one of each of its first clusters."""

N_HISTORY: Final = 200
"""Decisions of a history that are shown, the last ones."""


@dataclass(frozen=True)
class Window:
    """A part of many images: the page of this number, of so many; pages count from 1."""

    page: int
    n_pages: int
    n_images: int
    contents: Sequence[str]

    @property
    def first(self) -> int:
        """Number of the first image shown, from 1."""
        return (self.page - 1) * PAGE_SIZE + 1


def window_of(contents: Sequence[str], page: int) -> Window:
    """A page of images; beyond the last one, the last one.

    Examples
    --------
    >>> window_of(["a"] * 130, 9).page, len(window_of(["a"] * 130, 3).contents)
    (3, 10)
    """
    n_pages = max(1, -(-len(contents) // PAGE_SIZE))
    page = min(page, n_pages)
    return Window(page, n_pages, len(contents), contents[(page - 1) * PAGE_SIZE : page * PAGE_SIZE])


def routes(site: Site) -> APIRouter:
    """Addresses of pages."""
    router = APIRouter()
    reading = site.reading

    @router.get("/")
    def home(request: Request) -> Response:
        """Every category, those to look at first."""
        states = sorted((reading.state(name) for name in reading.categories().values()), key=lambda one: one.urgency)
        covers = {
            state.category: [
                (row, some[0])
                for row in state.rows
                if (some := reading.leading(state.category, Chosen()).get(row.cluster))
            ][:N_COVERS]
            for state in states
        }
        plain = {name: safe_name(name) for name in reading.runs_without_nights()}
        return site.page(request, "home.html.jinja", states=states, covers=covers, plain=plain)

    @router.get("/c/{folder}")
    def category(request: Request, folder: str) -> Response:
        """Clusters as rows of pictures."""
        state, chosen = site.state(folder), chosen_by(request)
        leading = reading.leading(state.category, chosen)
        sizes = reading.sizes(state.category, chosen) if chosen else None
        return site.page(
            request,
            "category.html.jinja",
            state=state,
            chosen=chosen,
            rows=[row for row in state.rows if sizes is None or sizes.get(row.cluster)],
            leading=leading,
            sizes=sizes,
            charts={row.cluster: by_night(state.nights, row.counts, unit=state.unit) for row in state.rows},
            columns=reading.columns(state.category),
            questions=reading.catalog.questions(state.category),
            done=_done(reading.catalog, state.category, request.query_params.get("done")),
        )

    @router.get("/c/{folder}/columns")
    def columns(request: Request, folder: str) -> Response:
        """Table of clusters against a column."""
        state, chosen = site.state(folder), chosen_by(request)
        known = reading.columns(state.category)
        column = request.query_params.get("column", "")
        if column not in known:
            raise HTTPException(404, "There is no such column, or it has too many different values.")
        order = [row.cluster for row in state.rows]
        table = column_table(reading.breakdown(state.category, column, chosen), order, known[column])
        page = "columns_part.html.jinja" if is_part(request) else "columns.html.jinja"
        return site.page(
            request, page, state=state, chosen=chosen, column=column, table=table, values=known[column], columns=known
        )

    @router.get("/c/{folder}/history")
    def history(request: Request, folder: str) -> Response:
        """What people and nights decided, the last first."""
        state = site.state(folder)
        everything = request.query_params.get("all") == "1"
        found = [one for one in reading.catalog.history(state.category) if everything or is_of_person(one)]
        return site.page(
            request,
            "history.html.jinja",
            state=state,
            decisions=list(reversed(found[-N_HISTORY:])),
            n_decisions=len(found),
            everything=everything,
        )

    @router.get("/c/{folder}/clusters/{cluster}")
    def cluster(request: Request, folder: str, cluster: str) -> Response:
        """All images of a cluster, the most typical first, a page at a time."""
        state, chosen = site.state(folder), chosen_by(request)
        row, gone = _found(state, cluster)
        if gone is not None and gone.merged_into is not None:
            return RedirectResponse(Address().cluster(state.category, gone.merged_into), 303)
        page = number_of(request.query_params.get("page"))
        window = window_of(reading.members(state.category, cluster, chosen), page)
        shown: dict[str, Any] = {
            "state": state,
            "row": row,
            "gone": gone,
            "cluster": cluster,
            "chosen": chosen,
            "window": window,
            "images": reading.images(state.category, window.contents),
            "heat": request.query_params.get("heat") == "1",
            "seen": reading.catalog.versions(state.category).get(cluster),
        }
        if is_part(request):
            return site.page(request, "grid_part.html.jinja", **shown)
        history = [] if cluster == UNKNOWN else reading.catalog.history(state.category, cluster)
        return site.page(
            request,
            "cluster.html.jinja",
            **shown,
            chart=by_night(state.nights, row.counts, unit=state.unit) if row else None,
            columns=reading.columns(state.category),
            decisions=list(reversed(history[-N_HISTORY:])),
            questions=[one for one in reading.catalog.questions(state.category) if cluster in {one.cluster, one.of}],
            done=_done(reading.catalog, state.category, request.query_params.get("done")),
        )

    @router.get("/c/{folder}/images/{content}")
    def image(request: Request, folder: str, content: str) -> Response:
        """One image at its own size."""
        state = site.state(folder)
        view = reading.image(state.category, content)
        if view is None:
            raise HTTPException(404, "There is no such image.")
        row = state.row(view.cluster)
        order = reading.members(state.category, view.cluster, Chosen())
        at = order.index(view.stands) if view.stands in order else None
        return site.page(
            request,
            "image.html.jinja",
            state=state,
            view=view,
            row=row,
            at=at,
            n_images=len(order),
            before=order[at - 1] if at else None,
            after=order[at + 1] if at is not None and at + 1 < len(order) else None,
            chart=by_night(state.nights, row.counts, unit=state.unit) if row else None,
        )

    @router.get("/c/{folder}/images/{content}/heat")
    def heat(request: Request, folder: str, content: str) -> Response:
        """What lies over an image's picture, as a part of its page."""
        state = site.state(folder)
        view = reading.image(state.category, content)
        if view is None:
            raise HTTPException(404, "There is no such image.")
        rarest, scale = reading.rarest(state.category, view.fact), reading.measures(state.category).scale
        return site.page(request, "heat_part.html.jinja", state=state, view=view, rarest=rarest, scale=scale)

    @router.get("/c/{folder}/images/{content}/nearest")
    def nearest(request: Request, folder: str, content: str) -> Response:
        """Images that are most alike, as a part of a page."""
        state = site.state(folder)
        found = reading.nearest(state.category, content, N_NEAREST)
        return site.page(request, "nearest_part.html.jinja", state=state, found=found)

    return router


def is_of_person(decision: DecisionFact) -> bool:
    """Whether a person decided it, and no night; what a cut did to each cluster is told by the cut."""
    return decision.kind == "undo" or decision.kind in BY_PEOPLE


def _found(state: CategoryState, cluster: str) -> tuple[ClusterRow | None, ClusterFact | None]:
    """A living cluster, or one that is gone."""
    row = state.row(cluster)
    gone = next((fact for fact in state.gone if fact.cluster == cluster), None)
    if row is None and gone is None and cluster != UNKNOWN:
        raise HTTPException(404, "There is no such cluster.")
    return row, gone


def _done(catalog: Catalog, category: str, number: str | None) -> DecisionFact | None:
    """Decision that was just made."""
    if number is None:
        return None
    return next((one for one in catalog.history(category) if str(one.number) == number), None)
