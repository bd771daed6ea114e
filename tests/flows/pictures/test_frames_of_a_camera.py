"""Defects in large frames of a fixed camera, in small: the job of ``benchmarks/frames.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

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
