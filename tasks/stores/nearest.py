"""Nearest-patch distances of one category: immutable slabs of image pairs, found by the content hashes of both sides.

A slab holds the distances from its row images to its column images, ``(rows, columns, n_patches)``. The slabs of a
category grow with every image that is added; any subset of the images is read back as one array, whatever the history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from anoclust_core.memory.plan import READ_BYTES
from anoclust_core.pairwise import tiling
from anoclust_core.records import DatasetManifest, Reference, Window, unique_contents
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.regions import Regions
from tasks.stores import arrays

STORED_DTYPE: Final = "float16"
"""Half precision at rest: a distance in [0, 2] keeps three digits, and rarity is a mean over many of them."""

DISTANCES: Final = "distances"
MEANS: Final = "means"


@dataclass(frozen=True)
class Slab:
    """One slab: its folder, the content hashes of its two sides, and whether it has mean distances too."""

    folder: Path
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    has_means: bool = False


@dataclass(frozen=True)
class WantedPairs:
    """Pairs of images that a run needs the distances of.

    Attributes
    ----------
    mutual
        Contents that need the distances to each other: both directions come from one product.
    rows, columns
        Contents that need the distances from ``rows`` to ``columns``, one direction.
    with_means
        Whether the mutual pairs need the mean distance of all their patches too.
    both_ways
        Whether the distances from ``columns`` to ``rows`` are wanted too: the same product gives them.
    """

    mutual: Sequence[str] = ()
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    with_means: bool = False
    both_ways: bool = False


def wanted_pairs(
    images: DatasetManifest, reference: Reference, *, with_means: bool = False, both_ways: bool = False
) -> WantedPairs:
    """Pairs for the distances from every clustered image to every image of the reference.

    Normals need no distances to the clustered images, unless they stand for images that will be clustered together
    with these: ``both_ways``.
    """
    rows, _ = unique_contents(images.clustered)
    columns, _ = reference_contents(reference, images)
    if reference.role == "normal":
        return WantedPairs(rows=rows, columns=columns, both_ways=both_ways)
    among = set(columns)
    others = [row for row in rows if row not in among]
    return WantedPairs(mutual=columns, rows=others, columns=columns, with_means=with_means)


@dataclass(frozen=True)
class Block:
    """One job of a worker: a rectangle of image pairs, and where its distances go.

    Attributes
    ----------
    embeddings, covers
        Folders of the embedding segments, and of the patches of them that rows are compared with; None compares them
        with all.
    rows, columns
        Content hashes; equal where the pairs within one group are meant.
    forward
        Slab folder and first (row, column) for the distances from ``rows`` to ``columns``.
    backward
        The same for the other direction, or None where only one direction is wanted or both are written at once.
    with_means
        Write the mean distance of each pair beside.
    device
        As `pair_device.choose_worker_device` takes it. Mean distances need the whole product in single precision, and
        are computed on the processor wherever the block goes, unless there is a window.
    window
        Where a patch is looked for in images that are aligned; None compares it with all of their patches.
    regions
        Which patches of the images count; None counts all.
    """

    embeddings: Path
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    forward: tuple[Path, int, int]
    backward: tuple[Path, int, int] | None
    with_means: bool = False
    device: str = "cpu"
    window: Window | None = None
    covers: Path | None = None
    regions: Regions | None = None

    @property
    def n_products(self) -> int:
        """Matrix products that the block takes: one per image pair; one for each direction where there are covers."""
        n_rows = len(self.rows)
        is_mutual = self.rows == self.columns and self.covers is None
        return n_rows * (n_rows - 1) // 2 if is_mutual else n_rows * len(self.columns)


class NearestSlabs:
    """The nearest distances of one category and embedding spec.

    Parameters
    ----------
    folder
        Where the slabs lie; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def slabs(self) -> list[Slab]:
        """All complete slabs."""
        if not self.folder.is_dir():
            return []
        return [_slab(path) for path in sorted(self.folder.iterdir()) if arrays.is_complete(path)]

    def covered(self, rows: Sequence[str], columns: Sequence[str], *, with_means: bool = False) -> NDArray[np.bool_]:
        """Which (row, column) pairs are there, shape ``(n_rows, n_columns)``; with their means where these count."""
        row_at, column_at = _positions(rows), _positions(columns)
        covered = np.zeros((len(rows), len(columns)), np.bool_)
        for slab in self.slabs():
            if slab.has_means or not with_means:
                _, in_rows = _common(slab.rows, row_at)
                _, in_columns = _common(slab.columns, column_at)
                covered[np.ix_(in_rows, in_columns)] = True
        return covered

    def count_missing(self, pairs: WantedPairs) -> int:
        """How many image pairs have no distances yet; a pair counts once where both directions are wanted.

        Never 0 where something has to be computed, be it an image's distances to itself.
        """
        missing = ~self._covered_both_ways(pairs)
        n_mutual = int(np.triu(missing, k=1).sum()) or int(missing.any())
        return n_mutual + int((~self._covered_as_wanted(pairs)).sum())

    def plan(
        self,
        pairs: WantedPairs,
        embeddings: Path,
        n_patches: int,
        side: int,
        *,
        device: str = "cpu",
        window: Window | None = None,
        covers: Path | None = None,
        regions: Regions | None = None,
    ) -> Plan:
        """Blocks for the pairs that are not there yet."""
        plan = Plan(self, embeddings, n_patches, side, device=device, window=window, covers=covers, regions=regions)
        for rectangle in tiling.missing_squares(self._covered_both_ways(pairs)):
            rows, columns = ([pairs.mutual[i] for i in side] for side in (rectangle.rows, rectangle.columns))
            plan.add_mutual(rows, columns, with_means=pairs.with_means)
        for rectangle in tiling.missing_rectangles(self._covered_as_wanted(pairs)):
            rows, columns = [pairs.rows[i] for i in rectangle.rows], [pairs.columns[i] for i in rectangle.columns]
            if pairs.both_ways:
                plan.add_mutual(rows, columns)
            else:
                plan.add_directed(rows, columns)
        return plan

    def _covered_as_wanted(self, pairs: WantedPairs) -> NDArray[np.bool_]:
        covered = self.covered(pairs.rows, pairs.columns)
        return covered & self.covered(pairs.columns, pairs.rows).T if pairs.both_ways else covered

    def _covered_both_ways(self, pairs: WantedPairs) -> NDArray[np.bool_]:
        """Mutual pairs that have both directions; an image that was a normal once may have one of them only."""
        covered = self.covered(pairs.mutual, pairs.mutual, with_means=pairs.with_means)
        return covered & covered.T

    def read_means(self, hashes: Sequence[str]) -> NDArray[np.float32]:
        """Mean distance of all patches of each image to all patches of each other image.

        Returns
        -------
        means
            Shape ``(n_images, n_images)``, symmetric, 0 from an image to itself.

        Raises
        ------
        StoreError
            If a pair is missing or a slab is damaged.
        """
        at = _positions(hashes)
        means = np.full((len(hashes), len(hashes)), np.nan, np.float32)
        for slab in self.slabs():
            if slab.has_means:
                slab_rows, in_rows = _common(slab.rows, at)
                slab_columns, in_columns = _common(slab.columns, at)
                if slab_rows and slab_columns:
                    found = arrays.read(slab.folder, MEANS)
                    means[np.ix_(in_rows, in_columns)] = found[np.ix_(slab_rows, slab_columns)]
        if np.isnan(means).any():
            raise StoreError(f"{self.folder} lacks mean distances of {int(np.isnan(means).sum())} pairs; run again")
        return means

    def read(self, rows: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Distances from some images to others, a few rows at a time.

        Yields
        ------
        start
            Position in ``rows`` of the first row.
        distances
            Shape ``(n_rows_here, n_columns, n_patches)``, half precision.

        Raises
        ------
        StoreError
            If a pair is missing or a slab is damaged.
        """
        slabs = self.slabs()
        if not slabs:
            raise StoreError(f"{self.folder} holds no distances; run again to compute them")
        column_at = _positions(columns)
        n_patches = arrays.read(slabs[0].folder, DISTANCES, (slice(0, 1), slice(0, 1))).shape[2]
        row_bytes = len(columns) * n_patches * np.dtype(STORED_DTYPE).itemsize
        step = max(1, READ_BYTES // max(1, row_bytes))
        for start in range(0, len(rows), step):
            yield start, _gather(slabs, rows[start : start + step], column_at, n_patches)


class Plan:
    """Blocks to compute and the slabs that they fill.

    Parameters
    ----------
    store
        Where the slabs go.
    embeddings
        Folder of the embedding segments.
    n_patches
        Patches a bag.
    side
        Images per side of a block.
    device, window, covers, regions
        Where blocks are computed, and what is compared, see `Block`.
    """

    def __init__(
        self,
        store: NearestSlabs,
        embeddings: Path,
        n_patches: int,
        side: int,
        *,
        device: str = "cpu",
        window: Window | None = None,
        covers: Path | None = None,
        regions: Regions | None = None,
    ) -> None:
        self.store = store
        self.embeddings = embeddings
        self.n_patches = n_patches
        self.side = side
        self.device, self.window, self.covers, self.regions = device, window, covers, regions
        self.blocks: list[Block] = []
        self._slabs: dict[Path, Slab] = {}
        self._open_blocks: Counter[Path] = Counter()

    @property
    def n_products(self) -> int:
        """Matrix products of the whole plan."""
        return sum(block.n_products for block in self.blocks)

    @property
    def columns(self) -> list[str]:
        """Contents that others are compared with, each once."""
        return list(dict.fromkeys(sha256 for block in self.blocks for sha256 in block.columns))

    def add_directed(self, rows: list[str], columns: list[str]) -> None:
        """Plan one slab from rows to columns."""
        forward = self._slab(rows, columns)
        for r, c in self._offsets(rows, columns):
            self._block(rows, columns, r, c, forward, None)

    def add_mutual(self, rows: list[str], columns: list[str], *, with_means: bool = False) -> None:
        """Plan the slabs of both directions; one slab holds both where rows and columns are the same images.

        With covers no product serves both directions.
        """
        if self.covers is not None:
            self.add_directed(rows, columns)
            if rows != columns:
                self.add_directed(columns, rows)
            return
        forward = self._slab(rows, columns, with_means)
        backward = forward if rows == columns else self._slab(columns, rows, with_means)
        for r, c in self._offsets(rows, columns):
            if rows != columns or r < c:
                self._block(rows, columns, r, c, forward, backward)
            elif r == c:
                self._block(rows, columns, r, c, forward, None)

    def create(self) -> None:
        """Create the arrays that the blocks are written into; leftovers of a killed run are replaced."""
        for slab in self._slabs.values():
            arrays.discard(slab.folder)
            slab.folder.mkdir(parents=True)
            shape = (len(slab.rows), len(slab.columns), self.n_patches)
            chunks = (self.side, self.side, self.n_patches)
            arrays.create_array(slab.folder, DISTANCES, shape=shape, chunks=chunks, dtype=STORED_DTYPE)
            if slab.has_means:
                arrays.create_array(slab.folder, MEANS, shape=shape[:2], chunks=chunks[:2], dtype="float32")

    def block_done(self, block: Block) -> None:
        """Note that a block is written; a slab is sealed with its last one."""
        for target in (block.forward, block.backward):
            if target is not None:
                folder = target[0]
                self._open_blocks[folder] -= 1
                if self._open_blocks[folder] == 0:
                    slab = self._slabs[folder]
                    sides = {"rows": list(slab.rows), "columns": list(slab.columns)}
                    arrays.seal(folder, {**sides, "has_means": slab.has_means})

    def _slab(self, rows: list[str], columns: list[str], with_means: bool = False) -> Slab:
        sides = {"rows": rows, "columns": columns}
        name = content_key("slab", {**sides, "means": True} if with_means else sides)[:16]
        slab = Slab(self.store.folder / name, tuple(rows), tuple(columns), with_means)
        self._slabs[slab.folder] = slab
        return slab

    def _offsets(self, rows: list[str], columns: list[str]) -> Iterator[tuple[int, int]]:
        for r in range(0, len(rows), self.side):
            for c in range(0, len(columns), self.side):
                yield r, c

    def _block(self, rows: list[str], columns: list[str], r: int, c: int, forward: Slab, backward: Slab | None) -> None:
        own_rows, own_columns = tuple(rows[r : r + self.side]), tuple(columns[c : c + self.side])
        block = Block(
            embeddings=self.embeddings,
            rows=own_rows,
            columns=own_columns,
            forward=(forward.folder, r, c),
            backward=(backward.folder, c, r) if backward else None,
            with_means=forward.has_means,
            device=self.device,
            window=self.window,
            covers=self.covers,
            regions=self.regions.of((*own_rows, *own_columns)) if self.regions else None,
        )
        self.blocks.append(block)
        self._open_blocks.update(target[0] for target in (block.forward, block.backward) if target)


@lru_cache(maxsize=4096)
def _slab(folder: Path) -> Slab:
    """Read a slab's sides; a slab never changes, and its name is a digest of them."""
    description = arrays.describe(folder)
    if description is None:
        raise StoreError(f"slab {folder} vanished while it was read; run again")
    has_means = bool(description.get("has_means"))
    return Slab(folder, tuple(description["rows"]), tuple(description["columns"]), has_means)


def _positions(hashes: Sequence[str]) -> dict[str, int]:
    return {sha256: at for at, sha256 in enumerate(hashes)}


def _common(side: Sequence[str], wanted: dict[str, int]) -> tuple[list[int], list[int]]:
    """Positions in a slab's side of the wanted images, and where they are wanted."""
    pairs = [(at, wanted[sha256]) for at, sha256 in enumerate(side) if sha256 in wanted]
    return [inside for inside, _ in pairs], [outside for _, outside in pairs]


def _gather(slabs: list[Slab], rows: Sequence[str], column_at: dict[str, int], n_patches: int) -> NDArray[Any]:
    """Distances of some rows to all columns, from every slab that has a part of them."""
    row_at = _positions(rows)
    gathered = np.full((len(rows), len(column_at), n_patches), np.nan, STORED_DTYPE)
    found = np.zeros(gathered.shape[:2], np.bool_)
    for slab in slabs:
        slab_rows, in_rows = _common(slab.rows, row_at)
        slab_columns, in_columns = _common(slab.columns, column_at)
        if not slab_rows or not slab_columns:
            continue
        first, last = min(slab_rows), max(slab_rows) + 1
        values = arrays.read(slab.folder, DISTANCES, slice(first, last))
        inside = [row - first for row in slab_rows]
        found[np.ix_(in_rows, in_columns)] = True
        if all(map(_are_neighbours, (inside, slab_columns, in_rows, in_columns))):  # one copy, which is faster
            gathered[_span(in_rows), _span(in_columns)] = values[_span(inside), _span(slab_columns)]
        else:
            gathered[np.ix_(in_rows, in_columns)] = values[np.ix_(inside, slab_columns)]
    if not found.all():
        raise StoreError(f"{int((~found).sum())} image pairs have no distances; run again to compute them")
    return gathered


def _are_neighbours(places: Sequence[int]) -> bool:
    """Whether places follow one another."""
    return list(places) == list(range(places[0], places[0] + len(places)))


def _span(places: Sequence[int]) -> slice:
    return slice(places[0], places[-1] + 1)
