"""Masks and anomaly maps of pictures that are squashed, padded, cropped or cut into tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import config_of, digest, save_image

from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord
from tasks.benchmark.sohn import ground_truth
from tasks.stages.category_run import CategoryRun
from tasks.stages.weigh import given_scores
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import embedding_keys, settings_key

HEIGHT, WIDTH, SPOT = 96, 256, 16
WHOLE = EmbeddingSpec("x", "x", "0", (2,), 64, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (8, 8), 3)
WAYS = {
    "squash": WHOLE,
    "pad": WHOLE.resized_by("pad"),
    "crop": WHOLE.resized_by("crop"),
    "squash in tiles": WHOLE.in_tiles((1, 3)),
    "squash in tiles that overlap": WHOLE.in_tiles((1, 3), 16),
    "pad in tiles": WHOLE.resized_by("pad").in_tiles((1, 3)),
    "crop in tiles": WHOLE.resized_by("crop").in_tiles((1, 2)),
}


def one_image(folder: Path, place: tuple[int, int]) -> DatasetManifest:
    """Picture with a mask, of a spot whose middle is at a row and column."""
    (top, left) = (at - SPOT // 2 for at in place)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + SPOT, left : left + SPOT] = 255
    picture = save_image(folder / "1.png", np.repeat(mask[:, :, None], 3, axis=2))
    save_image(folder / "mask.png", mask)
    return DatasetManifest(
        "part", (ImageRecord("1.png", str(picture), digest("1"), "cluster", mask=str(folder / "mask.png")),)
    )


def expected(spec: EmbeddingSpec, place: tuple[int, int]) -> np.ndarray:
    """Where the network sees a place, as parts of the height and width of what it sees."""
    top, bottom, left, right = spec.seen_box((HEIGHT, WIDTH))
    return np.array([(place[0] - top) / (bottom - top), (place[1] - left) / (right - left)])


@pytest.mark.parametrize("spec", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("place", [(48, 128), (20, 140), (70, 100)])
def test_masks_follow_the_picture(tmp_path, spec, place):
    """The marked pixels are those that the network sees the spot in."""
    images = one_image(tmp_path, place)
    masks = ground_truth(images.clustered, 64, spec)
    assert masks is not None
    middle = (np.argwhere(masks[0]).mean(axis=0) + 0.5) / 64
    assert np.abs(middle - expected(spec, place)).max() < 0.02


@pytest.mark.parametrize("spec", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("place", [(48, 128), (20, 140), (70, 100)])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2), (256, 256), (2 * HEIGHT, 2 * WIDTH)])
def test_given_maps_follow_the_picture(tmp_path, spec, place, shape):
    """A map of any resolution, squashed ones too, gives its weight to the patches that see the spot, and no others."""
    images = one_image(tmp_path, place)
    scale = shape[0] / HEIGHT, shape[1] / WIDTH
    rows, columns = (
        slice(round((at - SPOT // 2) * by), round((at + SPOT // 2) * by)) for at, by in zip(place, scale, strict=True)
    )
    values = np.full(shape, -1.0)
    values[rows, columns] = 1
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "1.npy", values)
    run = CategoryRun(StoreLayout(tmp_path), "part", config_of(weights=f"maps:{tmp_path / 'maps'}"), spec, 0)
    scores = given_scores(images, run).reshape(spec.grid) + 1
    cells = np.indices(spec.grid).reshape(2, -1).T + 0.5
    middle = (cells * scores.reshape(-1, 1)).sum(axis=0) / scores.sum()
    assert np.abs(middle - expected(spec, place) * spec.grid).max() < 0.3  # of a patch: a spot may lie inside of one


def test_a_speck_is_in_the_mask_of_tiles(tmp_path):
    """A defect of three pixels of a large frame is marked where tiles can see it."""
    mask = np.zeros((1000, 4000), np.uint8)
    mask[500:503, 2001:2004] = 255
    save_image(tmp_path / "mask.png", mask)
    picture = save_image(tmp_path / "1.png", np.repeat(mask[:, :, None], 3, axis=2))
    image = ImageRecord("1.png", str(picture), digest("1"), "cluster", mask=str(tmp_path / "mask.png"))
    masks = ground_truth((image,), 64, WHOLE.in_tiles((2, 8)))
    assert masks is not None
    assert masks.sum() == 1


def test_squash_keeps_its_keys_and_the_others_have_their_own():
    """Embeddings and nights of squashed pictures are found as before; every other way is another one."""
    images = DatasetManifest("part", (ImageRecord("1.png", "/1.png", digest("1"), "cluster"),))
    found = {
        (embedding_keys(images, spec), settings_key(config_of(), spec))
        for spec in (WHOLE, WHOLE.resized_by("pad"), WHOLE.resized_by("crop"))
    }
    assert len(found) == 3
    assert "resize" not in WHOLE.identity
    assert embedding_keys(images, WHOLE) == embedding_keys(images, replace(WHOLE, resize="squash"))
