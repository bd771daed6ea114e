"""The instructions of `integers`: a tile of products of 16-bit integers, and the look for candidates in a strip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from anoclust_core.pairwise.kernels.tiles import UNROLLED, VECTORS, TileShape, VectorCode


class ProductsOfTwo(NamedTuple):
    """Instruction that adds the products of two pairs of 16-bit integers in each lane, and what a processor needs."""

    instruction: str
    feature: str


PRODUCTS_OF_TWO: Final = {
    8: ProductsOfTwo("llvm.x86.avx2.pmadd.wd", "avx2"),
    16: ProductsOfTwo("llvm.x86.avx512.pmaddw.d.512", "avx512bw"),
}
"""By the lanes of a tile."""


def tile_code(shape: TileShape) -> Any:
    """Compile one tile to LLVM's instructions.

    The function that is given takes, in compiled code: the packed rows and the place of a panel in them, the same of
    the columns, the depth, the rows' halves of squares and their largest values so far, each with the place of the
    first row in it, the same of the columns, and where the tile's values are to be kept, row by row, and their place.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words = VectorCode(context, builder, arguments, ir.IntType(32), shape.lanes)
        vector, number, pointer = words.type, words.number, words.pointer
        shorts = ir.VectorType(ir.IntType(16), 2 * shape.lanes)
        # with VNNI, LLVM makes this and the sum that follows one instruction
        multiply = words.function(PRODUCTS_OF_TWO[shape.lanes].instruction, vector, [shorts] * 2)
        (
            left, left_at, right, right_at, depth, row_halves, halves_at, row_largest, row_at, column_halves,
            column_halves_at, column_largest, column_at, values, values_at,
        ) = range(15)  # fmt: skip
        all_rows = range(shape.rows)

        def larger(one: Any, other: Any) -> Any:
            return builder.select(builder.icmp_signed(">", one, other), one, other)

        def raise_to(start: Any, offset: int, candidates: list[Any]) -> None:
            largest = words.load(start, number(offset))
            for candidate in candidates:
                largest = larger(largest, candidate)
            words.store(largest, start, number(offset))

        rows, columns = pointer(left, left_at), pointer(right, right_at)
        halves = pointer(row_halves, halves_at), pointer(column_halves, column_halves_at)
        of_columns = [builder.neg(words.load(halves[1], number(v * shape.lanes))) for v in range(VECTORS)]
        of_rows = [words.repeated(words.value(halves[0], number(row))) for row in all_rows]
        start = [[builder.sub(of_column, of_row) for of_column in of_columns] for of_row in of_rows]
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("features", "sums"))
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(arguments[depth].type)
        step.add_incoming(number(0), before)
        sums = [[builder.phi(vector) for _ in range(VECTORS)] for _ in all_rows]
        added = [list(row) for row in sums]
        for turn in range(UNROLLED):
            at = builder.add(step, number(turn))
            row_at_step, column_at_step = builder.mul(at, number(shape.rows)), builder.mul(at, number(shape.columns))
            loaded = [
                builder.bitcast(words.load(columns, builder.add(column_at_step, number(v * shape.lanes))), shorts)
                for v in range(VECTORS)
            ]
            for row in all_rows:
                value = words.repeated(words.value(rows, builder.add(row_at_step, number(row))))
                for v in range(VECTORS):
                    product = builder.call(multiply, [builder.bitcast(value, shorts), loaded[v]])
                    added[row][v] = builder.add(added[row][v], product)
        following = builder.add(step, number(UNROLLED))
        step.add_incoming(following, loop)
        for row in all_rows:
            for v in range(VECTORS):
                sums[row][v].add_incoming(start[row][v], before)
                sums[row][v].add_incoming(added[row][v], loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[depth]), loop, after)
        builder.position_at_end(after)

        kept = pointer(values, values_at)
        for row in all_rows:
            for v in range(VECTORS):
                words.store(added[row][v], kept, number(row * shape.columns + v * shape.lanes))
        for v in range(VECTORS):
            raise_to(pointer(column_largest, column_at), v * shape.lanes, [added[row][v] for row in all_rows])
        row_maxima = _lane_maxima(words, [larger(*added[row]) for row in all_rows], larger)
        raise_to(pointer(row_largest, row_at), 0, [row_maxima])
        return context.get_dummy_value()

    def add_tile(
        _context: Any, left: Any, _1: Any, right: Any, _2: Any, _3: Any, row_halves: Any, _4: Any, row_largest: Any,
        _5: Any, column_halves: Any, _6: Any, column_largest: Any, _7: Any, values: Any, _8: Any,
    ) -> Any:  # fmt: skip
        at = types.intp
        takes = (
            left, at, right, at, at, row_halves, at, row_largest, at, column_halves, at, column_largest, at, values, at,
        )  # fmt: skip
        return types.void(*takes), code

    return intrinsic(add_tile)


def _lane_maxima(words: VectorCode, vectors: list[Any], larger: Callable[[Any, Any], Any]) -> Any:
    """Vector of the maxima over each vector's lanes, in their order; its other lanes repeat one of them.

    Halves of two vectors are put side by side and the two results compared, until one vector has a lane of each.
    """
    tree = [(vector, [number] * words.lanes) for number, vector in enumerate(vectors)]
    width = words.lanes
    while width > 1:
        half = width // 2
        firsts = [
            at + lane
            for start in range(0, words.lanes, width)
            for at in (start, words.lanes + start)
            for lane in range(half)
        ]
        seconds = [lane + half for lane in firsts]
        tree += tree[-1:] * (len(tree) % 2)
        tree = [
            (
                larger(words.chosen(*pair, firsts), words.chosen(*pair, seconds)),
                [(*owners, *others)[at] for at in firsts],
            )
            for (one, owners), (other, others) in zip(tree[::2], tree[1::2], strict=True)
            for pair in [(one, other)]
        ]
        width = half
    ((maxima, owners),) = tree
    return words.chosen(maxima, maxima, [owners.index(min(n, len(vectors) - 1)) for n in range(words.lanes)])


def reaching_code(shape: TileShape) -> Any:
    """Compile the look for candidates in one row of a strip.

    The function that is given takes, in compiled code: the values and the place of the row's first, the least value of
    a candidate in this row, the same of all columns and the place of the first column in these. It gives 64 bits, from
    the lowest on: which values reach their row's or their column's least one.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words = VectorCode(context, builder, arguments, ir.IntType(32), shape.lanes)
        values, values_at, row_least, column_least, column_at = range(5)
        of_row, bits = words.repeated(arguments[row_least]), ir.Constant(ir.IntType(64), 0)
        for v in range(VECTORS):
            at = words.number(v * shape.lanes)
            of_column = words.load(words.pointer(column_least, column_at), at)
            least = builder.select(builder.icmp_signed("<", of_column, of_row), of_column, of_row)
            reaches = builder.icmp_signed(">=", words.load(words.pointer(values, values_at), at), least)
            more = builder.zext(builder.bitcast(reaches, ir.IntType(shape.lanes)), bits.type)
            bits = builder.or_(bits, builder.shl(more, ir.Constant(bits.type, v * shape.lanes)))
        return bits

    def reaching(_context: Any, values: Any, _1: Any, _2: Any, column_least: Any, _3: Any) -> Any:
        return types.int64(values, types.intp, types.int32, column_least, types.intp), code

    return intrinsic(reaching)


def first_bit_code() -> Any:
    """Compile the place of the lowest bit that is set, of 64 that are not all 0."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    def first_bit(_context: Any, _bits: Any) -> Any:
        return types.int64(types.int64), code

    return intrinsic(first_bit)
