"""How many clusters: the tree of the last re-clustering, cut into as many as somebody wants to see."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from flows.review.site import Site


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

    return router
