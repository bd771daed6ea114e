"""Rarity, weights and descriptors of images whose arrays lie in the store, read a few images at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

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

ALONE: Final[Mapping[str, str]] = MappingProxyType({})
"""Every content stands for itself."""


def rarity_of_contents(
    slabs: NearestSlabs,
    contents: Sequence[str],
    references: Sequence[str],
    counts: Sequence[int],
    role: str,
    *,
    own: Mapping[str, str] = ALONE,
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
    own
        The reference that is a content itself, where that has another hash: it is no other image to it.

    Raises
    ------
    StoreError
        If a pair is missing or a slab is damaged.
    """
    parts = []
    for distances, is_reference in read_with_own(slabs, contents, references, own):
        if role == "cluster":
            parts.append(expected_rarity(distances, np.asarray(counts), is_reference=is_reference))
        else:
            parts.append(rarity_against_normals(distances))
    return np.concatenate(parts)


def read_with_own(
    slabs: NearestSlabs, contents: Sequence[str], references: Sequence[str], own: Mapping[str, str]
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Read distances a few contents at a time, with whether each is in the reference.

    The distance to a near-duplicate that stands for a content is 0, as that to the content itself.
    """
    place = {content: at for at, content in enumerate(references)}
    for start, distances in slabs.read(contents, references):
        rows = contents[start : start + len(distances)]
        at_own = [place.get(own.get(content, content)) for content in rows]
        for row, (content, at) in enumerate(zip(rows, at_own, strict=True)):
            if at is not None and content in own:
                distances[row, at] = 0
        yield distances, np.array([at is not None for at in at_own], np.bool_)


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
