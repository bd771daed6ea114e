"""Rarity, weights and descriptors of images whose arrays lie in the store, read a few images at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import descriptors
from anoclust_core.config import WeighConfig
from anoclust_core.weighting.auto import BAGS_AT_ONCE
from anoclust_core.weighting.rarity import expected_rarity, rarity_against_normals
from anoclust_core.weighting.regions import weights_inside
from anoclust_core.weighting.weights import soft_weights, uniform_weights
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs


def rarity_of_contents(
    slabs: NearestSlabs, contents: Sequence[str], references: Sequence[str], counts: Sequence[int], role: str
) -> NDArray[np.float64]:
    """Rarity of every patch of distinct contents, ``(n_contents, n_patches)``.

    Parameters
    ----------
    slabs
        The distances.
    contents, references
        Content hashes, distinct, of what is measured and of what it is measured against.
    counts
        Images that have each of ``references``.
    role
        ``cluster`` for [SOHN23] eq. (5), ``normal`` for eq. (6).

    Raises
    ------
    StoreError
        If a pair is missing or a slab is damaged.
    """
    is_reference = np.isin(contents, references)
    parts = []
    for start, distances in slabs.read(contents, references):
        if role == "cluster":
            own = is_reference[start : start + len(distances)]
            parts.append(expected_rarity(distances, np.asarray(counts), is_reference=own))
        else:
            parts.append(rarity_against_normals(distances))
    return np.concatenate(parts)


def weights_of(
    config: WeighConfig, rarity: NDArray[np.float64], *, tau: float, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Weights of patches as they were asked for, of the shape of ``rarity``; none outside of ``inside``, if given."""
    weights = uniform_weights(*rarity.shape) if config.weights == "uniform" else soft_weights(rarity, tau=tau)
    return weights if inside is None else weights_inside(weights[:, None], inside)[:, 0]


def pooled(segments: EmbeddingSegments, hashes: Sequence[str], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """One descriptor per image, ``(n_images, dim)``; ``weights`` has a row for each of ``hashes``."""
    steps = range(0, len(hashes), BAGS_AT_ONCE)
    return np.concatenate(
        [descriptors(segments.read(hashes[s : s + BAGS_AT_ONCE]), weights[s : s + BAGS_AT_ONCE]) for s in steps]
    )
