"""Recipe blind from images to clusters: what it stores and shares, how it goes on, what it does at the edges."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import mvtec_category, save_image, surface, tiny_config

from anoclust_core.errors import ConfigError
from anoclust_core.localization import vae
from anoclust_core.localization.cells import scale_channels
from anoclust_core.localization.fca import anomaly_maps
from anoclust_core.localization.maps import descriptor, finish_maps, flat_field
from flows.run import CategoryOutcome, run_data
from tasks.stages import describe as describe_stage
from tasks.stages import localize as localize_stage
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of
from tasks.stores.training import TrainingStore

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]

STEPS = 30


@pytest.fixture(autouse=True)
def short_training(monkeypatch) -> None:
    """Thirty steps of the VAE instead of 1,290, with a checkpoint every ten."""
    short = {name: _shortened(variant) for name, variant in localize_stage.VARIANTS.items()}
    monkeypatch.setattr(localize_stage, "VARIANTS", short)
    monkeypatch.setattr(vae, "CHECKPOINT_STEPS", 10)


def _shortened(variant):
    from dataclasses import replace

    return replace(variant, vae_steps=STEPS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("blind") / "data"
    mvtec_category(root / "tile", {"test/good": 5, "test/hole": 5, "test/scratch": 5, "train/good": 2})
    return root


def run(data: Path, store: Path, checkpoint: Path, **settings: object) -> CategoryOutcome:
    (outcome,) = run_data(data, store, tiny_config(checkpoint, recipe="blind", **settings))
    if outcome.error:
        raise outcome.error
    return outcome


def labels_of(outcome: CategoryOutcome) -> dict[str, int]:
    table = pd.read_csv(outcome.run / "assignments.csv")
    return dict(zip(table["path"], table["cluster"], strict=True))


def stored(outcome: CategoryOutcome, store: Path) -> dict[str, np.ndarray]:
    parts = parts_of(StoreLayout(store), outcome.summary)
    maps = StoreLayout(store).folder("maps", "tile", outcome.summary["keys"]["localize"])
    weights = {name: arrays.read(parts.weights, name) for name in ("rarity", "weights", "descriptors")}
    return {**weights, "maps": arrays.read(maps, "maps"), "labels": arrays.read(parts.tree, "labels")}


def test_run_from_images_to_report(data, tmp_path, checkpoint):
    """No pair is compared, no normal is embedded; summary and report say what was done; the same again does nothing."""
    outcome = run(data, tmp_path / "store", checkpoint)
    summary = outcome.summary
    assert summary["work"] == {"images_embedded": 15, "pair_products": 0}
    assert summary["recipe"] == "blind"
    assert summary["protocol"] == "ardelean"
    assert summary["reference"] is None
    assert summary["embedding"]["unit_norm"] is False
    assert summary["embedding"]["interpolation"] == "bilinear"
    assert summary["localization"]["threshold"] > 0
    assert 0 < summary["localization"]["anomalous_share"] < 1
    notes = " ".join(summary["notes"])
    assert "2 known normal images are left out" in notes
    assert "what a VAE cannot reconstruct" in notes
    assert "what a VAE cannot reconstruct" in (outcome.run / "report.html").read_text()
    found = stored(outcome, tmp_path / "store")
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1, atol=1e-5)
    assert all(np.isfinite(values).all() for values in found.values())
    assert not run(data, tmp_path / "store", checkpoint).is_new


def test_stages_are_those_of_the_library(data, tmp_path, checkpoint):
    """Without VAE and head: maps and descriptors are the library's over the stored features, row by row."""
    outcome = run(data, tmp_path / "store", checkpoint, vae=False, contrastive=False, tau="0.002")
    layout = StoreLayout(tmp_path / "store")
    images = load_manifest(parts_of(layout, outcome.summary).manifest).clustered
    bags = EmbeddingSegments(layout.folder("embeddings", "tile", outcome.summary["keys"]["embedding"])).read(
        [image.sha256 for image in images]
    )
    features = bags.transpose(0, 2, 1).reshape(len(bags), -1, 8, 8)
    maps = anomaly_maps(np.stack([scale_channels(image) for image in features]))
    finished = finish_maps(maps, field=flat_field(maps))
    expected = [descriptor(image, of, tau=0.002) for image, of in zip(features, finished, strict=True)]
    found = stored(outcome, tmp_path / "store")
    np.testing.assert_allclose(found["maps"], maps, atol=1e-6)
    np.testing.assert_allclose(found["rarity"].reshape(-1, 8, 8), finished, atol=1e-6)
    np.testing.assert_allclose(found["descriptors"], np.stack(expected), rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "store" / "training").exists()


@pytest.mark.parametrize("variant", ["program", "paper"])
def test_same_seed_same_result(data, tmp_path, checkpoint, variant):
    """Same seed: same maps and labels, to the last digit; files in another order, under other names: the same."""
    first = run(data, tmp_path / "a", checkpoint, variant=variant)
    moved = tmp_path / "moved" / "tile" / "test"
    for file in sorted((data / "tile" / "test").rglob("*.png")):
        save = moved / file.parent.name / f"z{999 - int(file.stem)}.png"
        save.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, save)
    second = run(tmp_path / "moved", tmp_path / "b", checkpoint, variant=variant)
    one, other = stored(first, tmp_path / "a"), stored(second, tmp_path / "b")
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    other_seed = stored(run(data, tmp_path / "a", checkpoint, variant=variant, seed=1), tmp_path / "a")
    assert not np.array_equal(one["maps"], other_seed["maps"])


