from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster
from helpers.builders import digest, unit_bags
from threadpoolctl import threadpool_info

from anoclust_core.errors import ResourceError, StoreError
from tasks.compute import dask_jobs
from tasks.compute.dask_jobs import count_workers, run_jobs
from tasks.compute.pair_blocks import compute_block
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs, WantedPairs

HASHES = [digest(f"image {number}") for number in range(10)]
N_PATCHES = 6


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two worker processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    segments = EmbeddingSegments(tmp_path_factory.mktemp("workers") / "embeddings")
    segments.append(HASHES, unit_bags(len(HASHES), N_PATCHES))
    return segments.folder


def closed_port() -> int:
    """Loopback port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def distances(folder: Path, embeddings: Path, *, address: str | None) -> np.ndarray:
    """All distances among the images, computed by the workers, block by block."""
    slabs = NearestSlabs(folder)
    plan = slabs.plan(WantedPairs(HASHES), embeddings, N_PATCHES, side=3)
    plan.create()
    run_jobs(
        compute_block, plan.blocks, address=address, on_done=lambda at, n_products: plan.block_done(plan.blocks[at])
    )
    return np.concatenate([part for _, part in slabs.read(HASHES, HASHES)])


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, embeddings: Path) -> np.ndarray:
    slabs = NearestSlabs(tmp_path_factory.mktemp("serial"))
    plan = slabs.plan(WantedPairs(HASHES), embeddings, N_PATCHES, side=3)
    plan.create()
    for block in plan.blocks:
        compute_block(block)
        plan.block_done(block)
    return np.concatenate([part for _, part in slabs.read(HASHES, HASHES)])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_number_of_threads_does_not_matter(tmp_path, embeddings, serial, monkeypatch, threads):
    """Any number of threads in this process gives the serial result, bit for bit."""
    monkeypatch.setattr(dask_jobs, "CORES", threads)
    np.testing.assert_array_equal(distances(tmp_path / "slabs", embeddings, address=None), serial)


def test_workers_of_a_scheduler_give_the_same(tmp_path, embeddings, serial, scheduler):
    """Worker processes behind a scheduler's address give the serial result, bit for bit."""
    np.testing.assert_array_equal(distances(tmp_path / "slabs", embeddings, address=scheduler), serial)


def test_workers_are_counted_where_they_are(monkeypatch, scheduler):
    """Work is cut for the cores of this machine, or for the threads that a scheduler has."""
    monkeypatch.setattr(dask_jobs, "CORES", 5)
    assert count_workers(None) == 5
    assert count_workers(scheduler) == 2


@pytest.mark.parametrize("where", ["here", "scheduler"])
def test_every_job_is_counted_once(request, where):
    """Every job reports its own position and count exactly once, in whatever order they end."""
    heard: dict[int, int] = {}
    address = request.getfixturevalue("scheduler") if where == "scheduler" else None
    run_jobs(lambda job: 10 * job, range(20), address=address, on_done=heard.__setitem__)
    assert heard == {at: 10 * at for at in range(20)}


@pytest.mark.parametrize("where", ["here", "scheduler"])
def test_error_of_a_job_reaches_the_caller(request, where):
    """What a job raises is raised here, as the same error with the same words."""

    def fail(job: int) -> int:
        if job == 3:
            raise StoreError("slab 3 is damaged")
        return job

    address = request.getfixturevalue("scheduler") if where == "scheduler" else None
    with pytest.raises(StoreError, match="slab 3 is damaged"):
        run_jobs(fail, range(6), address=address, on_done=lambda at, n: None)


def test_error_of_the_listener_ends_the_run():
    """Where the caller itself fails between jobs, its error comes through and the rest is cancelled."""

    def stop(at: int, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(lambda job: job, range(50), address=None, on_done=stop)


def test_nothing_runs_on_after_an_error():
    """Where a job fails, jobs beside it have ended when the caller hears of it, and those behind it never begin."""
    begun, ended = [], []

    def work(job: int) -> int:
        if job == 0:
            raise StoreError("slab 0 is damaged")
        begun.append(job)
        time.sleep(0.2)
        ended.append(job)
        return job

    with pytest.raises(StoreError):
        run_jobs(work, range(1000), address=None, on_done=lambda at, n: None)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10 * dask_jobs.CORES


def test_jobs_begin_in_their_order():
    """Neighbours in the list share what they read, so they are done one after the other."""
    begun: list[int] = []
    run_jobs(lambda job: begun.append(job) or job, range(200), address=None, on_done=lambda at, n: None)
    assert all(abs(place - job) <= 2 * dask_jobs.CORES for place, job in enumerate(begun))


def test_nothing_to_do_starts_nothing():
    """Without jobs no scheduler is asked for, so a wrong address does no harm."""
    run_jobs(lambda job: job, [], address="tcp://127.0.0.1:1", on_done=lambda at, n: None)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "127.0.0.1:{port}", "nonsense://{port}"])
def test_no_scheduler_is_told_quickly(monkeypatch, address):
    """An address where no scheduler answers ends in seconds, with what to start instead."""
    monkeypatch.setattr(dask_jobs, "CONNECT_SECONDS", 1)
    address = address.format(port=closed_port())
    started = time.monotonic()
    with pytest.raises(ResourceError, match=r"no Dask scheduler answers at .*`dask scheduler`.*omit --dask"):
        run_jobs(lambda job: job, [1], address=address, on_done=lambda at, n: None)
    assert time.monotonic() - started < 10


def test_nothing_is_served_to_the_network(monkeypatch):
    """Computing in this process listens at no address but loopback's, and at no fixed port that a second run needs."""
    listened: list[tuple[str, int]] = []
    honest = socket.socket.bind

    def bind(self: socket.socket, address: tuple[str, int]) -> None:
        listened.append(address[:2])
        honest(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind)
    run_jobs(lambda job: job, range(2), address=None, on_done=lambda at, n: None)
    assert set(listened) <= {("127.0.0.1", 0)}


def test_one_blas_thread_a_job():
    """While jobs run side by side each matrix product takes one thread; afterwards BLAS has its threads back."""

    def blas_threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, during = blas_threads(), []
    run_jobs(lambda job: max(blas_threads(), default=1), range(4), address=None, on_done=lambda at, n: during.append(n))
    assert during == [1] * 4
    assert blas_threads() == before


def test_blas_of_the_workers_is_limited_too(scheduler):
    """On worker processes BLAS is limited as well."""

    def blas_threads(_: int) -> int:
        import numpy  # noqa: F401
        from threadpoolctl import threadpool_info

        return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

    during: list[int] = []
    run_jobs(blas_threads, range(4), address=scheduler, on_done=lambda at, n: during.append(n))
    assert during == [1] * 4
