"""Sweeps over what is stored: many settings, no comparison of images, in the time of a coffee's first sip."""

from __future__ import annotations

import time

import numpy as np
import pytest
from helpers.builders import unit_bags

from anoclust_core.benchmark.geometry import CategoryArrays, rarity_of, weighted
from anoclust_core.clustering.distances import PairStatistics
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.evaluation.protocols import SOHN
from anoclust_core.evaluation.scores import evaluate
from anoclust_core.pairwise import cpu

N, GRID, DIM = 583, (16, 16), 120


@pytest.mark.slow
def test_a_thousand_settings_on_magnetic_tiles_size(monkeypatch, print_table):
    """100 temperatures x 10 numbers of clusters for 583 images take less than a minute and compare no two images."""
    for name in [name for name in dir(cpu) if "distances" in name]:
        monkeypatch.delattr(cpu, name)
    draws = np.random.default_rng(0)
    patches = GRID[0] * GRID[1]
    nearest = draws.random((N, 1, patches), np.float32)
    category = CategoryArrays(
        name="simulated",
        labels=[("good", "blowhole", "break", "crack", "fray", "uneven")[at % 6] for at in range(N)],
        bags=unit_bags(N, patches, DIM),
        grid=GRID,
        nearest=np.broadcast_to(nearest, (N, N, patches)),
        to_normals=None,
        statistics=PairStatistics(*[np.zeros((N, N), np.float32)] * 3),
    )
    start = time.perf_counter()
    rarity = rarity_of(category, "expectation")
    scores = []
    for geometry in weighted(category, rarity, [f"{0.02 * at:.2f}sd" for at in range(1, 101)]):
        tree = linkage_tree(geometry.descriptors, method="ward")
        scores += [evaluate(SOHN, category.labels, cut_tree(tree, n_clusters=k)).full for k in range(2, 12)]
    seconds = time.perf_counter() - start
    print_table([("sweep points", "images", "seconds"), (len(scores), N, f"{seconds:.1f}")])
    assert len(scores) == 1000
    assert all(np.isfinite(found.nmi) for found in scores)
    assert seconds < 60
