"""Descriptors that nights measure distances between, and decide by whether an image is unknown.

Recipe auto clusters by whitened descriptors. In these everything is about equally far from everything, so that an image
of a new kind looks no stranger than any other. Nights therefore choose a cluster by those, and measure how far away it
is by the plain descriptors of the first feature level, [SOHN23] eq. (1). On the demo, with one kind left out of the
snapshot, the plain ones find 30 to 86 % of its images unknown and the whitened ones 0 to 31 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.linkage import linkage_tree
from anoclust_core.errors import StoreError
from anoclust_core.matching.prototypes import merge_height
from tasks.stores import arrays
from tasks.stores.files import safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep import inventory


@dataclass(frozen=True)
class Measured:
    """Descriptors of a run's images, and the highest merge that a cut of their tree keeps.

    Attributes
    ----------
    descriptors
        Shape ``(n_images, dim)``, a row for every clustered image: distances are measured between these.
    height
        As in `anoclust_core.matching.prototypes.merge_height`, in their units.
    choosing
        Descriptors, a row an image, by which an image's cluster is chosen, where those are others; else None.
    tree
        The tree that the height is of, SciPy's layout; None where it is not known.
    """

    descriptors: NDArray[np.float32]
    height: float
    choosing: NDArray[np.float32] | None = None
    tree: NDArray[np.float64] | None = None

    @property
    def chosen_by(self) -> NDArray[np.float32]:
        """Descriptors by which an image's cluster is chosen, whichever these are."""
        return self.descriptors if self.choosing is None else self.choosing

    def of(self, rows: Sequence[int]) -> Measured:
        """Those of some images."""
        choosing = None if self.choosing is None else self.choosing[rows]
        return Measured(self.descriptors[rows], self.height, choosing)

    def in_clusters(self, number: int) -> Measured:
        """Those of as many images in another number of clusters."""
        if self.tree is None:
            raise AssertionError("the height of another number of clusters is read off the whole tree")
        return replace(self, height=merge_height(self.tree, n_clusters=number))


def read_measured(layout: StoreLayout, category: str, keys: Mapping[str, str]) -> Measured:
    """Read those of a run by the keys of its stages.

    Raises
    ------
    StoreError
        If they are gone or damaged.
    """
    tree = layout.folder("trees", category, keys["group"])
    n_clusters = int(arrays.read(tree, "labels").max()) + 1
    if "whiten" not in keys:
        linkage = arrays.read(tree, "linkage").astype(np.float64)
        height = merge_height(linkage, n_clusters=n_clusters)
        own = arrays.read(layout.folder("weights", category, keys["weigh"]), "descriptors")
        return Measured(own, height, tree=linkage)
    model = layout.folder("models", category, keys["whiten"])
    plain = arrays.read(model, "plain")
    linkage = linkage_tree(plain, method="ward")
    height = merge_height(linkage, n_clusters=n_clusters)
    return Measured(plain, height, arrays.read(model, "unsmoothed"), linkage)


def arrays_since(layout: StoreLayout, category: str, name: str = "descriptors") -> dict[str, NDArray[np.float32]]:
    """Descriptors, or another array, of images that came in the nights between re-clusterings, by content.

    Those that are gone or damaged are left out: `anoclust store check` tells of them.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for path in inventory.array_folders(layout, "weights", safe_name(category)):
        try:
            contents = (arrays.describe(path) or {}).get("contents", [])
            found |= dict(zip(contents, arrays.read(path, name), strict=True)) if contents else {}
        except (StoreError, OSError, ValueError, KeyError, TypeError):
            continue
    return found
