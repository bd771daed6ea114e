"""Runs over frames that are cut into tiles: the same patches as of the parts alone, heat in place, a zoom to see it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import TINY_SIDE, save_image, tiny_config
from helpers.running import assignments, run_folder, run_one
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.errors import ConfigError, ResourceError
from anoclust_core.records import EmbeddingSpec
from flows.decoding import decided_spec, settled_spec
from flows.run import CategoryOutcome, run_data
from tasks.compute import embedding
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import settings_key
from tasks.stores.upkeep import inventory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

DEFECT = 8
"""Side in pixels of a defect: of frames of 512 pixels, one pixel of the 64 that the network sees."""


def frame(number: int, height: int, width: int, defect: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Draw a grey speckled frame, with a bright spot whose middle is at ``defect``, row and column."""
    grey = np.random.default_rng(number).normal(120, 3, size=(height, width)).clip(0, 255).astype(np.uint8)
    if defect is not None:
        top, left = (place - DEFECT // 2 for place in defect)
        grey[top : top + DEFECT, left : left + DEFECT] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def strips(folder: Path, n_images: int = 8) -> dict[str, tuple[int, int] | None]:
    """Save strips of 512 x 128 pixels, half of them with a spot somewhere; gives where."""
    rng = np.random.default_rng(1)
    places: dict[str, tuple[int, int] | None] = {}
    for number in range(n_images):
        place = (int(rng.integers(8, 120)), int(rng.integers(8, 504))) if number % 2 else None
        places[f"{number}.png"] = place
        save_image(folder / f"{number}.png", frame(number, 128, 512, place))
    return places


def partition(outcome: CategoryOutcome) -> list[int]:
    """Clusters in the order of the paths, told by first appearance."""
    found = assignments(outcome).sort_index()["cluster"].tolist()
    return [found.index(cluster) for cluster in found]


def rarity_of(outcome: CategoryOutcome, store: Path) -> dict[str, NDArray[np.float32]]:
    """Rarity grid of every frame by path."""
    category, keys = outcome.summary["category"], outcome.summary["keys"]
    folder = StoreLayout(store).folder("weights", category, keys["weigh"])
    grids = arrays.read(folder, "rarity").reshape(-1, *outcome.summary["embedding"]["grid"])
    rows = assignments(outcome).sort_values("sha256")
    return dict(zip(rows.index, grids, strict=True))


def levels_of(outcome: CategoryOutcome, store: Path) -> list[dict[str, NDArray[np.float32]]]:
    """Bags of both levels of every image by path."""
    layout, category = StoreLayout(store), outcome.summary["category"]
    rows = assignments(outcome)
    return [
        dict(
            zip(
                rows.index,
                EmbeddingSegments(layout.folder("embeddings", category, outcome.summary["keys"][name])).read(
                    rows["sha256"].tolist()
                ),
                strict=True,
            )
        )
        for name in ("embedding", "deeper")
    ]


@pytest.fixture(scope="module")
def strips_without(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Any:
    """Give strips, where their spots are, a store, and the run without tiles."""
    root = tmp_path_factory.mktemp("strips")
    places = strips(root / "strips")
    config = tiny_config(checkpoint, n_clusters=2)
    return root / "strips", root / "store", places, run_one(root / "strips", root / "store", config)


@pytest.mark.parametrize("recipe", ["auto", "sohn"])
def test_tiles_find_what_is_too_small_for_one_picture(tmp_path, checkpoint, recipe):
    """A spot of 6 pixels in strips of 2,000 is told from good strips with tiles; without, a note says what helps."""
    rng = np.random.default_rng(2)
    for number in range(8):
        place = (int(rng.integers(20, 480)), int(rng.integers(20, 1980))) if number % 2 else None
        save_image(tmp_path / "data" / f"{number}.png", frame(number, 500, 2000, place))
    split, store = [0, 1] * 4, tmp_path / "store"
    without = run_one(tmp_path / "data", store, tiny_config(checkpoint, n_clusters=2, recipe=recipe))
    (note,) = (note for note in without.summary["notes"] if "shrunk" in note)
    assert "--tiles 2x8 cuts each into 16 tiles that are shrunk 3.9 times" in note
    tiled = run_one(tmp_path / "data", store, tiny_config(checkpoint, n_clusters=2, tiles="4x16", recipe=recipe))
    assert partition(tiled) == split
    assert tiled.summary["embedding"]["tiles"] == [4, 16]
    assert tiled.summary["embedding"]["grid"] == [32, 128]
    assert not any("shrunk" in note for note in tiled.summary["notes"])


def test_tiles_of_a_picture_are_its_parts(tmp_path, checkpoint):
    """A picture of two by two tiles has exactly the patches of its four parts, at their places, on both levels."""
    side = 2 * TINY_SIDE
    for number in range(4):
        whole = frame(number, side, side, (40, 90) if number % 2 else None)
        save_image(tmp_path / "whole" / f"{number}.png", whole)
        for at, (top, bottom, left, right) in enumerate(
            [(0, 64, 0, 64), (0, 64, 64, 128), (64, 128, 0, 64), (64, 128, 64, 128)]
        ):
            save_image(tmp_path / "parts" / f"{number}-{at}.png", whole[top:bottom, left:right])
    tiled = run_one(tmp_path / "whole", tmp_path / "store", tiny_config(checkpoint, n_clusters=2, tiles="2x2"))
    parts = run_one(tmp_path / "parts", tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert partition(tiled) == [0, 1, 0, 1]
    levels = zip(levels_of(tiled, tmp_path / "store"), levels_of(parts, tmp_path / "store"), strict=True)
    for of_whole, of_parts in levels:
        for number in range(4):
            corners = [of_parts[f"{number}-{at}.png"] for at in range(4)]
            cells = int(len(corners[0]) ** 0.5)
            upper, lower = (
                np.concatenate([corners[at].reshape(cells, cells, -1) for at in pair], axis=1)
                for pair in ((0, 1), (2, 3))
            )
            expected = np.concatenate([upper, lower]).reshape(4 * cells**2, -1)
            np.testing.assert_allclose(of_whole[f"{number}.png"], expected, atol=2e-3)


def test_scores_follow_from_the_patches_alone(tmp_path, checkpoint):
    """Rarity over tiles is that of the same patches in one bag: the mean distance to the nearest in other frames."""
    for number in range(4):
        save_image(tmp_path / "data" / f"{number}.png", frame(number, 128, 128, (40, 90) if number % 2 else None))
    config = tiny_config(checkpoint, n_clusters=2, tiles="2x2", recipe="sohn")
    outcome = run_one(tmp_path / "data", tmp_path / "store", config)
    layout = StoreLayout(tmp_path / "store")
    rows = assignments(outcome)
    folder = layout.folder("embeddings", "data", outcome.summary["keys"]["embedding"])
    bags = dict(zip(rows.index, EmbeddingSegments(folder).read(rows["sha256"].tolist()), strict=True))
    for path, found in rarity_of(outcome, tmp_path / "store").items():
        near = [
            np.sqrt(np.maximum(0, 2 - 2 * (bags[path] @ other.T).max(axis=1)))
            for name, other in bags.items()
            if name != path
        ]
        np.testing.assert_allclose(found.ravel(), np.mean(near, axis=0), atol=3e-3)


@pytest.mark.parametrize("asked", [{"tiles": "2x8"}, {"tiles": "2x8", "overlap": 16}, {"tile_size": 64}])
def test_heat_is_where_the_defect_is(strips_without, checkpoint, asked):
    """The hottest place of every strip with a spot is the spot, wherever it is, with and without overlap."""
    data, store, places, _ = strips_without
    outcome = run_one(data, store, tiny_config(checkpoint, n_clusters=2, **asked))
    assert outcome.summary["embedding"]["tiles"] == [2, 8]
    grids = rarity_of(outcome, store)
    height, width = outcome.summary["embedding"]["grid"]
    for path, place in places.items():
        if place is not None:
            row, column = np.unravel_index(grids[path].argmax(), (height, width))
            assert abs((row + 0.5) * 128 / height - place[0]) <= 2 * 128 / height
            assert abs((column + 0.5) * 512 / width - place[1]) <= 2 * 512 / width


def test_report_zooms_in_on_the_defect(strips_without, checkpoint):
    """Every picture of a tiled run has a zoom with the spot in it, pixel for pixel; without tiles there is none."""
    data, store, places, without = strips_without
    assert 'class="zoom" src=' not in (run_folder(without) / "report.html").read_text()
    outcome = run_one(data, store, tiny_config(checkpoint, n_clusters=2, tiles="2x8"))
    page = (run_folder(outcome) / "report.html").read_text()
    tile = r'data-path="([^"]*)".*?class="place" style="([^"]*)".*?class="zoom" src="data:image/jpeg;base64,([^"]*)"'
    shown = re.findall(tile, page)
    assert sorted(path for path, _, _ in shown) == sorted(places)
    for path, style, jpeg in shown:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))).convert("L")).astype(int)
        assert picture.shape == (96, 96)
        spot = (picture > 200).sum()
        assert spot == 0 if places[path] is None else abs(spot - DEFECT**2) <= 16
        left, top, width, height = (float(part) / 100 for part in re.findall(r":([\d.]+)%", style))
        assert (round(width * 512), round(height * 128)) == (96, 96)
        if places[path] is not None:
            assert left <= places[path][1] / 512 <= left + width
            assert top <= places[path][0] / 128 <= top + height


