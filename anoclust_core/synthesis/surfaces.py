"""Draw synthetic surface defects on grey photographs: the arithmetic of the demo data set.

Every random draw comes from the generator that is handed in: the same photograph and the same generator state give the
same picture. All lengths are written for a crop whose shorter side is 256 pixels, and grow with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.synthesis import shapes
from anoclust_core.synthesis.shapes import REFERENCE_SIDE

_Picture = tuple[NDArray[np.uint8], NDArray[np.bool_]]

MIN_SIDE: Final = 64
"""Below this shorter side, in pixels, a scratch is thinner than a pixel."""


_STAIN_TINTS: Final = ((0.62, 0.43, 0.26), (0.74, 0.42, 0.24), (0.36, 0.36, 0.42), (0.46, 0.52, 0.28))
"""What a coffee, a rust, an oil and an algae stain leave of the light, in red, green and blue."""

_FIBRE_COLOURS: Final = ((196, 40, 48), (38, 84, 196), (24, 140, 84), (226, 168, 32), (168, 48, 150))
"""Red, blue, green, yellow and purple yarn."""


def draw_normal(
    photograph: NDArray[np.uint8], rng: np.random.Generator, *, size: int = REFERENCE_SIDE, quarter_turns: bool = True
) -> NDArray[np.uint8]:
    """Cut a defect-free picture out of a photograph: random place, mirroring, and a mild change of exposure.

    Parameters
    ----------
    photograph
        Shape ``(height, width)``, uint8: the grey surface.
    rng
        The only source of randomness.
    size
        Side of the square crop in pixels, at most the shorter side of the photograph.
    quarter_turns
        Also turn by 90 degrees, half of the time. For a surface with a direction (laid bricks) say ``False``.

    Returns
    -------
    surface
        Shape ``(size, size)``, uint8. Contrast differs from the photograph by at most 8 %, brightness by 8 levels.

    Raises
    ------
    ArrayContractError
        If ``photograph`` is not a grey uint8 image with a shorter side of at least `MIN_SIDE`.
    ConfigError
        If ``size`` does not lie between `MIN_SIDE` and the shorter side of the photograph.
    """
    check_surface(photograph)
    largest = min(photograph.shape)
    if not MIN_SIDE <= size <= largest:
        raise ConfigError(
            f"expected a crop size from {MIN_SIDE} to {largest} px for this photograph, got {size}; "
            "choose a size in that range or a larger photograph"
        )
    top, left = (int(rng.integers(0, side - size + 1)) for side in photograph.shape)
    crop = photograph[top : top + size, left : left + size]
    mirror_rows, mirror_columns, turn = rng.random(3) < 0.5
    crop = crop[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    if quarter_turns and turn:
        crop = np.rot90(crop)
    contrast, brightness = rng.uniform(0.92, 1.08), rng.uniform(-8, 8)
    middle = float(crop.mean())
    return shapes.to_uint8((crop - middle) * contrast + middle + brightness)


def draw_defect(
    surface: NDArray[np.uint8], rng: np.random.Generator, *, defect: str
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one defect on a surface, with place, size, angle and strength left to chance.

    Parameters
    ----------
    surface
        Shape ``(height, width)``, uint8, shorter side at least `MIN_SIDE`: the defect-free grey surface. It is not
        changed.
    rng
        The only source of randomness.
    defect
        One of `DEFECT_TYPES`. ``fibre``: a curled thread of coloured yarn with a soft shadow. ``hole``: a small dark
        ragged pit with a lit wall and rim. ``scratch``: a long thin groove of varying depth, bright or dark.
        ``stain``: a large soft tinted blob through which the surface is still seen.

    Returns
    -------
    image
        Shape ``(height, width, 3)``, uint8, red, green and blue; grey wherever the defect has no colour.
    mask
        Shape ``(height, width)``, bool: true on the defect, at least at one pixel. Shadows do not count.

    Raises
    ------
    ArrayContractError
        If ``surface`` is not a grey uint8 image of that size.
    ConfigError
        If ``defect`` is no known type.
    """
    check_surface(surface)
    if defect not in _DRAW:
        raise ConfigError(f"expected a defect type of {', '.join(DEFECT_TYPES)}, got {defect!r}; choose one of these")
    return _DRAW[defect](surface, rng)


