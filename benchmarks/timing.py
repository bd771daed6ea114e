"""Time several ways to do one thing, in turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from threadpoolctl import threadpool_limits

RUNS: Final = 7
"""Paired runs of a figure."""


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Limit BLAS and torch to so many threads inside the block; None leaves them all."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def in_turns(
    ways: Mapping[str, Callable[[], object]],
    *,
    runs: int = RUNS,
    times: Mapping[str, int] | None = None,
    one_thread: bool = True,
) -> dict[str, list[float]]:
    """Seconds of each way in each run, after one run that does not count; a quick way may go many ``times`` a run."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with threads(1 if one_thread else None):
        for run in range(runs + 1):
            for name, way in ways.items():
                gc.collect()  # what another way left behind is not this one's
                start = time.perf_counter()
                repeats = (times or {}).get(name, 1)
                for _ in range(repeats):
                    way()
                if run:
                    seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


def paired(seconds: Mapping[str, list[float]], name: str, against: str) -> tuple[float, ...]:
    """How many times as fast one way is as another, run by run."""
    return tuple(other / one for one, other in zip(seconds[name], seconds[against], strict=True))


def tell(seconds: Mapping[str, list[float]], *, against: str) -> None:
    """Print median, smallest and largest of each way, and of its ratio to one of them, run by run."""
    lines = [f"{'':34}{'seconds: median':>17}{'min':>9}{'max':>9}{'ratio: median':>16}{'min':>9}{'max':>9}"]
    for name, measured in seconds.items():
        ratios = [one / other for one, other in zip(measured, seconds[against], strict=True)]
        figures = [
            f"{statistics.median(part):.4g} {min(part):.4g} {max(part):.4g}".split() for part in (measured, ratios)
        ]
        (middle, low, high), (ratio, least, most) = figures
        lines.append(f"{name:34}{middle:>17}{low:>9}{high:>9}{ratio:>16}{least:>9}{most:>9}")
    sys.stdout.write("\n".join(lines) + "\n")
