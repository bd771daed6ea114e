"""Recipe auto over arrays in the store: scores of patches, and feature levels pooled a few images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anoclust_core.config import WeighConfig
from anoclust_core.records import EmbeddingSpec, Role
from anoclust_core.weighting.auto import PooledLevel, Scoring, Switches, patch_scores, pool_level
from anoclust_core.weighting.weights import uniform_weights
from anoclust_core.weighting.whitening import Moments
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs


def scores_of_contents(
    slabs: NearestSlabs,
    contents: Sequence[str],
    references: Sequence[str],
    counts: Sequence[int],
    *,
    role: Role,
    switches: Switches,
) -> NDArray[np.float64]:
    """Scores of every patch of distinct contents, ``(n_contents, n_patches, n_scores)``: three against normals, or one.

    Parameters and errors are those of `tasks.compute.rarity_pooling.rarity_of_contents`.
    """
    is_reference = np.isin(contents, references)
    parts = []
    for start, distances in slabs.read(contents, references):
        own = is_reference[start : start + len(distances)]
        parts.append(patch_scores(distances, np.asarray(counts), is_reference=own, role=role, switches=switches))
    return np.concatenate(parts)


def weights_of_scores(config: WeighConfig, scoring: Scoring, rarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of patches as asked for, ``(n_images, n_taus, n_patches)``; uniform ones need one temperature."""
    if config.weights == "uniform":
        return uniform_weights(*rarity.shape)[:, None]
    return scoring.weights(rarity)


@dataclass(frozen=True)
class Level:
    """One feature level in the store: its spec, its segments, and the grid that weights are given on."""

    spec: EmbeddingSpec
    segments: EmbeddingSegments
    weights_grid: tuple[int, int]


@dataclass(frozen=True)
class Pooled:
    """Pooled levels of some images, and the moments of their patches, level by level, where they were counted."""

    levels: list[PooledLevel]
    moments: list[Moments] = field(default_factory=list)


def levels_of(spec: EmbeddingSpec, folders: Sequence[EmbeddingSegments], n_levels: int) -> list[Level]:
    """Levels of a spec, the first ones, with the folders that they lie in."""
    pairs = zip(spec.levels, folders, strict=False)
    return [Level(of_level, segments, spec.grid) for of_level, segments in pairs][:n_levels]


def pool_levels(
    levels: Sequence[Level],
    contents: Sequence[str],
    weights: NDArray[np.float64],
    *,
    counts: Sequence[int] | None = None,
) -> Pooled:
    """Pool the bags of distinct contents on every level, a few at a time.

    Parameters
    ----------
    levels
        From `levels_of`.
    contents
        Content hashes.
    weights
        Shape ``(n_contents, n_taus, n_patches)`` on the grid of the first level.
    counts
        Images that have each content: their patches are counted for the whitening; None counts none.
    """
    pooled, moments = [], []
    for level in levels:
        found, seen = pool_level(
            lambda rows, level=level: level.segments.read(contents[rows]),  # type: ignore[misc]
            weights,
            weights_grid=level.weights_grid,
            grid=level.spec.grid,
            counts=counts,
        )
        pooled.append(found)
        if seen is not None:
            moments.append(seen)
    return Pooled(pooled, moments)
