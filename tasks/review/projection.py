"""Where the images of a category lie on its map: worked out once for every re-clustering, and kept in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.projection import place_beside, project
from anoclust_core.errors import DamagedError
from tasks.review.rarity import Measures
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Snapshot, members

_SEED: Final = 0
"""Of the map: the same clustering looks the same for everybody."""

_ONE_AT_A_TIME: Final = Lock()
"""Two people who open the same map wait for one."""


@dataclass(frozen=True)
class MapPoints:
    """Images on a map, by content, and their places: shape ``(n_images, 2)``, float32, in [-1, 1]."""

    contents: Sequence[str]
    positions: NDArray[np.float32]


def map_points(layout: StoreLayout, category: str, snapshot: Snapshot, measures: Measures) -> MapPoints:
    """Places of the images of a re-clustering, and of the nights since it: these are put beside those like them.

    The first time this takes some seconds for a thousand images, and half a minute at most for any number.

    Parameters
    ----------
    layout, category, snapshot
        Which clustering.
    measures
        What is stored of the category's images.

    Raises
    ------
    StoreError
        If the clustering's descriptors are gone or damaged.
    """
    contents = [image.sha256 for image in members(layout, snapshot).clustered]
    with _ONE_AT_A_TIME:
        positions = snapshot_positions(layout, category, snapshot)
    on_it = set(contents)
    since = sorted(content for content in measures.plain if content not in on_it)
    if not since:
        return MapPoints(contents, positions)
    known = [content in measures.plain for content in contents]
    beside = place_beside(
        _plain(measures, since),
        known=_plain(measures, [content for content, is_known in zip(contents, known, strict=True) if is_known]),
        positions=positions[known],
    )
    return MapPoints([*contents, *since], np.concatenate([positions, beside]))


def snapshot_positions(layout: StoreLayout, category: str, snapshot: Snapshot) -> NDArray[np.float32]:
    """Places of the images of a re-clustering, in the order of its rows: read, or worked out and kept.

    Raises
    ------
    StoreError
        If the descriptors are gone or damaged.
    """
    folder = layout.folder("projections", category, snapshot.keys["weigh"])
    if arrays.is_complete(folder):
        with suppress(DamagedError):
            return arrays.read(folder, "positions")
    descriptors = arrays.read(layout.folder("weights", category, snapshot.keys["weigh"]), "descriptors")
    positions = project(descriptors, seed=_SEED)
    with suppress(OSError):  # on a full or read-only disk it is made again the next time
        arrays.write_arrays(folder, {"positions": positions}, {})
    return positions


def _plain(measures: Measures, contents: Sequence[str]) -> NDArray[np.float32]:
    """Plain descriptors of some images, in their order: each folder is read once."""
    by_folder: dict[tuple[Path, str], list[tuple[int, int]]] = defaultdict(list)
    for at, content in enumerate(contents):
        folder, name, row = measures.plain[content]
        by_folder[folder, name].append((at, row))
    parts: list[tuple[list[int], NDArray[np.float32]]] = []
    for (folder, name), places in by_folder.items():
        stored = arrays.read(folder, name)
        parts.append(([at for at, _ in places], stored[[row for _, row in places]]))
    found = np.empty((len(contents), parts[0][1].shape[1]), np.float32)
    for rows, values in parts:
        found[rows] = values
    return found
