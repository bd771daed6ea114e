"""The loops of `integers` over patches, panels and image pairs, on plain memory, as Numba compiles them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from anoclust_core.pairwise.kernels.integer_tiles import first_bit_code, reaching_code, tile_code
from anoclust_core.pairwise.kernels.tiles import TileShape

SCALED_ROUNDING: Final = 0.02
"""Length of what float32 itself may take from a scaled patch: 2 roundings of 2^-24 of at most 2^15, four times over."""

SIGNATURES: Final[Mapping[str, str]] = {
    "longest": "pnnpp",
    "pack": "pnnnpfnnnnhPp",
    "reduce": "ppnnnnnnnnPPpPPpppnPnPPPPPn",
}
"""As `machine_code` writes them."""


def make_loops(shape: TileShape) -> Mapping[str, Callable[..., None]]:
    """Make the functions of `SIGNATURES`; every array is flat, and its shape is what `integers` says."""
    import numba

    n_rows, lanes, n_columns = shape.rows, shape.lanes, shape.columns
    add_tile, reaching, first_bit = tile_code(shape), reaching_code(shape), first_bit_code()
    plain = numba.njit(nogil=True, error_model="numpy")
    in_any_order = numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})  # sums in vectors

    @in_any_order
    def squared_distance(one: Any, at: int, other: Any, other_at: int, dim: int) -> np.float32:
        total = np.float32(0)
        for feature in range(dim):
            difference = one[at + feature] - other[other_at + feature]
            total += difference * difference
        return total

    @plain
    def longest(bags: Any, n_patches: int, dim: int, centre: Any, length: Any) -> None:
        most = np.float32(0)
        for patch in range(n_patches):
            most = max(most, squared_distance(bags, patch * dim, centre, 0, dim))
        length[0] = math.sqrt(most)

    @plain
    def pack(
        bags: Any, n_bags: int, n_patches: int, dim: int, centre: Any, scale: np.float32,
        n_panels: int, depth: int, width: int, n_lanes: int, values: Any, halves: Any, lost: Any,
    ) -> None:  # fmt: skip
        for bag in range(n_bags):
            for panel in range(n_panels):
                here = bag * n_panels + panel
                for place in range(width):
                    patch = min(panel * width + place, n_patches - 1)  # a last patch that is repeated moves no maximum
                    start = (bag * n_patches + patch) * dim
                    square, off = np.int64(0), np.float32(0)
                    for feature in range(dim):
                        exact = (bags[start + feature] - centre[feature]) * scale
                        rounded = np.rint(exact)
                        value = np.int16(rounded)
                        values[((here * depth + feature // 2) * width + place) * 2 + feature % 2] = value
                        square += np.int64(value) * np.int64(value)
                        off += (exact - rounded) * (exact - rounded)
                    halves[here * n_lanes + place] = square // 2
                    lost[here * n_lanes + place] = math.sqrt(off) + SCALED_ROUNDING

    @plain
    def largest_of(values: Any, start: int, end: int) -> Any:
        most = values[start]
        for at in range(start + 1, end):
            most = max(most, values[at])
        return most

    @plain
    def set_least(
        largest: Any, start: int, end: int, lost: Any, lost_at: int, others_lost: np.float32, least: Any
    ) -> None:
        """Least value of a candidate in each row, or column: the largest one, less what rounding may have moved."""
        for at in range(start, end):
            # halves are rounded down: the squared distance may be 2 more; then a millionth for float32
            distance = math.sqrt(np.float32(2) - np.float32(2) * np.float32(largest[at]))
            distance += np.float32(2) * (lost[lost_at + at] + others_lost)
            half = distance * distance * np.float32(0.500001) + np.float32(1)
            least[at] = np.int32(-min(half, np.float32(2.147483e9)))

    @plain
    def reduce(
        bags: Any, others: Any, n_bags: int, n_others: int, n_patches: int, n_other_patches: int, dim: int,
        n_left: int, n_right: int, depth: int,
        left: Any, left_halves: Any, left_lost: Any, right: Any, right_halves: Any, right_lost: Any,
        forward: Any, backward: Any, after_own: int,
        values: Any, strips: int, row_largest: Any, row_least: Any, column_largest: Any, column_least: Any,
        candidates: Any, room: int,
    ) -> None:  # fmt: skip
        strip = n_left * n_rows * n_columns
        for bag in range(n_bags):
            row_at = bag * n_left * lanes
            rows_lost = largest_of(left_lost, row_at, row_at + n_left * lanes)
            for other in range(bag + 1 if after_own else 0, n_others):
                column_at = other * n_right * n_columns
                columns_lost = largest_of(right_lost, column_at, column_at + n_right * n_columns)
                for at in range(n_left * lanes):
                    row_largest[at] = np.int32(-(2**31))
                for at in range(n_right * n_columns):
                    column_largest[at] = np.int32(-(2**31))
                found = 0
                for start in range(0, n_right, strips):
                    end = min(start + strips, n_right)
                    for j in range(start, end):
                        for i in range(n_left):
                            add_tile(
                                left, (bag * n_left + i) * depth * n_rows,
                                right, (other * n_right + j) * depth * n_columns,
                                depth,
                                left_halves, row_at + i * lanes, row_largest, i * lanes,
                                right_halves, column_at + j * n_columns, column_largest, j * n_columns,
                                values, (j - start) * strip + i * n_rows * n_columns,
                            )  # fmt: skip
                    # a row's largest value may still rise: what does not reach it then is dropped below
                    set_least(row_largest, 0, n_left * lanes, left_lost, row_at, columns_lost, row_least)
                    set_least(
                        column_largest, start * n_columns, end * n_columns, right_lost, column_at, rows_lost,
                        column_least,
                    )  # fmt: skip
                    for j in range(start, end):
                        for patch in range(n_patches):
                            least = row_least[patch // n_rows * lanes + patch % n_rows]
                            at = (j - start) * strip + patch * n_columns
                            bits = reaching(values, at, least, column_least, j * n_columns)
                            while bits:
                                place = first_bit(bits)
                                bits &= bits - 1
                                if j * n_columns + place < n_other_patches:
                                    if found < room:
                                        candidates[3 * found] = patch
                                        candidates[3 * found + 1] = j * n_columns + place
                                        candidates[3 * found + 2] = values[at + place]
                                    found += 1
                    if found > room:
                        break
                nearest = (bag * n_others + other) * n_patches
                nearest_back = (other * n_bags + bag) * n_other_patches
                unset = np.float32(np.inf) if found <= room else np.float32(np.nan)
                for patch in range(n_patches):
                    forward[nearest + patch] = unset
                for patch in range(n_other_patches):
                    backward[nearest_back + patch] = unset
                if found > room:
                    continue
                for at in range(found):
                    patch, column = candidates[3 * at], candidates[3 * at + 1]
                    value = candidates[3 * at + 2]
                    least = row_least[patch // n_rows * lanes + patch % n_rows]
                    if value >= least or value >= column_least[column]:
                        square = squared_distance(
                            bags, (bag * n_patches + patch) * dim,
                            others, (other * n_other_patches + column) * dim, dim,
                        )  # fmt: skip
                        forward[nearest + patch] = min(forward[nearest + patch], square)
                        backward[nearest_back + column] = min(backward[nearest_back + column], square)

    return {"longest": longest, "pack": pack, "reduce": reduce}
