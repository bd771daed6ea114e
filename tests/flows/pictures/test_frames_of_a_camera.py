"""Defects in large frames of a fixed camera, in small: the job of ``benchmarks/frames.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import save_image
from helpers.running import assignments, run_one
from scipy.ndimage import gaussian_filter

from anoclust_core.config import RunConfig
from benchmarks.frames import Camera, Found, make_frames, manifest_of, run_frames, settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

CAMERA = Camera((512, 768), shift=4)

SMALL, LARGE = 12, 60
"""Pixels of a defect."""


def found(folder: Path, tiles: str, *, size: int | None = None) -> Found:
    """Cluster the frames, or the good ones and those of a size, as the benchmark does."""
    data = manifest_of(folder / f"{tiles}-{size}.csv", [folder / "frames"], size=size)
    return run_frames(data, folder / f"store-{tiles}", settings(tiles, "auto"))


def test_tiles_of_a_fixed_camera_tell_small_defects_and_their_kinds(tmp_path: Path) -> None:
    """In tiles, defects of both sizes are told from good frames, and their kinds from each other: better than whole."""
    make_frames(tmp_path / "frames", CAMERA, 20, sizes=(SMALL, LARGE))
    tiled, plain = found(tmp_path, "2x3"), found(tmp_path, "none")
    assert "because the camera is fixed" in tiled.note
    assert not plain.note
    assert min(auroc for auroc, _ in tiled.by_size.values()) > 0.95
    assert min(tiled.finer.values()) > 0.8
    assert plain.by_size[SMALL][0] < tiled.by_size[SMALL][0]
    small = found(tmp_path, "2x3", size=SMALL)
    assert small.by_size[SMALL][0] > 0.95
    assert small.by_size[SMALL][1] > 0.8


def test_spots_on_a_rough_surface_are_told_in_tiles_of_the_finer_level(tmp_path: Path) -> None:
    """Strips of strong noise, half of them with a spot of 12 pixels somewhere: no two lie on each other."""
    y, x = np.ogrid[:500, :1000]
    for number in range(8):
        rng = np.random.default_rng(70 + number)
        noise = gaussian_filter(rng.normal(size=(500, 1000)), 3)
        strip = noise / noise.std() * 12 + 128
        if number % 2:
            row, column = rng.integers(50, 450), rng.integers(50, 950)
            strip[np.hypot(y - row, x - column) < 6] = 230
        save_image(
            tmp_path / "strips" / f"{number}.png", np.repeat(strip.clip(0, 255).astype(np.uint8)[:, :, None], 3, 2)
        )
    config = RunConfig.model_validate(
        {
            "data": {"normals": "none", "settle_seconds": 0},
            "embed": {"tiles": "2x2", "layers": "2,3"},
            "pair": {"aligned": "true"},
            "group": {"n_clusters": 2},
        }
    )
    found = assignments(run_one(tmp_path / "strips", tmp_path / "store", config))
    has_spot = [int(Path(path).stem) % 2 for path in found.index]
    assert found["cluster"].nunique() == 2
    assert found.groupby(has_spot)["cluster"].nunique().tolist() == [1, 1]
