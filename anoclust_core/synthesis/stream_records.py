"""What a stream of nights consists of: images with their class and how each was taken, and truths about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

TruthKind = Literal[
    "new",
    "surge",
    "growth",
    "jump",
    "drift",
    "second camera",
    "design",
    "missing",
    "half",
    "alike",
    "ended",
    "gap",
    "doubled",
]
"""What can be true of a stream from a night on.

``new``: a class has its first image. ``surge``: a class has several times its usual images in one night. ``growth``: a
class doubles in ten nights. ``jump``, ``drift``: brightness or sharpness of all images changes at once, or slowly.
``second camera``: half of the images come from another camera. ``design``: good parts have another texture.
``missing``: a night without images. ``half``: half as many as usual. ``alike``: all pictures of a night are one.

The last three need not be told, they only explain: ``ended``: a class has no more images. ``gap``: nights of the week
that never have images. ``doubled``: files of the night before come again under other names.
"""

TOLD_KINDS: Final[tuple[TruthKind, ...]] = (
    "new",
    "surge",
    "growth",
    "jump",
    "drift",
    "second camera",
    "design",
    "missing",
    "half",
    "alike",
)
"""Kinds of truth that should be told."""

GOOD: Final = "good"
OTHER_GOOD: Final = "good b"
"""Class of good parts once their design has changed."""

SURFACES: Final = ("brick", "grass", "gravel")
"""Photographs that surfaces are cut from, by the names that scikit-image has for them."""


@dataclass(frozen=True)
class Taken:
    """How an image was taken.

    Attributes
    ----------
    gain
        Factor on all grey levels.
    gamma
        Exponent on grey levels from 0 to 1.
    blur
        Standard deviation in pixels.
    noise
        Standard deviation in grey levels.
    scale
        Side of the delivered picture as a share of the usual side.
    """

    gain: float = 1.0
    gamma: float = 1.0
    blur: float = 0.4
    noise: float = 2.0
    scale: float = 1.0


@dataclass(frozen=True)
class StreamImage:
    """One file of a stream.

    Attributes
    ----------
    night, number
        When it was delivered, and which of that night's files it is.
    label
        Its class: `GOOD`, `OTHER_GOOD`, or a kind of defect.
    taken
        How.
    scene, shot
        Names of what is seen and of the exposure. Files with one shot are equal byte by byte; files with one scene
        and different shots differ by the camera's noise.
    is_other_design
        Whether the part has the later design.
    marks
        Kinds of truth that it was made under: ``jump``, ``drift``, ``second camera``, ``design``, ``alike``.
    """

    night: int
    number: int
    label: str
    taken: Taken
    scene: str
    shot: str
    is_other_design: bool = False
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file in the stream, without an ending."""
        return f"{self.night:02d}/{self.number:03d}"

    @property
    def is_copy(self) -> bool:
        """Whether another file of the stream, delivered before, has the same bytes."""
        return self.shot != self.name

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with the part."""
        return self.label in {GOOD, OTHER_GOOD}


@dataclass(frozen=True)
class Truth:
    """One thing that a person should be told, or that explains why something was told.

    Attributes
    ----------
    kind, label
        What, and of which class; None where it is of none.
    begins
        Night from which on it is so.
    first
        First night on which enough has happened to tell it; telling it earlier is right too.
    last
        Last night on which telling is in time.
    """

    kind: TruthKind
    label: str | None
    begins: int
    first: int
    last: int

    @property
    def must_be_told(self) -> bool:
        """Whether silence about it is a fault."""
        return self.kind in TOLD_KINDS


@dataclass(frozen=True)
class Stream:
    """A plan of what a camera delivers.

    Attributes
    ----------
    seed, n_nights
        What it was made from.
    surface, other_surface
        Photographs of the good part, and of what its later design is mixed with.
    is_mostly_good
        Whether most images show good parts.
    strengths
        Lowest strength that each kind of defect is drawn with.
    images, truths
        By night.
    """

    seed: int
    n_nights: int
    surface: str
    other_surface: str
    is_mostly_good: bool
    strengths: Mapping[str, float]
    images: tuple[StreamImage, ...]
    truths: tuple[Truth, ...]

    def on(self, night: int) -> list[StreamImage]:
        """Files that are delivered in a night."""
        return [image for image in self.images if image.night == night]
