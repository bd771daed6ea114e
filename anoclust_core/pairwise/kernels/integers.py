r"""Nearest patches of image pairs from products of 16-bit integers, which a processor makes two at a time.

Patches are moved and scaled together, :math:`q = \mathrm{round}(s (z - c))`, so that the longest is almost 2^15 long,
and a tile of

.. math:: -\tfrac12 \| q_m - q_n \|^2 = q_m \cdot q_n - \tfrac12 \| q_m \|^2 - \tfrac12 \| q_n \|^2

is computed in the processor's registers. It fits 32 bits, whatever its parts overflow to on the way. Its largest values
in a row and in a column are those of nearest patches, as far as rounding allows to say.

**Why the result is exact.** With :math:`e = q - s (z - c)`, what rounding took, :math:`\| q_m - q_n \|` is off from
:math:`s \| z_m - z_n \|` by at most :math:`\| e_m \| + \| e_n \|`. So the patch that is nearest to :math:`z_m` has a
:math:`q_n` not farther from :math:`q_m` than the nearest one and :math:`2 \| e_m \| + 2 \max_n \| e_n \|`. All that are
not are candidates, one or two a patch; each is measured from the difference in single precision, where nothing cancels,
and the least counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels.groups import Group, checked_group, with_room
from anoclust_core.pairwise.kernels.integer_tiles import PRODUCTS_OF_TWO, first_bit_code, reaching_code, tile_code
from anoclust_core.pairwise.kernels.tiles import UNROLLED, WIDEST, TileShape, processor_features, tile_shape

LONGEST: Final = 2**15 - 1
"""Length of the longest patch in integers: twice that is the largest distance, half of whose square fits 32 bits."""

SMALLEST_SPREAD: Final = 1e-6
"""Patches nearer than this to their centre are alike up to rounding and are not spread over the integers."""

SCALED_ROUNDING: Final = 0.02
"""Length of what float32 itself may take from a scaled patch: 2 roundings of 2^-24 of at most 2^15, four times over."""

STRIP_VALUES: Final = 1 << 16
"""Products of an image pair that are kept until their candidates were looked for: 256 KiB, which a core's own cache
holds. Not fewer than a strip, one panel of columns with all rows."""

CANDIDATES_A_PATCH: Final = 16
"""Candidates that are measured one by one, a patch of an image pair on average; with more of them it is
less work to multiply the pair in single precision."""

_BYTES_A_CANDIDATE: Final = 12

_BYTES_A_PLACE: Final = 32
"""Of a patch while a pair is computed: largest values, what makes a candidate, half its square, and what it lost."""


class NearestSquares(NamedTuple):
    """Squared distances to the nearest patch, between two groups of bags.

    Attributes
    ----------
    forward
        Shape ``(n_bags, n_others, n_patches)``, float32: from each patch to the other image. NaN for an image pair that
        has too many candidates, as where one picture is of one colour.
    backward
        Shape ``(n_others, n_bags, n_other_patches)``, float32: the same the other way, NaN for the same pairs.
    """

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]


def has_integer_products(shape: TileShape | None = None) -> bool:
    """Whether this processor has the instruction for a tile, by default its own: those of x86 with AVX2 do.

    Not where Numba is told to compile for another one (``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``).
    """
    from numba import config

    told = config.CPU_NAME or config.CPU_FEATURES  # type: ignore[attr-defined]  # made when it is imported
    return not told and PRODUCTS_OF_TWO[(shape or tile_shape()).lanes].feature in processor_features()


def nearest_squares(bags: Group, others: Group) -> NearestSquares:
    """Squared distances to the nearest patch between two groups of images, both ways; for bags that were checked.

    Parameters
    ----------
    bags, others
        Each a `Group`.
    """
    bags, others, forward, backward = with_room(bags, others)
    squares = NearestSquares(forward, backward)
    _fill(bags, others, squares, after_own=False)
    return squares


def nearest_squares_within(bags: Group) -> NDArray[np.float32]:
    """Squared distances to the nearest patch between the images of one group; for bags that were checked.

    Parameters
    ----------
    bags
        Shape ``(n_bags, n_patches, dim)``.

    Returns
    -------
    squares
        Shape ``(n_bags, n_bags, n_patches)``, float32: 0 from an image to itself, NaN as in `NearestSquares`.
    """
    bags = checked_group(bags)
    squares = np.zeros((len(bags), len(bags), bags.shape[1]), np.float32)
    _fill(bags, bags, NearestSquares(squares, squares), after_own=True)
    return squares


def packed_bytes(n_bags: int, n_patches: int, dim: int) -> int:
    """Memory of a group of bags once they are packed, at most; the same for every processor."""
    return n_bags * (n_patches + WIDEST) * (2 * (dim + 2 * UNROLLED) + _BYTES_A_PLACE)


def pair_bytes(n_patches: int) -> int:
    """Memory of an image pair while it is computed, at most; the same for every processor."""
    strips = max(STRIP_VALUES, WIDEST * (n_patches + WIDEST))
    return 4 * strips + 2 * n_patches * CANDIDATES_A_PATCH * _BYTES_A_CANDIDATE


class _Packed(NamedTuple):
    """Bags as panels of a few patches, the values of two features of each side by side.

    Attributes
    ----------
    values
        Shape ``(n_bags, n_panels, depth, width)``, int32: two integers of 16 bits each.
    halves
        Shape ``(n_bags, n_panels, lanes)``, int32: half the square of each patch's length.
    lost
        The same shape, float32: most that rounding may have taken from it.
    """

    values: NDArray[np.int32]
    halves: NDArray[np.int32]
    lost: NDArray[np.float32]


def _fill(bags: Group, others: Group, squares: NearestSquares, *, after_own: bool) -> None:
    if not len(bags) or not len(others):
        return
    tile, compiled = tile_shape(), _compiled()
    centre = (bags.mean(axis=(0, 1)) + others.mean(axis=(0, 1))) / np.float32(2)
    longest = max(compiled.longest(bags, centre), compiled.longest(others, centre), SMALLEST_SPREAD)
    scale = np.float32((LONGEST - bags.shape[2] ** 0.5) / longest)  # rounding makes none longer than 2^15 - 1
    left = _packed(bags, centre, scale, width=tile.rows, lanes=tile.lanes)
    right = _packed(others, centre, scale, width=tile.columns, lanes=tile.columns)
    compiled.reduce(bags, others, left, right, squares.forward, squares.backward, after_own)


def _packed(
    bags: NDArray[np.float32], centre: NDArray[np.float32], scale: np.float32, *, width: int, lanes: int
) -> _Packed:
    n_bags, n_patches, dim = bags.shape
    n_panels, depth = -(-n_patches // width), -(-dim // (2 * UNROLLED)) * UNROLLED
    values = np.zeros((n_bags, n_panels, depth, width, 2), np.int16)
    halves = np.zeros((n_bags, n_panels, lanes), np.int32)
    lost = np.zeros((n_bags, n_panels, lanes), np.float32)
    _compiled().pack(bags, centre, scale, values, halves, lost)
    return _Packed(values.view(np.int32)[..., 0], halves, lost)


@dataclass(frozen=True)
class _Compiled:
    """Machine code. It runs in the calling thread and without the interpreter's lock."""

    longest: Callable[[NDArray[np.float32], NDArray[np.float32]], float]
    pack: Callable[..., None]
    reduce: Callable[..., None]


