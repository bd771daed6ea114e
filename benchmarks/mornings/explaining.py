"""Which truth explains that something was told: windows around truths, and what drift may be about.

A truth is answered where it is told in the words that are meant for it, and only explained where its consequences are
told: after a jump of brightness, rarity is unusual until the history has caught up. What no truth explains is false.

| truth | explains drift (of rarity, of the unknown, ...) | explains new and growing clusters |
|---|---|---|
| new | until 5 nights after its third image | the first one of its class; growth until `SETTLES` nights after |
| surge | that night | growth of a cluster that it fills |
| growth | until 5 nights past the time for telling | growth, from its begin on |
| jump, second camera, design | `CATCH_UP` nights | mostly made of such images, `CATCH_UP` nights |
| drift | until `CATCH_UP` nights after its end | mostly made of such images, as long |
| alike | that night | filled by such images, that night |
| ended | `CATCH_UP` nights | nothing |
| missing, half, doubled | nothing | nothing |

Drift whose ``what`` is about the camera is explained by jump, drift, second camera, design and alike only. Drift whose
``what`` is about missing images is explained by missing, half and alike only; and by a gap of the week in the first
`LEARNS_WEEK` nights. A design that was changed is a class of its own as well: its good parts.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from anoclust_core.synthesis.stream_records import Truth

CATCH_UP: Final = 14
"""Nights after a change of the camera or the part in which its consequences are no false alarms: two re-clusterings."""

LEARNS_WEEK: Final = 14
"""Nights in which a category cannot know yet that nights of its week have no images."""

SETTLES: Final = 10
"""Nights after its third image in which a new class still grows."""

ABOUT_CAMERA: Final = frozenset(
    {"camera", "brightness", "exposure", "contrast", "sharpness", "focus", "noise", "alike", "difference"}
)
ABOUT_MISSING: Final = frozenset({"missing", "count", "counts", "images", "few", "silent", "half"})
"""What drift may be about, by the payload's ``what``. Everything else is about images: ``rarity``, ``unknown``, ..."""

CONDITIONS: Final = frozenset({"jump", "drift", "second camera", "design", "alike"})
"""Truths that images were made under, and so are marked with."""


def drift_answers(truth: Truth, what: str, night: int) -> bool:
    """Whether drift is the answer to a truth, be it late."""
    if night < truth.begins:
        return False
    if truth.kind in {"missing", "half"}:
        return what in ABOUT_MISSING and night == truth.begins
    if truth.kind == "alike":
        return what in ABOUT_CAMERA | ABOUT_MISSING and night == truth.begins
    if truth.kind in {"jump", "second camera", "drift", "design"}:
        return what not in ABOUT_MISSING and night <= _catches_up(truth)
    return False


def drift_explained(truth: Truth, what: str, night: int) -> bool:
    """Whether drift follows from a truth."""
    if truth.kind == "gap":
        return what in ABOUT_MISSING and night == truth.begins and night < LEARNS_WEEK
    if drift_answers(truth, what, night):
        return True
    if what in ABOUT_CAMERA | ABOUT_MISSING:
        return False
    first, last = {
        "new": (truth.begins, truth.first + 5),
        "surge": (truth.begins, truth.begins),
        "growth": (truth.begins, truth.last + 5),
        "alike": (truth.begins, truth.begins),
        "ended": (truth.begins, truth.begins + CATCH_UP),
    }.get(truth.kind, (1, 0))
    return first <= night <= last


def growth_answers(truth: Truth, label: str | None, night: int) -> bool:
    """Whether growth of a cluster that is mostly of a class is the answer to a truth, be it late."""
    if truth.label != label:
        return False
    return (truth.kind == "surge" and night == truth.begins) or (truth.kind == "growth" and night > truth.begins)


def growth_explained(truth: Truth, label: str | None, night: int) -> bool:
    """Whether growth of a cluster whose images of tonight are mostly of a class follows from a truth."""
    if growth_answers(truth, label, night):
        return True
    return truth.kind in {"new", "design"} and truth.label == label and truth.begins <= night <= truth.first + SETTLES


def condition_explains(truth: Truth, marks: Set[str], night: int) -> bool:
    """Whether a new or growing cluster that is mostly made of images with some marks follows from a truth."""
    if truth.kind not in CONDITIONS & marks:
        return False
    last = truth.begins if truth.kind == "alike" else _catches_up(truth)
    return truth.begins <= night <= last


def _catches_up(truth: Truth) -> int:
    return (truth.last if truth.kind == "drift" else truth.begins) + CATCH_UP
