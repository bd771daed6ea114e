"""A Prefect server or a Dask scheduler that dies, hangs or comes back while real commands need it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder
from helpers.dask_processes import Cluster
from helpers.halted import BLOCK, COMPLETE, HaltedCommand
from helpers.prefect_processes import PrefectServer

from tasks.services import patience

pytestmark = pytest.mark.slow

LONGEST_SILENCE = 30.0
"""What a user is promised."""

Start = Callable[..., HaltedCommand]


@pytest.fixture(scope="module")
def team_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start the server of a team."""
    made = PrefectServer(tmp_path_factory.mktemp("prefect"))
    yield made
    made.kill()


@pytest.fixture
def server(team_server: PrefectServer) -> PrefectServer:
    """The server of a team; started again where a test before this one lost it for good."""
    if team_server.process.poll() is not None:
        team_server.start()
    return team_server


@pytest.fixture
def start(tmp_path: Path, checkpoint: Path) -> Start:
    """Start a command on eight images that halts somewhere."""
    data = flat_folder(tmp_path / "board", range(8))

    def make(halt: str, command: str = "run", *flags: str, **environment: str) -> HaltedCommand:
        options = ["--backbone", TINY_BACKBONE, "--checkpoint", str(checkpoint), "--image-size", str(TINY_SIDE)]
        arguments = [command, str(data), "--store", str(tmp_path / "store"), "--n-clusters", "2", *options]
        return HaltedCommand(
            tmp_path / f"{command}-{halt}",
            halt,
            [*arguments, "--device", "cpu", "--settle-seconds", "0", *flags],
            {"PREFECT_HOME": str(tmp_path / "home"), **environment},
        )

    return make


def paragraphs(told: str) -> list[str]:
    """Lines of standard error but those that tell of progress."""
    lines = [line for line in told.splitlines() if line.strip()]
    progress = ("board ", "reading files", "anoclust: the Prefect server is still starting")
    return [line for line in lines if not line.startswith(progress)]


def own_server_of(command: HaltedCommand) -> psutil.Process:
    """The larger one of what a command has started: the other is the server's watcher."""
    return max(psutil.Process(command.process.pid).children(), key=lambda child: child.memory_info().rss)


def finished_runs(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "store" / "runs" / "board").glob("*/summary.json"))


def test_own_server_killed_before_a_stage(start, tmp_path):
    """The server that a run started dies in its middle: exit 5 at once, one paragraph, and the next run goes on."""
    with start("report") as command:
        own_server_of(command).kill()
        code, took, _ = command.go_on()
        assert code == 5, command.told
        assert took < LONGEST_SILENCE
        told = "\n".join(paragraphs(command.told))
    assert told.startswith(
        "anoclust: board: failed: the Prefect server that this command started for itself has stopped answering"
    )
    assert "\n" not in told
    assert not finished_runs(tmp_path)


def test_scheduler_killed_between_blocks(start, tmp_path):
    """A Dask scheduler that dies while blocks come back: exit 5 and one paragraph, nothing of Dask or Zarr."""
    cluster = Cluster(tmp_path, 1)
    try:
        with start(BLOCK, "run", "--dask", cluster.address) as command:
            cluster.scheduler.kill()
            code, took, _ = command.go_on()
            assert code == 5, command.told
            assert took < LONGEST_SILENCE
            told = "\n".join(paragraphs(command.told))
    finally:
        cluster.close()
    assert told.startswith(f"anoclust: board: failed: the Dask scheduler at {cluster.address} has stopped answering (")
    assert "\n" not in told
    assert not finished_runs(tmp_path)


def test_own_server_killed_when_all_is_done(start, tmp_path):
    """Whatever the server does after the result is in the store: exit 0, and one line says that it does not know."""
    with start(COMPLETE) as command:
        own_server_of(command).kill()
        code, took, _ = command.go_on()
        assert code == 0, command.told
        assert took < LONGEST_SILENCE
        told = "\n".join(paragraphs(command.told))
        assert "8 images embedded" in command.printed
    assert told.startswith("anoclust: board: the run is complete, but could not be reported to the Prefect server")
    assert "\n" not in told
    assert len(finished_runs(tmp_path)) == 1


def test_restarted_server_is_survived(start, server):
    """A server that is restarted in mid-run is waited for, and hears of the end."""
    server.wait()
    completed = server.runs().count("COMPLETED")
    with start("report", PREFECT_API_URL=server.url, HALTED_PATIENCE="200") as command:  # a busy machine is slow
        server.kill()
        server.start()
        code, _, _ = command.go_on()
        assert code == 0, command.told
        assert not [line for line in paragraphs(command.told) if "does not answer" not in line]
    server.wait()
    assert server.runs().count("COMPLETED") == completed + 1


def test_hanging_server(start, server, tmp_path):
    """A server that hangs: a line says that it is waited for, then exit 5 in one paragraph, before half a minute."""
    server.wait()
    with start("report", PREFECT_API_URL=server.url) as command:
        server.signal(signal.SIGSTOP)
        try:
            code, took, silence = command.go_on()
        finally:
            server.signal(signal.SIGCONT)
        assert code == 5, command.told
        assert patience.PATIENCE_SECONDS <= took < LONGEST_SILENCE + 10
        assert silence < LONGEST_SILENCE
        waiting, told = paragraphs(command.told)
    assert waiting == (
        f"anoclust: the Prefect server at {server.url.removesuffix('/api')} does not answer; waiting up to 20 seconds"
    )
    assert f"the Prefect server at {server.url.removesuffix('/api')} has stopped answering" in told
    assert "unset PREFECT_API_URL" in told
    assert not finished_runs(tmp_path)


def test_server_killed_for_good_in_a_night(start, server, tmp_path):
    """The same for a night."""
    server.wait()
    with start("report", "nightly", PREFECT_API_URL=server.url, HALTED_PATIENCE="5") as command:
        server.kill()
        code, took, silence = command.go_on()
        assert code == 5, command.told
        assert took < LONGEST_SILENCE + 10
        assert silence < LONGEST_SILENCE
        waiting, told = paragraphs(command.told)
    assert "does not answer; waiting" in waiting
    assert told.startswith("anoclust: board 20")  # the night's date
    assert f": failed: the Prefect server at {server.url.removesuffix('/api')} has stopped answering" in told
