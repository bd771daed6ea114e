"""How many clusters: the tree of the last re-clustering, cut into as many as somebody wants to see."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from anoclust_core.errors import BusyError, ConfigError
from anoclust_core.wording import counted
from flows.review.actions import Asked
from flows.review.forms import NAMELESS, first, form_of, named, who_decides
from flows.review.site import Address, Site, is_part, number_of
from tasks.night.cutting import cut_clusters
from tasks.review.clusters import CategoryState


def routes(site: Site) -> APIRouter:
    """Addresses of the slider."""
    router = APIRouter(prefix="/c/{folder}/cuts")
    reading = site.reading

    @router.get("")
    def page(request: Request, folder: str) -> Response:
        """The page; its script makes the groups."""
        state = site.state(folder)
        return site.page(request, "cuts.html.jinja", state=state, cuts=reading.cuts(state.category))

    @router.get("/groups")
    def groups(folder: str) -> Response:
        """Groups of the finest cut, and their merges."""
        cuts = reading.cuts(site.category(folder))
        if cuts is None:
            return JSONResponse({"groups": [], "merges": []})
        found = [{"size": one.size, "typical": one.typical, "labels": dict(one.labels)} for one in cuts.groups]
        return JSONResponse({"groups": found, "merges": cuts.merges})

    def form_page(request: Request, state: CategoryState, number: int, error: str | None = None) -> Response:
        where = Address().category(state.category, "/cuts")
        lines = [
            f"The {state.unit}s of the last re-clustering become {counted(number, 'cluster')}. Groups that are "
            "clusters now keep their identity and name; the others are new.",
            f"{state.unit.capitalize()}s that people have put somewhere stay there. Those of later nights follow their "
            "cluster.",
            "Nights go on from these clusters, and re-clusterings keep them as known ones.",
        ]
        return site.page(
            request,
            "ask_part.html.jinja" if is_part(request) else "ask.html.jinja",
            status=200 if error is None or is_part(request) else 409,
            state=state,
            cluster="How many clusters",
            action=f"{where}/do",
            back=where,
            asked=Asked(f"Cut {state.category} into {number:,}", "Use this cut", lines),
            hidden={"number": str(number)},
            error=error,
        )

    @router.api_route("/ask", methods=["GET", "POST"])
    def ask(request: Request, folder: str) -> Response:
        """Say what the cut will do."""
        return form_page(request, site.state(folder), number_of(first(form_of(request), "number")))

    @router.post("/do")
    def cut(request: Request, folder: str) -> Response:
        """Cut, and show the category."""
        state, form = site.state(folder), form_of(request)
        number = number_of(first(form, "number"))
        who = who_decides(request)
        if not who:
            return form_page(request, state, number, NAMELESS)
        try:
            done = cut_clusters(reading.layout, reading.catalog, state.category, number, who=who)
        except (ConfigError, BusyError) as error:
            return form_page(request, state, number, str(error))
        return named(request, RedirectResponse(f"{Address().category(state.category)}?done={done.decision}", 303), who)

    return router
