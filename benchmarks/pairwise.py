"""The pairwise stage, from Zarr to the stored nearest distances, against matrix products and a pair loop."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks import stages
from benchmarks.figures import Figure
from benchmarks.timing import in_turns

SECTION = "pairwise"

SHAPES = (
    ((32, 32), 512, 60, 0.85),
    ((32, 32), 120, 128, 0.72),
    ((16, 16), 120, 512, 0.60),
)
"""Grid, length of features, images, and the share of the matrix-product peak that the stage should reach."""

FASTER_THAN_PAIR_LOOP = 5.0

PRODUCT_SIDE = 4096


def measure(runs: int, *, quick: bool = False) -> Iterator[Figure]:
    """Give two figures for each shape."""
    for grid, dim, n_images, share in SHAPES:
        yield from _measure_shape(runs, grid, dim, n_images // 8 if quick else n_images, share, quick=quick)


def _measure_shape(
    runs: int, grid: tuple[int, int], dim: int, n_images: int, share: float, *, quick: bool
) -> Iterator[Figure]:
    spec = stages.made_up_spec(grid, dim)
    n_patches = spec.n_patches
    n_pairs = n_images * (n_images - 1) // 2
    flop = 2 * n_pairs * n_patches**2 * dim
    side = PRODUCT_SIDE // 4 if quick else PRODUCT_SIDE
    loop_images = min(n_images, 4 if n_patches > 500 else 16)
    with tempfile.TemporaryDirectory() as name, stages.without_prefect():
        folder = Path(name)
        manifest = stages.write_data_set(folder, n_images, spec)
        number = count()

        def ours() -> None:
            to = f"nearest{next(number)}"
            stages.pair(folder, manifest, spec, to=to)
            shutil.rmtree(folder / to)

        with stages.peak_memory() as peak:
            ours()
        ways = {
            "stage": ours,
            **products(side),
            "pair loop": pair_loop(n_images=loop_images, n_patches=n_patches, dim=dim),
        }
        seconds = in_turns(ways, runs=runs, one_thread=False)
    rates = {
        "stage": [flop / took for took in seconds["stage"]],
        "pair loop": [loop_images * (loop_images - 1) // 2 / took for took in seconds["pair loop"]],
    }
    best = [2 * side**3 / min(took) for took in zip(seconds["numpy"], seconds["torch"], strict=True)]
    shape = f"{n_patches:,} x {dim}"
    yield Figure(
        SECTION,
        f"{shape} against matrix products",
        f"{n_images} images, {statistics.median(seconds['stage']):.1f} s, {_giga(rates['stage'])} GFLOP/s",
        f"{side:,} square, all threads, the better of NumPy and torch: {_giga(best)} GFLOP/s",
        tuple(rate / peak_rate for rate, peak_rate in zip(rates["stage"], best, strict=True)),
        target=share,
        peak_bytes=peak[0],
    )
    ours_pairs = [n_pairs / took for took in seconds["stage"]]
    yield Figure(
        SECTION,
        f"{shape} against a pair loop",
        f"{statistics.median(ours_pairs):,.0f} pairs/s",
        f"`torch.cdist` pair by pair, both directions: {statistics.median(rates['pair loop']):,.0f} pairs/s",
        tuple(one / other for one, other in zip(ours_pairs, rates["pair loop"], strict=True)),
        target=FASTER_THAN_PAIR_LOOP,
    )


def products(side: int) -> dict[str, Callable[[], object]]:
    """Large square matrix products by the two BLAS libraries that are installed."""
    rng = np.random.default_rng(0)
    left, right = (rng.random((side, side), dtype=np.float32) for _ in range(2))
    out = np.empty((side, side), np.float32)
    left_t, right_t, out_t = (torch.from_numpy(matrix) for matrix in (left, right, out))
    return {
        "numpy": lambda: np.matmul(left, right, out=out),
        "torch": lambda: torch.mm(left_t, right_t, out=out_t),
    }


def pair_loop(*, n_images: int, n_patches: int, dim: int) -> Callable[[], object]:
    """What published code does: distances of every ordered pair of images, and their minima."""
    rng = np.random.default_rng(0)
    bags = torch.nn.functional.normalize(
        torch.from_numpy(rng.standard_normal((n_images, n_patches, dim), dtype=np.float32)), dim=2
    )

    def loop() -> torch.Tensor:
        nearest = torch.zeros(n_images, n_images, n_patches)
        for i in range(n_images):
            for j in range(n_images):
                if i != j:
                    nearest[i, j] = torch.cdist(bags[i], bags[j]).min(dim=1).values
        return nearest

    return loop


def _giga(rates: list[float]) -> str:
    return f"{statistics.median(rates) / 1e9:.0f}"
