"""A tree of few groups in place of one of many images: enough to cut it again and again while somebody looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.checks import check_cut
from anoclust_core.clustering.linkage import cut_tree


@dataclass(frozen=True)
class FewGroups:
    """The groups of the finest cut, and how they merge.

    Attributes
    ----------
    labels
        Shape ``(n_images,)``, int64: group of every image, numbered by decreasing size.
    linkage
        Shape ``(n_groups - 1, 4)``, float64, SciPy's layout, its leaves the groups: two ids, the height of the tree's
        own merge, and images in what is merged.
    """

    labels: NDArray[np.int64]
    linkage: NDArray[np.float64]


def few_groups(linkage: NDArray[np.float64], *, n_groups: int) -> FewGroups:
    """Cut a tree into groups, and keep what is above the cut.

    Every cut of the tree into fewer clusters joins whole groups: it is the same cut of the small tree.

    Parameters
    ----------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout, merges in order.
    n_groups
        From 1 to ``n_images``.

    Raises
    ------
    ArrayContractError, ConfigError
        As `anoclust_core.clustering.checks.check_cut`.
    """
    n_images = check_cut(linkage, n_groups)
    labels = cut_tree(linkage, n_clusters=n_groups)
    image_of = np.concatenate([np.arange(n_images), np.full(n_images - 1, -1)])  # any image below a node
    for row, first in enumerate(linkage[:, 0].astype(np.int64).tolist()):
        image_of[n_images + row] = image_of[first]
    n_below = n_images - n_groups

    def of_group(node: float) -> int:
        """Number of a node of the tree in the small one."""
        at = int(node) - n_images - n_below
        return n_groups + at if at >= 0 else int(labels[image_of[int(node)]])

    above = [
        (of_group(first), of_group(second), height, size) for first, second, height, size in linkage[n_below:].tolist()
    ]
    return FewGroups(labels, np.array(above, dtype=np.float64).reshape(-1, 4))
