"""What all pages share: what is read, templates, addresses, and who looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader

from anoclust_core.config import RunConfig
from anoclust_core.reporting.html import environment
from anoclust_core.reporting.summary import identity_colour
from flows.review.door import Keys
from tasks.review.clusters import CategoryState
from tasks.review.reading import Reading
from tasks.stores.catalog.browsing import LABEL, Chosen
from tasks.stores.files import category_address

NAME_COOKIE: Final = "anoclust_name"
"""Keeps the name of who uses a browser, which the history shows."""

MOST_NAME: Final = 100
"""Longest name of a person, in characters."""

COLUMN: Final = "column:"
"""What parameters of an address begin with that choose images by a column."""

_YEAR: Final = 365 * 86400


class Address:
    """Addresses of pages; names and values in them may be any text.

    Examples
    --------
    >>> Address().image("a/b", "ff00")
    '/c/a%252Fb/images/ff00'
    """

    def category(self, category: str, rest: str = "") -> str:
        """Page of a category, or one below it."""
        return f"{category_address(category)}{rest}"

    def cluster(self, category: str, cluster: str, rest: str = "") -> str:
        """Page of a cluster, or of the unknown images, or one below it."""
        return self.category(category, f"/clusters/{quote(cluster, safe='')}{rest}")

    def image(self, category: str, content: str, rest: str = "") -> str:
        """Page of an image, or one below it."""
        return self.category(category, f"/images/{quote(content, safe='')}{rest}")

    def asked(self, path: str, chosen: Chosen, **others: object) -> str:
        """An address with a choice of images, and further parameters: those that are None or empty are left out."""
        columns = ((f"{COLUMN}{name}", value) for name, value in sorted(chosen.columns.items()))
        pairs: list[tuple[str, object]] = [("since", chosen.since), ("until", chosen.until), *columns, *others.items()]
        text = urlencode([(name, str(value)) for name, value in pairs if value not in (None, "")])
        return f"{path}?{text}" if text else path


@dataclass(frozen=True)
class Site:
    """The application.

    Attributes
    ----------
    reading
        The store.
    keys
        What opens the door.
    config
        Settings of nights, for what is decided by them.
    """

    reading: Reading
    keys: Keys
    config: RunConfig

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Answer with a page, or with a part of one."""
        shared = {
            "who": who_asks(request),
            "csrf": request.state.csrf,
            "here": f"{request.url.path}{'?' if request.url.query else ''}{request.url.query}",
        }
        return HTMLResponse(TEMPLATES.get_template(template).render(**shared, **values), status)

    def category(self, folder: str) -> str:
        """Name of the category that an address means; without one there is no such page."""
        found = self.reading.category(folder)
        if found is None:
            raise HTTPException(404, "This store has no such category.")
        return found

    def state(self, folder: str) -> CategoryState:
        """State of the category that an address means."""
        return self.reading.state(self.category(folder))


def templates() -> Environment:
    """Templates of the pages, with the filters and the caution of the reports."""
    made = environment(PackageLoader("flows.review"))
    made.globals["address"] = Address()
    made.globals["colour"] = identity_colour
    made.globals["label_column"] = LABEL
    return made


TEMPLATES: Final = templates()


def stranger(keys: Keys, was_wrong: bool) -> Response:
    """Page for somebody who is not let in: it asks for the password, or says where the address is."""
    asks, status = keys.password is not None, 403 if was_wrong else 401
    page = TEMPLATES.get_template("stranger.html.jinja").render(asks_password=asks, was_wrong=was_wrong)
    return HTMLResponse(page, status)


def who_asks(request: Request) -> str:
    """Name that a browser was told, or nothing."""
    return clean_name(unquote(request.cookies.get(NAME_COOKIE, "")))


def clean_name(given: str) -> str:
    """A name as the history shows it: one line of printable text, or nothing."""
    name = " ".join(given.split())
    return name if name.isprintable() and len(name) <= MOST_NAME else ""


def remember_name(answer: Response, name: str) -> None:
    """Let the browser keep a name for a year."""
    answer.set_cookie(NAME_COOKIE, quote(name), max_age=_YEAR, httponly=True, samesite="strict", path="/")


def chosen_by(request: Request) -> Chosen:
    """Images that an address asks for."""
    return chosen_of(dict(request.query_params))


def chosen_of(given: Mapping[str, str]) -> Chosen:
    """Images that parameters of an address ask for."""
    columns = {name.removeprefix(COLUMN): value for name, value in given.items() if name.startswith(COLUMN) and value}
    return Chosen(_date(given.get("since")), _date(given.get("until")), columns)


def number_of(text: str | None, *, least: int = 1) -> int:
    """A whole number in an address; what is none counts as the least."""
    return max(least, int(text)) if text is not None and text.isdecimal() and len(text) < 9 else least


def is_part(request: Request) -> bool:
    """Whether a script asks for a part of a page to put into it."""
    return request.headers.get("hx-request") == "true"


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
