"""What is measured on some of the pictures is measured on pictures of the whole sample."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from helpers.builders import save_image
from scipy.ndimage import gaussian_filter

from anoclust_core.records import ImageRecord
from tasks.check.pictures import MOST_ALIGNED, look_at_pictures
from tasks.images.category_frames import spread_over

SIDE, MOVED, N_PICTURES = 128, 8, 64


def moving_camera(folder: Path) -> list[ImageRecord]:
    """Pictures of one part; the last dozen of them lie further down."""
    part = gaussian_filter(np.random.default_rng(0).normal(size=(SIDE + MOVED, SIDE)), 1.5)
    found = []
    for number in range(N_PICTURES):
        top = MOVED if number < N_PICTURES - 12 else 0
        noise = np.random.default_rng(1 + number).normal(0, 4, (SIDE, SIDE))
        grey = 120 + 40 * part[top : top + SIDE] / part.std() + noise
        path = save_image(folder / f"{number:02d}.png", grey.clip(0, 255).astype(np.uint8))
        found.append(ImageRecord(path.name, str(path), hashlib.sha256(path.read_bytes()).hexdigest(), "cluster"))
    return found


def test_a_camera_that_was_moved_late_is_seen(tmp_path: Path) -> None:
    """Pictures behind the first 48 are laid on the others too, and it is told how many were compared."""
    seen, bad = look_at_pictures(moving_camera(tmp_path), deep=(), max_pixels=10**6)
    assert not bad
    assert seen is not None
    assert seen.alignment is not None
    assert seen.alignment.verdict == "shifted"
    assert MOVED - 1 <= seen.shift <= MOVED + 1
    assert (seen.n_pictures, seen.n_compared) == (N_PICTURES, MOST_ALIGNED)


def test_pictures_are_spread_over_all() -> None:
    """The first and the last are among them; where there are few, all are."""
    assert spread_over(5, 48) == [0, 1, 2, 3, 4]
    some = spread_over(1000, 48)
    assert (len(some), some[0], some[-1]) == (48, 0, 999)
    assert max(np.diff(some)) <= 22
