"""How Prefect's clients in our process treat a server that refuses, hangs, is slow, or is hidden by a proxy."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tasks.services import patience, prefect_server
from tasks.services.prefect_server import Link, ServerGoneError, complete_anyway, make_patient

PATIENCE = 2.0
QUIET = 0.5


class Stub:
    """A small server on one port that can be taken away, brought back, and made to behave in several ways."""

    def __init__(self) -> None:
        self.answer: Callable[[str], tuple[int, bytes]] = lambda _: (200, b"true")
        self.delay: Callable[[str], float] = lambda _: 0.0
        self.asked: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    def up(self) -> None:
        """Listen."""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked.append(self.path)
                time.sleep(stub.delay(self.path))
                status, body = stub.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def down(self) -> None:
        """Refuse connections."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """Base of its API."""
        return f"http://127.0.0.1:{self._port}/api"


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.down()


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    """What a process knows that has not asked yet, and has little patience."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(patience, "QUIET_SECONDS", QUIET)
    monkeypatch.setattr(prefect_server, "PROBE_SECONDS", 0.3)
    fresh = Link()
    monkeypatch.setattr(prefect_server, "LINK", fresh)
    make_patient()
    patience.hear_services()
    return fresh


def ask(url: str, path: str = "/flow_runs") -> int:
    """One request of a flow or task."""
    from prefect.client.base import PrefectHttpxSyncClient

    with PrefectHttpxSyncClient(base_url=url, trust_env=False) as client:
        return int(client.get(path, headers={"Connection": "close"}).status_code)


def ask_in_background(url: str, path: str = "/flow_runs") -> int:
    """One request of Prefect's own threads."""
    from prefect.client.base import PrefectHttpxAsyncClient

    async def asked() -> int:
        async with PrefectHttpxAsyncClient(base_url=url, trust_env=False) as client:
            return int((await client.get(path, headers={"Connection": "close"})).status_code)

    return asyncio.run(asked())


ASKERS = pytest.mark.parametrize("asker", [ask, ask_in_background])


def seconds_until_gone(asker: Callable[[str], int], url: str) -> tuple[str, float]:
    began = time.monotonic()
    with pytest.raises(ServerGoneError) as raised:
        asker(url)
    return str(raised.value), time.monotonic() - began


@ASKERS
def test_server_that_goes_away(stub, asker, capfd):
    """A lost server is waited for, with a line that says so, then given up; from then on nobody waits again."""
    assert asker(stub.url) == 200
    stub.down()
    message, took = seconds_until_gone(asker, stub.url)
    assert PATIENCE <= took < PATIENCE + 2
    assert message.startswith(
        f"the Prefect server at {stub.url.removesuffix('/api')} has stopped answering (ConnectError: "
    )
    assert "unset PREFECT_API_URL" in message
    assert capfd.readouterr().err.count("does not answer; waiting") == 1
    _, took = seconds_until_gone(asker, stub.url)
    assert took < 1


@ASKERS
def test_restart_is_survived(stub, asker):
    """A server that is back in time answers as if nothing had been, also a client that is new to it."""
    assert asker(stub.url) == 200
    stub.down()
    threading.Timer(PATIENCE / 2, stub.up).start()
    assert asker(stub.url) == 200


@ASKERS
def test_server_that_comes_back_later_is_asked_again(stub, asker):
    """One that was given up and is back by the next category is used again."""
    assert asker(stub.url) == 200
    stub.down()
    seconds_until_gone(asker, stub.url)
    stub.up()
    assert asker(stub.url) == 200
    stub.down()
    _, took = seconds_until_gone(asker, stub.url)
    assert took >= PATIENCE


@ASKERS
def test_hanging_server(stub, asker, capfd):
    """A server that takes requests and answers none is given up as well."""
    assert asker(stub.url) == 200
    stub.delay = lambda _: 60.0
    message, took = seconds_until_gone(asker, stub.url)
    assert "has stopped answering (ReadTimeout" in message
    assert PATIENCE <= took < PATIENCE + 2
    assert "does not answer; waiting" in capfd.readouterr().err


def test_slow_answer_of_a_living_server(stub, monkeypatch):
    """A server that is busy says that it lives, and is asked again rather than given up."""
    assert ask(stub.url) == 200
    slow = iter([PATIENCE + 1])
    stub.delay = lambda path: 0.0 if path.endswith("/health") else next(slow, 0.0)
    assert ask(stub.url) == 200
    assert stub.asked[-3:] == ["/api/flow_runs", "/api/health", "/api/flow_runs"]


@ASKERS
@pytest.mark.parametrize("status", [502, 503, 504])
def test_proxy_that_finds_nobody(stub, asker, status):
    """An answer of a proxy in place of a server is no answer, and no reason to wait for minutes."""
    stub.answer = lambda _: (status, b"<html>no route</html>")
    message, took = seconds_until_gone(asker, stub.url)
    assert f"does not answer (status {status})" in message
    assert took < PATIENCE + 2


def test_first_request_is_not_waited_for(stub):
    """A server that never was there is told at once, by Prefect."""
    stub.down()
    began = time.monotonic()
    with pytest.raises(httpx.ConnectError):
        ask(stub.url)
    assert time.monotonic() - began < 1


def test_own_server_that_has_died(stub, link):
    """Nobody starts it again, so nobody waits for it."""
    link.is_own = True
    assert ask(stub.url) == 200
    stub.down()
    link.has_died = lambda: True
    message, took = seconds_until_gone(ask, stub.url)
    assert took < 1
    assert message.startswith("the Prefect server that this command started for itself has stopped answering")


def test_no_password_is_told(stub):
    """Neither the line nor the error shows what stands before the host."""
    address = stub.url.replace("http://", "http://user:secret@")
    assert ask(address) == 200
    stub.down()
    message, _ = seconds_until_gone(ask, address)
    assert "secret" not in message


def test_log_lines_that_cannot_be_sent(stub, monkeypatch, capfd):
    """Prefect writes nothing to the terminal of log lines that a lost server does not take."""
    from prefect.client.orchestration import PrefectClient
    from prefect.logging.handlers import APILogWorker

    assert ask(stub.url) == 200
    stub.down()
    seconds_until_gone(ask, stub.url)
    capfd.readouterr()
    line = {"name": "flow", "level": 20, "message": "told", "timestamp": "2026-01-01T00:00:00Z"}

    async def send() -> None:
        worker = APILogWorker.__new__(APILogWorker)
        async with PrefectClient(stub.url) as worker._client:
            await worker._handle_batch([line])

    monkeypatch.setattr(PrefectClient, "raise_for_api_version_mismatch_once", _nothing)
    asyncio.run(send())
    assert capfd.readouterr().err == ""


async def _nothing(*_: object) -> None:
    pass


def test_what_is_complete_stays_complete(capfd):
    """A server that does not take a result's artifacts is told in one line; a fault of ours is not hidden."""
    with complete_anyway("board: the run"):
        raise ServerGoneError("the Prefect server at http://x has stopped answering (ConnectError); start it")
    assert capfd.readouterr().err == (
        "anoclust: board: the run is complete, but could not be reported to the Prefect server: the Prefect server at "
        "http://x has stopped answering (ConnectError)\n"
    )
    with pytest.raises(TypeError), complete_anyway("board: the run"):
        raise TypeError("a fault")