def _scratch(surface: NDArray[np.uint8], rng: np.random.Generator) -> _Picture:
    """Draw a nearly straight groove of varying depth, sometimes with finer ones beside it. Assumes checked input."""
    unit = shapes.unit(surface.shape)
    length, angle = rng.uniform(130, 240) * unit, rng.uniform(0, 2 * np.pi)
    bend, wobble = rng.uniform(-0.12, 0.12) * length, rng.uniform(0.2, 0.7) * unit
    bright = bool(rng.random() < 0.75)
    # A coarse surface hides a hair-line from the eye, so it is scratched deeper.
    coarseness = float(np.std(surface - gaussian_filter(surface.astype(np.float64), 3 * unit)))
    strength, width = rng.uniform(0.75, 1.0), rng.uniform(0.7, 1.3) * unit * (1 + coarseness / 32)
    along = np.linspace(-0.5, 0.5, max(2, int(2 * length)))
    across = bend * (0.25 - along**2) + wobble * shapes.smooth_noise(along.shape, rng, scale=20 * unit)
    middle = shapes.place(surface.shape, rng, margin=0.3)

    grey = surface.astype(np.float64)
    mask = np.zeros(surface.shape, dtype=np.bool_)
    offsets = [0.0, *(rng.uniform(2.5, 5, size=int(rng.integers(0, 3))) * rng.choice([-1, 1]) * width)]
    for number, offset in enumerate(offsets):
        kept = slice(None) if number == 0 else shapes.random_stretch(along.size, rng)
        path = middle + shapes.rotate(np.stack([across + offset, along * length], axis=1)[kept], angle)
        finer = 1.0 if number == 0 else 0.75
        grey, groove = _carve(grey, path, rng, width=width * finer, strength=strength * finer, bright=bright)
        mask |= groove
    return shapes.to_uint8(np.repeat(grey[..., None], 3, axis=2)), mask


def _stain(surface: NDArray[np.uint8], rng: np.random.Generator) -> _Picture:
    """Draw a tinted blob, wet inside and darker at its dried edge, maybe with drops. Assumes checked input."""
    unit = shapes.unit(surface.shape)
    centre, radius = shapes.place(surface.shape, rng, margin=0.3), rng.uniform(28, 58) * unit
    inside = shapes.blob(surface.shape, rng, centre=centre, radius=radius, roughness=0.22, harmonics=7)
    for _ in range(int(rng.integers(0, 4))):
        place = centre + shapes.rotate(np.array([[radius * rng.uniform(1.3, 1.7), 0.0]]), rng.uniform(0, 2 * np.pi))[0]
        drop = shapes.blob(
            surface.shape, rng, centre=place, radius=rng.uniform(3, 8) * unit, roughness=0.1, harmonics=3
        )
        inside = np.maximum(inside, drop)
    inside += 2.5 * unit * shapes.smooth_noise(surface.shape, rng, scale=5 * unit)

    soaked = shapes.smoothstep(inside / (rng.uniform(4, 9) * unit) + 0.5)
    dried_edge = shapes.smoothstep(1 - np.abs(inside / (4 * unit) - 0.5))
    mottle = 1 + 0.16 * shapes.smooth_noise(surface.shape, rng, scale=7 * unit)
    opacity = soaked * np.clip(rng.uniform(0.5, 0.85) * mottle + 0.25 * dried_edge, 0, 1)
    light_left = np.array(_STAIN_TINTS[rng.integers(len(_STAIN_TINTS))]) * rng.uniform(0.9, 1.1)
    # A wet surface scatters less: its finest texture fades before it is darkened.
    wet = surface + 0.4 * soaked * (gaussian_filter(surface.astype(np.float64), 1.5 * unit) - surface)
    return shapes.to_uint8(wet[..., None] * (1 - opacity[..., None] * (1 - light_left))), soaked > 0.25


def _hole(surface: NDArray[np.uint8], rng: np.random.Generator) -> _Picture:
    """Draw a dark pit with one wall lit and a broken rim that catches the light. Assumes checked input."""
    unit = shapes.unit(surface.shape)
    centre, radius = shapes.place(surface.shape, rng, margin=0.15), rng.uniform(12, 26) * unit
    rim_width, light_angle = rng.uniform(3, 5.5) * unit, rng.uniform(0, 2 * np.pi)
    inside = shapes.blob(surface.shape, rng, centre=centre, radius=radius, roughness=0.3, harmonics=14)
    inside += 0.8 * unit * shapes.smooth_noise(surface.shape, rng, scale=1.5 * unit)

    rows, columns = shapes.offsets(surface.shape, centre)
    away_from_light = (rows * np.sin(light_angle) + columns * np.cos(light_angle)) / radius
    grain = shapes.smooth_noise(surface.shape, rng, scale=1.2 * unit)
    wall = shapes.smoothstep((away_from_light + 0.1) / 0.8) * shapes.smoothstep(1.2 - inside / (0.6 * radius))
    floor = rng.uniform(8, 26) + wall * (rng.uniform(60, 100) + 14 * grain)
    pit = shapes.smoothstep(inside / (1.5 * unit) + 0.5)

    on_rim = shapes.smoothstep(inside / rim_width + 1.2) * (1 - pit)
    rim_light = rng.uniform(0.6, 0.9) * np.clip(0.55 + 0.45 * away_from_light + 0.12 * grain, 0.1, 1)
    grey = surface + on_rim * rim_light * (rng.uniform(215, 250) - surface)
    grey += pit * (floor - grey)
    return shapes.to_uint8(np.repeat(grey[..., None], 3, axis=2)), (pit > 0.5) | (on_rim > 0.5)


