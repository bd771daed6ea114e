"""Time several ways to do one thing, in turns and on one thread."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from threadpoolctl import threadpool_limits

RUNS = 7


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, runs: int = RUNS, times: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """Seconds of each way in each run, after one run that does not count; a quick way may go many ``times`` a run."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(1):
        for run in range(runs + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                repeats = (times or {}).get(name, 1)
                for _ in range(repeats):
                    way()
                if run:
                    seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


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
