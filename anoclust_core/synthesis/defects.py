"""Draw six more kinds of defects, with a strength: for streams in which some kinds resemble each other.

Beside the demo's four there are ``chatter`` (ripples of a tool that swings), ``crack`` (a dark branching line, like a
scratch), ``dent`` (a bump, lit on one side), ``dots`` (a swarm of small pits, like a hole), ``haze`` (a patch that is
blurred and pale) and ``shade`` (a large soft patch that is darker or brighter, like a stain without colour).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from anoclust_core.errors import ConfigError
from anoclust_core.synthesis import shapes
from anoclust_core.synthesis.surfaces import DEFECT_TYPES, check_surface, draw_defect


def draw_kind(
    surface: NDArray[np.uint8], rng: np.random.Generator, *, kind: str, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Draw one defect of any of the ten kinds, more or less plainly.

    Parameters
    ----------
    surface
        Shape ``(height, width)``, uint8, shorter side at least `surfaces.MIN_SIDE`: the defect-free grey surface.
    rng
        The only source of randomness.
    kind
        One of `KINDS`.
    strength
        From 0 (nothing is seen) to 1 (as drawn): the weight of the drawn defect against the surface below it.

    Returns
    -------
    image
        Shape ``(height, width, 3)``, uint8, red, green and blue.

    Raises
    ------
    ArrayContractError
        If ``surface`` is not a grey uint8 image of that size.
    ConfigError
        If ``kind`` is not known, or ``strength`` does not lie between 0 and 1.
    """
    check_surface(surface)
    if kind not in KINDS:
        raise ConfigError(f"expected a kind of defect of {', '.join(KINDS)}, got {kind!r}; choose one of these")
    if not 0 <= strength <= 1:
        raise ConfigError(f"expected a strength from 0 to 1, got {strength}; 1 is a defect as it is drawn")
    if kind in DEFECT_TYPES:
        drawn = draw_defect(surface, rng, defect=kind)[0].astype(np.float64)
    else:
        drawn = np.repeat(_DRAW[kind](surface, rng)[..., None], 3, axis=2)
    return shapes.to_uint8(surface[..., None] + strength * (drawn - surface[..., None]))


def _chatter(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw parallel ripples in an oblong patch."""
    unit = shapes.unit(surface.shape)
    rows, columns = shapes.offsets(surface.shape, shapes.place(surface.shape, rng, margin=0.3))
    angle = rng.uniform(0, np.pi)
    along, across = rows * np.sin(angle) + columns * np.cos(angle), rows * np.cos(angle) - columns * np.sin(angle)
    window = np.exp(-0.5 * (np.square(along / (rng.uniform(34, 58) * unit)) + np.square(across / (30 * unit))))
    ripples = np.sin(2 * np.pi * along / (rng.uniform(13, 19) * unit))
    rippled: shapes.Float = surface + rng.uniform(55, 80) * window * ripples
    return rippled


def _crack(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw a dark line that turns and branches."""
    unit = shapes.unit(surface.shape)
    ink = np.zeros(surface.shape)
    start = shapes.place(surface.shape, rng, margin=0.3)
    heading = rng.uniform(0, 2 * np.pi)
    branches = [(start, heading, 90.0), (start, heading + np.pi, 60.0)]
    for branch, (place, way, length) in enumerate(branches):
        steps = int(length)
        turns = way + np.cumsum(rng.normal(0, 0.28, size=steps))
        path = place + unit * np.cumsum(np.stack([np.sin(turns), np.cos(turns)], axis=1), axis=0)
        width = (2.6 if branch < 2 else 1.7) * unit
        places, distance, _ = shapes.pixels_near(path, surface.shape, reach=width + 0.5)
        here = tuple(places.T)
        ink[here] = np.maximum(ink[here], np.clip(width + 0.5 - distance, 0, 1))
        if branch < 2:
            fork = int(rng.integers(steps // 4, steps))
            branches.append((path[fork], turns[fork] + rng.choice([-0.9, 0.9]), 40.0))
    grey = surface.astype(np.float64)
    grey += 0.9 * ink * (12 - grey)
    return grey


def _dent(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw a smooth bump: bright towards the light, dark behind."""
    unit = shapes.unit(surface.shape)
    rows, columns = shapes.offsets(surface.shape, shapes.place(surface.shape, rng, margin=0.25))
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(17, 30) * unit
    slope = (rows * np.sin(angle) + columns * np.cos(angle)) / radius
    bump = slope * np.exp(0.5 - 0.5 * (np.square(rows / radius) + np.square(columns / radius)))
    dented: shapes.Float = surface + rng.uniform(70, 105) * bump
    return dented


def _dots(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw a swarm of small dark pits with a bright rim on one side."""
    unit = shapes.unit(surface.shape)
    centre, grey = shapes.place(surface.shape, rng, margin=0.3), surface.astype(np.float64)
    for _ in range(int(rng.integers(9, 20))):
        radius = rng.uniform(3.4, 6.5) * unit
        rows, columns = shapes.offsets(surface.shape, centre + rng.normal(0, 26 * unit, size=2))
        pit = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
        rim = np.clip(radius + 0.5 - np.hypot(rows - radius / 2, columns), 0, 1) * (1 - pit)
        grey += pit * (20 - grey) + 0.7 * rim * (235 - grey)
    return grey


def _haze(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw a pale patch below which the texture is blurred."""
    unit = shapes.unit(surface.shape)
    centre, radius = shapes.place(surface.shape, rng, margin=0.3), rng.uniform(42, 75) * unit
    inside = shapes.blob(surface.shape, rng, centre=centre, radius=radius, roughness=0.15, harmonics=4)
    veil = shapes.smoothstep(inside / (0.5 * radius) + 0.4)
    blurred = gaussian_filter(surface.astype(np.float64), 4 * unit)
    veiled: shapes.Float = surface + veil * (0.55 * blurred + 0.45 * rng.uniform(195, 225) - surface)
    return veiled


def _shade(surface: NDArray[np.uint8], rng: np.random.Generator) -> shapes.Float:
    """Draw a large soft patch that leaves less light, or more, and the texture as it is."""
    unit = shapes.unit(surface.shape)
    centre, radius = shapes.place(surface.shape, rng, margin=0.25), rng.uniform(40, 75) * unit
    inside = shapes.blob(surface.shape, rng, centre=centre, radius=radius, roughness=0.25, harmonics=5)
    light = rng.uniform(0.4, 0.55) if rng.random() < 0.75 else rng.uniform(1.45, 1.6)
    shaded: shapes.Float = surface * (1 + shapes.smoothstep(inside / (0.7 * radius) + 0.3) * (light - 1))
    return shaded


_DRAW: Final[Mapping[str, Callable[[NDArray[np.uint8], np.random.Generator], shapes.Float]]] = MappingProxyType(
    {"chatter": _chatter, "crack": _crack, "dent": _dent, "dots": _dots, "haze": _haze, "shade": _shade}
)

KINDS: Final = tuple(sorted((*DEFECT_TYPES, *_DRAW)))
"""Every kind that `draw_kind` draws, in alphabetical order."""
