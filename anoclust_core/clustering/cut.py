"""The cut of recipe auto: the knee of the tree, then clusters joined and split by the images' neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.knee import suggest_by_knee
from anoclust_core.clustering.linkage import NClustersSuggestion, cut_tree
from anoclust_core.clustering.neighbours import follow_neighbours, shared_neighbours


def suggest_cut(
    linkage: NDArray[np.float64],
    descriptors: NDArray[np.floating[Any]],
    *,
    rows: NDArray[np.integer[Any]] | None = None,
    lowest: int = 1,
    highest: int | None = None,
) -> tuple[NClustersSuggestion, NDArray[np.int64]]:
    """Cut a tree as recipe auto does where no number is asked for; no labels are used.

    Parameters
    ----------
    linkage
        As in `anoclust_core.clustering.linkage.linkage_tree`.
    descriptors
        Shape ``(n_images, dim)``, finite: what the tree is of.
    rows
        Rows that neighbours are looked for among, one for each distinct image; see `shared_neighbours`.
    lowest, highest
        Bounds of the number, as in `suggest_by_knee`.

    Returns
    -------
    suggestion, labels
        The number and why; and the cluster of each image, as in `cut_tree`.

    Raises
    ------
    ArrayContractError, ConfigError
        As `suggest_by_knee`, `shared_neighbours` and `follow_neighbours`.
    """
    found = suggest_by_knee(linkage, lowest=lowest, highest=highest)
    labels = cut_tree(linkage, n_clusters=found.n_clusters)
    links = shared_neighbours(descriptors, rows=rows)
    followed = follow_neighbours(linkage, labels, links, lowest=lowest, highest=highest)
    if np.array_equal(followed, labels):
        return found, labels
    why = f"{found.criterion} ({found.n_clusters}), then clusters joined and split by the images' neighbours"
    return replace(found, n_clusters=int(followed.max()) + 1, criterion=why), followed
