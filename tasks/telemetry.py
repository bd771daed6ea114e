"""What a run notes about itself while it goes: progress, seconds a stage, work really done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

Listener = Callable[[str, str, int, int], None]
"""Takes the category, the stage's name, what is done and how much there is in all."""


@dataclass
class Telemetry:
    """Notes of one run.

    Attributes
    ----------
    listener
        Hears of progress; None where nobody looks.
    started
        When the run was asked for, in seconds since the epoch.
    seconds
        Wall-clock time by stage; a stage whose cached result was used takes next to none.
    work
        Counts of what was really computed.
    notes
        What a reader of the result must know about how it came about, like damage that was repaired.
    results
        Of flows by name, noted by each of them once everything that it makes is in the store.
    """

    listener: Listener | None = None
    started: float = field(default_factory=time.time)
    seconds: dict[str, float] = field(default_factory=dict)
    work: dict[str, int] = field(default_factory=lambda: {"images_embedded": 0, "pair_products": 0})
    notes: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)


_current: ContextVar[Telemetry | None] = ContextVar("anoclust_telemetry", default=None)


@contextmanager
def recording(listener: Listener | None = None) -> Iterator[Telemetry]:
    """Take notes of one run inside the block, from the moment that it is asked for."""
    notes = Telemetry(listener)
    token = _current.set(notes)
    try:
        yield notes
    finally:
        _current.reset(token)


@contextmanager
def flow_started() -> Iterator[None]:
    """Note how long the orchestrator took to start the flow.

    What was timed before, like the imports, does not count. A flow that nobody recorded so far takes its own notes.
    """
    if _current.get() is None:
        with recording(), flow_started():
            yield
        return
    notes = current()
    took = time.time() - notes.started - sum(notes.seconds.values())
    notes.seconds["orchestrator_start"] = notes.seconds.get("orchestrator_start", 0.0) + took
    yield


def current() -> Telemetry:
    """Notes of the run that this code is part of; notes that nobody reads outside of one."""
    return _current.get() or Telemetry()


def finished(flow: str, result: Result) -> Result:
    """Note that a flow's result is complete; gives the result. Whatever the orchestrator does after it, it stays so."""
    current().results[flow] = result
    return result


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the seconds that the block takes to a stage."""
    start = time.perf_counter()
    notes = current()
    try:
        yield
    finally:
        notes.seconds[stage] = notes.seconds.get(stage, 0.0) + time.perf_counter() - start


def count(what: str, n: int) -> None:
    """Add work that was really done."""
    work = current().work
    work[what] = work.get(what, 0) + n


def forget_peak_memory() -> None:
    """Let `peak_memory_bytes` count from now on, where the system can: on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far; a Prefect server that it started is another process."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
