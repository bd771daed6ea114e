"""Embeddings of one category and spec: immutable segments of bags, found by content hash.

A segment is a folder with one array and the list of its content hashes, sealed last. Nothing is resized; a night adds
segments. Which images could not be decoded is kept beside them, with the times of their files, so that nobody tries
again before one changes.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import normalize_patches
from anoclust_core.embedding.deep_images import Outside
from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from anoclust_core.records import EmbeddingSpec, ImageRecord
from tasks.stores import arrays
from tasks.stores.files import read_checked, with_digest, write_json

CHUNK_IMAGES: Final = 16
"""Images in one chunk, the unit of reading, or fewer where bags are large."""

SEGMENT_BYTES: Final = 32 << 20
"""Size that a segment aims at: what a killed run has to embed again, and what is held in memory until written."""

STORED_DTYPE: Final = "float16"
"""Half precision at rest: scores do not move (docs/decisions/0004-half-precision-at-rest.md)."""

NOTHING_OUTSIDE: Final[Mapping[str, Outside]] = MappingProxyType({})
"""No deep image lies outside of its range."""

_LOST: Final = "its file can no longer be decoded, and this recipe needs another feature level of it"

_BAGS: Final = "bags"
_UNREADABLE: Final = "unreadable.json"


def segment_images(n_patches: int, dim: int) -> int:
    """Number of images that a segment holds: whole chunks, at least one."""
    chunk = _chunk_images(n_patches, dim)
    return chunk * max(1, SEGMENT_BYTES // (chunk * n_patches * dim * np.dtype(STORED_DTYPE).itemsize))


def _chunk_images(n_patches: int, dim: int) -> int:
    """Images in one chunk: as many as fit a segment, so that frames of many tiles are read one by one."""
    return max(1, min(CHUNK_IMAGES, SEGMENT_BYTES // (n_patches * dim * np.dtype(STORED_DTYPE).itemsize)))


def at_rest(bags: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Bags in the precision that they are stored in.

    Raises
    ------
    StoreError
        If a value is too large for it.
    """
    largest = max(float(bags.max(initial=0)), -float(bags.min(initial=0)))
    if largest > float(np.finfo(STORED_DTYPE).max):
        raise StoreError(f"features as large as {largest:.3g} cannot be kept in half precision; try other --layers")
    return bags.astype(STORED_DTYPE)


