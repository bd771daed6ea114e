"""What Prefect makes of a server in trouble, told in our words; and results that are complete all the same."""

from __future__ import annotations

import threading

import httpx
import pytest

from anoclust_core.errors import AnoclustError, ConfigError, DatasetError, ResourceError
from flows.prefect_server.around import kept_if_complete, told_where_no_server_answers
from tasks import telemetry
from tasks.services import patience, prefect_server
from tasks.services.prefect_server import Link, ServerGoneError, wait_for_events

REQUEST = httpx.Request("POST", "http://me:hunter2@prefect.example:4200/api/flow_runs/")
GONE = ServerGoneError("the Prefect server at http://x has stopped answering (ConnectError); check that it runs")


def answered(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("bad", request=REQUEST, response=httpx.Response(status, request=REQUEST))


def hidden(error: Exception) -> RuntimeError:
    """Hide an error behind one of Prefect's, as its engine does."""
    outer = RuntimeError("Failed to reach API at http://x/api/")
    outer.__cause__ = error
    return outer


def causes_of(error: BaseException) -> list[BaseException]:
    """List what an error was raised from, twice the length of any chain at most."""
    found: list[BaseException] = []
    cause = error.__cause__
    while cause is not None and len(found) < 20:
        found.append(cause)
        cause = cause.__cause__
    return found


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "LINK", Link())
    monkeypatch.setattr("flows.prefect_server.around.LINK", prefect_server.LINK)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    patience.hear_services()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (hidden(GONE), ServerGoneError, "has stopped answering"),
        (GONE, ServerGoneError, "has stopped answering"),
        (RuntimeError("Failed to reach API at http://x/api/"), ResourceError, "no Prefect server answers"),
        (httpx.ConnectError("refused"), ResourceError, "no Prefect server answers"),
        (answered(500), ResourceError, "at http://prefect.example:4200 answered with status 500"),
        (answered(407), ResourceError, "answered with status 407"),
        (answered(401), ConfigError, "rejected the secret"),
        (DatasetError("no image"), DatasetError, "no image"),
    ],
)
def test_errors_of_a_server_are_told_as_such(error: Exception, kind: type[AnoclustError], words: str) -> None:
    """Each has its exit code and says what to do, whatever Prefect hides it behind; no password is shown."""
    with pytest.raises(AnoclustError) as raised, told_where_no_server_answers():
        raise error
    assert type(raised.value) is kind
    assert raised.value not in causes_of(raised.value)  # who looks for a cause comes to an end
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("error", [TypeError("a fault"), answered(422), RuntimeError("a fault")])
def test_faults_of_ours_are_not_told_as_a_servers(error: Exception) -> None:
    """A mistake of this program stays one, and so does a request that a server finds fault with."""
    with pytest.raises(type(error)) as raised, told_where_no_server_answers():
        raise error
    assert raised.value is error


@pytest.mark.parametrize("error", [GONE, hidden(GONE), httpx.ReadTimeout("late"), answered(503)])
def test_result_that_is_complete_is_kept(error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    """A flow that ends well for all but the server gives its result, and one line says what the server missed."""

    def flow() -> str:
        telemetry.finished("cluster", "folder")
        raise error

    with telemetry.recording():
        assert kept_if_complete("cluster", "board: the run", flow) == "folder"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("anoclust: board: the run is complete, but could not be reported to the Prefect server: ")


def test_result_that_is_not_complete_is_none() -> None:
    """Without a result the error stands; a result of an earlier call, or of another flow, is none of this one."""

    def fail() -> str:
        telemetry.finished("other", "elsewhere")
        raise GONE

    with telemetry.recording():
        telemetry.finished("cluster", "earlier")
        with pytest.raises(ServerGoneError):
            kept_if_complete("cluster", "board: the run", fail)


def test_fault_after_a_complete_result_is_a_fault() -> None:
    """A fault of this program is not hidden, be the result complete or not."""

    def fail() -> str:
        telemetry.finished("cluster", "folder")
        raise TypeError("a fault")

    with telemetry.recording(), pytest.raises(TypeError):
        kept_if_complete("cluster", "board: the run", fail)


def test_events_that_nobody_takes_are_not_taken_for_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A night's events that stay in the queue are an error, so that they are not marked as sent."""
    from prefect.events.worker import EventsWorker

    class Stuck:
        def wait_until_empty(self) -> None:
            threading.Event().wait(60)

    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(EventsWorker, "instance", lambda: Stuck())
    with pytest.raises(ServerGoneError, match="accepts no events now; the next night sends them"):
        wait_for_events()
