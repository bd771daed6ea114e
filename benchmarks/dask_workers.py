"""The pairwise stage on one worker process of a Dask scheduler and on both that it has, one thread each.

There is one scheduler throughout: a second one, with a worker that waits, takes a tenth of a core that the two workers
then lack.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from dask.base import annotate
from distributed import LocalCluster

from benchmarks import stages
from benchmarks.figures import Figure
from benchmarks.timing import in_turns, paired

SECTION = "Dask workers"

SHAPES = (((16, 16), 120, 768), ((32, 32), 512, 96))
"""Grid, length of features, images: enough for one worker to be busy for some ten seconds on a fast processor."""

TIMES_AS_FAST = 1.7


def measure(runs: int, *, quick: bool = False) -> Iterator[Figure]:
    """Give one figure for each shape."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
    ) as cluster:  # fmt: skip
        for grid, dim, n_images in SHAPES:
            yield _measure_shape(runs, grid, dim, n_images // 8 if quick else n_images, cluster)


def _measure_shape(runs: int, grid: tuple[int, int], dim: int, n_images: int, cluster: LocalCluster) -> Figure:
    spec = stages.made_up_spec(grid, dim)
    with tempfile.TemporaryDirectory() as name, stages.without_prefect():
        folder = Path(name)
        manifest = stages.write_data_set(folder, n_images, spec)
        number = count()

        def on(workers: list[str]) -> Callable[[], None]:
            def run() -> None:
                to = f"nearest{next(number)}"
                with annotate(workers=workers):
                    stages.pair(folder, manifest, spec, to=to, dask=cluster.scheduler_address)
                shutil.rmtree(folder / to)

            return run

        both = [worker.worker_address for worker in cluster.workers.values()]
        seconds = in_turns({"one": on(both[:1]), "two": on(both)}, runs=runs, one_thread=False)
    return Figure(
        SECTION,
        f"{n_images} images, {spec.n_patches:,} x {dim}",
        f"two workers: {statistics.median(seconds['two']):.1f} s",
        f"one worker: {statistics.median(seconds['one']):.1f} s",
        paired(seconds, "two", "one"),
        target=TIMES_AS_FAST,
    )
