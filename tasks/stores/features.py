"""Feature maps of many images as one array that need not fit into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import StoreError
from anoclust_core.records import EmbeddingSpec
from tasks.stores.embeddings import STORED_DTYPE, EmbeddingSegments

_IMAGES_AT_ONCE: Final = 16


@contextmanager
def feature_maps(
    embeddings: Path, hashes: Sequence[str], spec: EmbeddingSpec, scratch: Path
) -> Iterator[NDArray[np.float16]]:
    """Copy feature maps out of their segments into one file, for training that reads them in any order many times.

    Parameters
    ----------
    embeddings
        Folder of the segments.
    hashes
        Contents, in the order that the array is to have.
    spec
        Its grid and feature length.
    scratch
        Folder that the file is made in. It has no name there, so that nothing is left behind, whatever happens.

    Yields
    ------
    features
        Shape ``(n_images, dim, height, width)``, half precision, mapped into memory; features of a cell lie together.

    Raises
    ------
    StoreError
        If a feature map is missing, or the disk has no room.
    """
    segments = EmbeddingSegments(embeddings)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        shape = (len(hashes), *spec.grid, spec.dim)
        try:
            file.truncate(int(np.prod(shape)) * np.dtype(STORED_DTYPE).itemsize)
            mapped: NDArray[np.float16] = np.memmap(file, dtype=STORED_DTYPE, mode="r+", shape=shape)
            for start in range(0, len(hashes), _IMAGES_AT_ONCE):
                part = segments.read(hashes[start : start + _IMAGES_AT_ONCE])
                file.seek(start * int(np.prod(shape[1:])) * np.dtype(STORED_DTYPE).itemsize)
                file.write(part.astype(STORED_DTYPE).tobytes())
            file.flush()
        except OSError as error:
            raise StoreError(f"no room for {len(hashes):,} feature maps in {scratch} ({error}); free some") from error
        yield mapped.transpose(0, 3, 1, 2)
