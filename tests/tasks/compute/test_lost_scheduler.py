"""A Dask scheduler or its workers that go away or hang: told in one paragraph, and before half a minute is over."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dask_processes import Cluster

from anoclust_core.errors import ResourceError
from tasks.compute import dask_jobs
from tasks.compute.dask_jobs import count_workers, run_jobs
from tasks.services import patience
from tasks.services.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

LONGEST_SILENCE = 30.0
"""What a user is promised."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Scheduler with one worker, both of them processes."""
    patience.hear_services()
    made = Cluster(tmp_path, 1)
    yield made
    made.close()


def slow_job(job: Path) -> int:
    """Tell that it has begun, then take longer than any test waits."""
    job.touch()
    time.sleep(120 if job.name != "quick" else 0)
    return 1


def once_begun(job: Path, then) -> threading.Thread:
    """Do something once a job has begun."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not job.exists() and time.monotonic() < until:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def lost_after(cluster: Cluster, tmp_path: Path, then) -> tuple[str, float, list[int]]:
    """Run a quick and a slow job, do something in the middle of the slow one.

    Gives the message, the seconds since then, and the jobs that ended.
    """
    moments: list[float] = []
    heard: list[int] = []

    def now() -> None:
        while not heard:
            time.sleep(0.02)
        moments.append(time.monotonic())
        then()

    thread = once_begun(tmp_path / "slow", now)
    with pytest.raises(ResourceError) as raised:
        run_jobs(
            slow_job,
            [tmp_path / "quick", tmp_path / "slow"],
            address=cluster.address,
            on_done=lambda at, _: heard.append(at),
        )
    took = time.monotonic() - moments[0]
    thread.join()
    return str(raised.value), took, heard


def test_killed_scheduler(cluster, tmp_path, capfd):
    """A scheduler that is killed in mid-block ends the work at once; Dask itself says nothing on the terminal."""
    message, took, heard = lost_after(cluster, tmp_path, cluster.scheduler.kill)
    assert f"the Dask scheduler at {cluster.address} has stopped answering" in message
    assert "run the same command" in message
    assert heard == [0]
    assert took < LONGEST_SILENCE
    time.sleep(1)
    assert "Traceback" not in capfd.readouterr().err


def test_hanging_scheduler(cluster, tmp_path, capfd, monkeypatch):
    """A scheduler that hangs is waited for, which a line says, and given up in time."""
    assert dask_jobs.LOOK_SECONDS + dask_jobs.PATIENCE_SECONDS + 2 * dask_jobs.CLOSE_SECONDS < LONGEST_SILENCE

    def stop() -> None:
        monkeypatch.setattr(patience, "QUIET_SECONDS", 1)
        monkeypatch.setattr(dask_jobs, "PATIENCE_SECONDS", 4)
        os.kill(cluster.scheduler.pid, signal.SIGSTOP)

    message, took, _ = lost_after(cluster, tmp_path, stop)
    assert "has stopped answering (no answer within 4 seconds)" in message
    assert took < 4 + (LONGEST_SILENCE - PATIENCE_SECONDS)
    told = capfd.readouterr().err
    assert f"anoclust: the Dask scheduler at {cluster.address} does not answer; waiting" in told


def test_workers_gone(cluster, tmp_path, capfd, monkeypatch):
    """Where the last worker dies and none comes, the work ends with what to start."""

    def kill() -> None:
        monkeypatch.setattr(dask_jobs, "PATIENCE_SECONDS", 6)
        monkeypatch.setattr(dask_jobs, "QUIET_SECONDS", 2)
        cluster.workers[0].kill()

    message, took, _ = lost_after(cluster, tmp_path, kill)
    assert "has had no worker for 6 seconds" in message
    assert "dask worker" in message
    assert took < LONGEST_SILENCE
    assert "anoclust: a worker of the Dask scheduler at" in capfd.readouterr().err


def test_scheduler_that_hangs_while_workers_are_counted(cluster, monkeypatch):
    """Connecting to a scheduler that accepts but says nothing ends too."""
    monkeypatch.setattr(dask_jobs, "CONNECT_SECONDS", 3)
    assert count_workers(cluster.address) >= 1
    os.kill(cluster.scheduler.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ResourceError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1"):
        count_workers(cluster.address)
    assert time.monotonic() - began < LONGEST_SILENCE


def test_late_worker_is_waited_for(tmp_path, monkeypatch):
    """A scheduler without a worker is no error while one is on its way."""
    monkeypatch.setattr(dask_jobs, "PATIENCE_SECONDS", 60)  # a busy machine takes long to start one
    cluster = Cluster(tmp_path, 0)
    try:
        starting = threading.Timer(3, lambda: cluster.workers.append(cluster.start_worker()))
        starting.start()
        heard: list[int] = []
        run_jobs(slow_job, [tmp_path / "quick"], address=cluster.address, on_done=lambda at, n: heard.append(n))
        assert heard == [1]
        starting.join()
    finally:
        cluster.close()
