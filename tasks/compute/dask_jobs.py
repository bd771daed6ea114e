"""Workers for the heavy pairwise work: Dask's threads in this process, or a Dask scheduler at an address.

With `dask_worker`, which workers load too, the only module that imports Dask; what a scheduler needs is imported where
there is one: a run on one machine does without it, and its import takes half a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

import dask.threaded
import psutil
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits

from anoclust_core.errors import AnoclustError, ResourceError
from anoclust_core.safe_text.masking import has_secret, masked_text, without
from tasks.compute.machine import memory_limit
from tasks.services.patience import PATIENCE_SECONDS, QUIET_SECONDS, answer_of, tell_waiting

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
Answer = TypeVar("Answer")

CORES: Final[int] = CPU_COUNT
"""Cores that this process may use, as the machine or its container says."""

MEMORY_SHARE: Final = 0.8
"""Part of the free memory that a stage may plan with; the rest is for everybody else on the machine."""

CONNECT_SECONDS: Final = 20
"""How long a scheduler may take to answer."""

LOOK_SECONDS: Final = 2.0
"""How long no job ends before it is looked whether the scheduler and workers are still there."""

CLOSE_SECONDS: Final = 2.0
"""How long a scheduler may take to say goodbye; nothing depends on it."""

_DASK_LOGS: Final = ("distributed", "distributed.client")
"""Loggers that Dask gives levels of their own."""

JOB_RETRIES: Final = 2
"""How often a job is tried again on another worker after its own died."""


def memory_budget(asked: int | None) -> int:
    """Bytes that a stage may use: what was asked for, else a share of what is free to this process now."""
    if asked is not None:
        return asked
    free = min(psutil.virtual_memory().available, memory_limit() - psutil.Process().memory_info().rss)
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
        return max(1, _count_threads(client, address))


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
        If no scheduler answers at the address, it goes away, has no worker, or workers die of a job.
    Exception
        What the first failing job raised; the others are cancelled.
    """
    if not jobs:
        return
    if address is None:
        _run_here(function, jobs, on_done)
    else:
        with _connected(address) as client:
            _run_there(client, address, function, jobs, on_done)


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
    from distributed import Client

    from tasks.compute.dask_worker import OneBlasThread

    with _no_log():
        try:
            # its own time limit does not hold for a scheduler that hangs
            client = answer_of(
                partial(Client, address, timeout=CONNECT_SECONDS, set_as_default=False),
                _named(address),
                seconds=CONNECT_SECONDS + 1,
            )
        except (OSError, ValueError) as error:
            raise ResourceError(
                f"no Dask scheduler answers at {masked_text(address)} ({_told(error, address)}); start one with `dask "
                "scheduler` and workers with `dask worker`, or omit --dask to compute on this machine"
            ) from error
        try:
            _asked(partial(client.register_plugin, OneBlasThread()), address)
            yield client
        finally:
            with suppress(Exception):  # nothing depends on it, and a scheduler that is gone never answers
                answer_of(client.close, _named(address), seconds=CLOSE_SECONDS)


@contextmanager
def _no_log() -> Iterator[None]:
    """Keep Dask's own words of a lost scheduler from the terminal: they are told as our error.

    Where the block fails they are kept for good: what is left of a client goes on complaining until the process ends.
    """
    logs = {log: log.level for log in map(logging.getLogger, _DASK_LOGS)}
    for log in logs:
        log.setLevel(logging.CRITICAL)
    yield
    for log, level in logs.items():
        log.setLevel(level)


def _named(address: str) -> str:
    return f"the Dask scheduler at {masked_text(address)}"


def _asked(call: Callable[[], Answer], address: str) -> Answer:
    """Answer of the scheduler.

    Raises
    ------
    ResourceError
        If it gives none.
    """
    try:
        return answer_of(call, _named(address), seconds=PATIENCE_SECONDS)
    except Exception as error:  # Dask's client fails in many ways once its scheduler is gone
        raise _gone(address, _told(error, address) or type(error).__name__) from error


def _gone(address: str, found: str) -> ResourceError:
    return ResourceError(
        f"{_named(address)} has stopped answering ({found}); finished work is kept: find out why it ended, restart it "
        "and its workers, then run the same command, or omit --dask to compute on this machine"
    )


def _count_threads(client: Client, address: str) -> int:
    """Threads that the scheduler's workers have now."""
    threads: dict[str, int] = _asked(client.nthreads, address)
    return sum(threads.values())


def _told(error: Exception, address: str) -> str:
    """What a library says, which repeats an address without its beginning."""
    return masked_text(without(str(error), address.partition("://")[2]) if has_secret(address) else str(error))


def _run_there(
    client: Client,
    address: str,
    function: Callable[[Job], int],
    jobs: Sequence[Job],
    on_done: Callable[[int, int], None],
) -> None:
    """Run jobs on the workers of a scheduler."""
    from distributed import KilledWorker

    futures = client.map(partial(_run_job, function), jobs, pure=False, retries=JOB_RETRIES)
    position = {future.key: at for at, future in enumerate(futures)}
    ended: SimpleQueue[Future[int]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    try:
        for _ in futures:
            future = _next_ended(ended, client, address)
            on_done(position[future.key], _result_of(future, address))
    except KilledWorker as error:
        raise ResourceError(
            f"a Dask worker died on the same job {JOB_RETRIES + 1} times ({error}); give it more memory"
        ) from error
    finally:
        if not ended.empty() or any(not future.done() for future in futures):
            with suppress(Exception):  # the scheduler may be gone: the error that leads here is the one to tell
                answer_of(partial(client.cancel, futures), _named(address), seconds=CLOSE_SECONDS)


def _next_ended(ended: SimpleQueue[Future[int]], client: Client, address: str) -> Future[int]:
    """Wait for the next job that ends, as long as there are a scheduler that answers and a worker.

    Raises
    ------
    ResourceError
        If there is none of them for `PATIENCE_SECONDS`.
    """
    last_seen, is_told = time.monotonic(), False
    while True:
        try:
            return ended.get(timeout=LOOK_SECONDS)
        except Empty:
            n_threads = _count_threads(client, address)
        if n_threads:
            last_seen, is_told = time.monotonic(), False
            continue
        alone = time.monotonic() - last_seen
        if alone >= PATIENCE_SECONDS:
            raise ResourceError(
                f"{_named(address)} has had no worker for {PATIENCE_SECONDS:.0f} seconds; finished work is kept: start "
                "workers with `dask worker`, then run the same command"
            )
        if alone >= QUIET_SECONDS and not is_told:
            tell_waiting(f"a worker of {_named(address)}")
            is_told = True


def _result_of(future: Future[int], address: str) -> int:
    """What an ended job gave.

    Raises
    ------
    ResourceError
        If the scheduler went away with it.
    Exception
        What the job raised.
    """
    if future.status == "error":
        count: int = future.result()
        return count
    try:
        count = future.result(timeout=PATIENCE_SECONDS)
    except (CancelledError, OSError) as error:  # a lost connection is an OSError, a time-out too
        raise _gone(address, type(error).__name__) from error
    return count


def _run_job(function: Callable[[Job], int], job: Job) -> int:
    """Run one job; an error of ours comes back as it is, without foreign ones behind it.

    They travel along as pickles, and one that cannot, like some of Zarr's, turns all into a nameless ``Exception``.
    """
    try:
        return function(job)
    except AnoclustError as error:
        error.__cause__ = error.__context__ = None
        raise
