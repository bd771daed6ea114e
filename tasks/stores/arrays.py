"""Arrays at rest: folders of Zarr 3 arrays, checksummed inside and complete only when their ``complete.json`` is there.

The only module that imports Zarr.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from anoclust_core.errors import StoreError
from tasks.stores.files import read_json, write_json

MARKER: Final = "complete.json"
"""Written last; a folder without it is the leftover of a killed run and is written anew."""


def create_array(folder: Path, name: str, *, shape: Sequence[int], chunks: Sequence[int], dtype: str) -> None:
    """Create an array that will be filled block by block; no two writers may share a chunk.

    Features do not compress (1.00 to 1.16 in lossless codecs), so chunks are stored as they are, each with a checksum.
    """
    zarr.create_array(
        store=str(folder / name),
        shape=tuple(shape),
        chunks=tuple(max(1, min(c, s)) for c, s in zip(chunks, shape, strict=True)),
        dtype=dtype,
        compressors=[Crc32cCodec()],
        fill_value=np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max,  # no value of ours, see `read`
    )


def write_block(folder: Path, name: str, start: Sequence[int], values: NDArray[Any]) -> None:
    """Write values into an array, their first element at ``start``; one writer a chunk."""
    array = zarr.open_array(store=str(folder / name), mode="r+", use_consolidated=False)
    selection = tuple(slice(at, at + size) for at, size in zip(start, values.shape, strict=True))
    array[selection] = values.astype(array.dtype, copy=False)


def seal(folder: Path, description: Mapping[str, object]) -> None:
    """Declare a folder complete; ``description`` is what `describe` gives back."""
    write_json(folder / MARKER, dict(description))


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, object]) -> None:
    """Write a folder of whole arrays and seal it; an incomplete folder of that name is replaced."""
    discard(folder)
    folder.mkdir(parents=True)
    for name, values in arrays.items():
        chunks = (min(len(values), 1024), *values.shape[1:])
        create_array(folder, name, shape=values.shape, chunks=chunks, dtype=str(values.dtype))
        write_block(folder, name, (0,) * values.ndim, values)
    seal(folder, description)


def read(folder: Path, name: str, selection: Any = ...) -> NDArray[Any]:
    """Read part of an array.

    Parameters
    ----------
    folder, name
        Where it is.
    selection
        What NumPy's basic indexing takes; everything by default.

    Raises
    ------
    StoreError
        If the array is missing or fails its checksum.
    """
    try:
        array = zarr.open_array(store=str(folder / name), mode="r", use_consolidated=False)
        values = np.asarray(array[selection])
    except FileNotFoundError as error:
        raise StoreError(f"{folder / name} is missing; delete {folder} and run again to rebuild it") from error
    except (ValueError, RuntimeError) as error:
        raise StoreError(
            f"{folder / name} is damaged ({error}); delete {folder} and run again to rebuild it"
        ) from error
    if (np.isnan(values) if values.dtype.kind == "f" else values == array.fill_value).any():
        # Zarr reads a chunk whose file is gone as fill values
        raise StoreError(f"{folder / name} has lost a part; delete {folder} and run again to rebuild it")
    return values


def describe(folder: Path) -> dict[str, Any] | None:
    """Description of a complete folder, or None if it is missing or incomplete."""
    try:
        description: dict[str, Any] = read_json(folder / MARKER)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{folder / MARKER} is damaged; delete {folder} and run again to rebuild it") from error
    return description


def is_complete(folder: Path) -> bool:
    """Whether a folder was sealed."""
    return (folder / MARKER).is_file()


def discard(folder: Path) -> None:
    """Remove a folder, if there is one."""
    if folder.exists():
        shutil.rmtree(folder)
