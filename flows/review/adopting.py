"""A plain run becomes the start of a category's nights."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from anoclust_core.errors import BusyError, CaptureError, ConfigError
from flows.review.actions import Asked
from flows.review.forms import NAMELESS, named, who_decides
from flows.review.site import Address, Site, is_part
from tasks.stores.files import safe_name


def routes(site: Site) -> APIRouter:
    """Addresses of what is asked and done."""
    router = APIRouter(prefix="/adopt/{folder}")
    reading = site.reading

    def latest(folder: str) -> tuple[str, str]:
        """Category of a folder that has had no night, and its latest run."""
        found = {safe_name(name): (name, run) for name, run in reading.runs_without_nights().items()}
        if folder not in found:
            raise HTTPException(404, "There is no such run, or its category has had a night.")
        return found[folder]

    def form_page(request: Request, folder: str, category: str, run: str, error: str | None = None) -> Response:
        lines = [
            f"The clusters of the run {run} become c1, c2, and so on. The next night looks only at images that came "
            "since, and goes on from them.",
            "The settings of nights have to be those of the run, all but the number of clusters.",
        ]
        return site.page(
            request,
            "ask_part.html.jinja" if is_part(request) else "ask_alone.html.jinja",
            status=200 if error is None or is_part(request) else 409,
            action=f"/adopt/{quote(folder, safe='')}/do",
            back="/",
            asked=Asked(f"Start the nights of {category}", "Start", lines),
            hidden={},
            error=error,
        )

    @router.get("/ask")
    def ask(request: Request, folder: str) -> Response:
        """Say what it will do."""
        return form_page(request, folder, *latest(folder))

    @router.post("/do")
    def adopt(request: Request, folder: str) -> Response:
        """Start the nights, and show the category."""
        from flows.nights.adopting import adopt_run  # plans a run: nobody else on the page needs that

        category, run = latest(folder)
        who = who_decides(request)
        if not who:
            return form_page(request, folder, category, run, NAMELESS)
        try:
            done = adopt_run(reading.layout, category, run, site.config, who=who)
        except (ConfigError, CaptureError, BusyError) as error:
            return form_page(request, folder, category, run, str(error))
        return named(request, RedirectResponse(f"{Address().category(category)}?done={done.decision}", 303), who)

    return router
