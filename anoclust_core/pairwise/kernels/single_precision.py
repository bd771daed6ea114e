"""Inner products of all patches of image pairs and their maxima in one pass: the products are never written out.

A tile of products is computed in the processor's registers, feature by feature, and its maxima are taken while it is
there. Patches are packed for that once for many image pairs: panels of a few patches, their values of one feature side
by side. A matrix product of a library packs both images again for every pair, writes the product and reads it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels.groups import Group, checked_group, with_room
from anoclust_core.pairwise.kernels.tiles import UNROLLED, VECTORS, WIDEST, TileShape, VectorCode, tile_shape

SUMMED_AT_ONCE: Final = 128
"""Features whose products are summed before they are added to the sum of those before: rounding grows with the terms of
a sum in one go, and 512 of them would put distances off by 2e-5."""


class LargestProducts(NamedTuple):
    """What is left of the inner products of two groups of bags.

    Attributes
    ----------
    forward
        Shape ``(n_bags, n_others, n_patches)``, float32: the largest product of each patch with one of the other image.
    backward
        Shape ``(n_others, n_bags, n_other_patches)``, float32: the same the other way.
    roots
        Shape ``(n_bags, n_others, n_patches)``, float32: mean of the square roots of 1 less the products; NaN where a
        product is above 1 by rounding. None where it was not asked for.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    roots: NDArray[np.float32] | None


def largest_products(bags: Group, others: Group, *, with_roots: bool = False) -> LargestProducts:
    """Largest inner products between two groups of images, both ways; for bags that were checked.

    Parameters
    ----------
    bags, others
        Each a `Group`.
    with_roots
        Whether the mean root distances are wanted too; a tenth more time.
    """
    bags, others, forward, backward = with_room(bags, others)
    products = LargestProducts(forward, backward, np.empty_like(forward) if with_roots else None)
    _fill(bags, others, products, after_own=False)
    return products


def largest_products_within(bags: Group, *, with_roots: bool = False) -> LargestProducts:
    """Largest inner products between the images of one group; for bags that were checked.

    Parameters
    ----------
    bags
        Shape ``(n_bags, n_patches, dim)``.
    with_roots
        Whether the mean root distances are wanted too.

    Returns
    -------
    products
        ``forward`` and ``backward`` are one array, 1 from an image to itself; ``roots`` above the diagonal, else 0.
    """
    bags = checked_group(bags)
    largest = np.ones((len(bags), len(bags), bags.shape[1]), np.float32)
    products = LargestProducts(largest, largest, np.zeros_like(largest) if with_roots else None)
    _fill(bags, bags, products, after_own=True)
    return products


def packed_bytes(n_bags: int, n_patches: int, dim: int) -> int:
    """Memory of a group of bags once they are packed, at most; the same for every processor."""
    return 4 * n_bags * (n_patches + WIDEST) * (dim + UNROLLED)


def _fill(bags: Group, others: Group, products: LargestProducts, *, after_own: bool) -> None:
    tile = tile_shape()
    left, right = _packed(bags, tile.rows), _packed(others, tile.columns)
    roots = np.empty((0, 0, 0), np.float32) if products.roots is None else products.roots
    _compiled().reduce(left, right, products.forward, products.backward, roots, after_own)


