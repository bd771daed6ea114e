"""Shapes and noise that drawn defects are made of; lengths are in pixels, and nothing here checks what it is given."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

Float = NDArray[np.float64]

REFERENCE_SIDE: Final = 256
"""The shorter side, in pixels, that all lengths of drawn defects are written for."""


def unit(shape: tuple[int, ...]) -> float:
    """Pixels of this crop for one pixel of the reference crop."""
    return min(shape) / REFERENCE_SIDE


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey levels of an image, rounded and cut off at black and white."""
    levels: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return levels


def smoothstep(ramp: Float) -> Float:
    """0 below 0, 1 above 1, and a smooth step between: unlike a sigmoid it touches nothing further away."""
    ramp = np.clip(ramp, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, *, scale: float) -> Float:
    """Noise of zero mean and unit deviation, with bumps about ``scale`` wide."""
    noise = gaussian_filter(rng.standard_normal(shape), scale, mode="wrap")
    noise -= noise.mean()
    return np.asarray(noise / noise.std(), dtype=np.float64)


def place(shape: tuple[int, ...], rng: np.random.Generator, *, margin: float) -> Float:
    """Row and column of a random place, at least ``margin`` (a share of each side) from the border."""
    return np.array([rng.uniform(margin * side, (1 - margin) * side) for side in shape])


def rotate(points: Float, angle: float) -> Float:
    """Turn ``(n, 2)`` points about the origin; the angle is in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turned: Float = points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def random_stretch(length: int, rng: np.random.Generator) -> slice:
    """From 30 to 80 % of a path, anywhere on it."""
    part = int(rng.uniform(0.3, 0.8) * length)
    start = int(rng.integers(0, length - part + 1))
    return slice(start, start + part)


def offsets(shape: tuple[int, ...], centre: Float) -> tuple[Float, Float]:
    """Rows and columns of every pixel, counted from ``centre``."""
    rows, columns = np.indices(shape, dtype=np.float64)
    return rows - centre[0], columns - centre[1]


def blob(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    centre: Float,
    radius: float,
    roughness: float,
    harmonics: int,
) -> Float:
    """Depth of each pixel inside an irregular, slightly oblong blob: pixels from the outline, negative outside."""
    rows, columns = offsets(shape, centre)
    axis, oblong = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    long_side = (rows * np.sin(axis) + columns * np.cos(axis)) / oblong
    short_side = (rows * np.cos(axis) - columns * np.sin(axis)) * oblong
    direction = np.linspace(-np.pi, np.pi, 1441)
    outline = np.full(direction.shape, radius)
    for wave in range(2, harmonics + 1):
        height = radius * roughness * rng.normal() / wave
        outline += height * np.cos(wave * direction + rng.uniform(0, 2 * np.pi))
    depth: Float = np.interp(np.arctan2(short_side, long_side), direction, outline) - np.hypot(long_side, short_side)
    return depth


def curl(rng: np.random.Generator, *, length: float, unit: float) -> Float:
    """Path of a thread that wanders and loops, shape ``(n, 2)``: the integral of a smoothly changing curvature."""
    steps = max(2, int(2 * length))
    bend = rng.uniform(0.035, 0.07) / unit * smooth_noise((steps,), rng, scale=24 * unit)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(0.5 * bend)
    return 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)


def pixels_near(
    path: Float, shape: tuple[int, ...], *, reach: float
) -> tuple[NDArray[np.intp], Float, NDArray[np.intp]]:
    """Pixels within ``reach`` of a path: ``(n, 2)`` places, distances, and indices of the nearest path points."""
    drawn = np.zeros(shape, dtype=np.bool_)
    whole = np.rint(path).astype(np.intp)
    whole = whole[((whole >= -reach) & (whole < np.array(shape) + reach)).all(axis=1)]
    drawn[tuple(np.clip(whole, 0, np.array(shape) - 1).T)] = True
    # The tree is slow on a whole picture; it is asked only about the squares around the path.
    places = np.argwhere(maximum_filter(drawn, size=2 * int(np.ceil(reach)) + 3))
    distance, nearest = cKDTree(path).query(places)
    close = distance <= reach
    return places[close], distance[close], nearest[close]
