"""Which images to ask people about: those whose names teach most."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.checks import check_linkage, check_n_clusters, checked_descriptors
from anoclust_core.clustering.few_groups import few_groups
from anoclust_core.errors import ArrayContractError, ConfigError


def telling_images(
    linkage: NDArray[np.float64],
    descriptors: NDArray[np.floating[Any]],
    *,
    n_clusters: int,
    n_each: int,
    answered: Collection[int] = (),
) -> NDArray[np.int64]:
    r"""Choose the images whose names would teach most: the middle image of each of many small branches of a tree.

    The tree is cut into ``n_each * n_clusters`` groups, as many as it has images at most. The middle image of a group
    :math:`g` is the one nearest to its mean,

    .. math:: m_g = \operatorname{arg\,min}_{i \in g} \Big\lVert x_i - \tfrac{1}{|g|} \sum_{j \in g} x_j \Big\rVert

    They are ordered so that any first part of them is spread over the tree: cuts into 1, 2, ... clusters are gone
    through, and each cluster in which nobody has answered or been asked yet gives the middle image of its largest
    group. So without answers the first k lie in the k clusters of the cut into k.

    Parameters
    ----------
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout, merges in order; as stored of a clustering.
    descriptors
        Shape ``(n_images, dim)``, finite: those that the tree was made of. Rows are those of the tree.
    n_clusters
        Clusters that there are, from 1 to ``n_images``.
    n_each
        Images to ask about for each of them, from 1; a few are looked at faster, ten teach all that there is to learn.
    answered
        Rows of images that people have named or confirmed. A group that has one is left out.

    Returns
    -------
    rows
        Shape ``(n_asked,)``, int64: the most telling first; none where every group has an answer.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree, ``descriptors`` have other rows, or ``answered`` are no rows of them.
    ConfigError
        If there cannot be so many clusters, or ``n_each`` is below 1.
    """
    check_linkage(linkage)
    values = checked_descriptors(descriptors)
    n_images = len(linkage) + 1
    given = np.unique(np.asarray(list(answered), dtype=np.int64))
    if len(values) != n_images or (len(given) and not 0 <= given[0] <= given[-1] < n_images):
        raise ArrayContractError(
            f"expected descriptors of {n_images} images and answers among them, found {len(values)} rows and answers "
            f"{given[:1].tolist()} to {given[-1:].tolist()}"
        )
    check_n_clusters(n_clusters, n_images)
    if n_each < 1:
        raise ConfigError(f"expected n_each of at least 1, found {n_each}; 3 to 10 are usual")
    n_groups = min(n_images, n_each * n_clusters)
    few = few_groups(linkage, n_groups=n_groups)
    has_answer = np.zeros(2 * n_groups - 1, np.bool_)  # of groups and of their merges
    has_answer[few.labels[given]] = True
    largest = np.arange(2 * n_groups - 1)  # largest group of each: they are numbered by size
    children = few.linkage[:, :2].astype(np.int64)
    for at, (first, second) in enumerate(children.tolist(), start=n_groups):
        has_answer[at] = has_answer[first] or has_answer[second]
        largest[at] = min(largest[first], largest[second])
    order = [largest[-1]] if not has_answer[-1] else []
    for at in range(n_groups - 2, -1, -1):
        one, other = children[at].tolist()
        asked = min(largest[one], largest[other]) if not has_answer[n_groups + at] else -1
        order += [largest[part] for part in (one, other) if not has_answer[part] and largest[part] != asked]
    return np.array([_middle(values, np.flatnonzero(few.labels == group)) for group in order], np.int64)


def _middle(values: NDArray[np.float64], rows: NDArray[np.int64]) -> int:
    """Row nearest to the mean of some rows, the first of several."""
    own = values[rows]
    return int(rows[np.argmin(((own - own.mean(axis=0)) ** 2).sum(axis=1))])
