"""A plan of one stage's memory, and the sizes that several stages count with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from anoclust_core.errors import ResourceError

DECODE_BYTES_PER_PIXEL: Final = 12
"""Decoding a plain picture to RGB: four bytes of the decoder, as many where it is turned upright, three of the result,
and what a progressive JPEG keeps. Measured: 2 of grey, 7 to 10 of colours. Other kinds take more, see
`tasks.images.decoding`."""

READ_BYTES: Final = 256 << 20
"""Nearest distances that are read back at a time."""

WARD_VALUES: Final = 1 << 22
"""Distances that Ward's rounds hold at a time: 32 MiB, and as much for the sizes that they are weighed with."""

CACHED_BYTES: Final = 256 << 20
"""Bags that were read and will be needed again by other blocks."""

SMALLER: Final = "lower --image-size or the number of --tiles"
"""What makes bags smaller."""

MIB: Final = 1 << 20

FIXED: Final = 64 * MIB
"""What a stage takes however little there is to do: arenas of the allocator, an engine that starts."""


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted peak of one stage: bytes by what needs them, in words, and what a user can change to need less."""

    stage: str
    parts: Mapping[str, int]
    knob: str

    @property
    def total(self) -> int:
        """Predicted bytes at the peak."""
        return sum(self.parts.values())

    def check(self, budget: int) -> None:
        """Refuse what does not fit.

        Parameters
        ----------
        budget
            Bytes that the stage may use.

        Raises
        ------
        ResourceError
            If the prediction is larger; the message has the numbers and the knob.
        """
        if self.total <= budget:
            return
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:2]
        why = ", ".join(f"{readable_bytes(size)} for {what}" for what, size in largest)
        raise ResourceError(
            f"stage {self.stage} needs {readable_bytes(self.total)} of memory ({why}); it may use "
            f"{readable_bytes(budget)}; {self.knob}, or raise --memory"
        )


def readable_bytes(size: int) -> str:
    """Write a number of bytes for a person, rounded up.

    Examples
    --------
    >>> readable_bytes(900), readable_bytes(1 << 20), readable_bytes((3 << 30) + 1)
    ('900 B', '1.0 MiB', '3.1 GiB')
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{-(-size * 10 // unit) / 10:,.1f} {name}"
    return f"{size} B"
