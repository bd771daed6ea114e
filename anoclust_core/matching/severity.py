"""How bad clusters are, and which of them are ordinary parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final

import numpy as np

ORDINARY_NAMES: Final = frozenset({"good", "ok", "okay", "normal", "ordinary"})
"""Names, in any case, by which a person says that a cluster holds good parts."""

ORDINARY_SHARE: Final = 0.2
"""Share of all images that ordinary clusters have at least, together."""

ORDINARY_RARITY: Final = 0.65
"""Part of the ordinary images that those of another cluster are rarer than, on average, at most, if it is ordinary."""


def ordinary_clusters(
    rarity: Mapping[str, Sequence[float]],
    names: Mapping[str, str | None],
    marks: Mapping[str, bool] | None = None,
) -> frozenset[str]:
    """Clusters that hold good parts: those that a person named so, else the large one of little rarity, and its like.

    A person's mark counts more than either: it adds a cluster, whatever its name and rarity, or leaves it out.

    Without such a name, it is the cluster of the lowest median, and one by one every other whose images are on average
    not rarer than ``ORDINARY_RARITY`` of those found so far; all of them together have to hold ``ORDINARY_SHARE`` of
    all images. A cluster that a person gave another name is not ordinary.

    Parameters
    ----------
    rarity
        By cluster: the rarest patch of each of its images, any unit; no cluster is empty.
    names
        Name of every cluster, or None.
    marks
        Clusters that a person marked: True, no defect; False, a defect.

    Examples
    --------
    >>> sorted(ordinary_clusters({"c1": [1.0, 1.1, 1.2], "c2": [3.0]}, {"c1": None, "c2": None}))
    ['c1']
    >>> sorted(ordinary_clusters({"c1": [1.0, 1.1, 1.2], "c2": [3.0]}, {"c1": "chip", "c2": "Good"}))
    ['c2']
    >>> sorted(ordinary_clusters({"c1": [1.0, 1.1, 1.2], "c2": [3.0]}, {"c1": None, "c2": None}, {"c2": True}))
    ['c1', 'c2']
    """
    said = marks or {}
    marked = {cluster for cluster, is_ordinary in said.items() if is_ordinary and cluster in rarity}
    defects = {cluster for cluster, is_ordinary in said.items() if not is_ordinary}
    named = {cluster for cluster, name in names.items() if name and name.strip().lower() in ORDINARY_NAMES} - defects
    if named:
        return frozenset(named | marked)
    eligible = {cluster for cluster in rarity if cluster in marked or not names.get(cluster)} - defects
    return frozenset(_of_little_rarity(rarity, eligible) | marked)


def _of_little_rarity(rarity: Mapping[str, Sequence[float]], eligible: Set[str]) -> frozenset[str]:
    """The cluster of the lowest median and those that are like it, if they are eligible and large enough."""
    medians = {cluster: float(np.median(values)) for cluster, values in rarity.items()}
    unnamed = [cluster for cluster in medians if cluster in eligible]
    if len(medians) < 2 or not unnamed:
        return frozenset()
    least = min(unnamed, key=lambda cluster: (medians[cluster], -len(rarity[cluster]), cluster))
    if medians[least] > min(medians.values()):
        return frozenset()
    found = {least}
    for cluster in sorted(unnamed, key=lambda name: (medians[name], name)):
        usual = np.sort(np.concatenate([rarity[one] for one in sorted(found)]))
        if np.searchsorted(usual, rarity[cluster]).mean() <= ORDINARY_RARITY * len(usual):
            found.add(cluster)
    n_images = sum(len(values) for values in rarity.values())
    return frozenset(found if sum(len(rarity[one]) for one in found) >= ORDINARY_SHARE * n_images else ())
