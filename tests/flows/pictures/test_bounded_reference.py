"""Runs and nights whose images are compared with a part of each other's patches, a cover of every image."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import flat_folder, surface, tiny_config
from helpers.running import assignments, run_one, work
from helpers.streams import CATEGORY, Stream, day, night_config
from numpy.typing import NDArray

from anoclust_core.pairwise.cpu import nearest_distances
from anoclust_core.seeding import generator
from anoclust_core.weighting.covers import greedy_cover
from anoclust_core.weighting.rarity import expected_rarity
from flows.check.run import check_data
from flows.run import CategoryOutcome
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.nearest import NearestSlabs
from tasks.stores.upkeep import inventory
from tasks.stores.upkeep.collect import collect

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

SIZE = 8
N_IMAGES = 9
ASKED: dict[str, Any] = {"n_clusters": 3, "recipe": "sohn"}


def distances_of(outcome: CategoryOutcome, store: Path) -> tuple[list[str], NDArray[np.float16]]:
    """Contents of a run's images, and the stored distances between them."""
    contents = sorted(assignments(outcome)["sha256"])
    keys = outcome.summary["keys"]
    slabs = NearestSlabs(StoreLayout(store).folder("nearest", outcome.category, keys["distances"]))
    return contents, np.concatenate([part for _, part in slabs.read(contents, contents)])


def notes_of(outcome: CategoryOutcome) -> list[str]:
    """What a run says of the patches that are compared."""
    return [note for note in outcome.summary["notes"] if note.startswith("A patch is compared")]


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Any:
    """Give images, a store, the run over them with all patches, and the one with a part of them."""
    root = tmp_path_factory.mktemp("bounded")
    data, store = flat_folder(root / "images", range(N_IMAGES)), root / "store"
    exact = run_one(data, store, tiny_config(checkpoint, **ASKED))
    return data, store, exact, run_one(data, store, tiny_config(checkpoint, **ASKED, reference_patches=SIZE))


def test_distances_are_those_to_the_covers(bounded):
    """Each patch's distance to an image is that to the nearest patch of its cover, 0 to its own image."""
    _, store, exact, outcome = bounded
    contents, found = distances_of(outcome, store)
    folder = StoreLayout(store).folder("embeddings", "images", outcome.summary["keys"]["embedding"])
    bags = EmbeddingSegments(folder).read(contents)
    radii = []
    for at, (sha256, bag) in enumerate(zip(contents, bags, strict=True)):
        places, radius = greedy_cover(bag, SIZE, rng=generator(0, f"cover of {sha256}"))
        expected = nearest_distances(bags, bag[places][None])[:, 0]
        expected[at] = 0
        np.testing.assert_array_equal(found[:, at], expected.astype(np.float16))
        radii.append(radius)
    _, all_patches = distances_of(exact, store)
    assert (found >= all_patches).all()
    assert (found <= all_patches + np.array(radii)[None, :, None] + 1e-3).all()
    (note,) = notes_of(outcome)
    assert f"{SIZE} of the {bags.shape[1]} patches" in note
    assert f"{max(radii):.3f} in the worst" in note
    rarity = arrays.read(StoreLayout(store).folder("weights", "images", outcome.summary["keys"]["weigh"]), "rarity")
    np.testing.assert_allclose(rarity, expected_rarity(found, np.ones(len(contents), np.int64)), atol=1e-6)


