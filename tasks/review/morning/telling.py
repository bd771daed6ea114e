"""Images whose names would teach most, from what the last re-clustering has stored."""

from __future__ import annotations

from collections.abc import Collection

from anoclust_core.clustering.learning.asking import telling_images
from anoclust_core.matching.morning_list import N_EACH
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Snapshot, members


def telling(
    layout: StoreLayout, category: str, snapshot: Snapshot, answered: Collection[str], *, most: int | None = None
) -> list[str]:
    """Images of the last re-clustering to ask about, by content, the most telling first.

    Parameters
    ----------
    layout, category, snapshot
        Which clustering.
    answered
        Images that people have put somewhere, or taken out of their cluster: what is like them is not asked about.
    most
        Images at most; by default `N_EACH` for each cluster of the tree's cut.

    Raises
    ------
    StoreError
        If the tree or the descriptors are gone or damaged.
    """
    contents = [image.sha256 for image in members(layout, snapshot).clustered]
    tree = layout.folder("trees", category, snapshot.keys["group"])
    n_clusters = int(arrays.read(tree, "labels").max()) + 1
    rows = telling_images(
        arrays.read(tree, "linkage"),
        arrays.read(layout.folder("weights", category, snapshot.keys["weigh"]), "descriptors"),
        n_clusters=n_clusters,
        n_each=N_EACH if most is None else max(1, -(-most // n_clusters)),
        answered=[row for row, content in enumerate(contents) if content in answered],
    )
    return list(dict.fromkeys(contents[row] for row in rows.tolist()))[:most]
