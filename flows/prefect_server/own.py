"""Processes that a command starts for itself end with it, also where it is killed: above all a Prefect server."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from threading import Lock
from typing import Final

from flows.prefect_server.closed import HOST, closed_settings, start_closed
from flows.prefect_server.secret import new_secret
from flows.prefect_server.starting import wait_until_it_answers

END_SECONDS: Final = 5.0
"""How long a server may take to write down what it has heard, once it is to end."""

_WATCH: Final = """
import contextlib, os, signal, sys
server = int(sys.argv[1])
handle = os.pidfd_open(server) if hasattr(os, "pidfd_open") else None  # a number alone may come to mean another process
sys.stdin.buffer.read()  # ends when the run's process does, however that is
with contextlib.suppress(ProcessLookupError):
    if handle is None:
        os.kill(server, signal.SIGTERM)
    else:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
"""


def watch(pid: int) -> subprocess.Popen[bytes]:
    """Start a watcher that ends a process when this one ends; closing the watcher's input does so at once."""
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(pid)]
    # a session of its own: Ctrl-C ends the run first
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603


class OwnServer:
    """A Prefect server that this process starts for itself, in place of the one that Prefect would start.

    That one is open to everybody, and a killed process leaves it behind. And whoever asks Prefect for it imports all
    that a server is made of into the process that asks.

    Attributes
    ----------
    secret
        What clients of this process show it; it answers nobody else.
    url
        Of its API; another one after each start.
    process, watchers
        None, and empty, before the first start.
    """

    def __init__(self) -> None:
        self.secret = new_secret()
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.watchers: list[subprocess.Popen[bytes]] = []
        self._answers = False
        self._lock = Lock()

    def start(self) -> None:
        """Start it, where it is not there; this returns at once, and `wait` when it answers."""
        from prefect.settings import get_current_settings

        with self._lock:
            if self.process is not None and not self.has_died():
                return
            listening = socket.socket()
            listening.bind((HOST, 0))
            port = listening.getsockname()[1]
            environment = {
                **os.environ,
                **get_current_settings().to_environment_variables(exclude_unset=True),
                **closed_settings(self.secret, port),
                "PREFECT_UI_ENABLED": "0",
                "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
                "PREFECT__SERVER_EPHEMERAL": "1",
            }
            environment.pop("PREFECT_API_URL", None)  # of the one before, where that has died
            self.url, self._answers = f"http://{HOST}:{port}/api", False
            self.process = start_closed(listening, environment)
            self.watchers.append(watch(self.process.pid))

    def wait(self) -> None:
        """Return when it answers; at once, where it has done so before.

        Raises
        ------
        ServerGoneError
            If its process ends, or it does not answer in time.
        """
        if self._answers or self.process is None:
            return
        with self._lock:  # who asks second waits with the first one
            if not self._answers:
                wait_until_it_answers(self.process, self.url)
                self._answers = True

    def has_died(self) -> bool:
        """Whether its process has ended."""
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> None:
        """End it, and let it write down what it has heard."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.process.kill()
        self.process.wait()


@cache
def own_server() -> OwnServer:
    """The server of this process, which may not be started yet."""
    server = OwnServer()
    atexit.register(server.stop)
    return server


def start_own_server() -> OwnServer:
    """Start the server of this process, or another one where it has died; let all of Prefect's clients use it.

    This returns at once. Whoever then asks it something waits until it answers, see `Link`.
    """
    from prefect.context import refresh_global_settings_context

    from tasks.services.prefect_server import LINK

    server = own_server()
    server.start()
    # Prefect's threads, which have no settings of their own, read those of the environment
    os.environ["PREFECT_API_AUTH_STRING"], os.environ["PREFECT_API_URL"] = server.secret, server.url
    refresh_global_settings_context()
    LINK.is_own, LINK.has_died, LINK.wait_for_start = True, server.has_died, server.wait
    return server