def test_nothing_is_embedded_again_and_both_directions_are_compared(bounded, checkpoint):
    """One product a direction; the same question again takes no work, another seed chooses other patches."""
    data, store, exact, outcome = bounded
    assert exact.work == work(N_IMAGES, N_IMAGES * (N_IMAGES - 1) // 2)
    assert outcome.work == work(0, N_IMAGES**2)
    assert not run_one(data, store, tiny_config(checkpoint, **ASKED, reference_patches=SIZE)).is_new
    other = run_one(data, store, tiny_config(checkpoint, **ASKED, reference_patches=SIZE, seed=1))
    assert other.work == work(0, N_IMAGES**2)


def test_exact_until_the_bound_is_reached(bounded, checkpoint):
    """A number of more than half of the patches, ``all`` and ``auto`` are one run: the same keys and distances."""
    data, store, exact, _ = bounded
    n_patches = distances_of(exact, store)[1].shape[2]
    for patches in ("all", n_patches // 2 + 1, n_patches):
        again = run_one(data, store, tiny_config(checkpoint, **ASKED, reference_patches=patches))
        assert again.work == work(0, 0)
        assert again.summary["keys"] == exact.summary["keys"]


def test_images_that_come_later_give_what_all_at_once_give(bounded, checkpoint, tmp_path):
    """The covers of the first images stay as they are; the order of files and runs does not matter."""
    _, store, _, outcome = bounded
    config = tiny_config(checkpoint, **ASKED, reference_patches=SIZE)
    data = flat_folder(tmp_path / "images", range(N_IMAGES - 1, 3, -1))
    run_one(data, tmp_path / "store", config)
    grown = run_one(flat_folder(data, range(4)), tmp_path / "store", config)
    assert grown.work == work(4, N_IMAGES**2 - 25)
    assert distances_of(grown, tmp_path / "store")[0] == distances_of(outcome, store)[0]
    np.testing.assert_array_equal(distances_of(grown, tmp_path / "store")[1], distances_of(outcome, store)[1])
    layout = StoreLayout(tmp_path / "store")
    covers = EmbeddingSegments(layout.folder("embeddings", "images", grown.summary["keys"]["covers"]))
    before = covers.index()
    collect(layout, timedelta(0))
    assert covers.index() == before
    assert run_one(flat_folder(data, [20]), layout.root, config).work == work(1, 2 * N_IMAGES + 1)
    assert covers.index().keys() > before.keys()


def test_the_store_knows_covers(bounded):
    """Checks and sizes account for every file."""
    _, store, _, outcome = bounded
    layout = StoreLayout(store)
    assert layout.folder("embeddings", "images", outcome.summary["keys"]["covers"]).is_dir()
    assert not check_store(layout).damage
    assert inventory.store_size(layout).other == 0


def test_against_normals(bounded, checkpoint, tmp_path):
    """Known normals have covers, the clustered images need none; recipe auto takes the distances as they are."""
    data, _, _, _ = bounded
    normals = flat_folder(tmp_path / "normals", range(30, 60, 3))
    config = tiny_config(checkpoint, n_clusters=3, normals=str(normals), reference_patches=SIZE)
    outcome = run_one(data, tmp_path / "store", config)
    assert outcome.work == work(N_IMAGES + 10, N_IMAGES * 10)
    covers = StoreLayout(tmp_path / "store").folder("embeddings", "images", outcome.summary["keys"]["covers"])
    assert len(EmbeddingSegments(covers).index()) == 10
    assert len(notes_of(outcome)) == 1


def test_check_says_what_a_run_would_do(bounded, checkpoint, tmp_path):
    """The number is told, and comparing takes less time."""
    data, _, _, _ = bounded
    seconds = []
    for patches in ("all", SIZE):
        config = tiny_config(checkpoint, **ASKED, reference_patches=patches)
        (one,) = check_data(data, tmp_path / "store", config, sample=100).categories
        assert one.error is None
        assert one.forecast is not None
        told = {taken.name: taken.value for taken in one.settings}
        assert told.get("reference patches") == (str(SIZE) if patches == SIZE else None)
        seconds.append(one.forecast.seconds["comparing images"])
    assert seconds[1] < seconds[0]


def test_nights_measure_new_images_as_a_run_would(tmp_path, checkpoint):
    """A night compares new images with the covers of the snapshot's images; a run over all has the same distances."""
    config = night_config(checkpoint, recluster_every="none", n_clusters=2, recipe="sohn", reference_patches=SIZE)
    stream = Stream(tmp_path, config)
    for number, n_images in enumerate((10, 2)):
        for at in range(n_images):
            label = "hole" if at % 2 else "good"
            path = stream.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png"
            stream.put(path, surface(100 * number + at, label), label)
        night = stream.night(number)
        assert night.reclustered == (None if number else "the first time")
    assert night.work == work(2, 2 * 10 * 2)
    (folder,) = (stream.store / "nearest" / CATEGORY).iterdir()
    everything = run_one(stream.manifest, tmp_path / "other", config)
    contents, expected = distances_of(everything, tmp_path / "other")
    whole = run_one(stream.manifest, stream.store, config)
    assert whole.work == work(0, 2 * 2)
    assert distances_of(whole, stream.store)[0] == contents
    np.testing.assert_array_equal(distances_of(whole, stream.store)[1], expected)
    assert folder.name == whole.summary["keys"]["distances"]
