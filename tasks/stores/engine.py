"""Workers for the heavy pairwise work: Dask's threads in this process, or a Dask scheduler at an address.

The only module that imports Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import dask.threaded
import psutil
from dask.system import CPU_COUNT
from distributed import Client, KilledWorker, WorkerPlugin, as_completed
from distributed.system import MEMORY_LIMIT
from threadpoolctl import threadpool_limits

from anoclust_core.errors import AnoclustError, ResourceError
from anoclust_core.masking import has_secret, masked_text, without

Job = TypeVar("Job")

CORES: Final[int] = CPU_COUNT
"""Cores that this process may use, as the machine or its container says."""

MEMORY_SHARE: Final = 0.8
"""Part of the free memory that a stage may plan with; the rest is for everybody else on the machine."""

CONNECT_SECONDS: Final = 20
"""How long a scheduler may take to answer."""

JOB_RETRIES: Final = 2
"""How often a job is tried again on another worker after its own died."""


class OneBlasThread(WorkerPlugin):
    """Many image pairs side by side, each product on one thread."""

    name = "anoclust-one-blas-thread"

    def setup(self, worker: Any) -> None:  # noqa: ARG002
        """Limit BLAS for the life of the worker process."""
        threadpool_limits(1, user_api="blas")


def memory_budget(asked: int | None) -> int:
    """Bytes that a stage may use: what was asked for, else a share of what is free to this process now."""
    if asked is not None:
        return asked
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT - psutil.Process().memory_info().rss)
    return int(MEMORY_SHARE * max(0, free))


def count_workers(address: str | None) -> int:
    """Number of jobs that run at a time: cores here, or threads of the workers that a scheduler has now, at least 1.

    Raises
    ------
    ResourceError
        If no scheduler answers at the address.
    """
    if address is None:
        return CORES
    with _connected(address) as client:
        threads: dict[str, int] = client.nthreads()
        return max(1, sum(threads.values()))


def run_jobs(
    function: Callable[[Job], int], jobs: Sequence[Job], *, address: str | None, on_done: Callable[[int, int], None]
) -> None:
    """Run independent jobs on the workers.

    Parameters
    ----------
    function
        Takes a job, gives a count; importable on the workers, which see the same store.
    jobs
        Small, picklable descriptions.
    address
        Of a Dask scheduler, as in ``tcp://host:8786``; None computes here, on every core.
    on_done
        Called in this thread after every job with its position and its count, in order of completion.

    Raises
    ------
    ResourceError
        If no scheduler answers at the address, or its workers die of a job.
    Exception
        What the first failing job raised; the others are cancelled.
    """
    if not jobs:
        return
    if address is None:
        _run_here(function, jobs, on_done)
    else:
        with _connected(address) as client:
            _run_there(client, function, jobs, on_done)


def _run_here(function: Callable[[Job], int], jobs: Sequence[Job], on_done: Callable[[int, int], None]) -> None:
    """Run jobs on threads of this process, one a core; nothing is served, and no scheduler's loop takes its share."""
    waiting = iter(enumerate(jobs))

    def run_next() -> tuple[int, int]:
        at, job = next(waiting)  # neighbours share what they read; Dask begins independent tasks in an order of its own
        return at, _run_job(function, job)

    def finished(_: int, result: tuple[int, int], *__: object) -> None:
        on_done(*result)

    graph = dict.fromkeys(range(len(jobs)), (run_next,))
    # where one fails, the pool waits for the others that run: nothing is written once the caller has heard of it
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(CORES) as pool:
        dask.threaded.get(graph, list(graph), pool=pool, callbacks=[(None, None, None, finished, None)])


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler at an address, as in ``tcp://host:8786``."""
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"no Dask scheduler answers at {masked_text(address)} ({_told(error, address)}); start one with "
            "`dask scheduler` and workers with `dask worker`, or leave --dask out to compute on this machine"
        ) from error
    with client:
        client.register_plugin(OneBlasThread())
        yield client


def _told(error: Exception, address: str) -> str:
    """What a library says, which repeats an address without its beginning."""
    return masked_text(without(str(error), address.partition("://")[2]) if has_secret(address) else str(error))


def _run_there(
    client: Client, function: Callable[[Job], int], jobs: Sequence[Job], on_done: Callable[[int, int], None]
) -> None:
    """Run jobs on the workers of a scheduler."""
    futures = client.map(partial(_run_job, function), jobs, pure=False, retries=JOB_RETRIES)
    position = {future.key: at for at, future in enumerate(futures)}
    try:
        for future, count in as_completed(futures, loop=client.loop, with_results=True):
            on_done(position[future.key], count)
    except KilledWorker as error:
        client.cancel(futures)
        raise ResourceError(
            f"a Dask worker died at the same piece of work {JOB_RETRIES + 1} times ({error}); give it more memory"
        ) from error
    except BaseException:
        client.cancel(futures)
        raise


def _run_job(function: Callable[[Job], int], job: Job) -> int:
    """Run one job; an error of ours comes back as it is, without foreign ones behind it.

    They travel along as pickles, and one that cannot, like some of Zarr's, turns all into a nameless ``Exception``.
    """
    try:
        return function(job)
    except AnoclustError as error:
        error.__cause__ = error.__context__ = None
        raise
