"""The table: every kind of truth, what was swallowed, false alarms, agreement, seconds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from anoclust_core.synthesis.streams import TOLD_KINDS
from benchmarks.mornings.records import Record
from benchmarks.mornings.scoring import Score

PER_NIGHTS = 30
"""Category nights that false alarms are counted for."""


def table(records: Sequence[Record], scores: Sequence[Score]) -> Iterator[str]:
    """Lines of Markdown."""
    nights = sum(len(record.nights) for record in records)
    yield f"{len(records)} streams, {nights:,} category nights"
    yield ""
    yield "| should be told | in time | share | told at all | nights from the first possible one, median |"
    yield "|---|---|---|---|---|"
    for kind in TOLD_KINDS:
        asked = [(score, at) for score in scores for at, truth in enumerate(score.truths) if truth.kind == kind]
        if not asked:
            continue
        met = sum(score.met(at) for score, at in asked)
        delays = [score.answered[at] - score.truths[at].first for score, at in asked if at in score.answered]
        middle = f"{statistics.median(delays):g}" if delays else "-"
        yield f"| {kind} | {met} of {len(asked)} | {met / len(asked):.0%} | {len(delays)} | {middle} |"
    yield ""
    alarms = Counter(alarm.event for score in scores for alarm in score.false_alarms)
    yield f"| false alarms | number | per {PER_NIGHTS} category nights |"
    yield "|---|---|---|"
    for event, count in alarms.most_common():
        yield f"| {event} | {count} | {PER_NIGHTS * count / nights:.2f} |"
    total = sum(alarms.values())
    yield f"| all | {total} | {PER_NIGHTS * total / nights:.2f} |"
    yield ""
    yield f"swallowed clusters: {sum(len(score.swallowed) for score in scores)}"
    told_so = sum(len(score.said_camera) for score in scores)
    yield f"changes of the camera of which the camera was named in time: {told_so}"
    for name, what in (
        ("scratch", "a run from scratch, number of classes given, to the labels"),
        ("scratch_auto", "the same, number of clusters automatic"),
        ("nights", "the last night's clusters to the labels"),
        ("agreement", "the last night's clusters to a run from scratch with an automatic number"),
    ):
        values = [record.scores[name] for record in records]
        yield f"ARI of {what}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    seconds = [night.seconds for record in records for night in record.nights]
    yield f"seconds a night: {statistics.median(seconds):.1f} (median), {statistics.mean(seconds):.1f} (mean)"


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
    yield "`benchmarks/mornings/explaining.py`. Seeds 0 to 19 are for tuning; 20 to 39 are kept for the last report."
    yield ""
    yield from now
    if before:
        yield ""
        yield "## An earlier version, same streams"
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
