"""Weights that follow a detector of the user's own: `--weights detector:FILE`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import mvtec_category, save_detector, save_image, save_maps, surface, tiny_config
from helpers.running import cluster_by_content, run_folder, run_one
from helpers.streams import TWO, Stream, identity_of, night_config

from flows.run import CategoryOutcome
from tasks.networks.detectors import detector_of
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.runs import parts_of

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are no squares, a copy among them, and normals."""
    root = tmp_path_factory.mktemp("detected") / "data"
    mvtec_category(root / "tile", {"train/good": 3, "test/good": 4, "test/hole": 4, "test/scratch": 4})
    for at, file in enumerate(sorted((root / "tile" / "test").rglob("*.png"))):
        save_image(file, np.concatenate([surface(500 + at, file.parent.name), surface(900 + at)], axis=1))
    shutil.copy(root / "tile/test/hole/000.png", root / "tile/test/hole/copy.png")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of a file."""
    return save_detector(tmp_path_factory.mktemp("model") / "detector.onnx")


def weights_of(outcome: CategoryOutcome, store: Path) -> dict[str, np.ndarray]:
    """Rarity, weights and descriptors of a run."""
    folder = parts_of(StoreLayout(store), outcome.summary).weights
    return {name: arrays.read(folder, name) for name in ("rarity", "weights", "descriptors")}


@pytest.fixture(scope="module")
def finished(data: Path, model: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store with a run by the detector, for tests to copy."""
    store = tmp_path_factory.mktemp("finished") / "store"
    outcome = run_one(data, store, tiny_config(checkpoint, weights=f"detector:{model}"))
    assert outcome.work == {"images_embedded": 15, "images_detected": 12, "pair_products": 0}
    return store


def test_only_new_images_are_shown_to_the_detector(
    data: Path, model: Path, finished: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """A run is found again wherever the model lies; a new image and another recipe take the maps that are there."""
    store, images = tmp_path / "store", tmp_path / "data"
    shutil.copytree(finished, store)
    shutil.copytree(data, images)
    moved = shutil.copy(model, tmp_path / "moved.onnx")
    same = run_one(images, store, tiny_config(checkpoint, weights=f"detector:{moved}"))
    assert not same.is_new
    assert any("the detector" in note for note in same.summary["notes"])
    assert "the detector" in (run_folder(same) / "report.html").read_text()
    save_image(images / "tile" / "test" / "hole" / "new.png", surface(77, "hole"))
    grown = run_one(images, store, tiny_config(checkpoint, weights=f"detector:{moved}", recipe="sohn"))
    assert grown.work == {"images_embedded": 1, "images_detected": 1, "pair_products": 0}
    other = save_detector(tmp_path / "moved.onnx", usual=0.5)
    again = run_one(images, store, tiny_config(checkpoint, weights=f"detector:{other}", recipe="sohn"))
    assert again.is_new
    assert again.work == {"images_embedded": 0, "images_detected": 13, "pair_products": 0}
    assert not check_store(StoreLayout(store)).findings


def test_nights_show_only_new_images_to_the_detector(model: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A night gives new images to clusters by the detector's maps alone; another detector re-clusters, and says so."""
    own = shutil.copy(model, tmp_path / "detector.onnx")
    config = night_config(checkpoint, recluster_every="none", weights=f"detector:{own}", n_clusters=2)
    stream = Stream(tmp_path / "stream", config)
    stream.deliver(0, TWO)
    assert stream.night(0).work == {"images_embedded": 10, "images_detected": 10, "pair_products": 0}
    stream.deliver(1, TWO[:4])
    second = stream.night(1)
    assert second.reclustered is None
    assert second.work == {"images_embedded": 4, "images_detected": 4, "pair_products": 0}
    assert second.counters["assigned"] == 4
    partition = stream.partition()
    assert {identity_of(partition, label) for label in ("good", "hole")} == set(partition.values())
    save_detector(Path(own), usual=0.5)
    stream.deliver(2, TWO[:2])
    third = stream.night(2)
    assert third.reclustered == "the detector was changed, and the new one looks at every image"
    assert third.work == {"images_embedded": 2, "images_detected": 16, "pair_products": 0}


WAYS: dict[str, dict[str, Any]] = {
    "auto": {},
    "sohn": {"recipe": "sohn"},
    "cropped": {"recipe": "sohn", "resize": "crop"},
    "in tiles": {"recipe": "sohn", "resize": "pad", "tiles": "1x2", "aligned": False},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_detector_weighs_as_its_maps_do(way: str, data: Path, model: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A run with a detector is the run that is given its maps in a folder, however pictures become squares."""
    config = tiny_config(checkpoint, weights=f"detector:{model}", **WAYS[way])
    detector = detector_of(config, "tile")
    assert detector is not None
    maps = save_maps(detector, data / "tile", tmp_path / "maps" / "tile")
    found = run_one(data, tmp_path / "one", config)
    given = run_one(data, tmp_path / "two", tiny_config(checkpoint, weights=f"maps:{maps.parent}", **WAYS[way]))
    assert cluster_by_content(found) == cluster_by_content(given)
    ours, theirs = weights_of(found, tmp_path / "one"), weights_of(given, tmp_path / "two")
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6)
