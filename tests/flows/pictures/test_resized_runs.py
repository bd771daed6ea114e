"""Runs over pictures that are no squares: padded or cropped, their heat lies where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import save_image, tiny_config
from helpers.running import assignments, run_folder, run_one
from numpy.typing import NDArray

from tasks.export.maps import export_maps
from tasks.images.thumbnails import picture_of
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

HEIGHT, WIDTH, SIDE = 96, 256, 128
SPOT = 16
WAYS = [
    pytest.param({"resize": "pad"}, id="pad"),
    pytest.param({"resize": "crop"}, id="crop"),
    pytest.param({"resize": "pad", "tiles": "1x3"}, id="pad in tiles"),
]


def wide(folder: Path, n_images: int = 8) -> dict[str, tuple[int, int]]:
    """Save pictures of 256 x 96 pixels; every second one has a spot in its middle third. Gives where."""
    places = {}
    for number in range(n_images):
        draw = np.random.default_rng(number)
        grey = draw.normal(120, 3, size=(HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8)
        label = "spot" if number % 2 else "good"
        if number % 2:
            top, left = int(draw.integers(4, HEIGHT - SPOT - 4)), int(draw.integers(90, 150))
            grey[top : top + SPOT, left : left + SPOT] = 255
            places[f"test/{label}/{number}.png"] = (top + SPOT // 2, left + SPOT // 2)
        save_image(folder / "test" / label / f"{number}.png", np.repeat(grey[:, :, None], 3, axis=2))
    return places


def place_of(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Middle of the hot part of a map that covers the picture, in pixels of the picture."""
    middle: NDArray[np.float64] = np.argwhere(values > 0.7 * values.max()).mean(axis=0) + 0.5
    return middle * (HEIGHT, WIDTH) / values.shape


@pytest.mark.parametrize("way", WAYS)
def test_heat_lies_on_the_defect(tmp_path, checkpoint, way):
    """Whatever the network is shown, exported maps and the report's heat are hottest on the spot."""
    places, store = wide(tmp_path / "part"), tmp_path / "store"
    config = tiny_config(checkpoint, n_clusters=2, normals="none", image_size=SIDE, **way)
    outcome = run_one(tmp_path / "part", store, config)
    export_maps(StoreLayout(store), run_folder(outcome), tmp_path / "maps")
    spec = embedding_spec(StoreLayout(store), config)
    keys = outcome.summary["keys"]
    grids = arrays.read(StoreLayout(store).folder("weights", "part", keys["weigh"]), "rarity").reshape(-1, *spec.grid)
    by_path = dict(zip(assignments(outcome).sort_values("sha256").index, grids, strict=True))
    for path, place in places.items():
        values = np.load(tmp_path / "maps" / "part" / f"{path}.npy")
        reach = 2 * max(HEIGHT / values.shape[0], WIDTH / values.shape[1]) + SPOT  # two patches, and the spot
        assert np.abs(place_of(values) - place).max() <= reach, path
        sha256 = assignments(outcome).loc[path, "sha256"]
        file = tmp_path / "part" / path
        shown = picture_of(file, sha256=sha256, side=160, spec=spec, rarity=by_path[path])
        assert shown is not None
        np.testing.assert_array_equal(shown.rarity, values)
        if shown.zoom is not None:
            left, top, across, down = shown.zoom.box
            assert top <= place[0] / HEIGHT <= top + down
            assert left <= place[1] / WIDTH <= left + across


def test_recipe_blind_sees_the_same_square(tmp_path, checkpoint):
    """Recipe blind takes padded pictures too, and its maps lie over the picture."""
    places, store = wide(tmp_path / "part"), tmp_path / "store"
    config = tiny_config(
        checkpoint,
        n_clusters=2,
        image_size=SIDE,
        recipe="blind",
        vae=False,
        contrastive=False,
        flat_field=False,
        resize="pad",
    )
    outcome = run_one(tmp_path / "part", store, config)
    export_maps(StoreLayout(store), run_folder(outcome), tmp_path / "maps")
    for path, place in places.items():
        values = np.load(tmp_path / "maps" / "part" / f"{path}.npy")
        reach = 2 * max(HEIGHT / values.shape[0], WIDTH / values.shape[1]) + SPOT
        assert np.abs(place_of(values) - place).max() <= reach, path