class Stopped(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("stage", ["localize", "describe"])
def test_killed_training_goes_on(data, tmp_path, checkpoint, monkeypatch, stage):
    """Training that is cut off goes on from its last checkpoint, and ends as one without a break."""
    whole = stored(run(data, tmp_path / "whole", checkpoint, threshold="otsu"), tmp_path / "whole")
    module = localize_stage if stage == "localize" else describe_stage
    kept: list[int] = []
    keep = TrainingStore.keep

    def stop_after_two(self, step, tensors, *, is_last=False):
        keep(self, step, tensors, is_last=is_last)
        kept.append(step)
        if len(kept) == 2:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(
            module,
            "keep_state",
            lambda store, state, is_last=False: stop_after_two(
                store, state.step, {n: v.numpy() for n, v in state.tensors.items()}, is_last=is_last
            ),
        )
        with pytest.raises(BaseException, match=r".*"):
            run(data, tmp_path / "cut", checkpoint, threshold="otsu")
    assert kept == ([10, 20] if stage == "localize" else [1, 2])
    started: list[int] = []
    original = module.train_vae if stage == "localize" else module.train_head

    def resumed(*args, state=None, **kwargs):
        started.append(state.step if state else 0)
        return original(*args, state=state, **kwargs)

    monkeypatch.setattr(module, original.__name__, resumed)
    again = stored(run(data, tmp_path / "cut", checkpoint, threshold="otsu"), tmp_path / "cut")
    assert started == [kept[-1]]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


def test_stages_are_shared(data, tmp_path, checkpoint, monkeypatch):
    """Another temperature, border or threshold makes no new maps; another head no new VAE."""
    store = tmp_path / "store"
    run(data, store, checkpoint)
    monkeypatch.setattr(localize_stage, "train_vae", None)
    for settings in ({"tau": "0.1sd"}, {"border": 0.2}, {"threshold": "otsu"}, {"contrastive": False}):
        assert run(data, store, checkpoint, **settings).is_new
    assert len(list((store / "maps" / "tile").iterdir())) == 1


def test_thresholds(data, tmp_path, checkpoint):
    """The program's threshold takes the number of classes from the labels; without labels it asks for it."""
    outcome = run(data, tmp_path / "store", checkpoint, threshold="kmeans-quantile")
    assert outcome.summary["localization"]["threshold"] > 0
    unlabelled = tmp_path / "flat"
    for number in range(5):
        save_image(unlabelled / f"{number}.png", surface(number))
    with pytest.raises(ConfigError, match="kmeans-quantile needs the number of classes"):
        run(unlabelled, tmp_path / "other", checkpoint, threshold="kmeans-quantile")
    assert run(unlabelled, tmp_path / "other", checkpoint, threshold="kmeans-quantile", n_clusters=2).is_new


def test_border_is_told(data, tmp_path, checkpoint):
    """A hidden border has score 0 and is named in the notes."""
    outcome = run(data, tmp_path / "store", checkpoint, border=0.125)
    rarity = stored(outcome, tmp_path / "store")["rarity"].reshape(-1, 8, 8)
    assert (rarity[:, 0] == 0).all()
    assert (rarity[:, 1:-1, 1:-1] > 0).any()
    assert "A border of 12.5% of each side is ignored" in " ".join(outcome.summary["notes"])


@pytest.mark.parametrize("kind", ["two images", "copies", "all normal", "no anomalous cell"])
def test_sets_at_the_edge(tmp_path, checkpoint, monkeypatch, kind):
    """Two images, nothing but copies of two, all normal ones, and no cell above the threshold: all finish."""
    folder = tmp_path / "data" / "tile"
    if kind == "copies":
        for number in range(6):
            save_image(folder / f"{number}.png", surface(number % 2, ("good", "hole")[number % 2]))
    else:
        for number in range(2 if kind == "two images" else 6):
            save_image(folder / f"{number}.png", surface(number))
    if kind == "no anomalous cell":
        monkeypatch.setattr(describe_stage, "robust_threshold", lambda maps: float(maps.max()))
    outcome = run(folder, tmp_path / "store", checkpoint)
    labels = labels_of(outcome)
    assert len(labels) == (2 if kind == "two images" else 6)
    assert all(np.isfinite(values).all() for values in stored(outcome, tmp_path / "store").values())
    if kind == "copies":
        assert labels["0.png"] == labels["2.png"] == labels["4.png"]
        assert labels["0.png"] != labels["1.png"]
    if kind == "no anomalous cell":
        assert "none is anomalous" in " ".join(outcome.summary["notes"])


def test_one_content_alone(tmp_path, checkpoint):
    """Copies of one image are one cluster."""
    for number in range(3):
        save_image(tmp_path / "tile" / f"{number}.png", surface(0))
    outcome = run(tmp_path / "tile", tmp_path / "store", checkpoint)
    assert set(labels_of(outcome).values()) == {0}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"weights": "uniform"}, "its own anomaly maps"),
        ({"normals": "/somewhere"}, "uses no normals"),
        ({"distance": "min_min"}, "clusters images by their descriptors"),
    ],
)
def test_settings_of_the_other_recipe(checkpoint, settings, why):
    """What recipe blind cannot do is refused with what to do instead."""
    with pytest.raises(ValueError, match=why):
        tiny_config(checkpoint, recipe="blind", **settings)
