"""The stage that clusters: its own cut, the number that was asked for, and bounds of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import digest
from sklearn.metrics import adjusted_rand_score

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.config import RunConfig
from anoclust_core.records import ArrayHandle, BagWeights, ClusterTree, ImageRecord
from benchmarks.stages import made_up_run, made_up_spec, without_prefect, write_manifest
from tasks.stages.group import group
from tasks.stores import arrays

TRUTH = np.repeat([0, 1, 2], [600, 120, 120])
"""Kind of every image: many that vary, and two kinds that are alike."""


def images() -> np.ndarray:
    """Draw descriptors that no height of the tree cuts into their three kinds."""
    corners = np.zeros((3, 16))
    corners[1:, 8], corners[1, 0], corners[2, 1] = 4, 1.5, 1.5
    spread = np.array([1, 0.3, 0.3])[TRUTH, None]
    return np.random.default_rng(0).normal(size=(len(TRUTH), 16)) * spread + corners[TRUTH]


def grouped(folder: Path, descriptors: np.ndarray, copies: int = 0, **config: object) -> tuple[ClusterTree, np.ndarray]:
    """Cluster descriptors, the last so many of which are copies of one image."""
    hashes = sorted(digest(str(at)) for at in range(len(descriptors) - copies))
    hashes += [hashes[-1]] * copies
    arrays.write_arrays(folder / "weights", {"descriptors": descriptors.astype(np.float32)}, {})
    shapes = {"descriptors": descriptors.shape, "weights": (len(descriptors), 4)}
    listed = [
        ImageRecord(path=f"{at}.png", sha256=sha256, role="cluster", label=None, file=f"/{at}.png", mask=None)
        for at, sha256 in enumerate(hashes)
    ]
    with without_prefect():
        tree = group.fn(
            run=made_up_run(folder, made_up_spec((2, 2), 16), RunConfig.model_validate(config)),
            key="k", manifest=str(write_manifest(folder, listed)),
            weights=BagWeights(ArrayHandle(str(folder / "weights"), "k", shapes), 0.1), among=None,
            folder=str(folder / "tree"), n_clusters=None, n_clusters_rule="",
        )  # fmt: skip
    return tree, arrays.read(folder / "tree", "labels")


def test_recipe_auto_follows_the_neighbours(tmp_path):
    """Recipe auto gives what no height of the tree gives, and says so; recipe sohn cuts at one height."""
    tree, labels = grouped(tmp_path / "auto", images())
    assert adjusted_rand_score(TRUTH, labels) > 0.99
    assert tree.n_clusters == tree.n_clusters_suggested == 3
    assert "joined and split by the images' neighbours" in tree.n_clusters_rule
    tree, labels = grouped(tmp_path / "sohn", images(), recipe="sohn")
    by_height = cut_tree(linkage_tree(images().astype(np.float32), method="ward"), n_clusters=tree.n_clusters)
    np.testing.assert_array_equal(labels, by_height)
    assert "neighbours" not in tree.n_clusters_rule


@pytest.mark.parametrize("bounds", [(2, 2), (5, 8)])
def test_bounds_hold_for_the_own_cut(tmp_path, bounds):
    """Where the neighbours' cut has too few or too many clusters, the tree is cut at one height within the bounds."""
    tree, labels = grouped(tmp_path, images(), group={"n_clusters": f"{bounds[0]}:{bounds[1]}"})
    assert bounds[0] <= tree.n_clusters == labels.max() + 1 <= bounds[1]
    by_height = cut_tree(linkage_tree(images().astype(np.float32), method="ward"), n_clusters=tree.n_clusters)
    np.testing.assert_array_equal(labels, by_height)


def test_copies_of_one_image_make_no_cluster(tmp_path):
    """An image that came two hundred times is one image to its neighbours."""
    descriptors = images()
    lone = np.argmin(np.linalg.norm(descriptors[:600], axis=1))
    descriptors = np.concatenate([descriptors, np.repeat(descriptors[[lone]], 201, axis=0)])
    _, labels = grouped(tmp_path, descriptors, copies=200)
    assert len(set(labels[-201:])) == 1
    assert labels[-1] == labels[lone]
