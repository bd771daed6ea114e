"""What all six Hausdorff distances cost beside the pass over image pairs that the weights need anyway.

Both passes run over the same simulated bags, block by block and on one thread, as one worker of the pairwise stage runs
them; what is not timed is writing. The second one also takes the mean distance of every pair, reduces the nearest
distances and makes all six matrices.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.bags import normalize_patches
from anoclust_core.clustering.distances import HausdorffVariant, hausdorff_distances, pair_statistics
from anoclust_core.pairwise import cpu, tiling

Pass = tuple[NDArray[np.float16], NDArray[np.float64] | None]


def compare(bags: NDArray[np.float32], *, with_means: bool) -> Pass:
    """Nearest distances of all pairs in half precision, and mean distances where they are wanted."""
    n_images, n_patches, dim = bags.shape
    side = tiling.block_images(n_patches, dim)
    nearest = np.zeros((n_images, n_images, n_patches), np.float16)
    means = np.zeros((n_images, n_images)) if with_means else None
    blocks = [slice(start, start + side) for start in range(0, n_images, side)]
    for at, rows in enumerate(blocks):
        if means is None:
            nearest[rows, rows] = cpu.nearest_distances_within(bags[rows])
        else:
            nearest[rows, rows], means[rows, rows] = cpu.nearest_and_mean_distances_within(bags[rows])
        for columns in blocks[at + 1 :]:
            if means is None:
                nearest[rows, columns], nearest[columns, rows] = cpu.mutual_nearest_distances(bags[rows], bags[columns])
            else:
                found = cpu.mutual_nearest_and_mean_distances(bags[rows], bags[columns])
                nearest[rows, columns], nearest[columns, rows] = found.forward, found.backward
                means[rows, columns], means[columns, rows] = found.mean, found.mean.T
    return nearest, means


def all_hausdorff(bags: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """The six matrices of distances between images."""
    nearest, means = compare(bags, with_means=True)
    found = pair_statistics([(0, nearest)], n_images=len(bags), mean_distances=means)
    return [hausdorff_distances(found, variant=variant) for variant in get_args(HausdorffVariant)]


def main() -> None:
    """Print medians, extremes and the ratio of paired runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=583)
    parser.add_argument("--patches", type=int, default=256)
    parser.add_argument("--dim", type=int, default=120)
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    draws = np.random.default_rng(0)
    bags = normalize_patches(draws.standard_normal((asked.images, asked.patches, asked.dim), dtype=np.float32))
    plain, full = [], []
    with threadpool_limits(1):
        for run in range(asked.runs):
            start = time.perf_counter()
            compare(bags, with_means=False)
            middle = time.perf_counter()
            all_hausdorff(bags)
            plain.append(middle - start)
            full.append(time.perf_counter() - middle)
            print(f"run {run + 1}: {plain[-1]:.2f} s, all six {full[-1]:.2f} s, ratio {full[-1] / plain[-1]:.2f}")
    ratios = [b / a for a, b in zip(plain, full, strict=True)]
    for name, values in (("the weights' pass", plain), ("with six Hausdorff distances", full), ("ratio", ratios)):
        print(f"{name}: median {statistics.median(values):.2f}, min {min(values):.2f}, max {max(values):.2f}")


if __name__ == "__main__":
    main()
