"""Pictures by content: only of images that the catalog knows, never by a path that somebody asks for."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from anoclust_core.reporting.figures import rarity_overlay_png
from flows.review.site import Site
from tasks.stores.catalog.facts import ImageFact

_CONTENT: Final = re.compile(r"[0-9a-f]{64}")

_FOREVER: Final = {"cache-control": "private, max-age=31536000, immutable"}
"""What a content hash names never changes."""

_A_WHILE: Final = {"cache-control": "private, max-age=300"}
"""The scale of heat changes with a re-clustering."""

_NOTHING: Final = rarity_overlay_png(np.zeros((1, 1)), vmin=0.0, vmax=1.0)
"""One transparent pixel: there is no heat of this image."""


def routes(site: Site) -> APIRouter:
    """Addresses of pictures."""
    router = APIRouter(prefix="/c/{folder}/pictures/{content}")

    def known(folder: str, content: str) -> tuple[str, ImageFact]:
        category = site.category(folder)
        if not _CONTENT.fullmatch(content):
            raise HTTPException(404, "There is no such picture.")
        facts = site.reading.catalog.known_images(category, [content])
        if content not in facts:
            raise HTTPException(404, "There is no such picture.")
        return category, facts[content]

    @router.get("/thumbnail")
    def thumbnail(folder: str, content: str) -> Response:
        """Small picture; a drawing that says so where the file is gone."""
        category, fact = known(folder, content)
        jpeg = site.reading.thumbnail(category, fact)
        return _gone() if jpeg is None else Response(jpeg, media_type="image/jpeg", headers=_FOREVER)

    @router.get("/original")
    def original(folder: str, content: str) -> Response:
        """The picture at its own size."""
        category, fact = known(folder, content)
        shown = site.reading.original(category, fact)
        return _gone() if shown is None else Response(shown.data, media_type=shown.kind, headers=_FOREVER)

    @router.get("/heat")
    def heat(folder: str, content: str) -> Response:
        """Where the picture is rare, to be stretched over it."""
        category, fact = known(folder, content)
        return Response(site.reading.heat(category, fact) or _NOTHING, media_type="image/png", headers=_A_WHILE)

    return router


def _gone() -> Response:
    drawing = (resources.files("flows.review") / "static" / "gone.svg").read_bytes()
    return Response(drawing, media_type="image/svg+xml")
