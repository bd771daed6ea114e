"""Plan what a camera delivers night after night, with the truth of what a person should be told, and when.

A plan is made from one seed and holds no pixels: a list of images, each with its class and how it was taken, and a list
of truths. `pictures` draws the images. Every night is a number, from 0 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

import numpy as np
from scipy.stats import poisson

from anoclust_core.errors import ConfigError
from anoclust_core.seeding import generator
from anoclust_core.synthesis.defects import KINDS
from anoclust_core.synthesis.stream_records import (
    GOOD,
    OTHER_GOOD,
    SURFACES,
    Stream,
    StreamImage,
    Taken,
    Truth,
    TruthKind,
)

MIN_NIGHTS: Final = 30
DEFAULT_NIGHTS: Final = 40
WEEK: Final = 7

DOUBLES_IN: Final = 10
"""Nights in which a growing class doubles."""

IN_TIME_AFTER_DOUBLING: Final = 5
"""Nights after doubling within which telling is in time."""

_PLATEAU: Final = 15
"""Nights after which a class has grown enough."""

_FEWEST_TO_TELL: Final = 3
"""Images that a class needs before it can be told."""

_CHANCE: Final = 1e-4
"""Chance that a class has as many images as in its surge on a usual night."""

_HALF: Final = 0.45

_KINDS: Final = tuple(kind for kind in KINDS if kind != "scratch")
"""Kinds that a stream may have: scratches are bright or dark, which is two kinds to whoever looks at them."""

_THIN: Final = ("crack", "fibre")
"""Kinds that are hardly a pixel wide, and so are drawn more plainly."""

_SECOND_CAMERA: Final = Taken(gamma=0.87, blur=0.45, noise=2.6, scale=0.95)


@dataclass
class _Draft:
    """A stream while it is planned: rates of each class a night, counts that are certain, nights that are taken."""

    rng: np.random.Generator
    n_nights: int
    size: int
    is_mostly_good: bool
    gaps: frozenset[int]
    rates: dict[str, np.ndarray] = field(default_factory=dict)
    counts: dict[tuple[int, str], int] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    begun: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    """Classes to which nothing more happens."""

    def free(self, low: int, high: int, *, width: int = 1) -> int | None:
        """Take some nights in a row on which nothing else happens; gives the first, or None where there are none."""
        found = [
            night
            for night in range(low, high)
            if not any(one in self.busy or one in self.gaps for one in range(night, night + width))
        ]
        if not found:
            return None
        night = int(self.rng.choice(found))
        self.busy |= set(range(night, night + width))
        return night

    def likely(self, share: float) -> bool:
        """Whether something happens that happens in this share of the streams."""
        return bool(self.rng.random() < share)


def plan_stream(seed: int, *, n_nights: int = DEFAULT_NIGHTS) -> Stream:
    """Plan a stream; the same seed and number of nights give the same plan.

    Parameters
    ----------
    seed
        Seed >= 0.
    n_nights
        Nights, at least `MIN_NIGHTS`: fewer have no room for a class that grows slowly.

    Returns
    -------
    stream
        Two to four kinds of defects from the first night on, with five images or more in that night; one to three that
        begin later; and a choice of everything in `TruthKind`.

    Raises
    ------
    ConfigError
        If ``seed`` is negative or there are too few nights.
    """
    if seed < 0 or n_nights < MIN_NIGHTS:
        raise ConfigError(
            f"expected a seed of 0 or more and at least {MIN_NIGHTS} nights, got {seed} and {n_nights}; "
            "choose such numbers"
        )
    rng = generator(seed, "stream")
    surface, other_surface = rng.permutation(SURFACES)[:2].tolist()
    off = ((), (6,), (5, 6))[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
    draft = _Draft(
        rng,
        n_nights,
        size=int(rng.integers(18, 27)),
        is_mostly_good=bool(rng.random() < 0.6),
        gaps=frozenset(night for night in range(n_nights) if night % WEEK in off),
    )
    draft.truths += [Truth("gap", None, night, night, night) for night in sorted(draft.gaps)]
    kinds = rng.permutation(_KINDS).tolist()
    n_old, n_new = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    _begin(draft, kinds[:n_old])
    _grow(draft)
    for label in kinds[n_old : n_old + n_new]:
        _appear(draft, label)
    for _ in range(int(rng.integers(1, 3))):
        _surge(draft)
    _end(draft)
    _change_camera(draft)
    _change_design(draft)
    _single_nights(draft)
    images = _deliver(draft)
    truths = [dated for truth in draft.truths if (dated := _dated(truth, images)) is not None]
    return Stream(
        seed,
        n_nights,
        surface,
        other_surface,
        draft.is_mostly_good,
        {label: round(float(rng.uniform(0.5, 0.8)) + (0.2 if label in _THIN else 0), 3) for label in draft.rates},
        tuple(images),
        tuple(sorted(truths, key=lambda truth: (truth.begins, truth.kind, truth.label or ""))),
    )


def _begin(draft: _Draft, labels: Sequence[str]) -> None:
    """Classes of the first night."""
    low, high = (1.2, 2.8) if draft.is_mostly_good else (3.0, 5.0)
    for label in labels:
        draft.rates[label] = np.full(draft.n_nights, draft.rng.uniform(low, high))
        draft.begun[label] = 0


def _grow(draft: _Draft) -> None:
    """In most streams a class doubles in ten nights, and goes on growing for a while."""
    if not draft.likely(0.7):
        return
    label = str(draft.rng.choice(sorted(draft.rates)))
    begins = int(draft.rng.integers(9, draft.n_nights - DOUBLES_IN - IN_TIME_AFTER_DOUBLING - 5))
    nights = np.clip(np.arange(draft.n_nights) - begins, 0, _PLATEAU)
    draft.rates[label] = draft.rng.uniform(2.5, 3.5) * 2.0 ** (nights / DOUBLES_IN)
    doubled = begins + DOUBLES_IN
    draft.truths.append(Truth("growth", label, begins, doubled, doubled + IN_TIME_AFTER_DOUBLING))
    draft.settled.add(label)


def _appear(draft: _Draft, label: str) -> None:
    """Let a class begin: with one or two images a night at first, or with several at once."""
    night = draft.free(6, draft.n_nights - 6, width=3)
    if night is None:
        return
    rate = draft.rng.uniform(1.5, 3.0) if draft.is_mostly_good else draft.rng.uniform(2.5, 4.0)
    rates = np.zeros(draft.n_nights)
    rates[night:] = rate
    if draft.likely(0.5):
        draft.counts[night, label] = int(draft.rng.integers(1, 3))
        draft.counts |= {(later, label): 1 for later in (night + 1, night + 2)}
        rates[night : night + 8] = np.linspace(1.0, rate, len(rates[night : night + 8]))
    else:
        draft.counts[night, label] = int(draft.rng.integers(4, 7))
    draft.rates[label], draft.begun[label] = rates, night
    draft.truths.append(Truth("new", label, night, night, night))


def _surge(draft: _Draft) -> None:
    """Give a class that has been there for a week several times its usual images in one night.

    They are so many that chance alone makes them in fewer than one of ``1 / _CHANCE`` nights: else chance makes surges
    as well, which nobody can tell from these.
    """
    labels = [label for label in sorted(draft.rates) if label not in draft.settled]
    night = draft.free(8, draft.n_nights - 1)
    old = [label for label in labels if night is not None and draft.begun[label] + WEEK <= night]
    if night is None or not old:
        return
    label = str(draft.rng.choice(old))
    usual = float(draft.rates[label][night])
    draft.counts[night, label] = max(round(usual * draft.rng.uniform(3.5, 5.0)), int(poisson.isf(_CHANCE, usual)) + 1)
    draft.truths.append(Truth("surge", label, night, night, night))


def _end(draft: _Draft) -> None:
    """In every other stream a class has no more images from a night on."""
    at_stake = {truth.label for truth in draft.truths if truth.kind in {"surge", "new"}}
    labels = [label for label in sorted(draft.rates) if label not in draft.settled | at_stake]
    if not labels or not draft.likely(0.5):
        return
    label = str(draft.rng.choice(labels))
    night = int(draft.rng.integers(15, draft.n_nights - 5))
    draft.rates[label][night:] = 0
    draft.truths.append(Truth("ended", label, night, night, night))


def _change_camera(draft: _Draft) -> None:
    """In three of four streams brightness or sharpness jump or drift, or a second camera is added."""
    kind = ("jump", "drift", "second camera", None)[int(draft.rng.integers(4))]
    if kind == "jump" and (night := draft.free(9, draft.n_nights - 4)) is not None:
        draft.truths.append(Truth("jump", None, night, night, night))
    elif kind == "second camera" and (night := draft.free(9, draft.n_nights - 4)) is not None:
        draft.truths.append(Truth("second camera", None, night, night, night))
    elif kind == "drift":
        begins, length = int(draft.rng.integers(8, draft.n_nights - 20)), int(draft.rng.integers(14, 19))
        draft.truths.append(Truth("drift", None, begins, begins + ceil(length / 3), begins + length))


def _change_design(draft: _Draft) -> None:
    """In every fourth stream good parts get another texture."""
    if draft.likely(0.25) and (night := draft.free(9, draft.n_nights - 6, width=2)) is not None:
        draft.truths.append(Truth("design", OTHER_GOOD, night, night, night))


def _single_nights(draft: _Draft) -> None:
    """Nights on which the camera is silent, sends half, sends one picture, or files come twice."""
    low = 2 * WEEK + 1 if draft.gaps else WEEK + 1
    singles: tuple[tuple[TruthKind, float], ...] = (
        ("missing", 0.6),
        ("missing", 0.2),
        ("half", 0.4),
        ("alike", 0.4),
        ("doubled", 0.4),
    )
    for kind, share in singles:
        if draft.likely(share) and (night := draft.free(low, draft.n_nights - 1)) is not None:
            draft.truths.append(Truth(kind, None, night, night, night))


def _deliver(draft: _Draft) -> list[StreamImage]:
    """Images of every night; copies come after the night's own images."""
    rng, of = draft.rng, {truth.begins: truth.kind for truth in draft.truths if truth.kind in _SINGLE}
    conditions = _Conditions(draft)
    images: list[StreamImage] = []
    before: list[StreamImage] = []
    for night in range(draft.n_nights):
        kind = of.get(night)
        if kind in {"missing", "gap"}:
            continue
        labels = _labels(draft, night, share=_HALF if kind == "half" else 1.0)
        if kind == "alike":
            labels = [GOOD] * len(labels)
        tonight = [conditions.image(night, number, label) for number, label in enumerate(labels)]
        if kind == "alike":
            frozen = tonight[0]
            is_same_file = bool(rng.random() < 0.5)
            tonight = [
                replace(
                    frozen,
                    number=image.number,
                    shot=frozen.shot if is_same_file else image.shot,
                    marks=(*frozen.marks, "alike"),
                )
                for image in tonight
            ]
        images += tonight
        if kind == "doubled":
            again = [image for image in before if not image.is_copy]
            images += [replace(image, night=night, number=len(tonight) + at) for at, image in enumerate(again)]
        before = tonight
    return images


