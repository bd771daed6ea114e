"""Where the patches of an image are rare, from what runs and nights have stored; on one scale for the category."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.embedding.resizing import Resize, over_frame, seen_box
from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from anoclust_core.reporting.figures import rarity_scale
from tasks.stores import arrays, runs
from tasks.stores.catalog.facts import SnapshotFact
from tasks.stores.files import safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Snapshot, members, read_snapshot
from tasks.stores.stage_keys import VIEW_RARITY
from tasks.stores.upkeep import inventory

_SCALE_ROWS: Final = 1024
"""Images that the scale is taken from: rows are ordered by content hash, so that the first ones are a fair sample."""

_ROWS: Final = 4096
"""Descriptors that are read at a time."""


@dataclass(frozen=True)
class Row:
    """Where an image's rarity is: a folder, a row in there, and the array."""

    folder: Path
    row: int
    name: str = "rarity"


@dataclass(frozen=True)
class Measures:
    """What is stored of a category's images beyond the catalog, since its last re-clustering.

    Attributes
    ----------
    rows
        Folder of rarity and the row in there, by content.
    plain
        Folder and row of the descriptors that nights measure distances between, by content; of a part, those of the
        view that stands for it.
    grid
        Height and width of the patch grid; None where it is not known.
    scale
        Ends of the colour scale, in the unit of rarity.
    resize, tiles
        What of a picture the grid covers.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    plain: Mapping[str, tuple[Path, str, int]] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    resize: Resize = "squash"
    tiles: tuple[int, int] | None = None

    def parts(self) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
        """Contents and descriptors of all images that have one, shape ``(n, dim)``, so many at a time.

        Raises
        ------
        DamagedError
            If what is stored is damaged.
        """
        places = sorted(self.plain.items(), key=lambda item: (str(item[1][0]), item[1][2]))
        for (folder, name), group in groupby(places, key=lambda item: item[1][:2]):
            rows = [(place[2], content) for content, place in group]
            for start in range(0, len(rows), _ROWS):
                part = rows[start : start + _ROWS]
                first, last = part[0][0], part[-1][0]
                stored = arrays.read(folder, name, (slice(first, last + 1),)).astype(np.float64)
                yield [content for _, content in part], stored[[row - first for row, _ in part]]

    def rarity(self, content: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        """Rarity of an image's patches over its whole picture of some height and width; None where it is not stored.

        Two-dimensional, float32, about a cell a patch.

        Raises
        ------
        DamagedError
            If what is stored is damaged.
        """
        place = self.rows.get(content)
        if place is None or self.grid is None:
            return None
        stored = arrays.read(place.folder, place.name, (slice(place.row, place.row + 1),))
        grid = stored.reshape(self.grid).astype(np.float32)
        found: NDArray[np.float32] = over_frame(grid, shape, seen_box(shape, resize=self.resize, tiles=self.tiles))
        return found


def read_measures(
    layout: StoreLayout, category: str, fact: SnapshotFact | None, views: Collection[str] = ()
) -> Measures:
    """Find what is stored of the images of the last re-clustering, and of the nights since it; nothing without one.

    Parameters
    ----------
    layout, category, fact
        The re-clustering.
    views
        Views of parts that other views stand for now, by content.
    """
    if fact is None:
        return Measures()
    snapshot = read_snapshot(fact)
    try:
        images = members(layout, snapshot)
        embedding: Mapping[str, Any] = runs.read_summary(layout.runs(category) / snapshot.run)["embedding"]
    except (OSError, StoreError, KeyError):  # the snapshot's run is damaged or gone: pictures come without heat
        return Measures()
    weighed = layout.folder("weights", category, snapshot.keys["weigh"])
    is_auto = "whiten" in snapshot.keys
    described = layout.folder("models", category, snapshot.keys["whiten"]) if is_auto else weighed
    name = "plain" if is_auto else "descriptors"
    contents = [image.sha256 for image in images.clustered]
    every = [image.sha256 for image in images.compared] if images.views else ()
    rows = {content: Row(weighed, at, VIEW_RARITY) for at, content in enumerate(every)}
    rows |= {content: Row(weighed, at) for at, content in enumerate(contents)}
    plain = {content: (described, name, at) for at, content in enumerate(contents)}
    for folder, of_night in _of_nights(layout, category, snapshot):
        for at, content in enumerate(of_night):
            rows.setdefault(content, Row(folder, at))
            plain.setdefault(content, (folder, "descriptors", at))
    tiles = tuple(embedding["tiles"]) if embedding.get("tiles") else None
    n_tiles = tiles[0] * tiles[1] if tiles else 1
    sample = arrays.read(weighed, "rarity", (slice(0, _SCALE_ROWS),))
    return Measures(
        rows=rows,
        plain={content: place for content, place in plain.items() if content not in views},
        grid=(int(embedding["grid"][0]), int(embedding["grid"][1])),
        scale=rarity_scale(sample, n_tiles=n_tiles),
        resize=embedding.get("resize", "squash"),
        tiles=tiles,
    )


def _of_nights(layout: StoreLayout, category: str, snapshot: Snapshot) -> list[tuple[Path, Sequence[str]]]:
    """Folders that nights on the scale of a snapshot have kept, with the images of their rows.

    These are the nights since it; also those before, if it is a person's cut of an earlier one.
    """
    found = []
    for folder in inventory.array_folders(layout, "weights", safe_name(category)):
        told = arrays.describe(folder) or {}
        contents = told.get("contents")
        # folders of before tell their snapshot only, or even that by their name alone
        of_before = content_key("assign", {"snapshot": snapshot.key, "contents": contents})
        is_of_snapshot = told.get("snapshot") == snapshot.key or folder.name == of_before
        if contents and (told.get("weigh") == snapshot.keys["weigh"] or is_of_snapshot):
            found.append((folder, contents))
    return found
