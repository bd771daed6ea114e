"""Clustering of many descriptors: its time and memory, and that a fast path agrees with plain Ward."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from benchmarks.figures import Figure
from benchmarks.stages import peak_memory
from benchmarks.timing import in_turns, paired

SECTION = "clustering"

DIM = 120
TYPES = 12
"""Clusters that the simulated descriptors come from; as many are cut."""

MINUTES = 8.0
GIB = 2.0


def measure(runs: int, *, quick: bool = False) -> Iterator[Figure]:
    """Give agreement with and time against SciPy's Ward on 5,000 descriptors."""
    few = descriptors(500 if quick else 5000)
    trees: dict[str, NDArray[np.float64]] = {}

    def ours() -> None:
        trees["ours"] = linkage_tree(few, method="ward")

    def plain() -> None:
        trees["plain"] = linkage(few.astype(float), method="ward")

    seconds = in_turns({"ours": ours, "plain": plain}, runs=runs, one_thread=True)
    labels = fcluster(trees["plain"], TYPES, criterion="maxclust")
    agreement = adjusted_rand_score(labels, cut_tree(trees["ours"], n_clusters=TYPES))
    off = np.abs(trees["ours"][:, 2] - trees["plain"][:, 2]).max() / trees["plain"][-1, 2]
    yield Figure(
        SECTION,
        f"agreement with plain Ward, {len(few):,} descriptors",
        f"ARI of {TYPES} clusters; largest difference of a merge height {off:.0e} of the highest",
        "SciPy's `linkage`, which holds all distances",
        (float(agreement),),
        target=1.0,
    )
    yield Figure(
        SECTION,
        f"speed, {len(few):,} descriptors",
        f"{np.median(seconds['ours']):.1f} s",
        f"SciPy's `linkage`: {np.median(seconds['plain']):.1f} s",
        paired(seconds, "ours", "plain"),
    )


def measure_large(*, quick: bool = False) -> Iterator[Figure]:
    """Cluster 50,000 descriptors once."""
    many = descriptors(2_000 if quick else 50_000)
    start = time.perf_counter()
    with peak_memory() as peak:
        cut_tree(linkage_tree(many, method="ward"), n_clusters=TYPES)
    minutes = (time.perf_counter() - start) / 60
    what = f"{len(many):,} descriptors of {DIM}"
    limits = (("time", minutes, MINUTES, "minutes"), ("memory", peak[0] / (1 << 30), GIB, "GiB"))
    for name, value, limit, unit in limits:
        yield Figure(
            SECTION, f"{what}, {name}", f"{value:.2g} {unit}", f"limit: {limit:g} {unit}", (value / limit,),
            better="smaller", target=1.0, peak_bytes=peak[0],
        )  # fmt: skip


def descriptors(n_images: int) -> NDArray[np.float32]:
    """Descriptors around some centres, as pooled features are: ``(n_images, DIM)``."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((TYPES, DIM))
    noise = rng.standard_normal((n_images, DIM))
    return np.asarray(centres[rng.integers(TYPES, size=n_images)] + noise, np.float32)
