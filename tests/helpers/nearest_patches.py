"""Nearest-patch distances by brute force, and patches at chosen distances, for the tests of the tile kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from anoclust_core.bags import normalize_patches

Bags = NDArray[np.float32]


def brute_force(bags: Bags, others: Bags) -> NDArray[np.float64]:
    """Every difference written out in float64; SciPy subtracts before it squares, so nothing cancels."""
    return np.array([[cdist(a, b).min(axis=1) for b in others.astype(float)] for a in bags.astype(float)])


def moved(patches: NDArray[np.floating], distances: NDArray[np.float64], rng: np.random.Generator) -> Bags:
    """Unit vectors at about the given distances from given unit vectors, in random directions."""
    sideways = rng.normal(size=patches.shape)
    sideways -= (sideways * patches).sum(axis=-1, keepdims=True) * patches
    sideways /= np.linalg.norm(sideways, axis=-1, keepdims=True)
    half_angle = np.arcsin(distances[..., None] / 2)
    return normalize_patches(np.cos(2 * half_angle) * patches + np.sin(2 * half_angle) * sideways)
