"""Runs and nights over frames of a fixed camera: patches are compared near their own place, and that stays so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import save_image, tiny_config
from helpers.running import assignments, run_one, work
from helpers.streams import CATEGORY, Stream, day, night_config
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from anoclust_core.errors import ConfigError
from anoclust_core.records import ImageRecord
from flows.check.run import check_data
from flows.run import CategoryOutcome
from tasks.images.category_frames import read_frames
from tasks.night import assign
from tasks.night.describe import describe_new
from tasks.night.place import Place
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.snapshots import Snapshot
from tasks.stores.upkeep import inventory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

SHIFT = 4
"""Pixels that the part lies off its place at most; a patch of frames in 2 x 4 tiles is 8 pixels."""

HEIGHT, WIDTH = 128, 256
PART = 30 * gaussian_filter(
    np.random.default_rng(0).normal(size=(HEIGHT + 2 * SHIFT, WIDTH + 2 * SHIFT)), 2, mode="wrap"
)


def frame(number: int, *, has_spot: bool = False, is_fixed: bool = True) -> NDArray[np.uint8]:
    """Draw the part, moved a little, or another part at every time; and a bright spot somewhere."""
    rng = np.random.default_rng(number)
    part = PART / PART.std() if is_fixed else np.roll(PART / PART.std(), rng.integers(20, 100, 2), axis=(0, 1))
    top, left = rng.integers(0, 2 * SHIFT + 1, 2)
    grey = 120 + 25 * part[top : top + HEIGHT, left : left + WIDTH] + rng.normal(0, 3, (HEIGHT, WIDTH))
    if has_spot:
        y, x = rng.integers(10, HEIGHT - 20), rng.integers(10, WIDTH - 20)
        grey[y : y + 8, x : x + 8] = 255
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def frames(folder: Path, n_images: int = 8, **kind: bool) -> Path:
    """Save frames, every second one with a spot."""
    for number in range(n_images):
        save_image(folder / f"{number}.png", frame(number, has_spot=bool(number % 2), **kind))
    return folder


def note_of(outcome: CategoryOutcome) -> str:
    """Find what a run says of what patches are compared with."""
    (note,) = (note for note in outcome.summary["notes"] if note.startswith("Patches are compared"))
    return str(note)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Any:
    """Give frames of a fixed camera, a store, and the run over them in tiles."""
    root = tmp_path_factory.mktemp("fixed")
    config = tiny_config(checkpoint, n_clusters=2, tiles="2x4", recipe="sohn")
    return frames(root / "frames"), root / "store", run_one(root / "frames", root / "store", config)


def test_rarity_is_measured_within_the_window(fixed, checkpoint):
    """Each patch is as rare as its mean distance to the nearest of those two cells around its place."""
    _, store, outcome = fixed
    embedding = outcome.summary["embedding"]
    assert (embedding["grid"], embedding["aligned_within"]) == ([16, 32], 2)
    assert "because the camera is fixed" in note_of(outcome)
    rows = assignments(outcome)
    layout = StoreLayout(store)
    folder = layout.folder("embeddings", "frames", outcome.summary["keys"]["embedding"])
    bags = EmbeddingSegments(folder).read(rows["sha256"].tolist()).reshape(len(rows), 16, 32, -1)
    found = arrays.read(layout.folder("weights", "frames", outcome.summary["keys"]["weigh"]), "rarity")
    for at, row in enumerate(np.argsort(rows["sha256"].to_numpy())):
        nearest = []
        for other in np.delete(np.arange(len(rows)), row):
            least = np.full((16, 32), np.inf)
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    ours = np.s_[max(0, -dy) : 16 - max(0, dy), max(0, -dx) : 32 - max(0, dx)]
                    theirs = np.s_[max(0, dy) : 16 + min(0, dy), max(0, dx) : 32 + min(0, dx)]
                    apart = np.linalg.norm(bags[row][ours] - bags[other][theirs], axis=-1)
                    least[ours] = np.minimum(least[ours], apart)
            nearest.append(least)
        np.testing.assert_allclose(found[at].reshape(16, 32), np.mean(nearest, axis=0), atol=3e-3)


def test_false_compares_with_all_from_the_same_embeddings(fixed, checkpoint):
    """Nothing is embedded again, the pairs are; ``true`` with the same window is the run of ``auto``."""
    data, store, outcome = fixed
    config = {"n_clusters": 2, "tiles": "2x4", "recipe": "sohn"}
    away = run_one(data, store, tiny_config(checkpoint, **config, aligned=False))
    assert away.work == work(0, 28)
    assert away.summary["embedding"]["aligned_within"] is None
    assert away.summary["keys"]["distances"] != outcome.summary["keys"]["distances"]
    true = run_one(data, store, tiny_config(checkpoint, **config, aligned=True))
    assert true.summary["keys"]["pair"] == outcome.summary["keys"]["pair"]
    assert run_one(data, store, tiny_config(checkpoint, **config, aligned=True, window=3)).work == work(0, 28)


@pytest.mark.parametrize("distance", ["mean_mean", "mean_min_max"])
def test_hausdorff_distances_within_the_window(fixed, checkpoint, distance):
    """Distances between images follow from what is compared; a run over them ends well."""
    data, store, outcome = fixed
    config = tiny_config(checkpoint, n_clusters=2, tiles="2x4", recipe="sohn", distance=distance)
    found = run_one(data, store, config)
    assert found.summary["keys"]["distances"] == outcome.summary["keys"]["distances"]
    assert found.work == work(0, 28 if distance == "mean_mean" else 0)


def test_without_tiles_nothing_is_measured(fixed, checkpoint, tmp_path):
    """Then patches are compared with all others, and nothing is said or kept, unless ``true`` asks for it."""
    data, _, _ = fixed
    plain = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert plain.summary["embedding"]["aligned_within"] is None
    assert not any(note.startswith("Patches are compared") for note in plain.summary["notes"])
    assert not StoreLayout(tmp_path / "store").frame("frames").exists()
    asked = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2, aligned=True, window=1))
    assert asked.summary["embedding"]["aligned_within"] == 1
    assert "as --aligned true asks" in note_of(asked)


def test_what_was_measured_first_stays(tmp_path, checkpoint):
    """Frames that come later do not change it; a damaged file is measured again, and checks and sizes know it."""
    config = tiny_config(checkpoint, n_clusters=2, tiles="2x4")
    data = frames(tmp_path / "frames")
    layout = StoreLayout(tmp_path / "store")
    first = run_one(data, tmp_path / "store", config)
    assert not run_one(data, tmp_path / "store", config).is_new
    path = layout.frame("frames")
    whole = path.read_text()
    kept = read_frames(path)
    assert kept.size is None
    assert kept.steadiness is not None
    assert kept.steadiness.verdict == "shifted"
    assert inventory.store_size(layout).other == 0
    path.write_text(whole.replace("shifted", "aligned"))
    assert [finding.path for finding in check_store(layout).damage] == ["frames/frames.json"]
    again = run_one(data, tmp_path / "store", config)
    assert (again.run, again.is_new) == (first.run, False)
    assert path.read_text() == whole
    for number in range(20, 40):
        save_image(data / f"{number}.png", frame(number, is_fixed=False))
    later = run_one(data, tmp_path / "store", config)
    assert later.summary["embedding"]["aligned_within"] == 2
    assert path.read_text() == whole
    sized = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2, tile_size=64))
    assert sized.summary["embedding"]["aligned_within"] == 2
    assert json.loads(path.read_text())["alignment"] == json.loads(whole)["alignment"]


def test_cropped_frames_lie_farther_apart(tmp_path, checkpoint):
    """Their middle is seen in as many cells: the distance is told of these, by the run and by a check."""
    data = frames(tmp_path / "frames")
    far = {}
    for resize in ("squash", "crop"):
        config = tiny_config(checkpoint, n_clusters=2, tiles="2x2", resize=resize, window=0)
        found = note_of(run_one(data, tmp_path / resize, config))
        (checked,) = check_data(data, tmp_path / "none", config, sample=8).categories
        (told,) = [one.why for one in checked.settings if one.name == "aligned"]
        assert told.split("cells apart")[0].split()[-1] == found.split("cells apart")[0].split()[-1]
        far[resize] = float(found.split("cells apart")[0].split()[-1])
    assert read_frames(StoreLayout(tmp_path / "crop").frame("frames")).size == (HEIGHT, WIDTH)
    assert far["crop"] > 1.2 * far["squash"]


def test_frames_that_differ_are_compared_with_all(tmp_path, checkpoint):
    """Then the pairs are those of ``false``, the run says why, and 192 tiles are refused with all patches.

    With a part of them they are taken, and by a fixed camera.
    """
    data = frames(tmp_path / "frames", is_fixed=False)
    config = {"n_clusters": 2, "recipe": "sohn"}
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, tiles="2x4", **config))
    assert "The camera is not fixed" in note_of(outcome)
    away = run_one(data, tmp_path / "store", tiny_config(checkpoint, tiles="2x4", aligned=False, **config))
    assert away.summary["keys"]["pair"] == outcome.summary["keys"]["pair"]
    with pytest.raises(ConfigError, match=r"192 tiles are too many .* The camera is not fixed"):
        run_one(data, tmp_path / "store", tiny_config(checkpoint, tiles="12x16", reference_patches="all", **config))
    part = run_one(data, tmp_path / "store", tiny_config(checkpoint, tiles="12x16", image_size=32, **config))
    rows, columns = part.summary["embedding"]["grid"]
    assert part.summary["embedding"]["cover"]["size"] == rows * columns // 2
    assert any(note.startswith("A patch is compared with") for note in part.summary["notes"])
    fixed = frames(tmp_path / "fixed", 4)
    many = run_one(fixed, tmp_path / "store", tiny_config(checkpoint, tiles="12x16", image_size=32, window=6, **config))
    assert many.summary["embedding"]["tiles"] == [12, 16]
    assert many.summary["embedding"]["aligned_within"] == 6


def test_check_says_what_a_run_would_do(fixed, checkpoint, tmp_path):
    """The choice and its reason are told, and the forecast follows it."""
    data, _, outcome = fixed
    seconds = []
    for aligned in (None, False):
        config = tiny_config(checkpoint, n_clusters=2, tiles="2x4", recipe="sohn", aligned=aligned)
        (one,) = check_data(data, tmp_path / "store", config, sample=100).categories
        assert one.error is None
        assert one.forecast is not None
        told = {taken.name: taken for taken in one.settings}
        if aligned is None:
            assert told["aligned"].value == "true"
            assert told["aligned"].why == note_of(outcome)
        else:
            assert "aligned" not in told
        seconds.append(one.forecast.seconds["comparing images"])
    assert seconds[0] < seconds[1]


def test_nights_compare_new_frames_within_the_window(tmp_path, checkpoint):
    """The second night's frames are compared like those of the first, and nothing is re-clustered."""
    stream = Stream(tmp_path, night_config(checkpoint, recluster_every="none", tiles="2x4", n_clusters=2))
    for number, n_images in enumerate((10, 2)):
        for at in range(n_images):
            pixels = frame(100 * number + at, has_spot=bool(at % 2))
            label = "hole" if at % 2 else "good"
            stream.put(stream.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png", pixels, label)
        night = stream.night(number)
        assert night.reclustered == (None if number else "the first time")
    assert night.work["pair_products"] == 20
    assert len(list((stream.store / "nearest" / CATEGORY).iterdir())) == 1
    assert night.counters["assigned"] + night.counters["unknown"] == 2


def test_later_frames_are_described_by_what_was_usual(tmp_path, checkpoint, monkeypatch):
    """By recipe auto, a night's way of describing gives the snapshot's own frames what they had in its run."""
    told = []

    def described(place: Place, snapshot: Snapshot, images: list[ImageRecord], **where: Any) -> Any:
        own = load_manifest(place.layout.root / snapshot.manifest).clustered
        told.append((snapshot.keys, describe_new(place, snapshot, own, **where)))
        return describe_new(place, snapshot, images, **where)

    monkeypatch.setattr(assign, "describe_new", described)
    config = night_config(checkpoint, recluster_every="none", tiles="2x4", n_clusters=2, recipe="auto")
    stream = Stream(tmp_path, config)
    for number, n_images in enumerate((8, 2)):
        for at in range(n_images):
            pixels = frame(100 * number + at, has_spot=bool(at % 2))
            stream.put(stream.data / CATEGORY / str(day(number)) / f"{at:02d}-good.png", pixels, "good")
        stream.night(number)
    keys, found = told[-1]
    layout = StoreLayout(stream.store)
    model = layout.folder("models", CATEGORY, keys["whiten"])
    assert arrays.read(model, "usual_scores").shape == (16 * 32, 1)
    run = arrays.read(layout.folder("weights", CATEGORY, keys["weigh"]), "rarity")
    np.testing.assert_allclose(found.rarity, run, atol=1e-6)
    np.testing.assert_allclose(found.choosing, arrays.read(model, "unsmoothed"), atol=1e-5)
