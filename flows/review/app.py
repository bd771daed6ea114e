"""The review page as one ASGI application: the pages behind the door."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.staticfiles import StaticFiles

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError, BusyError, ConfigError
from anoclust_core.reporting.html import read_style
from anoclust_core.safe_text.masking import masked_text
from flows.review import actions, adopting, cuts, image_map, morning, pages, pictures
from flows.review.door import STATIC, Door, Keys
from flows.review.site import Site, stranger
from tasks.review.reading import Reading

FILES: Final = resources.files("flows.review") / "static"
"""Our own script and style, and what others wrote, in ``vendor``."""

_STATUS: Final = {ConfigError: 409, BusyError: 503}
"""Answers to what cannot be decided, or not now."""


def review_app(reading: Reading, keys: Keys, *, names: Iterable[str] = (), config: RunConfig | None = None) -> Door:
    """Make the application.

    Parameters
    ----------
    reading
        The store.
    keys
        What opens the door.
    names
        Names of this server besides those of the machine itself.
    config
        Settings of nights; by default those of a program that says nothing.
    """
    site = Site(reading, keys, config or RunConfig())
    app = FastAPI(title="Anoclust review", docs_url=None, redoc_url=None, openapi_url=None)
    for part in (adopting, cuts, image_map, morning, pages, pictures, actions):
        app.include_router(part.routes(site))
    app.get(f"{STATIC}report.css")(_report_style)
    app.mount(STATIC.rstrip("/"), StaticFiles(directory=str(FILES)))

    async def told(request: Request, error: Exception) -> Response:
        if isinstance(error, AnyHTTPException):
            status, text = error.status_code, str(error.detail)
        else:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
            text = masked_text(str(error))
        if not hasattr(request.state, "csrf"):  # a file that everybody may have
            return HTMLResponse("", status)
        return site.page(request, "error.html.jinja", status=status, text=text)

    handlers: dict[Any, Any] = {AnyHTTPException: told, HTTPException: told, AnoclustError: told}
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    return Door(app, keys, names=frozenset(names), stranger=stranger)


def _report_style() -> Response:
    """Colours, type and words of the reports: the pages build on them."""
    return Response(read_style(), media_type="text/css")