def _packed(bags: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Bags as panels, shape ``(n_bags, n_panels, depth, width)``."""
    n_bags, n_patches, dim = bags.shape
    packed = np.zeros((n_bags, -(-n_patches // width), -(-dim // UNROLLED) * UNROLLED, width), np.float32)
    _compiled().pack(np.ascontiguousarray(bags), packed)
    return packed


@dataclass(frozen=True)
class _Compiled:
    """Machine code. It runs in the calling thread and without the interpreter's lock."""

    pack: Callable[[NDArray[np.float32], NDArray[np.float32]], None]
    reduce: Callable[..., None]


@cache
def _compiled() -> _Compiled:
    """Machine code for this processor; kept for the process and not on disk, where nothing may be writable."""
    import numba  # half a second, only for those who come here

    shape = tile_shape()
    n_rows, lanes, n_columns = shape.rows, shape.lanes, shape.columns
    add_tile = _tile_instructions(shape)

    def pack(bags: NDArray[np.float32], packed: NDArray[np.float32]) -> None:
        (n_bags, n_patches, dim), (_, n_panels, _, width) = bags.shape, packed.shape
        for bag in range(n_bags):
            for panel in range(n_panels):
                for place in range(width):
                    patch = min(panel * width + place, n_patches - 1)  # a last patch that is repeated moves no maximum
                    for feature in range(dim):
                        packed[bag, panel, feature, place] = bags[bag, patch, feature]

    def reduce(
        left: NDArray[np.float32],
        right: NDArray[np.float32],
        forward: NDArray[np.float32],
        backward: NDArray[np.float32],
        roots: NDArray[np.float32],
        after_own: bool,
    ) -> None:
        (n_bags, n_left, depth, _), (n_others, n_right, _, _) = left.shape, right.shape
        has_roots = roots.size > 0
        n_patches, n_other_patches = forward.shape[2], backward.shape[2]
        flat_left, flat_right = left.reshape(-1), right.reshape(-1)
        row_largest = np.empty(n_left * n_rows * lanes, np.float32)
        row_roots = np.empty(n_left * n_rows * lanes, np.float32)
        column_largest = np.empty(n_right * n_columns, np.float32)
        counts = np.zeros(n_right * n_columns, np.float32)  # 0 for a last patch that is repeated: it adds to no sum
        counts[:n_other_patches] = 1
        for bag in range(n_bags):
            for other in range(bag + 1 if after_own else 0, n_others):
                row_largest[:] = -np.inf
                row_roots[:] = 0
                column_largest[:] = -np.inf
                for j in range(n_right):
                    for i in range(n_left):
                        add_tile(
                            flat_left, (bag * n_left + i) * depth * n_rows,
                            flat_right, (other * n_right + j) * depth * n_columns,
                            depth,
                            row_largest, row_roots, i * n_rows * lanes,
                            column_largest, counts, j * n_columns,
                            has_roots,
                        )  # fmt: skip
                for patch in range(n_patches):
                    largest, total = row_largest[patch * lanes], row_roots[patch * lanes]
                    for lane in range(patch * lanes + 1, (patch + 1) * lanes):
                        largest = max(largest, row_largest[lane])
                        total += row_roots[lane]
                    forward[bag, other, patch] = largest
                    if has_roots:
                        roots[bag, other, patch] = total / n_other_patches
                for patch in range(n_other_patches):
                    backward[other, bag, patch] = column_largest[patch]

    return _Compiled(numba.njit(nogil=True)(pack), numba.njit(nogil=True)(reduce))


def _tile_instructions(shape: TileShape) -> Any:
    """Compile one tile to LLVM's instructions.

    The function that is given takes, in compiled code: the packed rows and the place of a panel in them, the same of
    the columns, the depth, the rows' largest products so far and their sums of roots (``lanes`` partial ones a row) and
    the place of the first row in these, the columns' largest products so far, the columns' counts, the place of the
    first column in these, and whether roots are wanted.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = VectorCode(context, builder, signature, arguments, ir.FloatType(), shape.lanes)
        vector, number, pointer = words.type, words.number, words.pointer
        multiply_add = words.function(f"llvm.fmuladd.v{shape.lanes}f32", vector, [vector] * 3)
        square_root = words.function(f"llvm.sqrt.v{shape.lanes}f32", vector, [vector])
        zeros, ones = (ir.Constant(vector, [value] * shape.lanes) for value in (0.0, 1.0))
        (
            left, left_at, right, right_at, depth, row_largest, row_roots, row_at, column_largest, counts, column_at,
            has_roots,
        ) = range(12)  # fmt: skip

        def vectors() -> list[list[Any]]:
            return [[builder.phi(vector) for _ in range(VECTORS)] for _ in range(shape.rows)]

        def let_come(places: list[list[Any]], values: list[list[Any]] | None, source: Any) -> None:
            for row in range(shape.rows):
                for v in range(VECTORS):
                    places[row][v].add_incoming(zeros if values is None else values[row][v], source)

        rows, columns = pointer(left, left_at), pointer(right, right_at)
        before = builder.block
        part, loop, summed, after = (
            builder.append_basic_block(name) for name in ("part", "feature", "summed", "products")
        )
        builder.branch(part)
        builder.position_at_end(part)
        start = builder.phi(arguments[depth].type)
        start.add_incoming(number(0), before)
        totals = vectors()
        let_come(totals, None, before)
        end = builder.add(start, number(SUMMED_AT_ONCE))
        end = builder.select(builder.icmp_signed("<", end, arguments[depth]), end, arguments[depth])
        builder.branch(loop)
        builder.position_at_end(loop)
        feature = builder.phi(arguments[depth].type)
        feature.add_incoming(start, part)
        sums = vectors()
        let_come(sums, None, part)
        added = [list(row) for row in sums]
        for step in range(UNROLLED):
            at = builder.add(feature, number(step))
            row_at_feature = builder.mul(at, number(shape.rows))
            column_at_feature = builder.mul(at, number(shape.columns))
            loaded = [
                words.load(columns, builder.add(column_at_feature, number(v * shape.lanes))) for v in range(VECTORS)
            ]
            for row in range(shape.rows):
                value = words.repeated(words.value(rows, builder.add(row_at_feature, number(row))))
                for v in range(VECTORS):
                    added[row][v] = builder.call(multiply_add, [value, loaded[v], added[row][v]])
        following = builder.add(feature, number(UNROLLED))
        feature.add_incoming(following, loop)
        let_come(sums, added, loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, summed)
        builder.position_at_end(summed)
        products = [[builder.fadd(totals[row][v], added[row][v]) for v in range(VECTORS)] for row in range(shape.rows)]
        start.add_incoming(end, summed)
        let_come(totals, products, summed)
        builder.cbranch(builder.icmp_signed("<", end, arguments[depth]), part, after)
        builder.position_at_end(after)

        def raise_to(start: Any, offset: int, candidates: list[Any]) -> None:
            largest = words.load(start, number(offset))
            for product in candidates:
                largest = builder.select(builder.fcmp_ordered(">", product, largest), product, largest)
            words.store(largest, start, number(offset))

        for row in range(shape.rows):
            raise_to(pointer(row_largest, row_at), row * shape.lanes, products[row])
        for v in range(VECTORS):
            of_column = [products[row][v] for row in range(shape.rows)]
            raise_to(pointer(column_largest, column_at), v * shape.lanes, of_column)
        with builder.if_then(arguments[has_roots]):
            counted = [words.load(pointer(counts, column_at), number(v * shape.lanes)) for v in range(VECTORS)]
            totals_at = pointer(row_roots, row_at)
            for row in range(shape.rows):
                total = words.load(totals_at, number(row * shape.lanes))
                for v in range(VECTORS):
                    root = builder.call(square_root, [builder.fsub(ones, products[row][v])])
                    total = builder.call(multiply_add, [root, counted[v], total])
                words.store(total, totals_at, number(row * shape.lanes))
        return context.get_dummy_value()

    def add_tile(
        _context: Any, left: Any, _1: Any, right: Any, _2: Any, _3: Any, row_largest: Any, row_roots: Any, _4: Any,
        column_largest: Any, counts: Any, _5: Any, _6: Any,
    ) -> Any:  # fmt: skip
        place = types.intp
        takes = (left, place, right, place, place, row_largest, row_roots, place, column_largest, counts, place)
        return types.void(*takes, types.boolean), code

    return intrinsic(add_tile)
