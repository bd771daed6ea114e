"""New clusters among the images that belong nowhere."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.order import by_content
from anoclust_core.errors import ConfigError
from anoclust_core.matching.prototypes import Prototypes, check_dim

MIN_BIRTH: Final = 3
"""Images that make a new cluster: one is chance, two may be copies of each other."""

NOT_BORN: Final = -1
"""Label of images that stay unknown."""


def births(
    descriptors: NDArray[np.floating[Any]], prototypes: Prototypes, *, min_images: int = MIN_BIRTH
) -> NDArray[np.int64]:
    """Groups of unknown images that are close to each other and, together, far from every cluster.

    Complete linkage, cut below the snapshot's merge height (`Prototypes.apart`: in a snapshot of few images that is
    less than what is typical of one kind): any two images of a group are nearer than that. A group is born if Ward's
    tree would merge it with no cluster below that height either, nor within the cluster's radius: cut like the
    snapshot's, the tree would keep them apart. Outliers of one cluster lie around it, so that their mean is near its
    own, and are not born however many nights they pile up; images of a new kind lie on one side, and each one more
    makes it surer.

    Permuting the images permutes the labels, ties and duplicates included. Memory is 4 bytes x n_images^2.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite: the images that are unknown now; no row is fine.
    prototypes
        The snapshot's clusters and those born since.
    min_images
        Fewest images of a group, at least 2.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64: 0, 1, ... by decreasing size, ties by the smallest descriptor; ``NOT_BORN`` for
        images in no group.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional or not finite, or of another length than the prototypes.
    ConfigError
        If ``min_images`` is too small.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    if min_images < 2:
        raise ConfigError(f"expected min_images of at least 2, found {min_images}; {MIN_BIRTH} is a good number")
    labels = np.full(len(descriptors), NOT_BORN, dtype=np.int64)
    if len(descriptors) < min_images:
        return labels
    values = checked_descriptors(descriptors)
    check_dim(values, prototypes)
    order = by_content(values)
    tree = linkage_tree(values[order], method="complete")
    n_merges = int((tree[:, 2] < prototypes.apart).sum())
    groups = cut_tree(tree, n_clusters=len(values) - n_merges)
    sizes = np.bincount(groups)
    far = [_is_apart(values[order[groups == group]], prototypes) for group in np.flatnonzero(sizes >= min_images)]
    is_born = np.isin(groups, np.flatnonzero(sizes >= min_images)[far])
    if is_born.any():
        labels[order[is_born]] = numbered_by_size(groups[is_born])
    return labels


def _is_apart(rows: NDArray[np.float64], prototypes: Prototypes) -> bool:
    sizes = prototypes.sizes.astype(np.float64)
    factors = np.sqrt(2 * len(rows) * sizes / (len(rows) + sizes))
    heights = factors * np.linalg.norm(prototypes.means - rows.mean(axis=0), axis=1)
    return bool((heights > np.maximum(prototypes.radii, prototypes.apart)).all())
