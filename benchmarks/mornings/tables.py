"""The table: every kind of truth, what was swallowed, false alarms, agreement, seconds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from anoclust_core.synthesis.stream_records import TOLD_KINDS
from benchmarks.mornings.ceiling import with_perfect_clusters
from benchmarks.mornings.records import Record
from benchmarks.mornings.reliability import judgements, unknown
from benchmarks.mornings.scoring import Score, score

DIFFICULTY = (-1, 0.75, 0.95, 1.01)
"""Limits of the rows that streams are counted in by their difficulty; those between are what a factory may expect."""

CONFIDENCE = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
"""Limits of the rows that images are counted in by their confidence."""

BY_COUNTS = ("surge", "growth")
"""Kinds of truth that are told by counts, so that it is known what perfect clusters would let tell."""

PER_NIGHTS = 30
"""Category nights that false alarms are counted for."""


def table(records: Sequence[Record], scores: Sequence[Score]) -> Iterator[str]:
    """Lines of Markdown."""
    nights = sum(len(record.nights) for record in records)
    yield f"{len(records)} streams, {nights:,} category nights"
    yield ""
    perfect = [score(with_perfect_clusters(record)) for record in records]
    yield "| should be told | in time | share | told at all | nights from the first possible one, median | possible |"
    yield "|---|---|---|---|---|---|"
    for kind in TOLD_KINDS:
        asked = [(one, at) for one in scores for at, truth in enumerate(one.truths) if truth.kind == kind]
        if not asked:
            continue
        met = _met(scores, kind)
        delays = [one.answered[at] - one.truths[at].first for one, at in asked if at in one.answered]
        middle = f"{statistics.median(delays):g}" if delays else "-"
        possible = f"{_met(perfect, kind) / len(asked):.0%}" if kind in BY_COUNTS else ""
        yield f"| {kind} | {met} of {len(asked)} | {met / len(asked):.0%} | {len(delays)} | {middle} | {possible} |"
    yield ""
    by_chance = PER_NIGHTS * sum(len(one.false_alarms) for one in perfect) / nights
    yield "Possible: told in time if every image were grouped right (`benchmarks/mornings/ceiling.py`). False alarms of"
    yield f"growth would be {by_chance:.2f} per {PER_NIGHTS} nights then."
    yield ""
    alarms = Counter(alarm.event for one in scores for alarm in one.false_alarms)
    yield f"| false alarms | number | per {PER_NIGHTS} category nights |"
    yield "|---|---|---|"
    for event, count in alarms.most_common():
        yield f"| {event} | {count} | {PER_NIGHTS * count / nights:.2f} |"
    total = sum(alarms.values())
    yield f"| all | {total} | {PER_NIGHTS * total / nights:.2f} |"
    yield ""
    yield from _by_difficulty(records, scores)
    yield f"swallowed clusters: {sum(len(one.swallowed) for one in scores)}"
    told_so = sum(len(one.said_camera) for one in scores)
    yield f"changes of the camera of which the camera was named in time: {told_so}"
    for name, what in (
        ("scratch", "a run from scratch, number of classes given, to the labels"),
        ("scratch_auto", "the same, number of clusters automatic"),
        ("nights", "the last night's clusters to the labels"),
        ("agreement", "the last night's clusters to a run from scratch with an automatic number"),
    ):
        values = [record.scores[name] for record in records]
        yield f"ARI of {what}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    yield from _reliability(records)
    seconds = [night.seconds for record in records for night in record.nights]
    yield f"seconds a night: {statistics.median(seconds):.1f} (median), {statistics.mean(seconds):.1f} (mean)"


def _by_difficulty(records: Sequence[Record], scores: Sequence[Score]) -> Iterator[str]:
    """The same by how well a run from scratch, number of classes given, finds the classes."""
    yield "| ARI of a run from scratch | streams | new | surge | growth | false alarms per 30 nights |"
    yield "|---|---|---|---|---|---|"
    for low, high in pairwise(DIFFICULTY):
        some = [pair for pair in zip(records, scores, strict=True) if low <= pair[0].scores["scratch"] < high]
        if some:
            met = []
            for kind in ("new", "surge", "growth"):
                n_asked = sum(truth.kind == kind for _, one in some for truth in one.truths)
                met.append(f"{_met([one for _, one in some], kind)} of {n_asked}")
            alarms = sum(len(one.false_alarms) for _, one in some)
            nights = sum(len(one.nights) for one, _ in some)
            limits = f"below {high:g}" if low < 0 else f"from {low:g}" if high > 1 else f"{low:g} to {high:g}"
            yield f"| {limits} | {len(some)} | {' | '.join(met)} | {PER_NIGHTS * alarms / nights:.2f} |"
    yield ""


def _met(scores: Sequence[Score], kind: str) -> int:
    """How many truths of a kind were told in time."""
    return sum(one.met(at) for one in scores for at, truth in enumerate(one.truths) if truth.kind == kind)


def _reliability(records: Sequence[Record]) -> Iterator[str]:
    """How sure nights were of new images, and how many were left where they were by the next re-clustering."""
    judged = [one for record in records for one in judgements(record)]
    if judged:
        yield ""
        yield "| confidence of new images | images | mean | left there by the next re-clustering | of its kind |"
        yield "|---|---|---|---|---|"
        for low, high in pairwise(CONFIDENCE):
            some = [one for one in judged if low <= one.confidence < high or one.confidence == high == 1]
            if some:
                shares = [statistics.mean(one) for one in zip(*some, strict=True)]
                yield f"| {low:g} to {high:g} | {len(some)} | " + " | ".join(f"{one:.2f}" for one in shares) + " |"
        shares = [statistics.mean(one) for one in zip(*judged, strict=True)]
        yield f"| all | {len(judged)} | " + " | ".join(f"{one:.2f}" for one in shares) + " |"
        yield ""
        n_unknown, n_images = (sum(counts) for counts in zip(*(unknown(one) for one in records), strict=True))
        share = f"{n_unknown:,} of {n_images:,} ({n_unknown / n_images:.1%})"
        yield f"left unknown, of images whose class was known: {share}"


def page(seeds: str, now: Sequence[str], before: Sequence[str], wrong: Sequence[str]) -> Iterator[str]:
    """Lines of a page: the table, that of another version beside it, and everything that went wrong.

    Parameters
    ----------
    seeds
        Of the streams, as they were asked for.
    now, before
        Tables of this version and of another one; the latter may be empty.
    wrong
        Lines of `details`.
    """
    yield "# Mornings"
    yield ""
    yield f"Streams of nights whose truth is known, seeds {seeds}: what should have been told, and what was. Made by"
    yield "`python -m benchmarks.mornings --page`. What counts as in time, and what explains an alarm:"
    yield "`benchmarks/mornings/explaining.py`. Seeds 0 to 59 are for tuning; 60 to 79 are kept for the last report."
    yield ""
    yield from now
    if before:
        yield ""
        yield "## An earlier version, on the same streams or some of them"
        yield ""
        yield from before
    yield ""
    yield "## Everything that went wrong"
    yield ""
    yield from (f"- {line}" for line in wrong)


def details(record: Record, score: Score) -> Iterator[str]:
    """What went wrong in one stream, a line each."""
    for truth in score.missed():
        at = score.truths.index(truth)
        told = f"told on night {score.answered[at]}" if at in score.answered else "never told"
        what = f"{truth.kind} {truth.label or ''}".strip()
        yield f"{record.name}: {what} of night {truth.begins}, to tell until {truth.last}: {told}"
    for alarm in score.false_alarms:
        yield f"{record.name}: night {alarm.night}, {alarm.event} {alarm.cluster or ''}: {alarm.why}"
    for one in score.swallowed:
        yield f"{record.name}: night {one.night}, {one.cluster} ({one.label}) swallowed by {one.into or 'several'}"
