"""The server of the review page: on this machine only, unless it is told otherwise and has a password."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Final

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError, ConfigError, ResourceError
from flows.settings import PASSWORD_VARIABLE
from tasks.review.reading import Reading

LEAST_PASSWORD: Final = 8
"""Shortest password, in characters: whoever guesses has one guess a second."""


def serve(reading: Reading, config: RunConfig, *, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the review page until Ctrl-C.

    Parameters
    ----------
    reading, config
        The store, and the settings of its nights.
    host
        Name or address to listen on.
    port
        Port to listen on; 0 takes one that is free.
    tell
        Takes the address that lets a browser in, once it is answered.

    Raises
    ------
    ConfigError
        If others may reach the server and there is no password, or the host is none of this machine.
    ResourceError
        If the port is taken.
    """
    import uvicorn

    from flows.review.app import review_app
    from flows.review.door import TOKEN, Keys

    listening = listening_on(host, port)
    address, port = listening.getsockname()[:2]
    password = None if ipaddress.ip_address(address).is_loopback else checked_password(host)
    keys = Keys(cookie=f"anoclust_review_{port}", password=password)
    names = {host} if password is None else {host, socket.gethostname(), socket.getfqdn()}
    shown = f"[{address}]" if ":" in address else address
    if password is None:
        tell(f"open http://{shown}:{port}/?{TOKEN}={keys.token}")
    else:
        tell(f"open http://{socket.gethostname()}:{port}/ and give the password of {PASSWORD_VARIABLE}")
        tell("what is sent can be read on the way: let others reach it only in a network that you trust")
    tell("Ctrl-C ends it")
    served = uvicorn.Config(
        review_app(reading, keys, names=names, config=config),
        access_log=False,  # it would show the token
        log_level="warning",
        lifespan="off",
        server_header=False,
        ws="none",
    )
    Thread(target=_warm, args=(reading,), daemon=True).start()
    with listening, suppress(KeyboardInterrupt):
        uvicorn.Server(served).run(sockets=[listening])


def _warm(reading: Reading) -> None:
    with suppress(AnoclustError):  # whoever opens the page is told
        reading.warm()


def checked_password(host: str) -> str:
    """Password that the server asks everybody for.

    Raises
    ------
    ConfigError
        If there is none, or it is too short.
    """
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if len(password) < LEAST_PASSWORD:
        found = "none is set" if not password else f"it has {len(password)}"
        raise ConfigError(
            f"--host {host} lets other machines reach the page, which needs a password of at least {LEAST_PASSWORD} "
            f"characters in the variable {PASSWORD_VARIABLE}, and {found}; set it, or omit --host"
        )
    return password


def listening_on(host: str, port: int) -> socket.socket:
    """Bind a socket, so that nobody else can get hold of the port; errors are those of `serve`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(
            f"--host takes a name or address of this machine; found {host!r} ({error.strerror})"
        ) from error
    family, kind, protocol, _, address = found[0]
    # with the protocol: where asyncio does not see TCP it holds small parts back, and each picture waits 40 ms
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ResourceError(
            f"cannot listen on {host} port {port}: {error.strerror}; end what listens there, or choose another port "
            "with --port"
        ) from error
    return listening
