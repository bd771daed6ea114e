"""Tiles of products that are computed in the processor's registers, written as LLVM's instructions through Numba.

What the kernels of image pairs have in common: how large a tile is, and words for the instructions on its vectors.
Loops in Numba's Python would leave a tile's sums in memory: here no compiler is made to guess which ones stay in
registers.
"""

from __future__ import annotations

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
def processor_features() -> frozenset[str]:
    """What this processor can do, in LLVM's words."""
    from llvmlite.binding import get_host_cpu_features

    return frozenset(name for name, has in get_host_cpu_features().items() if has)


def tile_shape() -> TileShape:
    """Tile for this processor."""
    return WIDE if "avx512f" in processor_features() else NARROW


class VectorCode:
    """Instructions on vectors of one type of 32 bits, inside one Numba intrinsic.

    Parameters
    ----------
    context, builder, signature, arguments
        As Numba gives them to an intrinsic's code; types and values of what it is called with.
    element
        LLVM's type of a vector's values.
    lanes
        Values of a vector.
    """

    def __init__(
        self, context: Any, builder: Any, signature: Any, arguments: Sequence[Any], element: Any, lanes: int
    ) -> None:
        from llvmlite import ir

        self._ir = ir
        self._context, self._builder, self._signature, self._arguments = context, builder, signature, arguments
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

    def pointer(self, array: int, at: int) -> Any:
        """Address in one argument, a flat array, at the index that another one is; both by their places."""
        of_type = self._context.make_array(self._signature.args[array])
        data = of_type(self._context, self._builder, value=self._arguments[array]).data
        return self._builder.gep(data, [self._arguments[at]])

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
