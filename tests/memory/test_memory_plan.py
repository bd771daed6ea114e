"""Every stage's measured peak of memory against its prediction, most of them over four sizes.

Each measurement runs in a process of its own that has nothing but the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from apart import measure_apart
from measured import MEASURES, SIZES, Measured

from anoclust_core.errors import ResourceError
from anoclust_core.memory.clusters import group_plan
from anoclust_core.memory.plan import MemoryPlan, readable_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be reset on Linux only"),
]

SLACK = 4
"""A bound that is further off than this would refuse what fits."""

EMBEDDING = ("embed", "embed, converted", "embed, kept")
"""Stages whose measurements share pictures and a network."""

FIXED = 128 << 20
"""Part of every bound that does not grow with the work."""

rows: list[tuple[str, str, str, str]] = []


@pytest.fixture(scope="module")
def measure(
    print_table: Callable[[Sequence[Sequence[object]]], None],
) -> Iterator[Callable[[str, int, Path], Measured]]:
    """Run a measurement in a new process."""
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11 does not hand sys.path to the fork server, which then silently imports nothing
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield lambda stage, size, folder: pool.submit(measure_apart, stage, size, folder).result(timeout=200)
    print_table([("stage", "size", "measured peak", "predicted"), *sorted(rows)])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Give a folder for each size, for stages that begin with the same pictures."""
    folders: dict[int, Path] = {}
    return lambda size: folders.setdefault(size, tmp_path_factory.mktemp(f"size{size}"))


@pytest.mark.parametrize(
    ("stage", "size"), [(stage, size) for stage in sorted(MEASURES) for size in range(SIZES.get(stage, 4))]
)
def test_the_peak_stays_below_the_prediction(measure, shared, tmp_path, stage, size):
    """A stage needs no more memory than it says before it starts, and says not much more than it needs."""
    found = measure(stage, size, shared(size) if stage in EMBEDDING else tmp_path)
    rows.append((stage, found.what, readable_bytes(found.peak), readable_bytes(found.predicted)))
    assert found.peak <= found.predicted
    assert found.predicted <= SLACK * found.peak + FIXED


def test_refusal_has_the_numbers_and_the_knob():
    """What does not fit is refused with what it needs, what it may use, what takes most, and what to change."""
    plan = group_plan(n_images=1_000_000, dim=120, n_patches=256, has_matrix=False, has_distances=False)
    plan.check(plan.total)
    with pytest.raises(ResourceError) as error:
        plan.check(plan.total - 1)
    for words in ("stage group needs 5.0 GiB", "GiB for descriptors", "it may use 5.0 GiB", "--memory"):
        assert words in str(error.value)


def test_predictions_grow_with_the_work():
    """Twice the images need up to twice the memory."""
    small, large = (
        group_plan(n_images=n, dim=64, n_patches=256, has_matrix=False, has_distances=False).total
        for n in (100_000, 200_000)
    )
    assert small < large <= 2 * small
    assert MemoryPlan("x", {"a": 1, "b": 2}, "y").total == 3
