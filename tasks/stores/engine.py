"""Workers for the heavy pairwise work: Dask in this process, or a scheduler at an address.

The only module that imports Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import psutil
from dask.system import CPU_COUNT
from distributed import Client, KilledWorker, WorkerPlugin, as_completed
from distributed.system import MEMORY_LIMIT
from threadpoolctl import threadpool_limits

from anoclust_core.errors import AnoclustError, ResourceError

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


@contextmanager
def workers(address: str | None) -> Iterator[Client]:
    """Connect to a scheduler, or start one with its workers inside this process.

    Parameters
    ----------
    address
        As in ``tcp://host:8786``; None computes here, on every core.

    Raises
    ------
    ResourceError
        If no scheduler answers at the address.
    """
    if address is None:
        cluster_of_threads = {"n_workers": 1, "threads_per_worker": CORES, "processes": False, "memory_limit": 0}
        # Dask serves its status over HTTP whatever is asked for, by default to the whole network at a fixed port
        status_here = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
        with (
            threadpool_limits(1, user_api="blas"),
            Client(**cluster_of_threads, **status_here, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler` and workers with "
            "`dask worker`, or leave --dask out to compute on this machine"
        ) from error
    with client:
        client.register_plugin(OneBlasThread())
        yield client


def memory_budget(asked: int | None) -> int:
    """Bytes that a stage may use: what was asked for, else a share of what is free to this process now."""
    if asked is not None:
        return asked
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT - psutil.Process().memory_info().rss)
    return int(MEMORY_SHARE * max(0, free))


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
        See `workers`.
    on_done
        Called in this thread after every job with its position and its count, in order of completion.

    Raises
    ------
    Exception
        What the first failing job raised; the others are cancelled.
    """
    if not jobs:
        return
    with workers(address) as client:
        job = partial(_run_job, function)
        futures = client.map(job, jobs, pure=False, retries=JOB_RETRIES if address else 0)
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
