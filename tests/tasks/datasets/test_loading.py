"""Images and networks from files, as a program takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, save_image, surface
from PIL import Image

from anoclust_core.errors import ConfigError, DatasetError
from tasks.datasets.loading import deep_ranges, load_backbone, load_images


def test_images_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    """RGB bytes, whatever their sizes; grey pictures have three channels too."""
    save_image(tmp_path / "b.png", surface(1)[:40])
    save_image(tmp_path / "a.png", surface(2)[..., 0])
    wide, grey = load_images([tmp_path / "b.png", str(tmp_path / "a.png")])
    np.testing.assert_array_equal(wide, surface(1)[:40])
    np.testing.assert_array_equal(grey, np.repeat(surface(2)[..., :1], 3, axis=2))


def test_deep_pictures_share_one_range(tmp_path: Path) -> None:
    """What is black and white is taken from all pictures together; later ones are shown by the range of the first."""
    rng = np.random.default_rng(0)
    for at, level in enumerate((1000, 3000)):
        values = (level + rng.normal(0, 200, (32, 32))).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{at}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    dark, bright = load_images(paths)
    assert bright.mean() - dark.mean() > 80
    np.testing.assert_array_equal(load_images(paths[:1], deep=deep_ranges(paths))[0], dark)
    assert deep_ranges([]) == []


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "part.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"part\.png cannot be "):
        load_images([path])


@pytest.mark.slow
def test_a_backbone_gives_two_levels(checkpoint: Path) -> None:
    """Unit-norm maps of both levels of recipe auto, the same whatever else is in the batch."""
    backbone = load_backbone(TINY_BACKBONE, checkpoint=str(checkpoint), image_size=TINY_SIDE, device="cpu")
    images = [surface(at) for at in range(5)]
    fine, deeper = backbone(images)
    assert fine.shape == (5, 8, 8, 48)
    assert deeper.shape[:3] == (5, 4, 4)
    for level in (fine, deeper):
        np.testing.assert_allclose(np.linalg.norm(level.astype(np.float32), axis=-1), 1, atol=1e-3)
    np.testing.assert_allclose(backbone(images[4:])[0][0], fine[4], atol=2e-3)
    assert repr(backbone) == f"Backbone({TINY_BACKBONE!r}, image_size={TINY_SIDE})"
    with pytest.raises(ConfigError, match="no_such_network"):
        load_backbone("no_such_network")
