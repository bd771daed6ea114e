"""Which clusters that a re-clustering found are news, and which only part what was there in another way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, WHOLE, checked_array, checked_sequence
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.keeping import is_apart
from anoclust_core.matching.newcomers import RARER_THAN, percentiles

FAR_APART: Final = 5.0
"""Separation from which on a kind that was there all the time is told: three images of a new kind on made streams have
4.9 to 11, while one kind may have pieces of 3 to 4."""

BY_CHANCE: Final = 0.05
"""Chance that all images of a cluster came as late as they did, below which it is of a new kind."""


def news_of(
    descriptors: NDArray[np.floating[Any]],
    ids: Sequence[str],
    born: Sequence[str],
    *,
    nights: Sequence[date],
    is_ordinary: NDArray[np.bool_],
    rarity: NDArray[np.floating[Any]],
) -> tuple[str, ...]:
    r"""Give the born clusters that are to be told as new: they are rare, and lie apart or came late.

    A cluster whose images were mostly in ordinary clusters until now, and that lies ``FAR_APART``, by
    `anoclust_core.matching.keeping.is_apart`, was there, but hidden. It came late if chance would hardly have put all
    of its n images into the nights since its first one,

    .. math:: (N_\text{since} / N)^n < \text{BY\_CHANCE}

    Anything else is a piece of a kind that was known, cut in another way. So is a cluster whose images are not rarer
    than ordinary ones, on average: see ``anoclust_core.matching.newcomers.RARER_THAN``.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite: those that images are given to clusters by.
    ids
        Cluster of every image.
    born
        Clusters that are asked about.
    nights, is_ordinary, rarity
        Night of every image, whether its cluster was one of ordinary parts until now, and rarity of its rarest patch.

    Raises
    ------
    ArrayContractError
        If there is not one of everything for every descriptor, or a cluster has no image.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    rare = checked_array("rarity", rarity, "(n_images,)").astype(np.float64)
    ordinary = checked_array("is_ordinary", is_ordinary, "(n_images,)").astype(np.bool_)
    ids, born = checked_sequence("ids", ids, (str,)), checked_sequence("born", born, (str,))
    nights = checked_sequence("nights", nights, (date,))
    lengths = [len(ids), len(nights), len(ordinary), len(rare)]
    if not set(born) <= set(ids):
        raise ArrayContractError(f"expected clusters that have images, found {', '.join(sorted(set(born) - set(ids)))}")
    if set(lengths) != {len(values)}:
        raise ArrayContractError(
            f"expected a cluster, a night, whether it is ordinary and a rarity for each of {len(values)} descriptors, "
            f"found {lengths}"
        )
    names, when = np.array(ids, dtype=object), np.array([night.toordinal() for night in nights])
    percentile = percentiles(rare, ordinary)
    clusters = {name: values[names == name] for name in set(ids)}
    return tuple(
        one
        for one in born
        if percentile[names == one].mean() >= RARER_THAN
        and (
            came_late(names == one, when)
            or (
                ordinary[names == one].mean() > 0.5
                and is_apart(clusters[one], {**clusters, one: values[:0]}, by=FAR_APART)
            )
        )
    )


def came_late(own: NDArray[np.bool_], when: NDArray[np.int64]) -> bool:
    """Whether chance would hardly have put all images of a group into the nights since its first one: see `news_of`.

    Parameters
    ----------
    own
        Shape ``(n_images,)``: those of the group, at least one.
    when
        Shape ``(n_images,)``: a number for the night of each, later ones larger.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or the group is empty.
    """
    group = checked_array("own", own, "(n_images,)", kinds=TRUTHS)
    nights = checked_array("when", when, "(n_images,)", kinds=WHOLE)
    if len(group) != len(nights) or not group.any():
        raise ArrayContractError(
            f"expected a group of at least one of {len(nights)} images, found {int(group.sum())} of {len(group)}"
        )
    since = float((nights >= nights[group].min()).mean())
    return bool(int(group.sum()) * np.log(since) < np.log(BY_CHANCE))
