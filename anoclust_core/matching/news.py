"""Which clusters that a re-clustering found are news, and which only part what was there in another way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.keeping import APART, FEWEST, separation
from anoclust_core.matching.newcomers import RARER_THAN, percentiles

BY_CHANCE: Final = 0.05
"""Chance that all images of a cluster came as late as they did, below which it is of a new kind."""

_NEIGHBOURS: Final = 3
"""Nearest clusters that a cluster may be a piece of."""


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

    A cluster lies apart if its separation from each of its nearest clusters is at least ``APART``, see
    `anoclust_core.matching.keeping.separation`: it was there, but hidden. It came late if chance would hardly have put
    all of its n images into the nights since its first one,

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
        If there is not one of everything for every descriptor.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    rare = checked_array("rarity", rarity, "(n_images,)").astype(np.float64)
    ordinary = checked_array("is_ordinary", is_ordinary, "(n_images,)").astype(np.bool_)
    lengths = [len(ids), len(nights), len(ordinary), len(rare)]
    if set(lengths) != {len(values)}:
        raise ArrayContractError(
            f"expected a cluster, a night, whether it is ordinary and a rarity for each of {len(values)} descriptors, "
            f"found {lengths}"
        )
    names, when = np.array(ids, dtype=object), np.array([night.toordinal() for night in nights])
    percentile = percentiles(rare, ordinary)
    return tuple(
        one
        for one in born
        if percentile[names == one].mean() >= RARER_THAN[0]
        and (_came_late(names == one, when) or _is_apart(values, names, one))
    )


def _came_late(own: NDArray[np.bool_], when: NDArray[np.int64]) -> bool:
    since = float((when >= when[own].min()).mean())
    return bool(int(own.sum()) * np.log(since) < np.log(BY_CHANCE))


def _is_apart(values: NDArray[np.float64], names: NDArray[Any], one: str) -> bool:
    own = values[names == one]
    if len(own) < FEWEST:
        return False
    others = {name: values[names == name] for name in sorted(set(names.tolist()) - {one})}
    far = {name: float(np.linalg.norm(rows.mean(axis=0) - own.mean(axis=0))) for name, rows in others.items()}
    nearest = sorted(far, key=lambda name: (far[name], name))[:_NEIGHBOURS]
    return all(separation(own, others[name]) >= APART for name in nearest if len(others[name]) > 1)
