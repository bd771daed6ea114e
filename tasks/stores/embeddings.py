"""Embeddings of one category and spec: immutable segments of bags, found by content hash.

A segment is a folder with one array and the list of its content hashes, sealed last. Nothing is resized; a night adds
segments. Which images could not be decoded is kept beside them, so that nobody tries again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import normalize_patches
from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from tasks.stores import arrays
from tasks.stores.files import read_json, write_json

CHUNK_IMAGES: Final = 16
"""Images in one chunk, the unit of reading."""

SEGMENT_BYTES: Final = 32 << 20
"""Size that a segment aims at: what a killed run has to embed again, and what is held in memory until written."""

STORED_DTYPE: Final = "float16"
"""Half precision at rest: scores do not move (docs/decisions/0004-half-precision-at-rest.md)."""

_BAGS: Final = "bags"
_UNREADABLE: Final = "unreadable.json"


def segment_images(n_patches: int, dim: int) -> int:
    """Number of images that a segment holds: whole chunks, at least one."""
    chunk_bytes = CHUNK_IMAGES * n_patches * dim * np.dtype(STORED_DTYPE).itemsize
    return CHUNK_IMAGES * max(1, SEGMENT_BYTES // chunk_bytes)


class EmbeddingSegments:
    """The bags of one category and embedding spec.

    Parameters
    ----------
    folder
        Where the segments lie; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def index(self) -> dict[str, tuple[str, int]]:
        """From content hash to (segment, row), over all complete segments."""
        found: dict[str, tuple[str, int]] = {}
        if self.folder.is_dir():
            for segment in sorted(path for path in self.folder.iterdir() if arrays.is_complete(path)):
                found.update({sha256: (segment.name, row) for row, sha256 in enumerate(_segment_hashes(segment))})
        return found

    def count_missing(self, hashes: Iterable[str]) -> int:
        """How many distinct images have neither a bag nor a reason why not."""
        return len(set(hashes) - self.index().keys() - self.unreadable().keys())

    def without_known(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Reasons of images that still have no bag; another run may have read them since."""
        index = self.index()
        return {sha256: why for sha256, why in reasons.items() if sha256 not in index}

    def unreadable(self) -> dict[str, str]:
        """From content hash to the reason, for images that could not be decoded."""
        path = self.folder / _UNREADABLE
        return dict(read_json(path)) if path.is_file() else {}

    def add_unreadable(self, reasons: Mapping[str, str]) -> None:
        """Remember images that cannot be decoded."""
        if reasons:
            write_json(self.folder / _UNREADABLE, {**self.unreadable(), **reasons})

    def append(self, hashes: Sequence[str], bags: NDArray[np.floating[Any]]) -> None:
        """Write one segment.

        Parameters
        ----------
        hashes
            Content hashes, one a bag.
        bags
            Shape ``(n_images, n_patches, dim)``, unit norm.
        """
        segment = self.folder / content_key("segment", {"hashes": list(hashes)})[:16]
        arrays.discard(segment)
        segment.mkdir(parents=True)
        chunks = (CHUNK_IMAGES, *bags.shape[1:])
        arrays.create_array(segment, _BAGS, shape=bags.shape, chunks=chunks, dtype=STORED_DTYPE)
        arrays.write_block(segment, _BAGS, (0, 0, 0), bags)
        arrays.seal(segment, {"hashes": list(hashes)})

    def read(self, hashes: Sequence[str]) -> NDArray[np.float32]:
        """Bags of some images, in the order asked for.

        Returns
        -------
        bags
            Shape ``(n_images, n_patches, dim)``, float32, normalised again after half precision.

        Raises
        ------
        StoreError
            If a bag is missing or damaged.
        """
        index = self.index()
        lost = [sha256 for sha256 in hashes if sha256 not in index]
        if lost:
            raise StoreError(f"{self.folder} lacks the embeddings of {len(lost)} images; run again to embed them")
        wanted: dict[str, list[tuple[int, int]]] = {}
        for at, sha256 in enumerate(hashes):
            segment, row = index[sha256]
            wanted.setdefault(segment, []).append((at, row))
        bags: NDArray[Any] | None = None
        for segment, places in wanted.items():
            for at, bag in _read_rows(self.folder / segment, places):
                if bags is None:
                    bags = np.empty((len(hashes), *bag.shape), bag.dtype)
                bags[at] = bag
        if bags is None:
            raise StoreError("no bags were asked for")
        return normalize_patches(bags)


@lru_cache(maxsize=4096)
def _segment_hashes(segment: Path) -> tuple[str, ...]:
    """Hashes of a complete segment; a segment never changes, and its name is a digest of them."""
    description = arrays.describe(segment)
    if description is None:
        raise StoreError(f"segment {segment} vanished while it was read; run again")
    return tuple(description["hashes"])


def _read_rows(segment: Path, places: list[tuple[int, int]]) -> list[tuple[int, NDArray[Any]]]:
    """Read (target, row) places of a segment, one read for every run of chunks that are needed together."""
    rows = {}
    needed = sorted({row // CHUNK_IMAGES for _, row in places})
    runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
    for run in runs:
        first = int(run[0]) * CHUNK_IMAGES
        values = arrays.read(segment, _BAGS, slice(first, (int(run[-1]) + 1) * CHUNK_IMAGES))
        rows.update({first + offset: bag for offset, bag in enumerate(values)})
    return [(at, rows[row]) for at, row in places]
