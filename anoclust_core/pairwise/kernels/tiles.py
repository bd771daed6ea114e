"""Tiles of products that are computed in the processor's registers, written as LLVM's instructions through Numba.

What the kernels of image pairs have in common: how large a tile is, and words for the instructions on its vectors.
Loops in Numba's Python would leave a tile's sums in memory: here no compiler is made to guess which ones stay in
registers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

VECTORS: Final = 2
"""Vectors of columns in a tile."""

WIDEST: Final = 32
"""Columns of the widest tile."""

UNROLLED: Final = 4
"""Steps that one turn of the innermost loop takes; panels are filled up with zeros to a multiple of it."""


@dataclass(frozen=True)
class TileShape:
    """Patches of a tile: twelve or twenty-four vectors of sums, which the registers hold beside what is multiplied."""

    rows: int
    lanes: int

    @property
    def columns(self) -> int:
        """Patches of the other image."""
        return VECTORS * self.lanes


WIDE: Final = TileShape(12, 16)
NARROW: Final = TileShape(6, 8)
"""The tiles for registers of 16 and of 8 values of 32 bits."""


@cache
def processor() -> tuple[str, str]:
    """Processor that is compiled for and what it can do, in LLVM's words: this one, or what Numba is told to take.

    Numba is told by ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``.
    """
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if name or features:
        return name or "generic", features or ""
    from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

    return get_host_cpu_name(), get_host_cpu_features().flatten()


def processor_features() -> frozenset[str]:
    """What the processor that is compiled for can do."""
    return frozenset(one[1:] for one in processor()[1].split(",") if one.startswith("+"))


def tile_shape() -> TileShape:
    """Tile for this processor."""
    return WIDE if "avx512f" in processor_features() else NARROW


class VectorCode:
    """Instructions on vectors of one type of 32 bits, inside one Numba intrinsic.

    Parameters
    ----------
    context, builder, arguments
        As Numba gives them to an intrinsic's code; values of what it is called with.
    element
        LLVM's type of a vector's values.
    lanes
        Values of a vector.
    """

    def __init__(self, context: Any, builder: Any, arguments: Sequence[Any], element: Any, lanes: int) -> None:
        from llvmlite import ir

        self._ir = ir
        self._context, self._builder, self._arguments = context, builder, arguments
        self.lanes = lanes
        self.type = ir.VectorType(element, lanes)

    def function(self, name: str, result: Any, takes: Sequence[Any]) -> Any:
        """One of LLVM's own functions."""
        from numba.core import cgutils

        of_type = self._ir.FunctionType(result, takes)
        return cgutils.get_or_insert_function(self._builder.module, of_type, name)

    def number(self, value: int) -> Any:
        """Index of an array that is known now."""
        return self._ir.Constant(self._ir.IntType(self._context.address_size), value)

    def pointer(self, start: int, at: int) -> Any:
        """Address that one argument is, moved by the index that another one is; both by their places."""
        return self._builder.gep(self._arguments[start], [self._arguments[at]])

    def value(self, start: Any, offset: Any) -> Any:
        """One value so many places after an address."""
        return self._builder.load(self._builder.gep(start, [offset]))

    def load(self, start: Any, offset: Any) -> Any:
        """Vector so many values after an address."""
        return self._builder.load(self._vector_at(start, offset), align=4)

    def store(self, vector: Any, start: Any, offset: Any) -> None:
        """Write a vector so many values after an address."""
        self._builder.store(vector, self._vector_at(start, offset), align=4)

    def repeated(self, value: Any) -> Any:
        """Vector of one value."""
        undefined = self._ir.Constant(self.type, self._ir.Undefined)
        first = self._builder.insert_element(undefined, value, self._ir.Constant(self._ir.IntType(32), 0))
        return self.chosen(first, undefined, [0] * self.lanes)

    def chosen(self, one: Any, other: Any, lanes: Sequence[int]) -> Any:
        """Vector of chosen values of two vectors; the other's are counted on from the one's."""
        mask = self._ir.Constant(self._ir.VectorType(self._ir.IntType(32), len(lanes)), list(lanes))
        return self._builder.shuffle_vector(one, other, mask)

    def _vector_at(self, start: Any, offset: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(start, [offset]), self.type.as_pointer())