_SINGLE: Final = ("missing", "gap", "half", "alike", "doubled")


def _labels(draft: _Draft, night: int, *, share: float) -> list[str]:
    """Classes of a night's images, in random order."""
    throughput = share * float(np.exp(draft.rng.normal(0, 0.1)))
    counts = {}
    for label, rates in draft.rates.items():
        drawn = int(draft.rng.poisson(rates[night] * throughput))
        counts[label] = draft.counts.get((night, label), max(drawn, 5) if night == draft.begun[label] == 0 else drawn)
    usual = draft.size * throughput * (1.4 if night == 0 else 1.0)
    if draft.is_mostly_good:
        counts[GOOD] = max(8 if night == 0 else 3, round(usual) - sum(counts.values()))
    else:
        counts[GOOD] = max(5 if night == 0 else 0, int(draft.rng.poisson(0.15 * usual)))
    found = [label for label, count in counts.items() for _ in range(count)]
    return [found[at] for at in draft.rng.permutation(len(found)).tolist()]


class _Conditions:
    """How the images of every night are taken."""

    def __init__(self, draft: _Draft) -> None:
        self._rng = draft.rng
        self._begins = {truth.kind: truth for truth in draft.truths}
        self._is_focus = draft.likely(0.4)
        self._gain = float(draft.rng.choice([0.75, 1.25]))
        self._share_of_design = float(draft.rng.choice([0.5, 1.0]))

    def image(self, night: int, number: int, label: str) -> StreamImage:
        """One image, taken as that night's are."""
        rng, marks = self._rng, []
        taken = Taken(gain=float(np.exp(rng.normal(0, 0.02))))
        for kind, share in (("jump", self._jumped(night)), ("drift", self._drifted(night))):
            if share > 0:
                marks.append(kind)
                taken = self._changed(taken, share)
        if self._has_begun("second camera", night) and rng.random() < 0.5:
            marks.append("second camera")
            taken = replace(_SECOND_CAMERA, gain=taken.gain)
        is_other = self._has_begun("design", night) and bool(rng.random() < self._share_of_design)
        if is_other:
            marks.append("design")
        name = f"{night:02d}/{number:03d}"
        label = OTHER_GOOD if is_other and label == GOOD else label
        return StreamImage(night, number, label, taken, name, name, is_other, tuple(marks))

    def _has_begun(self, kind: TruthKind, night: int) -> bool:
        return kind in self._begins and self._begins[kind].begins <= night

    def _jumped(self, night: int) -> float:
        return 1.0 if self._has_begun("jump", night) else 0.0

    def _drifted(self, night: int) -> float:
        if not self._has_begun("drift", night):
            return 0.0
        truth = self._begins["drift"]
        return min(1.0, (night - truth.begins) / (truth.last - truth.begins))

    def _changed(self, taken: Taken, share: float) -> Taken:
        """Darker, brighter or less sharp by a share of the whole change."""
        if self._is_focus:
            return replace(taken, blur=taken.blur + 0.9 * share)
        return replace(taken, gain=taken.gain * self._gain**share)


def _dated(truth: Truth, images: Sequence[StreamImage]) -> Truth | None:
    """A truth with the nights on which its images make it tellable; None where there are too few of them."""
    nights = sorted({image.night for image in images})

    def next_night(night: int) -> int:
        return next((one for one in nights if one > night), night)

    if truth.kind in {"new", "design"}:
        of = [image.night for image in images if image.label == truth.label and not image.is_copy]
        if len(of) < _FEWEST_TO_TELL:
            return None
        first = of[_FEWEST_TO_TELL - 1]
        return replace(truth, begins=of[0], first=first, last=next_night(first))
    if truth.kind in {"jump", "second camera"}:
        return replace(truth, last=next_night(truth.first))
    return truth
