"""Processes that a command starts for itself end with it, also where it is killed: above all a Prefect server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, Thread
from typing import Any, Final

from flows.prefect_server.closed import HOST, closed_settings, start_closed
from flows.prefect_server.secret import new_secret

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


def start_own_server() -> str:
    """Start the server that Prefect would start where it is given none, and let a watcher end it.

    This returns at once; whoever then asks Prefect for its server waits until that answers. Prefect ends it at exit; a
    killed process does not get there, and every one left a server of 250 MB behind.

    Returns
    -------
    secret
        What clients of this process show it; it answers nobody else.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    from flows.prefect_server.starting import start_and_wait
    from tasks.services.prefect_server import LINK

    server: Any = SubprocessASGIServer()  # the one that Prefect's clients share
    if hasattr(server, "anoclust_watchers"):
        if LINK.has_died():
            server.running = False  # whoever asks next starts another one
        return str(server.anoclust_secret)
    server.anoclust_watchers, server.anoclust_secret = [], new_secret()
    # Prefect's threads, which have no settings of their own, read those of the environment
    os.environ["PREFECT_API_AUTH_STRING"] = server.anoclust_secret
    refresh_global_settings_context()
    starting = Lock()

    def start_watched() -> Any:
        """In place of Prefect's own start of the process, which is open to everybody."""
        listening = socket.socket()
        listening.bind((HOST, 0))
        server.port = listening.getsockname()[1]
        environment = {
            **os.environ,
            **get_current_settings().to_environment_variables(exclude_unset=True),
            **closed_settings(server.anoclust_secret, server.port),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
            "PREFECT__SERVER_EPHEMERAL": "1",
        }
        process = start_closed(listening, environment)
        server.anoclust_watchers.append(watch(process.pid))
        return process

    def start_once(timeout: int | None = None) -> None:
        with starting:  # without it a second caller would take a server that is starting for one that answers
            start_and_wait(server, timeout)

    def has_died() -> bool:
        return server.server_process is not None and server.server_process.poll() is not None

    def start_ahead() -> None:
        with suppress(Exception):  # the client tries again, and tells
            start_once()

    server._run_uvicorn_command, server.start = start_watched, start_once
    LINK.is_own, LINK.has_died = True, has_died
    Thread(target=copy_context().run, args=(start_ahead,), daemon=True).start()
    return str(server.anoclust_secret)
