"""Inner products of all patches of image pairs and their maxima in one pass: the products are never written out.

A tile of products is computed in the processor's registers, feature by feature, and its maxima are taken while it is
there. Patches are packed for that once for many image pairs: panels of a few patches, their values of one feature side
by side. A matrix product of a library packs both images again for every pair, writes the product and reads it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels.groups import Group, checked_group, with_room
from anoclust_core.pairwise.kernels.machine_code import Function, Kernel, example, load
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
    _fill(_compiled(), bags, others, products, after_own=False)
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
    _fill(_compiled(), bags, bags, products, after_own=True)
    return products


def packed_bytes(n_bags: int, n_patches: int, dim: int) -> int:
    """Memory of a group of bags once they are packed, at most; the same for every processor."""
    return 4 * n_bags * (n_patches + WIDEST) * (dim + UNROLLED)


def _fill(
    loops: Mapping[str, Function], bags: Group, others: Group, products: LargestProducts, *, after_own: bool
) -> None:
    if not len(bags) or not len(others):
        return
    tile = tile_shape()
    left, right = _packed(loops, bags, tile.rows), _packed(loops, others, tile.columns)
    n_left, n_right, depth = left.shape[1], right.shape[1], left.shape[2]
    n_patches, n_other_patches, has_roots = bags.shape[1], others.shape[1], products.roots is not None
    counts = np.zeros(n_right * tile.columns, np.float32)  # 0 for a last patch that is repeated: it adds to no sum
    counts[:n_other_patches] = 1
    row_largest, row_roots = np.empty((2, n_left * tile.rows * tile.lanes), np.float32)
    loops["reduce"](
        left, right, len(bags), len(others), n_patches, n_other_patches, n_left, n_right, depth,
        products.forward, products.backward, products.roots if has_roots else counts, has_roots, after_own,
        row_largest, row_roots, np.empty_like(counts), counts,
    )  # fmt: skip


def _packed(loops: Mapping[str, Function], bags: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Bags as panels, shape ``(n_bags, n_panels, depth, width)``."""
    n_bags, n_patches, dim = bags.shape
    packed = np.zeros((n_bags, -(-n_patches // width), -(-dim // UNROLLED) * UNROLLED, width), np.float32)
    loops["pack"](np.ascontiguousarray(bags), n_bags, n_patches, dim, *packed.shape[1:], packed)
    return packed


SIGNATURES: Final[Mapping[str, str]] = {"pack": "pnnnnnnp", "reduce": "ppnnnnnnnpppnnpppp"}
"""Of the functions on plain memory, as `machine_code` writes them."""


@cache
def _compiled() -> Mapping[str, Function]:
    """Machine code for this processor; it runs in the calling thread and without the interpreter's lock."""
    shape = tile_shape()
    return load(
        Kernel(f"single-precision-{shape.rows}x{shape.columns}", SIGNATURES, partial(_loops, shape), _finds_largest)
    )


def _finds_largest(loops: Mapping[str, Function]) -> bool:
    """Whether loops find the largest products of a few images, as NumPy does, and the mean roots."""
    bags = example()[0] / np.float32(4)  # products below 1, for the roots
    n_bags, n_patches, _ = bags.shape
    found = np.zeros((3, n_bags, n_bags, n_patches), np.float32)
    products = LargestProducts(*found)
    _fill(loops, bags, bags, products, after_own=False)
    inner = np.einsum("imd,jnd->ijmn", bags, bags)
    wanted = inner.max(axis=3), inner.max(axis=3), np.sqrt(1 - inner).mean(axis=3)
    return all(np.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(found, wanted, strict=True))


def _loops(shape: TileShape) -> Mapping[str, Callable[..., None]]:
    """Make the functions of `SIGNATURES`; every array is flat."""
    import numba

    n_rows, lanes, n_columns = shape.rows, shape.lanes, shape.columns
    add_tile = _tile_instructions(shape)
    plain = numba.njit(nogil=True, error_model="numpy")

    @plain
    def pack(
        bags: Any, n_bags: int, n_patches: int, dim: int, n_panels: int, depth: int, width: int, packed: Any
    ) -> None:
        for bag in range(n_bags):
            for panel in range(n_panels):
                here = (bag * n_panels + panel) * depth
                for place in range(width):
                    patch = min(panel * width + place, n_patches - 1)  # a last patch that is repeated moves no maximum
                    start = (bag * n_patches + patch) * dim
                    for feature in range(dim):
                        packed[(here + feature) * width + place] = bags[start + feature]

    @plain
    def reduce(
        left: Any, right: Any, n_bags: int, n_others: int, n_patches: int, n_other_patches: int,
        n_left: int, n_right: int, depth: int, forward: Any, backward: Any, roots: Any, has_roots: int, after_own: int,
        row_largest: Any, row_roots: Any, column_largest: Any, counts: Any,
    ) -> None:  # fmt: skip
        for bag in range(n_bags):
            for other in range(bag + 1 if after_own else 0, n_others):
                for at in range(n_left * n_rows * lanes):
                    row_largest[at] = np.float32(-np.inf)
                    row_roots[at] = np.float32(0)
                for at in range(n_right * n_columns):
                    column_largest[at] = np.float32(-np.inf)
                for j in range(n_right):
                    for i in range(n_left):
                        add_tile(
                            left, (bag * n_left + i) * depth * n_rows,
                            right, (other * n_right + j) * depth * n_columns,
                            depth,
                            row_largest, row_roots, i * n_rows * lanes,
                            column_largest, counts, j * n_columns,
                            has_roots != 0,
                        )  # fmt: skip
                forward_at = (bag * n_others + other) * n_patches
                backward_at = (other * n_bags + bag) * n_other_patches
                for patch in range(n_patches):
                    largest, total = row_largest[patch * lanes], row_roots[patch * lanes]
                    for lane in range(patch * lanes + 1, (patch + 1) * lanes):
                        largest = max(largest, row_largest[lane])
                        total += row_roots[lane]
                    forward[forward_at + patch] = largest
                    if has_roots:
                        roots[forward_at + patch] = total / n_other_patches
                for patch in range(n_other_patches):
                    backward[backward_at + patch] = column_largest[patch]

    return {"pack": pack, "reduce": reduce}


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

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words = VectorCode(context, builder, arguments, ir.FloatType(), shape.lanes)
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
