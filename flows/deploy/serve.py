"""The processes behind ``anoclust up``: a Prefect server where none is named, a worker, and the end of both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import psutil

from anoclust_core.errors import DatasetError, ResourceError
from anoclust_core.matching.night_dates import zone_of
from anoclust_core.safe_text.masking import masked, masked_text
from flows.deploy.deployments import POOL, Nights, cancel_late
from flows.deploy.ended import EndedNights
from flows.prefect_server.around import told_where_no_server_answers
from flows.prefect_server.closed import HOST, closed_settings
from flows.prefect_server.own import watch
from flows.prefect_server.secret import FILE, kept_secret, own_folder
from tasks.services.prefect_server import LINK, ServerGoneError, make_patient
from tasks.services.proxies import proxy_note

START_SECONDS: Final = 300
"""How long a server may take to answer, as long as its process lives; on a quiet machine it takes eight."""

STOP_SECONDS: Final = 20
"""How long a process may take to end by itself."""

NEW_CATEGORY_SECONDS: Final = 60
"""How often it is looked for nights that have ended and for new categories: a folder is listed, no image read."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the processes live."""

_SERVER: Final = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # leases in memory are lost with the server, and their slots stay taken for good
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


class Service:
    """A process that works until it is told to stop.

    Parameters
    ----------
    name
        For messages.
    arguments
        Of ``python -m``.
    environment
        Besides that of this process.
    log
        File that its output goes to.
    stop
        Signal to end it by.
    sockets
        Numbers of those that it gets.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        log: Path,
        stop: int,
        sockets: Sequence[int] = (),
    ) -> None:
        self.name, self.log, self._stop = name, log, stop
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *arguments],
                pass_fds=sockets,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which ends the others in their order
            )
        self._watcher = watch(self.process.pid)

    def check(self) -> None:
        """Raise if the process has ended by itself.

        Raises
        ------
        ResourceError
            The message says where its log is.
        """
        code = self.process.poll()
        if code is not None:
            raise ResourceError(f"the {self.name} has ended with code {code}; see why in {self.log}")

    def stop(self) -> None:
        """End the process and everything that it has started."""
        family = _family(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(self._stop)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    end(member)
            _, family = psutil.wait_procs(family, timeout=STOP_SECONDS)
        self.process.wait()
        self._watcher.communicate()


def _family(pid: int) -> list[psutil.Process]:
    """List a process and what it has started: each remembers when it was born, and is not mistaken for a later one."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """End a service after the block, however that ends."""
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def server(port: int, logs: Path) -> Iterator[tuple[str, list[Service]]]:
    """Use the server that is configured, or start one for the length of the block.

    Parameters
    ----------
    port
        For a server of our own.
    logs
        Folder of its log.

    Yields
    ------
    url, services
        Address of its API, which clients of this process use, and the server if it is our own.

    Raises
    ------
    ResourceError
        If it does not answer, or the port is taken.
    """
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_SERVER_API_AUTH_STRING,
        temporary_settings,
    )

    configured = PREFECT_API_URL.value()
    if configured:
        _wait_for(configured, None)
        yield configured, []
        return
    secret = PREFECT_SERVER_API_AUTH_STRING.value() or kept_secret(PREFECT_HOME.value())
    url = f"http://{HOST}:{port}/api"
    with _listening(port) as listening:
        service = Service(
            "Prefect server",
            ["flows.prefect_server.closed", str(listening.fileno())],
            {**_SERVER, **closed_settings(secret, port)},
            logs / "server.log",
            signal.SIGTERM,
            [listening.fileno()],
        )
    with running(service):
        LINK.has_died = lambda: service.process.poll() is not None
        _wait_for(url, service)
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret}):
            yield url, [service]


def worker(
    url: str, logs: Path, *, name: str = POOL, variables: Mapping[str, str] | None = None
) -> AbstractContextManager[Service]:
    """Start a worker for the length of the block; runs that it has started end with it.

    Parameters
    ----------
    url
        Address of the server's API.
    logs
        Folder of its log.
    name
        Of the worker; the machine's is added, by which `flows.deploy.dead_runs` knows whose processes it can see.
    variables
        Of its environment, besides: what deployments do not tell.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING

    named = f"{name}@{socket.gethostname()}"
    arguments = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", named]
    environment = {"PREFECT_API_URL": url, "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "DO_NOT_TRACK": "1"}
    if secret := PREFECT_API_AUTH_STRING.value():
        environment["PREFECT_API_AUTH_STRING"] = secret
    return running(
        Service("Prefect worker", arguments, {**environment, **(variables or {})}, logs / "worker.log", signal.SIGINT)
    )


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: a service manager and a closed terminal send them.

    SIGINT is among them because a shell lets what it puts into the background ignore Ctrl-C, and what ignores it hands
    that on: a worker would not end.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(nights: Nights, *, port: int, tell: Callable[[str], None]) -> None:
    """Serve the nights of every category until Ctrl-C.

    Parameters
    ----------
    nights
        What is served.
    port
        For a server of our own.
    tell
        Hears what a person should see.

    Raises
    ------
    AnoclustError
        If the data, a file or a server is of no use, or a process ends by itself.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_HOME

    nights.categories()  # what is wrong with the data is told before a server starts
    logs = own_folder(PREFECT_HOME.value())
    make_patient()
    with suppress(KeyboardInterrupt), ended_by_signals(), told_where_no_server_answers(), ExitStack() as stack:
        url, services = stack.enter_context(server(port, logs))
        client = stack.enter_context(get_client(sync_client=True))
        for line in nights.apply(client):
            tell(f"registered {line}")
        cancelled = cancel_late(client)
        if cancelled:
            tell(f"{len(cancelled)} late runs cancelled; one run of each category catches up")
        asks = f", which asks once for the secret in {logs / FILE}" if services else ""
        ended = EndedNights(client, nights.store, datetime.now(UTC), zone_of(nights.timezone))
        services.append(stack.enter_context(worker(url, logs, variables=nights.variables)))
        tell(f"nights at {nights.cron} ({nights.timezone}); Ctrl-C ends it\n  {masked(url).removesuffix('/api')}{asks}")

        wrong = ""

        def look() -> None:
            nonlocal wrong
            try:
                for line in ended.lines():
                    tell(line)
                changed = nights.register(client, nights.categories())
            except (DatasetError, ServerGoneError, OSError, httpx.HTTPError) as error:
                if str(error) != wrong:  # once, not every minute: an inbox may be empty all day
                    tell(f"cannot look for ended nights and new categories; trying again: {masked_text(str(error))}")
                wrong = str(error)
                return
            wrong = ""
            for line in changed:
                tell(f"registered {line}")

        wait(services, NEW_CATEGORY_SECONDS, look)
    tell("stopped")


def wait(services: list[Service], every: float, look: Callable[[], None]) -> None:
    """Look around now and then until Ctrl-C.

    Parameters
    ----------
    services
        What has to live.
    every
        Seconds between two looks.
    look
        What to do then.

    Raises
    ------
    ResourceError
        If a service has ended.
    """
    last = time.monotonic()
    while True:
        for service in services:
            service.check()
        if time.monotonic() - last >= every:
            look()
            last = time.monotonic()
        time.sleep(LOOK_SECONDS)


def _listening(port: int) -> socket.socket:
    """Take the port; from here on nobody else can, and get what is meant for the server."""
    try:
        return socket.create_server((HOST, port), backlog=128)
    except OSError as error:
        raise ResourceError(
            f"port {port} is taken ({error.strerror}); if that is your Prefect server, set "
            f"PREFECT_API_URL=http://{HOST}:{port}/api; otherwise choose another port with --port"
        ) from error


def _wait_for(url: str, service: Service | None) -> None:
    """Wait until a server answers; one that was there before has to answer at once."""
    until = time.monotonic() + (START_SECONDS if service else 5)
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        if service:
            service.check()
        if time.monotonic() > until:
            where = f"; see {service.log}" if service else "; start it, or unset PREFECT_API_URL to start one here"
            raise ResourceError(f"no Prefect server answers at {masked(url)}{where}{proxy_note(url)}")
        time.sleep(0.3)
