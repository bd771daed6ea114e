"""How the pairwise work is cut: which pairs are missing, and how many images fit into a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt, prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, checked_array
from anoclust_core.errors import ResourceError
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.pairwise.cpu import DOUBLE_PRODUCT_VALUES
from anoclust_core.pairwise.kernels import integers, single_precision
from anoclust_core.records import Window

BLOCK_BUDGET_BYTES: Final = 256 << 20
"""Memory of one block task: two groups of bags and their distances in both directions."""

MAX_BLOCK_PATCHES: Final = 16_384
"""Patches a side of a block task. Past this, reading, packing, handing out and writing take a fiftieth of its time; a
larger one would only need more memory and keep workers waiting for the last."""

BLOCKS_A_WORKER: Final = 8
"""Blocks that a worker gets at least where there is little work, so that none waits long for the last; every one more
reads, packs and writes what a larger block would have shared."""

MIN_BLOCK_FLOP: Final = 2e9
"""Below this, some 25 ms on one core, a block costs as much to hand out and to write as to compute."""

MAX_SLAB_IMAGES: Final = 256
"""Rows and columns of a slab; a slab is what a killed run has to compute again."""


@dataclass(frozen=True)
class Rectangle:
    """Pairs to compute: every image of ``rows`` with every image of ``columns``; indices into the lists planned for."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]


def block_images(n_patches: int, dim: int, *, window: Window | None = None, n_others: int | None = None) -> int:
    """Number of images per side in one block task; ``n_others`` patches of the columns' images, or all.

    Predicted bytes of a ``b x b`` block: two groups of bags, the same packed for the kernel that takes most, and the
    distances of both directions in single precision; candidates of one pair, another one with a part of its product in
    double precision, and a mask. Where patches are compared within a window only, nothing but the budget bounds the
    images: with few of them reading takes longer than comparing.

    Raises
    ------
    ResourceError
        If not even one image pair fits into the budget.
    """
    patches = isqrt(n_patches * (n_others or n_patches))
    largest = MAX_SLAB_IMAGES if window else min(MAX_SLAB_IMAGES, max(1, MAX_BLOCK_PATCHES // patches))
    for side in range(largest, 0, -1):
        if block_bytes(side, n_patches, dim, window=window, n_others=n_others) <= BLOCK_BUDGET_BYTES:
            return side
    need = block_bytes(1, n_patches, dim, window=window, n_others=n_others)
    raise ResourceError(
        f"one pair of images with {n_patches} patches of length {dim} needs {readable_bytes(need)}, a block task may "
        f"use {readable_bytes(BLOCK_BUDGET_BYTES)}; lower --image-size or the number of --tiles, or choose a "
        "deeper layer with --layers"
    )


def adapted_block_images(
    n_pairs: int,
    n_patches: int,
    dim: int,
    *,
    n_workers: int,
    window: Window | None = None,
    n_others: int | None = None,
) -> int:
    """Number of images per side in one block task for so many image pairs: smaller where each worker has little to do.

    Raises
    ------
    ResourceError
        If not even one image pair fits into the budget.
    """
    side = block_images(n_patches, dim, window=window, n_others=n_others)
    flop = 2 * dim * (window.n_compared if window else n_patches * (n_others or n_patches))
    wanted = BLOCKS_A_WORKER * n_workers
    while side > 1 and n_pairs < wanted * side**2 and (side // 2) ** 2 * flop >= MIN_BLOCK_FLOP:
        side //= 2
    return side


def block_bytes(
    side: int, n_patches: int, dim: int, *, window: Window | None = None, n_others: int | None = None
) -> int:
    """Predicted peak of a block task of ``side`` by ``side`` image pairs, see `block_images`."""
    if window:
        return _aligned_block_bytes(side, n_patches, dim, window)
    groups = n_patches, n_others or n_patches
    single = sum(side * many * dim + side**2 * many for many in groups)
    packed = sum(
        max(integers.packed_bytes(side, many, dim), single_precision.packed_bytes(side, many, dim)) for many in groups
    )
    double = sum(groups) * dim + 2 * min(prod(groups), DOUBLE_PRODUCT_VALUES)
    is_close = side**2 * n_patches
    return 4 * single + packed + integers.pair_bytes(n_patches) + 8 * double + is_close


def _aligned_block_bytes(side: int, n_patches: int, dim: int, window: Window) -> int:
    """The same where patches are compared within a window: bags are packed row by row of the grid.

    Two groups of bags; the distances of both directions by place and then by image; packed rows of a window and one
    more; products of one row with another, and as much while their square roots are summed. Where close patches are
    multiplied again in double precision, the row, its windows and their squares, and the products.
    """
    down, across = window.reach
    in_row = window.grid[1] + 2 * across
    packed, products = side * in_row * (dim + 1), side**2 * in_row * (2 * across + 1)
    single = 2 * side * n_patches * dim + 6 * side**2 * n_patches + (2 * down + 3) * packed + 3 * products
    return 4 * single + 8 * (2 * (2 * across + 2) * packed + 2 * products)


def blocks(indices: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Cut a list of indices into consecutive pieces of at most ``size``."""
    for start in range(0, len(indices), size):
        yield tuple(indices[start : start + size])


def missing_squares(covered: NDArray[np.bool_]) -> list[Rectangle]:
    """Rectangles of unordered image pairs that still have to be computed, in both directions.

    Images with the same missing partners form a group; between two groups either all pairs are missing or none. So
    adding images to a finished set gives two rectangles, new x new and old x new, whatever the history.

    Parameters
    ----------
    covered
        Shape ``(n_images, n_images)``, symmetric; ``covered[i, i]`` tells whether image ``i`` was ever part of a pass.

    Returns
    -------
    rectangles
        Disjoint, together exactly the pairs that are not covered. Where ``rows`` equals ``columns``, the pairs within.
    """
    covered = checked_array("covered", covered, "(n_images, n_images)", kinds=TRUTHS)
    groups = _equal_rows(~covered)
    pieces = [piece for group in groups for piece in blocks(group, MAX_SLAB_IMAGES)]
    within = [Rectangle(p, p) for p in pieces if not covered[p[0], p[0]]]
    between = [Rectangle(p, q) for p, q in combinations(pieces, 2) if not covered[p[0], q[0]]]
    return within + between


def missing_rectangles(covered: NDArray[np.bool_]) -> list[Rectangle]:
    """Rectangles of (row, column) pairs that still have to be computed, in one direction.

    Parameters
    ----------
    covered
        Shape ``(n_rows, n_columns)``.

    Returns
    -------
    rectangles
        Disjoint, together exactly the pairs that are not covered.
    """
    covered = checked_array("covered", covered, "(n_images, n_references)", kinds=TRUTHS)
    rectangles = []
    for group in _equal_rows(~covered):
        columns = np.flatnonzero(~covered[group[0]]).tolist()
        for rows in blocks(group, MAX_SLAB_IMAGES):
            rectangles += [Rectangle(rows, piece) for piece in blocks(columns, MAX_SLAB_IMAGES)]
    return rectangles


def _equal_rows(matrix: NDArray[np.bool_]) -> list[list[int]]:
    """Group the indices of equal rows, in order of first appearance; rows without any True are left out."""
    groups: dict[bytes, list[int]] = {}
    for index, row in enumerate(np.packbits(matrix, axis=1)):
        if row.any():
            groups.setdefault(row.tobytes(), []).append(index)
    return list(groups.values())
