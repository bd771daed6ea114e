"""What a form of the page says, and who sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from flows.review.site import clean_name, remember_name, who_asks

NAMELESS: Final = "say who you are: a name of at most 100 characters"
"""Answer to a decision of nobody."""


def named(request: Request, answer: Response, who: str) -> Response:
    """An answer that lets the browser keep a name that it was just told."""
    if not who_asks(request):
        remember_name(answer, who)
    return answer


def who_decides(request: Request) -> str:
    """Name that a browser was told, or that a form says, or nothing."""
    return who_asks(request) or clean_name(first(form_of(request), "who"))


def form_of(request: Request) -> Mapping[str, list[str]]:
    """What a form says; of a link, what its address says."""
    if request.method != "POST":
        return {name: request.query_params.getlist(name) for name in request.query_params}
    found: Mapping[str, list[str]] = request.state.form
    return found


def first(form: Mapping[str, list[str]], name: str) -> str:
    """Value of a field, or the empty text."""
    return next(iter(form.get(name, [])), "")


def is_own(address: str) -> bool:
    r"""Whether an address is a page of this server: neither another server's nor a script.

    Examples
    --------
    >>> is_own("/c/bottle?page=2"), is_own("//example.org/"), is_own("/\\example.org"), is_own("https://example.org")
    (True, False, False, False)
    """
    return address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