def _fibre(surface: NDArray[np.uint8], rng: np.random.Generator) -> _Picture:
    """Draw a thread of even thickness that lies above its shadow. Assumes checked input."""
    unit = shapes.unit(surface.shape)
    path = shapes.curl(rng, length=rng.uniform(150, 360) * unit, unit=unit)
    path *= min(1.0, 0.8 * min(surface.shape) / float(np.ptp(path, axis=0).max()))
    low, high = path.min(axis=0), path.max(axis=0)
    border = 0.05 * min(surface.shape)
    path += rng.uniform(border - low, np.array(surface.shape) - border - high)

    thickness = rng.uniform(1.1, 2.1) * unit
    places, distance, nearest = shapes.pixels_near(path, surface.shape, reach=thickness + 0.5)
    here, thread = tuple(places.T), np.zeros(surface.shape)
    thread[here] = np.clip(thickness + 0.5 - distance, 0, 1)
    drop = shapes.rotate(np.array([[rng.uniform(2, 5) * unit, 0.0]]), rng.uniform(0, 2 * np.pi))[0]
    shadow = gaussian_filter(shift(thread, drop, order=1), 1.5 * unit, truncate=3)

    shade = 1 - np.clip(rng.uniform(0.6, 0.9) * shadow, 0, 0.75)
    image = np.repeat((surface * shade)[..., None], 3, axis=2)
    roundness = 0.62 + 0.5 * np.sqrt(1 - (distance / (thickness + 0.5)) ** 2)
    twist = 1 + 0.12 * np.sin(nearest / (1.6 * unit))
    colour = np.array(_FIBRE_COLOURS[rng.integers(len(_FIBRE_COLOURS))]) * rng.uniform(0.8, 1.1)
    opacity = rng.uniform(0.82, 1.0) * thread[here][:, None]
    image[here] += opacity * ((roundness * twist)[:, None] * colour - image[here])
    return shapes.to_uint8(image), thread > 0.5


_DRAW: Final[Mapping[str, Callable[[NDArray[np.uint8], np.random.Generator], _Picture]]] = MappingProxyType(
    {"fibre": _fibre, "hole": _hole, "scratch": _scratch, "stain": _stain}
)

DEFECT_TYPES: Final = tuple(_DRAW)
"""Every type that `draw_defect` draws, in alphabetical order."""


def check_surface(surface: NDArray[np.uint8]) -> None:
    """Refuse what is no grey 8-bit image that is large enough to draw a defect on."""
    surface = checked_array("surface", surface, "(height, width)", dtype=np.uint8, lists=False)
    if surface.ndim != 2 or surface.dtype != np.uint8 or min(surface.shape) < MIN_SIDE:
        raise ArrayContractError(
            f"expected a grey uint8 image of shape (height, width) with a shorter side of at least {MIN_SIDE} px, "
            f"found {surface.dtype} of shape {surface.shape}; convert it to 8-bit grey or take a larger crop"
        )


def _carve(
    grey: shapes.Float, path: shapes.Float, rng: np.random.Generator, *, width: float, strength: float, bright: bool
) -> tuple[shapes.Float, NDArray[np.bool_]]:
    """Cut one groove along a path: a core that is bright or dark, and the opposite shade on one flank of it."""
    skips, grit = (shapes.smooth_noise((len(path),), rng, scale=scale) for scale in (16, 1.5))
    share = np.linspace(0, 1, len(path))
    taper = np.sqrt(np.clip(6 * np.minimum(share, 1 - share), 0, 1))
    depth = strength * np.clip(0.8 + 0.15 * skips + 0.12 * grit, 0.35, 1) * taper

    places, distance, nearest = shapes.pixels_near(path, grey.shape, reach=3 * width + 1)
    direction, towards = np.gradient(path, axis=0)[nearest], places - path[nearest]
    side = np.sign(direction[:, 0] * towards[:, 1] - direction[:, 1] * towards[:, 0])
    core = np.clip(width * (0.5 + 0.5 * taper[nearest]) + 0.5 - distance, 0, 1) * depth[nearest]
    flank = np.clip(width + 0.5 - np.abs(side * distance - 2 * width), 0, 1) * depth[nearest]

    core_level, flank_level = (242.0, 35.0) if bright else (14.0, 215.0)
    carved, groove = grey.copy(), np.zeros(grey.shape, dtype=np.bool_)
    here = tuple(places.T)
    carved[here] += 0.4 * flank * (flank_level - carved[here])
    carved[here] += core * (core_level - carved[here])
    groove[here] = core > 0.1
    return carved, groove
