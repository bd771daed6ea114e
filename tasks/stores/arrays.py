"""Arrays at rest: folders of Zarr 3 arrays, checksummed inside and complete only when their ``complete.json`` is there.

The only module that imports Zarr, and not before an array is asked for: a repeat with nothing to do asks for none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from tasks.stores.files import read_checked, with_digest, write_json

if TYPE_CHECKING:
    import zarr

MARKER: Final = "complete.json"
"""Written last; a folder without it is the leftover of a killed run and is written again."""

_DESCRIPTION: Final = "zarr.json"
"""File of an array that says how its chunks are read."""

_CHECK: Final = "digest"
"""Attribute of an array."""


def create_array(folder: Path, name: str, *, shape: Sequence[int], chunks: Sequence[int], dtype: str) -> None:
    """Create an array that will be filled block by block; no two writers may share a chunk.

    Features do not compress (1.00 to 1.16 in lossless codecs), so chunks are stored as they are, each with a checksum.
    """
    import zarr
    from zarr.codecs import Crc32cCodec

    fitting = tuple(max(1, min(c, s)) for c, s in zip(chunks, shape, strict=True))
    zarr.create_array(
        store=str(folder / name),
        shape=tuple(shape),
        chunks=fitting,
        dtype=dtype,
        attributes={_CHECK: _layout_digest(name, shape, fitting, dtype)},
        compressors=[Crc32cCodec()],
        fill_value=np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max,  # no value of ours, see `read`
    )


def write_block(folder: Path, name: str, start: Sequence[int], values: NDArray[Any]) -> None:
    """Write values into an array, their first element at ``start``; one writer a chunk."""
    array = _opened(folder / name, "r+", _state(folder / name))
    selection = tuple(slice(at, at + size) for at, size in zip(start, values.shape, strict=True))
    array[selection] = values.astype(array.dtype, copy=False)


def seal(folder: Path, description: Mapping[str, object]) -> None:
    """Declare a folder complete; ``description`` is what `describe` gives back."""
    write_json(folder / MARKER, with_digest(description))


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
        Slices without steps, one a dimension or fewer; everything by default.

    Raises
    ------
    DamagedError
        If the array is missing or fails its checksum.
    """
    with _told_as_damage(folder, name):
        array = _open(folder, name)
        values = np.asarray(array[selection])
    if _has_gap(values, array):
        raise DamagedError(f"{folder / name} has lost a part", folder)
    return values


def _has_gap(values: NDArray[Any], array: zarr.Array[Any]) -> bool:
    """Whether a chunk is missing from what was read: Zarr gives fill values for one whose file is gone.

    No stored value is the fill value, so one value of each chunk tells; the last place is looked at for a selection
    that begins inside a chunk.
    """
    places = [
        np.unique([*range(0, size, chunk), size - 1]) for size, chunk in zip(values.shape, array.chunks, strict=True)
    ]
    probed = values[np.ix_(*places)] if values.size else values
    return bool((np.isnan(probed) if values.dtype.kind == "f" else probed == array.fill_value).any())


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every array in a folder, by name.

    Raises
    ------
    DamagedError
        If an array's description is not what was written.
    """
    return {name: shape for name, (shape, _) in _layouts(folder).items()}


def verify(folder: Path) -> Iterator[int]:
    """Read every chunk of every array once, and so check every checksum.

    Yields
    ------
    size
        Bytes of one chunk in memory.

    Raises
    ------
    DamagedError
        If a chunk fails its checksum or is gone.
    """
    for name, (shape, chunks) in _layouts(folder).items():
        for start in product(*(range(0, size, chunk) for size, chunk in zip(shape, chunks, strict=True))):
            yield read(folder, name, tuple(slice(at, at + c) for at, c in zip(start, chunks, strict=True))).nbytes


def _layouts(folder: Path) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shape and chunk shape of every array in a folder, by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            with _told_as_damage(folder, path.name):
                array = _open(folder, path.name)
                found[path.name] = (array.shape, array.chunks)
    return found


def _open(folder: Path, name: str) -> zarr.Array[Any]:
    """Open an array for reading and check its description."""
    array = _opened(folder / name, "r", _state(folder / name))
    _check_layout(array, name)
    return array


def _state(path: Path) -> tuple[int, int, int]:
    """What tells an array's description from an earlier one at the same place."""
    found = (path / _DESCRIPTION).stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


@lru_cache(maxsize=64)
def _opened(path: Path, mode: Literal["r", "r+"], _: tuple[int, int, int]) -> zarr.Array[Any]:
    """An array as `_state` tells it, opened once: that takes longer than to write a block into it."""
    import zarr

    array = zarr.open_array(store=str(path), mode=mode, use_consolidated=False)
    return array.with_config({"write_empty_chunks": True})  # asking whether one is empty takes a third of a write


@contextmanager
def _told_as_damage(folder: Path, name: str) -> Iterator[None]:
    """Say which folder is damaged, whatever Zarr raises on reading it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedError(f"{folder / name} is missing", folder) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{folder / name} is damaged ({error})", folder) from error
    except (OSError, MemoryError):
        raise  # the disk, the network or the machine, not the data
    except Exception as error:
        # Zarr and its codecs raise all kinds of errors, down to KeyError, on a description with one letter changed
        raise DamagedError(f"{folder / name} is damaged ({error})", folder) from error


def _layout_digest(name: str, shape: Sequence[int], chunks: Sequence[int], dtype: str) -> str:
    """Checksum of what says how chunks are read; chunks have checksums of their own, Zarr's description has none."""
    layout = {"name": name, "shape": list(shape), "chunks": list(chunks), "dtype": str(np.dtype(dtype))}
    return content_key("array", layout)


def _check_layout(array: zarr.Array[Any], name: str) -> None:
    """Raise a ValueError for a description that was changed; arrays of versions before there were digests pass."""
    digest = array.attrs.get(_CHECK)
    if digest is not None and digest != _layout_digest(name, array.shape, array.chunks, str(array.dtype)):
        raise ValueError("the description of the array fails its checksum")


def describe(folder: Path) -> dict[str, Any] | None:
    """Description of a complete folder, or None if it is missing or incomplete.

    Raises
    ------
    DamagedError
        If it is not what was written.
    """
    try:
        return read_checked(folder / MARKER, blamed=folder)
    except FileNotFoundError:
        return None


def is_complete(folder: Path) -> bool:
    """Whether a folder was sealed."""
    return (folder / MARKER).is_file()


def discard(folder: Path) -> None:
    """Remove a folder, if there is one; its marker first, so that no half of it is ever taken for the whole."""
    if folder.exists():
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)