@dataclass(frozen=True)
class _Unreadable:
    """Why a content cannot be decoded, and the times of the files that held it, in nanoseconds since 1970."""

    reason: str
    times: frozenset[int]


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
                found.update({sha256: (segment.name, row) for row, sha256 in enumerate(_segment(segment).hashes)})
        return found

    def missing(self, images: Collection[ImageRecord]) -> list[str]:
        """Contents of images that have neither a bag nor a reason why not, each once, in the order of the images."""
        known = self.index().keys() | self.unreadable(images).keys()
        return list(dict.fromkeys(image.sha256 for image in images if image.sha256 not in known))

    def still_missing(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Reasons of contents that have no bag yet; another run may have read them since."""
        index = self.index()
        return {sha256: why for sha256, why in reasons.items() if sha256 not in index}

    def unreadable(self, images: Iterable[ImageRecord]) -> dict[str, str]:
        """From content hash to the reason, for images that could not be decoded and whose files are as they were.

        A file that was touched since is worth another try: a person who mends images expects it.
        """
        remembered = self._remembered()
        if not remembered:
            return {}
        times = _times(image for image in images if image.sha256 in remembered)
        found = {sha256: remembered[sha256] for sha256, seen in times.items() if seen <= remembered[sha256].times}
        readable = self.index() if found else {}  # by a later try
        return {sha256: entry.reason for sha256, entry in found.items() if sha256 not in readable}

    def add_unreadable(self, reasons: Mapping[str, str], images: Iterable[ImageRecord]) -> None:
        """Remember contents that cannot be decoded, and when the files that hold them were changed."""
        if not reasons:
            return
        remembered = self._remembered()
        times = _times(image for image in images if image.sha256 in reasons)
        for sha256, reason in reasons.items():
            before = remembered[sha256].times if sha256 in remembered else frozenset()
            remembered[sha256] = _Unreadable(reason, before | times.get(sha256, set()))
        written = {
            sha256: {"reason": entry.reason, "mtimes_ns": sorted(entry.times)} for sha256, entry in remembered.items()
        }
        write_json(self.folder / _UNREADABLE, with_digest(written))

    def _remembered(self) -> dict[str, _Unreadable]:
        try:
            entries = read_checked(self.folder / _UNREADABLE)
        except FileNotFoundError:
            return {}
        return {
            sha256: _Unreadable(entry["reason"], frozenset(entry["mtimes_ns"]))
            for sha256, entry in entries.items()
            if isinstance(entry, dict)  # a reason alone, as an earlier version wrote it, is tried again
        }

    def outside(self, images: Iterable[ImageRecord]) -> dict[str, Outside]:
        """By path, how far deep images lie outside of their range, where that is to be told."""
        wanted = list(images)
        contents = {image.sha256 for image in wanted}
        segments = sorted({name for sha256, (name, _) in self.index().items() if sha256 in contents})
        found = {sha256: one for name in segments for sha256, one in _segment(self.folder / name).outside.items()}
        return {image.path: found[image.sha256] for image in wanted if image.sha256 in found}

    def append(
        self,
        hashes: Sequence[str],
        bags: NDArray[np.floating[Any]],
        *,
        unit_norm: bool = True,
        outside: Mapping[str, Outside] = NOTHING_OUTSIDE,
        radii: Sequence[float] = (),
    ) -> None:
        """Write one segment.

        Parameters
        ----------
        hashes
            Content hashes, one a bag.
        bags
            Shape ``(n_images, n_patches, dim)``; what is not `at_rest` yet is brought there.
        unit_norm
            Whether patches have unit norm, and are to be given it again when they are read.
        outside
            By content, how far deep images lie outside of their range, where that is to be told.
        radii
            One a bag, where bags are covers of larger ones: see `anoclust_core.weighting.covers`.

        Raises
        ------
        StoreError
            If a value is too large for half precision.
        """
        bags = bags if bags.dtype == STORED_DTYPE else at_rest(bags)
        segment = self.folder / content_key("segment", {"hashes": list(hashes)})[:16]
        arrays.discard(segment)
        segment.mkdir(parents=True)
        chunk_images = _chunk_images(*bags.shape[1:])
        chunks = (chunk_images, *bags.shape[1:])
        arrays.create_array(segment, _BAGS, shape=bags.shape, chunks=chunks, dtype=STORED_DTYPE)
        arrays.write_block(segment, _BAGS, (0, 0, 0), bags)
        small = {"chunk_images": chunk_images} if chunk_images < CHUNK_IMAGES else {}
        told = {sha256: asdict(outside[sha256]) for sha256 in hashes if sha256 in outside}
        beside = {"outside": told, "radii": dict(zip(hashes, radii, strict=False))}
        known = {name: values for name, values in beside.items() if values}
        arrays.seal(segment, {"hashes": list(hashes), "unit_norm": unit_norm, **small, **known})

    def read(self, hashes: Sequence[str]) -> NDArray[np.float32]:
        """Bags of some images, in the order asked for.

        Returns
        -------
        bags
            Shape ``(n_images, n_patches, dim)``, float32; of unit norm again after half precision, if they had it.

        Raises
        ------
        StoreError
            If a bag is missing or damaged.
        """
        bags, has_unit_norm = self._read(hashes)
        return normalize_patches(bags) if has_unit_norm else bags.astype(np.float32)

    def read_at_rest(self, hashes: Sequence[str]) -> NDArray[Any]:
        """Bags of some images as they lie in the store, in half precision; otherwise as `read`."""
        return self._read(hashes)[0]

    def stored_order(self, hashes: Sequence[str]) -> list[int]:
        """Places of some images in ``hashes``, in the order that their bags are stored in; lost ones at the end."""
        index = self.index()
        last = ("~", 0)  # after every segment's name
        return sorted(range(len(hashes)), key=lambda place: index.get(hashes[place], last))

    def radii(self, hashes: Iterable[str]) -> dict[str, float]:
        """By content, the radius of the cover that its bag is, of those that are there."""
        index = self.index()
        return {sha256: _segment(self.folder / index[sha256][0]).radii[sha256] for sha256 in hashes if sha256 in index}

    def _read(self, hashes: Sequence[str]) -> tuple[NDArray[Any], bool]:
        """Bags in half precision, and whether their patches have unit norm."""
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
        return bags, all(_segment(self.folder / name).unit_norm for name in wanted)


@dataclass(frozen=True)
class LevelSegments:
    """The bags of every level of a spec: the first, and the deeper one if there is one.

    Which images cannot be decoded is kept beside those of the first.
    """

    levels: tuple[EmbeddingSegments, ...]

    @classmethod
    def of(cls, first: str | Path, deeper: str | Path = "") -> LevelSegments:
        """Levels in these folders; an empty name is none."""
        return cls(tuple(EmbeddingSegments(Path(folder)) for folder in (first, deeper) if folder))

    @property
    def first(self) -> EmbeddingSegments:
        """Segments of the first level."""
        return self.levels[0]

    def missing(self, images: Collection[ImageRecord]) -> list[str]:
        """Contents that a level has no bag of, nor a reason why not; as `EmbeddingSegments.missing`."""
        found = [level.missing(images) for level in self.levels]
        if len(found) == 1:
            return found[0]
        unreadable = self.first.unreadable(images).keys()
        wanted = {sha256 for of_level in found for sha256 in of_level} - unreadable
        return list(dict.fromkeys(image.sha256 for image in images if image.sha256 in wanted))

    def not_now(self, images: Collection[ImageRecord], reasons: Mapping[str, str]) -> dict[str, str]:
        """Why contents have no bag on some level yet; ``reasons`` are those of files that could not be read this time.

        A content that was embedded by one level before the other was wanted may have lost its file since.
        """
        if len(self.levels) == 1:
            return self.first.still_missing(reasons)
        return {sha256: reasons.get(sha256, _LOST) for sha256 in self.missing(images)}

    def append(
        self,
        hashes: Sequence[str],
        bags: Sequence[NDArray[np.floating[Any]]],
        spec: EmbeddingSpec,
        *,
        outside: Mapping[str, Outside] = NOTHING_OUTSIDE,
    ) -> None:
        """Write one segment a level, with what the level has no bag of yet; ``bags`` are those of ``spec.levels``."""
        for segments, own, level in zip(self.levels, bags, spec.levels, strict=True):
            known = segments.index() if len(self.levels) > 1 else {}
            rows = [at for at, sha256 in enumerate(hashes) if sha256 not in known]
            if rows:
                kept = own if len(rows) == len(hashes) else own[rows]
                segments.append([hashes[at] for at in rows], kept, unit_norm=level.unit_norm, outside=outside)


def _times(images: Iterable[ImageRecord]) -> dict[str, set[int]]:
    """When the files of each content were changed."""
    times: dict[str, set[int]] = {}
    for image in images:
        times.setdefault(image.sha256, set()).add(image.mtime_ns)
    return times


@dataclass(frozen=True)
class _Segment:
    """What a segment holds."""

    hashes: tuple[str, ...]
    unit_norm: bool
    chunk_images: int
    outside: Mapping[str, Outside]
    radii: Mapping[str, float]


@lru_cache(maxsize=4096)
def _segment(segment: Path) -> _Segment:
    """Description of a complete segment; a segment never changes, and its name is a digest of its hashes."""
    description = arrays.describe(segment)
    if description is None:
        raise StoreError(f"segment {segment} vanished while it was read; run again")
    chunk_images = int(description.get("chunk_images", CHUNK_IMAGES))
    outside = {sha256: Outside(**one) for sha256, one in description.get("outside", {}).items()}
    unit_norm, radii = bool(description.get("unit_norm", True)), description.get("radii", {})
    return _Segment(tuple(description["hashes"]), unit_norm, chunk_images, outside, radii)


def _read_rows(segment: Path, places: list[tuple[int, int]]) -> list[tuple[int, NDArray[Any]]]:
    """Read (target, row) places of a segment, one read for every run of chunks that are needed together."""
    rows = {}
    chunk = _segment(segment).chunk_images
    needed = sorted({row // chunk for _, row in places})
    runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
    for run in runs:
        first = int(run[0]) * chunk
        values = arrays.read(segment, _BAGS, slice(first, (int(run[-1]) + 1) * chunk))
        rows.update({first + offset: bag for offset, bag in enumerate(values)})
    return [(at, rows[row]) for at, row in places]


_IMAGES_AT_ONCE: Final = 16


@dataclass(frozen=True)
class MappedFeatures:
    """Feature maps in a file that is mapped into memory.

    Attributes
    ----------
    values
        Shape ``(n_images, dim, height, width)``, half precision; features of a cell lie together.
    release
        Lets go of the parts of the file that were read: they no longer count as memory of this process, and are read
        again when they are needed.
    """

    values: NDArray[np.float16]
    release: Callable[[], None]


@contextmanager
def feature_maps(
    embeddings: Path, hashes: Sequence[str], spec: EmbeddingSpec, scratch: Path
) -> Iterator[MappedFeatures]:
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
        They and how to let them go.

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
            for start in range(0, len(hashes), _IMAGES_AT_ONCE):
                part = segments.read(hashes[start : start + _IMAGES_AT_ONCE])
                file.write(part.astype(STORED_DTYPE).tobytes())
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise StoreError(
                f"no room for {len(hashes):,} feature maps in {scratch} ({error}); free some space"
            ) from error
        values: NDArray[np.float16] = np.frombuffer(mapped, STORED_DTYPE).reshape(shape).transpose(0, 3, 1, 2)
        can_let_go = hasattr(mmap, "MADV_DONTNEED")  # not on Windows
        yield MappedFeatures(values, partial(mapped.madvise, mmap.MADV_DONTNEED) if can_let_go else lambda: None)
