"""Figures of pictures as such: they follow the camera, and not what is pictured."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, laplace

from anoclust_core.errors import ArrayContractError
from anoclust_core.matching import capture
from anoclust_core.matching.capture import N_BLOCKS, SMALL_SIDE, look_of, look_of_night


def picture(seed: int, *, gain: float = 1.0, blur: float = 0.0) -> NDArray[np.uint8]:
    grey = gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 1.0) * 60 + 110
    grey = gaussian_filter(grey, blur) * gain
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def night_of(pictures: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    brightness, sharpness, small = (np.array(one) for one in zip(*map(look_of, pictures), strict=True))
    return look_of_night(brightness, sharpness, small)


def test_exposure_moves_brightness_alone() -> None:
    """A darker picture is darker, and as sharp as before."""
    (bright, sharp, _), (dark, as_sharp, _) = look_of(picture(0)), look_of(picture(0, gain=0.7))
    assert dark == pytest.approx(0.7 * bright, rel=0.02)
    assert as_sharp == pytest.approx(sharp, abs=0.05)


def test_blur_moves_sharpness_alone() -> None:
    """A picture out of focus is less sharp, and as bright as before."""
    (bright, sharp, _), (as_bright, blurred, _) = look_of(picture(0)), look_of(picture(0, blur=1.5))
    assert blurred < sharp - 0.3
    assert as_bright == pytest.approx(bright, rel=0.02)


def spoiled(pixels: NDArray[np.uint8], at: int) -> NDArray[np.uint8]:
    """A picture with a large smooth dark dent: a sixth of it, at another place each time."""
    rows, columns = np.mgrid[:64, :64]
    row, column = 12 + 11 * (at % 4), 12 + 13 * (at // 4 % 4)
    dent = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 100)
    return (pixels * (1 - 0.8 * dent[..., None])).astype(np.uint8)


def test_a_defect_is_no_change_of_the_camera() -> None:
    """A large dent on every picture moves the figures by a fraction of what a camera does; pictures stay different."""
    before = night_of([picture(at) for at in range(12)])
    dented = night_of([spoiled(picture(at), at) for at in range(12)])
    darker = night_of([picture(at, gain=0.85) for at in range(12)])
    blurred = night_of([picture(at, blur=0.7) for at in range(12)])
    moved = {name: abs(dented[name] - before[name]) for name in ("brightness", "sharpness")}
    assert moved["brightness"] < 0.4 * abs(darker["brightness"] - before["brightness"])
    assert moved["sharpness"] < 0.25 * abs(blurred["sharpness"] - before["sharpness"])
    assert dented["difference"] > before["difference"]


def test_a_repeated_picture_is_seen() -> None:
    """Pictures that are alike but for noise differ much less than different ones."""
    same = [picture(0) + np.uint8(at) for at in range(6)]
    other = [picture(at) for at in range(6)]
    found = [night_of(pictures)["difference"] for pictures in (same, other)]
    assert found[0] < found[1] - 1


def test_less_light_is_no_likeness() -> None:
    """Pictures that are darker differ in fewer grey levels, and are no more alike."""
    pictures = [picture(at) for at in range(6)]
    dark = [(one * 0.5).astype(np.uint8) for one in pictures]
    found = [night_of(some)["difference"] for some in (pictures, dark)]
    assert found[0] == pytest.approx(found[1], abs=0.05)


def test_figures_of_a_night() -> None:
    """Every figure has its error; of one picture there is no likeness; flat pictures are fine."""
    found = night_of([picture(at) for at in range(5)])
    names = ("brightness", "sharpness", "difference")
    assert set(found) == {"looks_version", *names, *(f"{name}_error" for name in names)}
    assert all(np.isfinite(value) for value in found.values())
    assert "difference" not in night_of([picture(0)])
    assert np.isfinite(look_of(np.zeros((4, 5, 3), np.uint8))[1])


def test_what_is_no_picture_is_refused() -> None:
    """Grey arrays, and a night without pictures, are errors."""
    with pytest.raises(ArrayContractError, match=r"shape \(height, width, 3\)"):
        look_of(np.zeros((4, 5), np.uint8))
    with pytest.raises(ArrayContractError, match="at least one image"):
        look_of_night(np.empty(0), np.empty(0), np.empty((0, 4)))
    with pytest.raises(ArrayContractError, match="each of 2 pictures"):
        look_of_night(np.ones(1), np.ones(2), np.ones((2, 4)))


def plain_look(pixels: NDArray[np.uint8]) -> tuple[float, float, NDArray[np.float64]]:
    """Figures by their definition, of the whole picture at once."""
    grey = pixels.astype(np.float64).mean(axis=2)
    starts = [np.arange(min(N_BLOCKS, side)) * side // min(N_BLOCKS, side) for side in grey.shape]
    sizes = [np.diff([*begins, side]) for begins, side in zip(starts, grey.shape, strict=True)]

    def means(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
        return np.asarray(sums / np.outer(*sizes))

    deviations = np.sqrt(np.maximum(means(grey**2) - means(grey) ** 2, 0))
    sharpness = np.median(np.log((means(np.abs(laplace(grey))) + 1e-3) / (deviations + 1e-3)))
    resized = Image.fromarray(grey.astype(np.float32)).resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX)
    small = np.asarray(resized, np.float64).ravel()
    return float(np.median(small)), float(sharpness), small


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 301), (403, 29), (250, 303)])
@pytest.mark.parametrize("strip", [37, 1 << 18])
@pytest.mark.parametrize("kind", ["colour", "grey", "flat"])
def test_strips_give_the_figures_of_the_whole(
    shape: tuple[int, int], strip: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few pixels are taken at a time; flat colours too, whose deviation is what rounding leaves."""
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    flat = np.full((*shape, 3), (100, 101, 101), np.uint8)
    pixels = {"colour": colours, "grey": np.broadcast_to(colours[:, :, :1], colours.shape), "flat": flat}[kind]
    monkeypatch.setattr(capture, "_STRIP_PIXELS", strip)
    brightness, sharpness, small = look_of(pixels)
    expected = plain_look(pixels)
    assert sharpness == pytest.approx(expected[1], abs=1e-9)
    # Pillow keeps single precision between its two passes, and other versions take these in another order
    assert brightness == pytest.approx(expected[0], abs=1e-4)
    np.testing.assert_allclose(small, expected[2], atol=1e-4)


def test_a_large_frame_takes_little_memory() -> None:
    """Four bytes a pixel at most beside the picture, where numbers of all of it take eight and more."""
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    look_of(pixels[:64])
    tracemalloc.start()
    try:
        look_of(pixels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 3000 * 4000
