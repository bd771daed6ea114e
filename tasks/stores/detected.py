"""Anomaly maps that a detector has made, of one category and detector: immutable segments, found by content hash."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from anoclust_core.records import ImageRecord
from tasks.stores import arrays
from tasks.stores.embeddings import SEGMENT_BYTES

_MAPS: Final = "maps"


class DetectedMaps:
    """The maps of one category and detector, in single precision, as large as the detector makes them.

    Parameters
    ----------
    folder
        Where the segments lie; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def index(self) -> dict[str, tuple[Path, int]]:
        """From content hash to (segment, row), over all complete segments."""
        if not self.folder.is_dir():
            return {}
        segments = sorted(path for path in self.folder.iterdir() if arrays.is_complete(path))
        return {sha256: (path, row) for path in segments for row, sha256 in enumerate(_described(path)[0])}

    def missing(self, images: Collection[ImageRecord]) -> list[str]:
        """Contents of images that have no map, each once, in the order of the images."""
        known = self.index()
        return list(dict.fromkeys(image.sha256 for image in images if image.sha256 not in known))

    def append(self, hashes: Sequence[str], maps: NDArray[np.float32], frames: Sequence[tuple[int, int]]) -> None:
        """Write one segment.

        Parameters
        ----------
        hashes
            Content hashes, one a map.
        maps
            Shape ``(n_images, height, width)``: each covers its picture, upright.
        frames
            Height and width in pixels of each picture.
        """
        segment = self.folder / content_key("segment", {"hashes": list(hashes)})[:16]
        arrays.discard(segment)
        segment.mkdir(parents=True)
        arrays.create_array(segment, _MAPS, shape=maps.shape, chunks=(1, *maps.shape[1:]), dtype="float32")
        arrays.write_block(segment, _MAPS, (0, 0, 0), maps)
        arrays.seal(segment, {"hashes": list(hashes), "frames": [list(frame) for frame in frames]})

    def read(self, hashes: Iterable[str]) -> Iterator[tuple[NDArray[np.float32], tuple[int, int]]]:
        """Maps of some images one by one, and height and width in pixels of their pictures, in the order asked for.

        Raises
        ------
        StoreError
            If a map is missing or damaged.
        """
        index = self.index()
        for sha256 in hashes:
            if sha256 not in index:
                raise StoreError(f"{self.folder} lacks the map of an image; run again to make it")
            segment, row = index[sha256]
            height, width = _described(segment)[1][row]
            yield arrays.read(segment, _MAPS, slice(row, row + 1))[0].astype(np.float32), (int(height), int(width))


def segment_maps(map_shape: tuple[int, int]) -> int:
    """Maps that a segment holds, at least one."""
    return max(1, SEGMENT_BYTES // (map_shape[0] * map_shape[1] * np.dtype(np.float32).itemsize))


@lru_cache(maxsize=4096)
def _described(segment: Path) -> tuple[tuple[str, ...], tuple[Sequence[int], ...]]:
    """Hashes and frames of a complete segment; a segment never changes, and its name is a digest of its hashes."""
    description = arrays.describe(segment)
    if description is None:
        raise StoreError(f"segment {segment} vanished while it was read; run again")
    return tuple(description["hashes"]), tuple(description["frames"])
