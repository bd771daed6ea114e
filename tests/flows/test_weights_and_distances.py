"""Runs that weigh patches or measure images in another way than usual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from helpers.builders import mvtec_category, tiny_config
from scipy.spatial.distance import directed_hausdorff

from anoclust_core.clustering.distances import HausdorffVariant
from anoclust_core.clustering.linkage import LinkageMethod, cut_tree, linkage_from_distances, linkage_tree
from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from flows.run import CategoryOutcome, run_data
from tasks.export.maps import export_maps
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("ways") / "data"
    mvtec_category(root / "tile", {"test/good": 4, "test/hole": 4, "test/scratch": 4})
    copy = root / "tile" / "test" / "hole" / "copy.png"
    copy.write_bytes((root / "tile" / "test" / "hole" / "000.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


def run(data: Path, store: Path, config: RunConfig) -> CategoryOutcome:
    (outcome,) = run_data(data, store, config)
    if outcome.error:
        raise outcome.error
    return outcome


def labels_of(outcome: CategoryOutcome) -> dict[str, int]:
    table = pd.read_csv(outcome.run / "assignments.csv")
    return dict(zip(table["path"], table["cluster"], strict=True))


def bags_of(outcome: CategoryOutcome, store: Path) -> tuple[list[str], np.ndarray]:
    """Paths and bags of a run's images, in the order of its arrays."""
    layout = StoreLayout(store)
    images = load_manifest(parts_of(layout, outcome.summary).manifest).clustered
    segments = EmbeddingSegments(layout.folder("embeddings", "tile", outcome.summary["keys"]["embedding"]))
    return [image.path for image in images], segments.read([image.sha256 for image in images])


def test_exported_maps_stand_for_the_rarity(data, store, checkpoint, tmp_path):
    """A run that takes the maps of another run's rarity makes the same clusters, without comparing any images."""
    usual = run(data, store, tiny_config(checkpoint))
    export_maps(StoreLayout(store), usual.run, tmp_path / "maps")
    config = tiny_config(checkpoint, weights=f"maps:{tmp_path / 'maps'}")
    fresh = tmp_path / "store"
    given = run(data, fresh, config)
    assert labels_of(given) == labels_of(usual)
    assert given.work == {"images_embedded": 12, "pair_products": 0}
    assert given.summary["reference"] is None
    assert given.summary["n_reference"] == 0
    assert given.summary["config"]["weigh"]["weights"] == config.weigh.weights
    assert any("anomaly maps" in note for note in given.summary["notes"])
    assert "anomaly maps" in (given.run / "report.html").read_text()
    assert not run(data, fresh, config).is_new
    assert not (fresh / "nearest").exists() or not list((fresh / "nearest").rglob("*.json"))

    maps = tmp_path / "maps" / "tile" / "test" / "hole" / "001.png.npy"
    np.save(maps, np.load(maps) + 1)
    assert run(data, fresh, config).is_new  # a changed map is another run
    maps.unlink()
    with pytest.raises(DatasetError, match=r"test/hole/001\.png has no map"):
        run(data, fresh, config)


def test_uniform_weights_are_plain_means(data, store, checkpoint):
    """Without rarity the descriptor of an image is the mean of its patches."""
    outcome = run(data, store, tiny_config(checkpoint, recipe="sohn", weights="uniform"))
    _, bags = bags_of(outcome, store)
    found = arrays.read(parts_of(StoreLayout(store), outcome.summary).weights, "descriptors")
    np.testing.assert_allclose(found, bags.mean(axis=1), atol=1e-6)
    assert "All patches of an image have the same weight" in " ".join(outcome.summary["notes"])


@pytest.mark.parametrize("linkage", get_args(LinkageMethod))
def test_every_linkage(data, store, checkpoint, linkage):
    """The tree of a run is that of the library over its descriptors; the summary tells the linkage."""
    outcome = run(data, store, tiny_config(checkpoint, linkage=linkage))
    parts = parts_of(StoreLayout(store), outcome.summary)
    tree = linkage_tree(arrays.read(parts.weights, "descriptors"), method=linkage)
    np.testing.assert_allclose(arrays.read(parts.tree, "linkage"), tree)
    assert outcome.summary["config"]["group"]["linkage"] == linkage
    assert (f"by {linkage} linkage" in " ".join(outcome.summary["notes"])) == (linkage != "ward")


def test_hausdorff_distances_of_a_run(data, store, checkpoint):
    """Clusters by max Hausdorff under Ward are those of SciPy's distances; no image is embedded or compared again."""
    run(data, store, tiny_config(checkpoint))
    outcome = run(data, store, tiny_config(checkpoint, distance="max_min_max"))
    assert outcome.work == {"images_embedded": 0, "pair_products": 0}
    paths, bags = bags_of(outcome, store)
    distances = np.zeros((len(bags), len(bags)))
    for i, a in enumerate(bags):
        for j, b in enumerate(bags):
            distances[i, j] = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage_from_distances(distances, method="ward")
    found = arrays.read(parts_of(StoreLayout(store), outcome.summary).tree, "linkage")
    np.testing.assert_allclose(found[:, 2], tree[:, 2], atol=1e-3)  # half precision at rest
    expected = cut_tree(tree, n_clusters=outcome.summary["n_clusters"])
    assert labels_of(outcome) == dict(zip(paths, expected.tolist(), strict=True))
    notes = " ".join(outcome.summary["notes"])
    assert "Lance-Williams" in notes
    assert outcome.summary["config"]["group"]["distance"] == "max_min_max"
    assert json.loads((outcome.run / "summary.json").read_text())["notes"] == outcome.summary["notes"]


@pytest.mark.parametrize("distance", get_args(HausdorffVariant))
def test_every_hausdorff_distance_runs(data, store, checkpoint, distance):
    """All six are there for a run; copies of a file end in one cluster."""
    labels = labels_of(run(data, store, tiny_config(checkpoint, distance=distance, linkage="average")))
    assert labels["test/hole/copy.png"] == labels["test/hole/000.png"]


def test_hausdorff_with_normals_compares_the_images_too(data, checkpoint, tmp_path):
    """Rarity against normals and distances among the images are two passes, each done once."""
    mvtec_category(tmp_path / "data" / "tile", {"train/good": 3, "test/good": 3, "test/hole": 3}, seed=2)
    config = tiny_config(checkpoint, distance="mean_mean")
    outcome = run(tmp_path / "data", tmp_path / "store", config)
    assert outcome.work == {"images_embedded": 9, "pair_products": 6 * 3 + 6 * 5 // 2}
    assert outcome.summary["reference"] == "normal"
