"""Who gets into the review page, checked before any page sees a request.

A browser says by what name it asks (``Host``) and which page asks (``Origin``); no page can change either. The first
request brings the token of the printed address, or the password; after that the browser has a cookie that no script can
read and that no other page's requests carry. What changes anything is a POST with a second token, which only pages of
this server know. Every answer forbids scripts and styles but our own files.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.websockets import WebSocketClose

from flows.prefect_server.closed import NAMES, name_of

MOST_BYTES: Final = 8 << 20
"""Largest form: the hashes of 100,000 chosen images."""

TOKEN: Final = "token"  # noqa: S105 - its name, not its value
CSRF: Final = "csrf"
ENTER: Final = "/enter"
STATIC: Final = "/static/"

_WRONG_SECONDS: Final = 1.0
"""How long everybody who gives a password waits after a wrong one."""

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_CACHE: Final = b"cache-control"

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


@dataclass(frozen=True)
class Keys:
    """What opens the door; made new with every server, so that all earlier cookies end.

    Attributes
    ----------
    cookie
        Name of the cookie: servers on several ports of a machine share its cookies.
    password
        Where the server listens for other machines; None where the token of the printed address is enough.
    token, secret
        Random.
    """

    cookie: str
    password: str | None = field(default=None, repr=False)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def new_session(self) -> str:
        """Value of a cookie that opens the door."""
        name = secrets.token_urlsafe(16)
        return f"{name}.{self._mac('session', name)}"

    def is_session(self, value: str) -> bool:
        """Whether a cookie's value was made here."""
        name, _, mac = value.partition(".")
        return hmac.compare_digest(mac.encode(), self._mac("session", name).encode())

    def csrf(self, session: str) -> str:
        """Token that forms of a session carry."""
        return self._mac("form", session)

    def is_token(self, given: str) -> bool:
        """Whether somebody has the printed address."""
        return self.password is None and hmac.compare_digest(given.encode(), self.token.encode())

    def is_password(self, given: str) -> bool:
        """Whether somebody knows the password."""
        return self.password is not None and hmac.compare_digest(given.encode(), self.password.encode())

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self.secret, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


class Door:
    """An ASGI application that lets through whom the page is for.

    A request that gets in has ``session`` and ``csrf`` in its state, and a POST its ``form``: a list of values by name.

    Parameters
    ----------
    app
        What is behind the door.
    keys
        What opens it.
    names
        Further names of this server; addresses are names too where there is a password.
    stranger
        Makes the page for somebody who is not let in, of whether a password was wrong.
    """

    def __init__(
        self, app: Any, keys: Keys, *, names: frozenset[str], stranger: Callable[[Keys, bool], Response]
    ) -> None:
        self._app, self._keys, self._stranger = app, keys, stranger
        self._names = NAMES | {name.lower() for name in names}
        self._one_guess = asyncio.Lock()

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            answer = await self._answer(scope, receive)
            if isinstance(answer, Response):
                await answer(scope, receive, _guarded(send, scope["path"]))
            else:
                await self._app(scope, answer, _guarded(send, scope["path"]))

    async def _answer(self, scope: _Message, receive: _Receive) -> Response | _Receive:
        """A refusal, or another way to get in; or the request's body, for the page that may have it."""
        headers = _headers(scope)
        why = why_refused(scope["method"], headers, self._names, addresses=self._keys.password is not None)
        if why is not None:
            return PlainTextResponse(f"{why}\n", 403)
        if scope["method"] != "POST":
            return self._get(scope, receive, headers)
        body = await _body(receive)
        if body is None:
            return PlainTextResponse("The form is too large.\n", 413)
        form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        if scope["path"] == ENTER:
            return await self._enter(form)
        session = self._session(headers)
        if session is None:
            return self._stranger(self._keys, False)
        csrf = self._keys.csrf(session)
        given = headers.get("x-csrf-token") or next(iter(form.get(CSRF, [])), "")
        if not hmac.compare_digest(given.encode(), csrf.encode()):
            return PlainTextResponse(
                "This form is not from a page of this server, or of an earlier start of it.\n", 403
            )
        scope["state"] = {**scope.get("state", {}), "session": session, "csrf": csrf, "form": form}
        return _once(body)

    def _get(self, scope: _Message, receive: _Receive, headers: Mapping[str, str]) -> Response | _Receive:
        if scope["path"].startswith(STATIC):  # the same for everybody who has installed the program
            return receive
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(asked).get(TOKEN)
        if token is not None:
            if not self._keys.is_token(token):
                return self._stranger(self._keys, False)
            rest = urlencode([(name, value) for name, value in asked if name != TOKEN])
            return self._let_in(f"{scope['path']}{'?' if rest else ''}{rest}")
        session = self._session(headers)
        if session is None:
            return self._stranger(self._keys, False)
        scope["state"] = {**scope.get("state", {}), "session": session, "csrf": self._keys.csrf(session)}
        return receive

    async def _enter(self, form: Mapping[str, list[str]]) -> Response:
        """Let in who knows the password; one guess a second, whoever guesses."""
        async with self._one_guess:
            if self._keys.is_password(next(iter(form.get("password", [])), "")):
                return self._let_in("/")
            await asyncio.sleep(_WRONG_SECONDS)
        return self._stranger(self._keys, True)

    def _let_in(self, where: str) -> Response:
        # a path that begins with two slashes would name another server
        answer = RedirectResponse("/" + where.lstrip("/"), 303)
        answer.set_cookie(self._keys.cookie, self._keys.new_session(), httponly=True, samesite="strict", path="/")
        return answer

    def _session(self, headers: Mapping[str, str]) -> str | None:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._keys.cookie)
        except CookieError:
            return None
        return found.value if found is not None and self._keys.is_session(found.value) else None


def why_refused(method: str, headers: Mapping[str, str], names: frozenset[str], *, addresses: bool) -> str | None:
    """Say why nobody gets an answer to such a request, or None.

    Parameters
    ----------
    method
        Of the request.
    headers
        By lower-case name; of one that was sent twice, both values with a comma between.
    names
        That this server is called by. Any other was made to lead here by a foreign name server.
    addresses
        Whether it may be called by an address such as 10.0.0.7 too: no name server makes these lead elsewhere.

    Examples
    --------
    >>> names = frozenset({"localhost"})
    >>> why_refused("GET", {"host": "localhost:8765"}, names, addresses=False)
    >>> why_refused("GET", {"host": "example.org"}, names, addresses=False)
    'This server is not called example.org.'
    >>> why_refused("POST", {"host": "localhost"}, names, addresses=False)
    'Only pages of this server may change anything.'
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    name = name_of(host)
    if name is None or not (name in names or (addresses and _is_address(name))):
        return f"This server is not called {host or 'nothing'}."
    if origin is not None and urlsplit(origin).netloc != host:
        return "This server does not answer pages of other addresses."
    if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate":
        return "This server does not answer pages of other addresses."
    if method == "POST":
        return "Only pages of this server may change anything." if origin is None else None
    return None if method in {"GET", "HEAD"} else f"This server knows no {method}."


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def _body(receive: _Receive) -> bytes | None:
    """Body of a request; None where it is too large."""
    parts, size = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _once(body: bytes) -> _Receive:
    """Give a body that was read already."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> _Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    return receive


def _guarded(send: _Send, path: str) -> _Send:
    """Put the headers into every answer that tell the browser what it must not do."""
    kept = b"no-cache" if path.startswith(STATIC) else b"no-store"  # asked for again, or not kept at all

    async def guarded(message: _Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", [])}
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            if _CACHE not in given:
                added.append((_CACHE, kept))
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return guarded
