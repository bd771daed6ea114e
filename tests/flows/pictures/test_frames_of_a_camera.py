"""Defects in large frames of a fixed camera, in small: the job of ``benchmarks/frames.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.frames import Camera, Found, make_frames, run_frames, settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

CAMERA = Camera((512, 768), shift=4)

SMALL, LARGE = 12, 60
"""Pixels of a defect."""


def found(folder: Path, tiles: str) -> Found:
    """Cluster the frames as the benchmark does, but with a small input of the network."""
    config = settings(tiles, "auto")
    embed = config.embed.model_copy(update={"image_size": 128, "device": "cpu"})
    return run_frames(folder / "frames", folder / f"store-{tiles}", config.model_copy(update={"embed": embed}))


def test_tiles_of_a_fixed_camera_tell_small_defects_better(tmp_path: Path) -> None:
    """Large defects are told from good frames with tiles and without; kinds of small ones better with tiles."""
    make_frames(tmp_path / "frames", CAMERA, 20, sizes=(SMALL, LARGE))
    tiled, plain = found(tmp_path, "4x6"), found(tmp_path, "none")
    assert "because the camera is fixed" in tiled.note
    assert not plain.note
    assert min(tiled.by_size[LARGE][0], plain.by_size[LARGE][0]) > 0.95
    assert tiled.by_size[SMALL][0] > 0.8
    assert tiled.by_size[SMALL][1] > plain.by_size[SMALL][1]