def test_given_maps_fit_the_grid_of_the_frame(strips_without, checkpoint, tmp_path):
    """A map over the whole strip weighs the patches of its tiles, each at its own place."""
    data, store, places, _ = strips_without
    for path, place in places.items():
        heat = np.zeros((128, 512), np.float32)
        if place is not None:
            heat[place] = 1
        np.save(tmp_path / f"{Path(path).stem}.npy", heat)
    asked = {"tiles": "2x8", "weights": f"maps:{tmp_path}", "recipe": "sohn", "n_clusters": 2}
    outcome = run_one(data, store, tiny_config(checkpoint, **asked))
    for path, grid in rarity_of(outcome, store).items():
        assert grid.shape == (16, 64)
        place = places[path]
        if place is not None:
            assert np.unravel_index(grid.argmax(), grid.shape) == (place[0] // 8, place[1] // 8)


def test_frames_of_a_category_have_as_many_tiles(tmp_path, checkpoint):
    """The largest frame at first settles the tiles by size; larger ones that come later are cut into as many."""
    data, config = tmp_path / "part", tiny_config(checkpoint, tile_size=64, n_clusters=2, aligned=False)
    layout = StoreLayout(tmp_path / "store")
    for number, shape in enumerate([(64, 128), (128, 128), (100, 70)]):
        save_image(data / f"{number}.png", frame(number, *shape))
    (listed,) = list_datasets(data, config)
    spec = embedding_spec(layout, config)
    assert decided_spec(layout, listed, spec, config) is None
    first = settled_spec(layout, listed, spec, config)
    assert first.tiles == (2, 2)
    save_image(data / "3.png", frame(3, 400, 300))
    (listed,) = list_datasets(data, config)
    assert decided_spec(layout, listed, spec, config) == settled_spec(layout, listed, spec, config) == first
    assert settings_key(config, first) != settings_key(config, spec)
    finer = tiny_config(checkpoint, tile_size=32)
    assert settled_spec(layout, listed, embedding_spec(layout, finer), finer).tiles == (4, 4)
    outcome = run_one(data, tmp_path / "store", config)
    assert outcome.summary["embedding"]["tiles"] == [2, 2]
    assert outcome.summary["images"]["clustered"] == 4
    assert not run_one(data, tmp_path / "store", config).is_new


def test_check_size_and_damage_know_the_kept_frame(tmp_path, checkpoint):
    """`store check` finds a damaged size of frames; the next run measures the frames again."""
    data, config = tmp_path / "part", tiny_config(checkpoint, tile_size=64, n_clusters=2)
    for number in range(4):
        save_image(data / f"{number}.png", frame(number, 128, 64))
    first = run_one(data, tmp_path / "store", config)
    layout = StoreLayout(tmp_path / "store")
    assert inventory.store_size(layout).other == 0
    assert not check_store(layout).damage
    path = layout.frame("part")
    whole = path.read_text()
    path.write_text(whole.replace("128", "256"))
    assert [finding.path for finding in check_store(layout).damage] == ["frames/part.json"]
    again = run_one(data, tmp_path / "store", config)
    assert (again.run, again.is_new) == (first.run, False)
    assert path.read_text() == whole


def test_recipe_blind_takes_no_tiles(tmp_path, checkpoint):
    """Its maps are of whole pictures; that is said before any file is read."""
    with pytest.raises(ConfigError, match="recipe blind makes its maps from whole pictures"):
        list(run_data(tmp_path / "nothing", tmp_path / "store", tiny_config(checkpoint, recipe="blind", tiles="2x2")))


def test_distances_that_do_not_fit_say_that_tiles_cost(tmp_path, checkpoint):
    """Where the distances of so many patches do not fit their budget, the message names the tiles."""
    for number in range(6):
        save_image(tmp_path / "data" / f"{number}.png", frame(number, 128, 128))
    with pytest.raises(ResourceError, match="fewer --tiles"):
        run_one(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, tiles="4x4", store_budget="4KiB"))
    with pytest.raises(ResourceError, match="number of --tiles"):
        run_one(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, tiles="4x4", memory="1MiB"))


def test_tiles_are_given_to_the_network_in_parts(tmp_path, checkpoint, monkeypatch):
    """However many tiles a frame has, no more pictures are prepared at once than fit a batch."""
    seen: list[int] = []
    original = embedding.embed_levels

    def watched(extractor: Any, images: NDArray[np.float32], spec: EmbeddingSpec, **options: Any) -> Any:
        seen.append(len(images))
        return original(extractor, images, spec, **options)

    monkeypatch.setattr(embedding, "embed_levels", watched)
    for number in range(3):
        save_image(tmp_path / "data" / f"{number}.png", frame(number, 120, 200))
    run_one(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, tiles="3x5", engine="torch", n_clusters=2))
    assert sum(seen) == 3 * 15
    assert max(seen) == embedding.BATCH_IMAGES["cpu"]