@cache
def _compiled() -> _Compiled:
    """Machine code for this processor; kept for the process and not on disk, where nothing may be writable."""
    import numba  # half a second, only for those who come here

    shape = tile_shape()
    n_rows, lanes, n_columns = shape.rows, shape.lanes, shape.columns
    add_tile, reaching, first_bit = tile_code(shape), reaching_code(shape), first_bit_code()
    plain = numba.njit(nogil=True)
    in_any_order = numba.njit(nogil=True, fastmath={"reassoc", "contract"})  # sums in vectors

    @in_any_order
    def squared_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
        total = np.float32(0)
        for feature in range(one.shape[0]):
            difference = one[feature] - other[feature]
            total += difference * difference
        return total

    @plain
    def longest(bags: NDArray[np.float32], centre: NDArray[np.float32]) -> float:
        most = np.float32(0)
        for bag in range(bags.shape[0]):
            for patch in range(bags.shape[1]):
                most = max(most, squared_distance(bags[bag, patch], centre))
        return math.sqrt(most)

    @plain
    def pack(
        bags: NDArray[np.float32],
        centre: NDArray[np.float32],
        scale: np.float32,
        values: NDArray[np.int16],
        halves: NDArray[np.int32],
        lost: NDArray[np.float32],
    ) -> None:
        n_patches, dim = bags.shape[1:]
        n_bags, n_panels, _, width, _ = values.shape
        for bag in range(n_bags):
            for panel in range(n_panels):
                for place in range(width):
                    patch = min(panel * width + place, n_patches - 1)  # a last patch that is repeated moves no maximum
                    square, off = np.int64(0), np.float32(0)
                    for feature in range(dim):
                        exact = (bags[bag, patch, feature] - centre[feature]) * scale
                        rounded = np.rint(exact)
                        value = np.int16(rounded)
                        values[bag, panel, feature // 2, place, feature % 2] = value
                        square += np.int64(value) * np.int64(value)
                        off += (exact - rounded) * (exact - rounded)
                    halves[bag, panel, place] = square // 2
                    lost[bag, panel, place] = math.sqrt(off) + SCALED_ROUNDING

    @plain
    def set_least(
        largest: NDArray[np.int32], lost: NDArray[np.float32], others_lost: np.float32, least: NDArray[np.int32]
    ) -> None:
        """Least value of a candidate in each row, or column: the largest one, less what rounding may have moved."""
        for at in range(len(largest)):
            # halves are rounded down: the squared distance may be 2 more; then a millionth for float32
            distance = math.sqrt(np.float32(2) - np.float32(2) * np.float32(largest[at]))
            distance += np.float32(2) * (lost[at] + others_lost)
            half = distance * distance * np.float32(0.500001) + np.float32(1)
            least[at] = np.int32(-min(half, np.float32(2.147483e9)))

    @plain
    def reduce(
        bags: NDArray[np.float32],
        others: NDArray[np.float32],
        left: _Packed,
        right: _Packed,
        forward: NDArray[np.float32],
        backward: NDArray[np.float32],
        after_own: bool,
    ) -> None:
        (n_bags, n_left, depth, _), (n_others, n_right, _, _) = left.values.shape, right.values.shape
        n_patches, n_other_patches = bags.shape[1], others.shape[1]
        flat_left, flat_right = left.values.reshape(-1), right.values.reshape(-1)
        strip = n_left * n_rows * n_columns
        strips = max(1, STRIP_VALUES // strip)
        values = np.empty(strips * strip, np.int32)
        row_largest, row_least = np.empty(n_left * lanes, np.int32), np.empty(n_left * lanes, np.int32)
        column_largest = np.empty(n_right * n_columns, np.int32)
        column_least = np.empty(n_right * n_columns, np.int32)
        room = CANDIDATES_A_PATCH * (n_patches + n_other_patches)
        candidates = np.empty((room, 3), np.int32)
        for bag in range(n_bags):
            row_halves, row_lost = left.halves[bag].reshape(-1), left.lost[bag].reshape(-1)
            rows_lost = row_lost.max()
            for other in range(bag + 1 if after_own else 0, n_others):
                column_halves, column_lost = right.halves[other].reshape(-1), right.lost[other].reshape(-1)
                columns_lost = column_lost.max()
                row_largest[:] = -(2**31)
                column_largest[:] = -(2**31)
                found = 0
                for start in range(0, n_right, strips):
                    end = min(start + strips, n_right)
                    for j in range(start, end):
                        for i in range(n_left):
                            add_tile(
                                flat_left, (bag * n_left + i) * depth * n_rows,
                                flat_right, (other * n_right + j) * depth * n_columns,
                                depth,
                                row_halves, row_largest, i * lanes,
                                column_halves, column_largest, j * n_columns,
                                values, (j - start) * strip + i * n_rows * n_columns,
                            )  # fmt: skip
                    # a row's largest value may still rise: what does not reach it then is dropped below
                    set_least(row_largest, row_lost, columns_lost, row_least)
                    here = slice(start * n_columns, end * n_columns)
                    set_least(column_largest[here], column_lost[here], rows_lost, column_least[here])
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
                                        candidates[found, 0] = patch
                                        candidates[found, 1] = j * n_columns + place
                                        candidates[found, 2] = values[at + place]
                                    found += 1
                    if found > room:
                        break
                nearest, nearest_back = forward[bag, other], backward[other, bag]
                nearest[:] = np.inf if found <= room else np.nan
                nearest_back[:] = nearest[0]
                if found > room:
                    continue
                for at in range(found):
                    patch, column, value = candidates[at, 0], candidates[at, 1], candidates[at, 2]
                    least = row_least[patch // n_rows * lanes + patch % n_rows]
                    if value >= least or value >= column_least[column]:
                        square = squared_distance(bags[bag, patch], others[other, column])
                        nearest[patch] = min(nearest[patch], square)
                        nearest_back[column] = min(nearest_back[column], square)

    return _Compiled(longest, pack, reduce)
