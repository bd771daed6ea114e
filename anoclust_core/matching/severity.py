"""How bad clusters are, and which of them are ordinary parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ORDINARY_NAMES: Final = frozenset({"good", "ok", "okay", "normal", "ordinary"})
"""Names, in any case, by which a person says that a cluster holds good parts."""

ORDINARY_SHARE: Final = 0.2
"""Share of all images that the least rare cluster has at least, if it is ordinary."""

ORDINARY_RANGE: Final = 0.15
"""Part of the range from the least to the most severe cluster within which others are ordinary too."""


def ordinary_clusters(
    severity: Mapping[str, float], sizes: Mapping[str, int], names: Mapping[str, str | None]
) -> frozenset[str]:
    """Clusters that hold good parts: those that a person named so, else the large ones of little rarity.

    Without a name, the cluster of the least severity is ordinary if it holds ``ORDINARY_SHARE`` of all images, and so
    is every other whose severity lies within ``ORDINARY_RANGE`` of the range above it. A cluster that a person gave
    another name is not ordinary.

    Parameters
    ----------
    severity
        By cluster: median over its images of the rarest patch of each, any unit.
    sizes
        Images of every cluster.
    names
        Name of every cluster, or None.

    Examples
    --------
    >>> sorted(ordinary_clusters({"c1": 1.0, "c2": 3.0}, {"c1": 80, "c2": 20}, {"c1": None, "c2": None}))
    ['c1']
    >>> sorted(ordinary_clusters({"c1": 1.0, "c2": 3.0}, {"c1": 80, "c2": 20}, {"c1": "chip", "c2": "Good"}))
    ['c2']
    """
    named = {cluster for cluster, name in names.items() if name and name.strip().lower() in ORDINARY_NAMES}
    if named:
        return frozenset(named)
    unnamed = {cluster: value for cluster, value in severity.items() if not names.get(cluster)}
    if len(severity) < 2 or not unnamed:
        return frozenset()
    least = min(unnamed, key=lambda cluster: (unnamed[cluster], -sizes.get(cluster, 0), cluster))
    if unnamed[least] > min(severity.values()) or sizes.get(least, 0) < ORDINARY_SHARE * sum(sizes.values()):
        return frozenset()
    reach = unnamed[least] + ORDINARY_RANGE * (max(severity.values()) - unnamed[least])
    return frozenset(cluster for cluster, value in unnamed.items() if value <= reach)
