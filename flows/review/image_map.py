"""The map: all images of a category in two dimensions, coloured, and chosen with a lasso."""

from __future__ import annotations

from collections import Counter
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from flows.review.forms import first, form_of
from flows.review.site import Site
from tasks.review.colouring import CLUSTER, COLUMN, NIGHT
from tasks.stores.catalog.facts import UNKNOWN

N_SHOWN: Final = 12
"""Pictures of each cluster that are shown of what was chosen."""

_STEPS: Final = 10_000
"""Whole numbers that places are told in, for each way from the middle: a tenth of the bytes of decimals."""


def routes(site: Site) -> APIRouter:
    """Addresses of the map."""
    router = APIRouter(prefix="/c/{folder}/map")
    reading = site.reading

    @router.get("")
    def page(request: Request, folder: str) -> Response:
        """The page; its script asks for the places."""
        state = site.state(folder)
        columns = reading.columns(state.category)
        colourings = [(CLUSTER, "cluster"), (NIGHT, "night"), *((f"{COLUMN}{name}", name) for name in columns)]
        has_map = reading.catalog.latest_snapshot(state.category) is not None
        return site.page(request, "map.html.jinja", state=state, colourings=colourings, has_map=has_map)

    @router.get("/points")
    def points(folder: str) -> Response:
        """Images and their places, and how many have none."""
        state = site.state(folder)
        found = reading.points(state.category)
        places = (found.positions * _STEPS).round().astype(int)
        return JSONResponse(
            {
                "images": found.contents,
                "x": places[:, 0].tolist(),
                "y": places[:, 1].tolist(),
                "missing": max(0, state.n_units - len(found.contents)),
            }
        )

    @router.get("/colours")
    def colours(folder: str, by: str = CLUSTER) -> Response:
        """Group of every image, in the order of the places."""
        category = site.category(folder)
        found = reading.colouring(category, by)
        if found is None:
            raise HTTPException(404, "There is no such column, or it has too many different values.")
        groups = [{"name": one.name, "text": one.text, "colour": one.colour} for one in found.groups]
        return JSONResponse({"groups": groups, "of": list(found.of)})

    @router.post("/chosen")
    def chosen(request: Request, folder: str) -> Response:
        """What was chosen, by cluster, with what can be done to it: a part of the page."""
        state = site.state(folder)
        contents = list(dict.fromkeys(first(form_of(request), "images").split()))
        where = reading.where(state.category, contents)
        sizes = Counter(where.values())
        groups = [
            (row, [content for content in contents if where.get(content) == row.cluster])
            for row in state.rows
            if row.cluster in sizes
        ]
        groups.sort(key=lambda group: (group[0].cluster == UNKNOWN, -len(group[1])))
        return site.page(
            request,
            "chosen_part.html.jinja",
            state=state,
            groups=groups,
            n_chosen=sum(len(some) for _, some in groups),
            n_shown=N_SHOWN,
        )

    return router
