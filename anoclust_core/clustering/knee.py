"""Number of clusters of a tree without labels: the knee of its highest merges."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Final

import fastcluster
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from anoclust_core.clustering.checks import check_bounds, checked_descriptors
from anoclust_core.clustering.linkage import NClustersSuggestion, cut_tree
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.evaluation.partitions import adjusted_rand_index

FEWEST_MERGES: Final = 8
MOST_MERGES: Final = 18
MERGES_OF_ROOT: Final = 1.5
"""Merges that the knee is looked for among: so many times the root of the images, between the two bounds. Of few images
the lower merges are already those within a kind; of many, more kinds can be told apart."""

HALVINGS: Final = 20
FEWEST_TO_SPLIT: Final = 24
CERTAIN_FROM: Final = 0.35
"""Index of `split_index` from which on there is more than one kind for certain. Of 333 sets of good images of ten
categories, 92 % lie below; so do 16 % of 414 sets with several kinds, mostly kinds that the clusters do not follow.
Thresholds that were chosen on half of the categories came to 88 % and 13 % on the others. What differs is not always a
defect: photographs of two sessions are two kinds too."""

DRAWS: Final = 12
SHARE_DRAWN: Final = 0.8
MOST_DRAWN: Final = 1000
"""Random parts of the images that stability is judged by, and the images of each at most."""


def n_merges(n_images: int) -> int:
    """Merges that the knee of a tree over so many images is looked for among."""
    return min(n_images - 1, int(np.clip(MERGES_OF_ROOT * np.sqrt(n_images), FEWEST_MERGES, MOST_MERGES)))


def suggest_by_knee(
    linkage: NDArray[np.float64], *, lowest: int = 1, highest: int | None = None
) -> NClustersSuggestion:
    r"""Cut the tree at the knee of its merge heights, as Kneedle finds it (Satopää et al., 2011); no labels are used.

    The heights of the highest merges :math:`h_1 \ge \dots \ge h_m` fall steeply while kinds are merged and slowly where
    images of one kind are. With both axes scaled to [0, 1], the knee is the merge that lies farthest below the straight
    line from the first to the last; the merges above it are undone.

    Parameters
    ----------
    linkage
        As in `anoclust_core.clustering.linkage.linkage_tree`.
    lowest, highest
        Bounds of the number, each at least 1. The merges that are looked at stay, unless ``lowest`` needs more.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree.
    ConfigError
        If the bounds leave no number.
    """
    check_bounds(linkage, lowest, highest)
    heights = linkage[::-1, 2]
    if lowest == (highest or len(heights) + 1):
        return NClustersSuggestion(lowest, f"bounded to {lowest}", {})
    if heights[0] == 0:
        return NClustersSuggestion(lowest, "one cluster: all descriptors are equal", {})
    count = min(len(heights), max(n_merges(len(heights) + 1), lowest + 1))
    top = heights[:count]
    if count < 3 or top[0] == top[-1]:
        return NClustersSuggestion(lowest, "too few merges to choose a number", {})
    below = 1 - np.linspace(0, 1, count) - (top - top[-1]) / (top[0] - top[-1])
    scores = {number: float(below[number - 1]) for number in range(lowest, min(highest or count, count) + 1)}
    best = max(scores, key=lambda number: scores[number])
    return NClustersSuggestion(best, f"knee of the {count} highest merges", scores)


def stability(
    descriptors: NDArray[np.floating[Any]], *, n_clusters: int | None, generator: np.random.Generator
) -> float:
    """How much partitions of random parts of the images agree: the mean adjusted Rand index of pairs of them.

    Every part is smoothed, clustered by Ward's criterion and cut by itself; two are compared on what they share.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, before smoothing; at least two rows.
    n_clusters
        Number to cut every part into; None is the knee of each.
    generator
        Draws ``DRAWS`` parts, each ``SHARE_DRAWN`` of the images but no more than ``MOST_DRAWN``.

    Returns
    -------
    stability
        Up to 1, which is full agreement; about 0 by chance.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` are not two-dimensional and finite.
    """
    values = checked_descriptors(descriptors)
    n_images = len(values)
    size = max(2, int(min(n_images, MOST_DRAWN / SHARE_DRAWN) * SHARE_DRAWN))
    parts = [np.sort(generator.permutation(n_images)[:size]) for _ in range(DRAWS)]
    found = []
    for part in parts:
        tree = _ward_of_few(smoothed(values[part]).astype(np.float64))
        number = min(n_clusters, size) if n_clusters else suggest_by_knee(tree).n_clusters
        labels = np.full(n_images, -1)
        labels[part] = cut_tree(tree, n_clusters=number)
        found.append(labels)
    return float(np.mean([_agreement(first, second) for first, second in combinations(found, 2)]))


def split_index(descriptors: NDArray[np.floating[Any]], *, generator: np.random.Generator) -> float | None:
    r"""Tell whether there is more than one kind of image: whether half of them confirms the split of the other half.

    The images are halved at random. Ward's tree of one half, smoothed, is cut in two, and the other half is laid along
    the line between the means of the two. :math:`q` is the largest part of its variance that one threshold on that line
    explains, averaged over the halvings, and :math:`e` the same of as many Gaussian numbers:

    .. math:: \text{index} = (q - e) / (1 - e)

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, before smoothing. Of more than ``MOST_DRAWN``, that many are drawn.
    generator
        Draws ``HALVINGS`` halvings.

    Returns
    -------
    index
        About 0 for one cluster, 1 for two that are each in one point; None for fewer than ``FEWEST_TO_SPLIT`` images,
        of which nothing can be told.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` are not two-dimensional and finite.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    if len(values) < FEWEST_TO_SPLIT:
        return None
    found, expected = [], []
    for _ in range(HALVINGS):
        order = generator.permutation(len(values))[:MOST_DRAWN]
        first, second = values[np.sort(order[::2])], values[np.sort(order[1::2])]
        labels = cut_tree(_ward_of_few(smoothed(first).astype(np.float64)), n_clusters=2)
        direction = first[labels == 0].mean(axis=0) - first[labels == 1].mean(axis=0)
        found.append(_explained(second @ direction))
        expected.append(_explained(generator.normal(size=len(second))))
    by_chance = float(np.mean(expected))
    return (float(np.mean(found)) - by_chance) / (1 - by_chance)


def _explained(values: NDArray[np.float64]) -> float:
    """Largest part of the variance of numbers that one threshold explains."""
    ordered = np.sort(values) - values.mean()
    total = float((ordered**2).sum())
    if total <= 0:
        return 0.0
    n, below = len(ordered), np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    return float((sums**2 / below + sums**2 / (n - below)).max() / total)


def _agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    both = (first >= 0) & (second >= 0)
    return adjusted_rand_index(first[both].tolist(), second[both].tolist())


def _ward_of_few(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ward's tree from the distances of all pairs: of few long descriptors faster than from the descriptors."""
    squares = np.einsum("nd,nd->n", values, values)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * (values @ values.T), 0))
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    return np.asarray(fastcluster.linkage(condensed, method="ward", preserve_input=False), dtype=np.float64)
