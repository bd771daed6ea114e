"""Where images are, counted and put in order: parts of what the catalog gave once, without asking it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tasks.stores.catalog.browsing import Chosen, Places
from tasks.stores.catalog.facts import UNKNOWN


class Positions:
    """Where the images of a category are.

    Clusters are named by identity, images without one are in `UNKNOWN`.

    Parameters
    ----------
    places
        From the catalog.
    """

    def __init__(self, places: Places) -> None:
        self._contents = places.contents
        self._names = [name or UNKNOWN for name in places.names]
        self._clusters = np.array(places.clusters, dtype=np.int32)
        self._nights = np.array(places.nights, dtype=np.int32)

    def mask(self, chosen: Chosen, with_values: AbstractSet[str] | None) -> NDArray[np.bool_]:
        """Which images are chosen, one bool an image.

        Parameters
        ----------
        chosen
            By night.
        with_values
            Images with the chosen values of columns; None where none is chosen.
        """
        found: NDArray[np.bool_] = np.ones(len(self._contents), dtype=bool)
        if chosen.since is not None:
            found &= self._nights >= chosen.since.toordinal()
        if chosen.until is not None:
            found &= self._nights <= chosen.until.toordinal()
        if with_values is not None:
            found &= np.fromiter((content in with_values for content in self._contents), bool, len(self._contents))
        return found

    def nights(self) -> list[date]:
        """Nights with images, in order."""
        return [date.fromordinal(int(night)) for night in np.unique(self._nights)]

    def counts(self) -> dict[str, list[int]]:
        """Images of every cluster by night, in the order of `nights`."""
        _, at = np.unique(self._nights, return_inverse=True)
        n_nights = int(at.max()) + 1 if len(at) else 0
        flat = np.bincount(self._clusters * n_nights + at, minlength=len(self._names) * n_nights)
        return dict(zip(self._names, flat.reshape(len(self._names), n_nights).tolist(), strict=True))

    def sizes(self, mask: NDArray[np.bool_]) -> dict[str, int]:
        """How many of the chosen images are in every cluster."""
        found = np.bincount(self._clusters[mask], minlength=len(self._names)).tolist()
        return dict(zip(self._names, found, strict=True))

    def members(self, cluster: str, mask: NDArray[np.bool_], most: int | None = None) -> Sequence[str]:
        """Chosen images of a cluster, the most typical first: those that belong to it most surely."""
        if cluster not in self._names:
            return []
        at = np.flatnonzero(mask & (self._clusters == self._names.index(cluster)))[:most]
        return [self._contents[one] for one in at.tolist()]

    def leading(self, n: int | None, mask: NDArray[np.bool_]) -> dict[str, Sequence[str]]:
        """The ``n`` most typical of the chosen images of every cluster, or all of them."""
        return {name: self.members(name, mask, n) for name in self._names}

    def breakdown(self, values: Mapping[str, str], mask: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
        """How many of the chosen images of every cluster have each value; those without one under the empty text."""
        at = np.flatnonzero(mask).tolist()
        pairs = Counter((self._names[self._clusters[one]], values.get(self._contents[one], "")) for one in at)
        found: dict[str, dict[str, int]] = {}
        for (name, value), count in pairs.items():
            found.setdefault(name, {})[value] = count
        return found
