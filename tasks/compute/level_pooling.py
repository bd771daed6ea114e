"""Recipe auto over arrays in the store: scores of patches, and feature levels pooled a few images at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.config import WeighConfig
from anoclust_core.records import EmbeddingSpec, Role
from anoclust_core.weighting.auto import BAGS_AT_ONCE, PooledLevel, pool_level
from anoclust_core.weighting.auto_scoring import Scoring, patch_scores
from anoclust_core.weighting.auto_switches import Switches
from anoclust_core.weighting.places import Places
from anoclust_core.weighting.regions import Regions, weights_inside
from anoclust_core.weighting.weights import uniform_weights
from anoclust_core.weighting.whitening import Moments
from tasks.compute.rarity_pooling import ALONE, read_with_own
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs

_VALUES_AT_ONCE: Final = 1 << 24
"""Values of the bags that are pooled at a time, 400 MiB with all that is made of them."""


def scores_of_contents(
    slabs: NearestSlabs,
    contents: Sequence[str],
    references: Sequence[str],
    counts: Sequence[int],
    *,
    role: Role,
    switches: Switches,
    own: Mapping[str, str] = ALONE,
) -> NDArray[np.float64]:
    """Scores of every patch of distinct contents, ``(n_contents, n_patches, n_scores)``: three against normals, or one.

    Parameters and errors are those of `tasks.compute.rarity_pooling.rarity_of_contents`.
    """
    parts = [
        patch_scores(distances, np.asarray(counts), is_reference=is_reference, role=role, switches=switches)
        for distances, is_reference in read_with_own(slabs, contents, references, own)
    ]
    return np.concatenate(parts)


def weights_of_scores(
    config: WeighConfig, scoring: Scoring, rarity: NDArray[np.float64], inside: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Weights of patches as asked for, ``(n_images, n_taus, n_patches)``; uniform ones need one temperature.

    None lies outside of ``inside``, ``(n_images, n_patches)``; None counts all.
    """
    uniform = config.weights == "uniform"
    weights = uniform_weights(*rarity.shape)[:, None] if uniform else scoring.weights(rarity)
    return weights if inside is None else weights_inside(weights, inside)


@dataclass(frozen=True)
class Level:
    """One feature level in the store: its spec, its segments, and the grid that weights are given on.

    ``regions`` are the patches that count on it; None counts all.
    """

    spec: EmbeddingSpec
    segments: EmbeddingSegments
    weights_grid: tuple[int, int]
    regions: Regions | None = None


@dataclass(frozen=True)
class Pooled:
    """Pooled levels of some images, and the moments of their patches, level by level, where they were counted."""

    levels: list[PooledLevel]
    moments: list[Moments] = field(default_factory=list)


def bags_at_once(level: EmbeddingSpec) -> int:
    """Bags of one level that are pooled at a time: of frames in many tiles only a few."""
    return max(1, min(BAGS_AT_ONCE, _VALUES_AT_ONCE // (level.n_patches * level.dim)))


def levels_of(
    spec: EmbeddingSpec,
    folders: Sequence[EmbeddingSegments],
    n_levels: int,
    regions: Sequence[Regions | None] = (None, None),
) -> list[Level]:
    """Levels of a spec, the first ones, with the folders that they lie in, and what counts on them."""
    found = zip(spec.levels, folders, regions, strict=False)
    return [Level(of_level, segments, spec.grid, own) for of_level, segments, own in found][:n_levels]


def usual_patches(
    levels: Sequence[Level], contents: Sequence[str], counts: Sequence[int]
) -> tuple[NDArray[np.float32], ...]:
    """Mean patch of each place over the images where it counts, level by level: ``Places.patches``.

    Parameters
    ----------
    levels
        From `levels_of`.
    contents, counts
        Content hashes, and how many images have each.
    """
    usual = []
    for level in levels:
        total = np.zeros((level.spec.n_patches, level.spec.dim))
        n_counted: NDArray[np.int64] | int = sum(counts)
        if level.regions is not None:
            n_counted = (level.regions.inside(contents) * np.array(counts)[:, None]).sum(axis=0)[:, None].clip(min=1)
        step = bags_at_once(level.spec)  # about a chunk of a segment: one by one, each would be read again and again
        for start in range(0, len(contents), step):
            rows = slice(start, start + step)
            bags = level.segments.read(contents[rows])
            if level.regions is not None:
                bags *= level.regions.inside(contents[rows])[:, :, None]
            for bag, count in zip(bags, counts[rows], strict=True):
                total += count * bag
        usual.append((total / n_counted).astype(np.float32))
    return tuple(usual)


def pool_levels(
    levels: Sequence[Level],
    contents: Sequence[str],
    weights: NDArray[np.float64],
    *,
    counts: Sequence[int] | None = None,
    places: Places | None = None,
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
    places
        What is usual at every place, of frames of a fixed camera: it is taken from each patch first.
    """
    pooled, moments = [], []
    for at_level, level in enumerate(levels):
        found, seen = pool_level(
            _reader(level, contents, places.patches[at_level] if places else None),
            weights,
            weights_grid=level.weights_grid,
            grid=level.spec.grid,
            counts=counts,
            at_once=bags_at_once(level.spec),
            inside=level.regions.inside(contents) if level.regions else None,
        )
        pooled.append(found)
        if seen is not None:
            moments.append(seen)
    return Pooled(pooled, moments)


def _reader(
    level: Level, contents: Sequence[str], usual: NDArray[np.float32] | None
) -> Callable[[slice], NDArray[np.float32]]:
    """Reads bags of some contents, less what is usual at every place."""

    def read(rows: slice) -> NDArray[np.float32]:
        bags = level.segments.read(contents[rows])
        if usual is not None:
            bags -= usual
        return bags

    return read
