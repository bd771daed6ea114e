"""How bad clusters are, and which of them are ordinary parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

ORDINARY_NAMES: Final = frozenset({"good", "ok", "okay", "normal", "ordinary"})
"""Names, in any case, by which a person says that a cluster holds good parts."""

ORDINARY_SHARE: Final = 0.2
"""Share of all images that the least rare cluster has at least, if it is ordinary."""

ORDINARY_RARITY: Final = 0.65
"""Part of the least rare cluster's images that others are rarer than, on average, at most, if they are ordinary too."""


def ordinary_clusters(rarity: Mapping[str, Sequence[float]], names: Mapping[str, str | None]) -> frozenset[str]:
    """Clusters that hold good parts: those that a person named so, else the large one of little rarity, and its like.

    Without such a name, the cluster of the lowest median is ordinary if it holds ``ORDINARY_SHARE`` of all images, and
    so is every other whose images are on average not rarer than ``ORDINARY_RARITY`` of that one's. A cluster that a
    person gave another name is not ordinary.

    Parameters
    ----------
    rarity
        By cluster: the rarest patch of each of its images, any unit; no cluster is empty.
    names
        Name of every cluster, or None.

    Examples
    --------
    >>> sorted(ordinary_clusters({"c1": [1.0, 1.1, 1.2], "c2": [3.0]}, {"c1": None, "c2": None}))
    ['c1']
    >>> sorted(ordinary_clusters({"c1": [1.0, 1.1, 1.2], "c2": [3.0]}, {"c1": "chip", "c2": "Good"}))
    ['c2']
    """
    named = {cluster for cluster, name in names.items() if name and name.strip().lower() in ORDINARY_NAMES}
    if named:
        return frozenset(named)
    medians = {cluster: float(np.median(values)) for cluster, values in rarity.items()}
    unnamed = [cluster for cluster in medians if not names.get(cluster)]
    if len(medians) < 2 or not unnamed:
        return frozenset()
    least = min(unnamed, key=lambda cluster: (medians[cluster], -len(rarity[cluster]), cluster))
    n_images = sum(len(values) for values in rarity.values())
    if medians[least] > min(medians.values()) or len(rarity[least]) < ORDINARY_SHARE * n_images:
        return frozenset()
    usual = np.sort(rarity[least])
    rarer = {cluster: float(np.searchsorted(usual, rarity[cluster]).mean()) / len(usual) for cluster in unnamed}
    return frozenset(cluster for cluster in unnamed if cluster == least or rarer[cluster] <= ORDINARY_RARITY)
