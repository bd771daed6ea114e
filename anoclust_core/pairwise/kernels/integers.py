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

from collections.abc import Mapping
from functools import cache, partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise.kernels.groups import Group, checked_group, with_room
from anoclust_core.pairwise.kernels.integer_loops import SIGNATURES, make_loops
from anoclust_core.pairwise.kernels.integer_tiles import PRODUCTS_OF_TWO
from anoclust_core.pairwise.kernels.machine_code import Function, Kernel, example, load
from anoclust_core.pairwise.kernels.tiles import UNROLLED, WIDEST, TileShape, processor_features, tile_shape

LONGEST: Final = 2**15 - 1
"""Length of the longest patch in integers: twice that is the largest distance, half of whose square fits 32 bits."""

SMALLEST_SPREAD: Final = 1e-6
"""Patches nearer than this to their centre are alike up to rounding and are not spread over the integers."""

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

    This processor is the one that is compiled for, see `processor_features`.
    """
    return PRODUCTS_OF_TWO[(shape or tile_shape()).lanes].feature in processor_features()


def nearest_squares(bags: Group, others: Group) -> NearestSquares:
    """Squared distances to the nearest patch between two groups of images, both ways; for bags that were checked.

    Parameters
    ----------
    bags, others
        Each a `Group`.
    """
    bags, others, forward, backward = with_room(bags, others)
    squares = NearestSquares(forward, backward)
    _fill(_compiled(), bags, others, squares, after_own=False)
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
    _fill(_compiled(), bags, bags, NearestSquares(squares, squares), after_own=True)
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


def _fill(
    loops: Mapping[str, Function], bags: Group, others: Group, squares: NearestSquares, *, after_own: bool
) -> None:
    if not len(bags) or not len(others):
        return
    tile = tile_shape()
    bags, others = np.ascontiguousarray(bags), np.ascontiguousarray(others)
    (n_bags, n_patches, dim), (n_others, n_other_patches, _) = bags.shape, others.shape
    centre = (bags.mean(axis=(0, 1)) + others.mean(axis=(0, 1))) / np.float32(2)
    longest = np.full(1, SMALLEST_SPREAD, np.float32)
    for group in (bags, others):
        length = np.empty(1, np.float32)
        loops["longest"](group, len(group) * group.shape[1], dim, centre, length)
        longest = np.maximum(longest, length)
    scale = np.float32((LONGEST - dim**0.5) / float(longest[0]))  # rounding makes none longer than 2^15 - 1
    left = _packed(loops, bags, centre, scale, width=tile.rows, lanes=tile.lanes)
    right = _packed(loops, others, centre, scale, width=tile.columns, lanes=tile.columns)
    n_left, n_right, depth = left.values.shape[1], right.values.shape[1], left.values.shape[2]
    strip = n_left * tile.rows * tile.columns
    strips = max(1, STRIP_VALUES // strip)
    room = CANDIDATES_A_PATCH * (n_patches + n_other_patches)
    loops["reduce"](
        bags, others, n_bags, n_others, n_patches, n_other_patches, dim, n_left, n_right, depth,
        left.values, left.halves, left.lost, right.values, right.halves, right.lost,
        squares.forward, squares.backward, after_own,
        _integers(strips * strip), strips, _integers(n_left * tile.lanes), _integers(n_left * tile.lanes),
        _integers(n_right * tile.columns), _integers(n_right * tile.columns), _integers(3 * room), room,
    )  # fmt: skip


def _integers(n: int) -> NDArray[np.int32]:
    """Room that machine code works in."""
    return np.empty(n, np.int32)


def _packed(
    loops: Mapping[str, Function],
    bags: NDArray[np.float32],
    centre: NDArray[np.float32],
    scale: np.float32,
    *,
    width: int,
    lanes: int,
) -> _Packed:
    n_bags, n_patches, dim = bags.shape
    n_panels, depth = -(-n_patches // width), -(-dim // (2 * UNROLLED)) * UNROLLED
    values = np.zeros((n_bags, n_panels, depth, width, 2), np.int16)
    halves = np.zeros((n_bags, n_panels, lanes), np.int32)
    lost = np.zeros((n_bags, n_panels, lanes), np.float32)
    loops["pack"](bags, n_bags, n_patches, dim, centre, scale, n_panels, depth, width, lanes, values, halves, lost)
    return _Packed(values.view(np.int32)[..., 0], halves, lost)


@cache
def _compiled() -> Mapping[str, Function]:
    """Machine code for this processor; it runs in the calling thread and without the interpreter's lock."""
    shape = tile_shape()
    return load(
        Kernel(f"integers-{shape.rows}x{shape.columns}", SIGNATURES, partial(make_loops, shape), _finds_nearest)
    )


def _finds_nearest(loops: Mapping[str, Function]) -> bool:
    """Whether loops find the nearest patches of a few images, as NumPy does."""
    bags, expected = example()
    n_bags, n_patches, _ = bags.shape
    squares = np.zeros((n_bags, n_bags, n_patches), np.float32)
    _fill(loops, bags, bags, NearestSquares(squares, squares), after_own=True)
    return bool(np.allclose(squares, expected, rtol=1e-4, atol=0))
