"""Prefect's server behind a door: ``python -m flows.prefect_server.closed FD`` serves on an open socket.

Prefect's own settings ask for a secret (`closed_settings`). What it has no setting for is here: a foreign name and a
page of another address are refused before Prefect sees the request, no page may frame the UI, and the address that
messages go to is not given out.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

HOST: Final = "127.0.0.1"
"""Servers of our own listen on this machine only."""

NAMES: Final = frozenset({HOST, "localhost", "::1"})
"""Names that a request may call the server by. Any other was made to lead here by a foreign name server."""

NOTIFY_KEY: Final = "anoclust_notify"
"""What the address that messages go to is called in the notification block."""

_NOTIFY_VALUE: Final = re.compile(rb'("anoclust_notify"\s*:\s*)"(?:[^"\\]|\\.)*"')
_BLOCKS: Final = "/block_"
_UNUSED: Final = ("/docs", "/redoc", "/openapi.json")
"""Pages of FastAPI's that load scripts of other servers, in the origin where a browser keeps the secret."""

_NOT_FRAMED: Final = ((b"x-frame-options", b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'"))

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def closed_settings(secret: str, port: int) -> dict[str, str]:
    """Environment of a Prefect server that answers those who know a secret, and no page of another address."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": "",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": "/api",  # by whichever name the page was asked
    }


def start_closed(listening: socket.socket, environment: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start the server as a process that has the socket from here on: nobody else can get hold of its port.

    Parameters
    ----------
    listening
        Bound to an address; closed here.
    environment
        All of the process's.
    options
        Further ones of `subprocess.Popen`.
    """
    with listening:
        number = listening.fileno()
        command = [sys.executable, "-m", "flows.prefect_server.closed", str(number)]
        return subprocess.Popen(command, env=dict(environment), pass_fds=[number], **options)  # noqa: S603


class Closed:
    """An ASGI application that lets through what Prefect may see.

    Parameters
    ----------
    app
        Prefect's.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Handle a request."""
        from starlette.responses import PlainTextResponse
        from starlette.websockets import WebSocketClose

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        why = why_refused(scope)
        if why is None and scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif why is None:
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            await PlainTextResponse(f"{why}\n", 403)(scope, receive, send)

    async def _answer(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Let Prefect answer; no page may frame it, and no address of messages leaves."""
        hides = _BLOCKS in scope["path"]
        if hides:  # what is packed could not be read here
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        parts: list[bytes] = []
        begun: _Message = {}

        async def pass_on(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_NOT_FRAMED]
                begun.update(message)
                if hides:
                    return
            elif hides and message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                body = _NOTIFY_VALUE.sub(rb'\1"********"', b"".join(parts))
                begun["headers"] = [pair for pair in begun["headers"] if pair[0].lower() != b"content-length"]
                begun["headers"].append((b"content-length", str(len(body)).encode()))
                await send(begun)
                message = {"type": "http.response.body", "body": body}
            await send(message)

        await self._app(scope, receive, pass_on)


def why_refused(scope: Mapping[str, Any]) -> str | None:
    """Say why a request does not reach Prefect, or None.

    A browser tells by what name it asks, and the address of the page that asks; the page cannot change either.

    Examples
    --------
    >>> why_refused({"path": "/api/flows", "headers": [(b"host", b"127.0.0.1:4200")]})
    >>> why_refused({"path": "/api/flows", "headers": [(b"host", b"example.org:4200")]})
    'This server is not called example.org:4200.'
    """
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    if len(hosts) != 1 or name_of(hosts[0]) not in NAMES:
        return f"This server is not called {' '.join(hosts) or 'nothing'}."
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return "This server does not answer pages of other addresses."
    if scope["path"].rstrip("/").startswith(_UNUSED):
        return "This page is closed."
    return None


def name_of(host: str) -> str | None:
    """Name in a Host header, in lower case; None where there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def main() -> None:
    """Serve until a signal comes."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    config = uvicorn.Config(
        Closed(create_app(final=True)),
        lifespan="on",
        log_level=server.logging_level.lower(),
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
    )
    service = uvicorn.Server(config)
    service.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    if not service.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
