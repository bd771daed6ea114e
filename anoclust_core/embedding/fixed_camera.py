"""Whether the patches of frames are compared only near their own place, as frames of a fixed camera can be, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from anoclust_core.config import PairConfig
from anoclust_core.config.setting import MAX_TILES
from anoclust_core.errors import ConfigError
from anoclust_core.records import EmbeddingSpec, Window

if TYPE_CHECKING:
    from anoclust_core.embedding.alignment import Alignment

MOST_OFF: Final = 0.1
"""Part of the pictures that may disagree with all others: a large defect, or a part that is missing."""

ROOM: Final = 1.0
"""Cells that two frames may lie farther apart than the window reaches: only the two farthest do, and a patch sees what
is around its cell."""


@dataclass(frozen=True)
class Steadiness:
    """How a category's frames lie on each other.

    Attributes
    ----------
    verdict
        Of `Alignment`: ``aligned``, ``shifted`` or ``not aligned``.
    agreeing
        Part of the pictures that show the same at the same place, once they are shifted.
    spread
        How far two of these lie apart at most, down and across, as parts of a frame's height and width.
    """

    verdict: str
    agreeing: float
    spread: tuple[float, float]

    @classmethod
    def of(cls, found: Alignment, shape: tuple[int, int]) -> Steadiness:
        """Steadiness of pictures of one height and width in pixels, rounded as it is kept."""
        shifts = found.shifts[found.agrees]
        apart = np.ptp(shifts, axis=0) / shape if len(shifts) else np.zeros(2)
        down, across = (round(float(part), 4) for part in apart)
        return cls(found.verdict, round(float(found.agrees.mean()), 4), (down, across))

    def seen_by(self, spec: EmbeddingSpec, frame: tuple[int, int] | None) -> Steadiness:
        """The same with a spread in parts of what a network sees, be it a part of the frame or more than it.

        Parameters
        ----------
        spec
            How frames are resized and cut.
        frame
            Height and width of a frame in pixels; None where they are not known: then it is taken to be seen whole.
        """
        if frame is None:
            return self
        top, bottom, left, right = spec.seen_box(frame)
        down, across = self.spread
        return replace(self, spread=(down * (frame[0] / (bottom - top)), across * (frame[1] / (right - left))))

    def cells(self, grid: tuple[int, int]) -> float:
        """How far two frames lie apart at most, in cells of a patch grid that covers what the spread is a part of."""
        return max(part * length for part, length in zip(self.spread, grid, strict=True))

    def fits(self, window: Window) -> bool:
        """Whether a patch finds the same part of other frames within a window."""
        return (
            self.verdict != "not aligned"
            and self.agreeing >= 1 - MOST_OFF
            and self.cells(window.grid) <= window.cells + ROOM
        )


def aligned_spec(spec: EmbeddingSpec, asked: PairConfig, found: Steadiness | None) -> EmbeddingSpec:
    """Spec whose patches are compared near their own place only, where that is asked for or ``auto`` chooses it.

    Parameters
    ----------
    spec
        As frames are cut.
    asked
        Whether frames are aligned, and how far a patch is looked for.
    found
        What was measured of the category, as `Steadiness.seen_by` gives it; None where nothing was.
    """
    is_aligned = asked.aligned
    if is_aligned is None:
        is_aligned = bool(spec.tiles) and found is not None and found.fits(Window(spec.grid, asked.window))
    return replace(spec, aligned_within=asked.window if is_aligned else None)


def check_number(spec: EmbeddingSpec, asked: PairConfig, found: Steadiness | None) -> None:
    """Refuse more tiles than there may be where every patch is compared with every other one.

    Raises
    ------
    ConfigError
        If there are more.
    """
    if spec.n_tiles <= MAX_TILES or spec.aligned_within is not None or spec.cover is not None:
        return
    raise ConfigError(
        f"{spec.n_tiles:,} tiles are too many to compare every patch with every patch of other frames: the limit is "
        f"{MAX_TILES}, because that takes the square of their number. {_why_not(spec, asked, found)}. With --aligned "
        "true, for a fixed camera, patches are compared near their own place only; with a smaller --reference-patches, "
        "with a part of each frame's patches; else take fewer tiles"
    )


def aligned_note(spec: EmbeddingSpec, asked: PairConfig, found: Steadiness | None) -> str | None:
    """Say what patches are compared with, and why; None where nobody asks: without tiles, or by ``--aligned false``."""
    if spec.aligned_within is not None:
        why = "as --aligned true asks" if asked.aligned else f"because {_measured(spec, found)}"
        return (
            f"Patches are compared only with those at most {spec.aligned_within} cells from their own place in other "
            f"frames, {why} (--aligned, --window)."
        )
    if asked.aligned is None and spec.tiles:
        return f"Patches are compared with all patches of other frames. {_why_not(spec, asked, found)} (--aligned)."
    return None


def _measured(spec: EmbeddingSpec, found: Steadiness | None) -> str:
    assert found is not None  # noqa: S101 - where it says so, it was measured
    if found.verdict == "not aligned" or found.agreeing < 1 - MOST_OFF:
        return f"{found.agreeing:.0%} of the frames measured show the same at the same place"
    return f"the camera is fixed: frames lie at most {found.cells(spec.grid):.1f} cells apart"


def _why_not(spec: EmbeddingSpec, asked: PairConfig, found: Steadiness | None) -> str:
    """Why patches are not compared near their own place, as a sentence without its full stop."""
    if asked.aligned is False:
        return "--aligned false asks for that"
    if found is None:
        return "Too few frames could be measured to tell whether the camera is fixed"
    if found.verdict == "not aligned" or found.agreeing < 1 - MOST_OFF:
        return f"The camera is not fixed: {_measured(spec, found)}"
    return (
        f"Frames of the fixed camera lie up to {found.cells(spec.grid):.1f} cells apart, more than --window "
        f"{asked.window} covers"
    )
