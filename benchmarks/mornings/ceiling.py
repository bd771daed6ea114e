"""What counts alone let tell: the product's test of growth on classes, as if every image had been grouped right.

A surge that chance makes as often, or growth that is hardly more than it, is told by no clustering at the rate of false
alarms that is asked for. What a stream lets tell is printed beside what was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

from anoclust_core.synthesis.stream_records import GOOD, OTHER_GOOD
from benchmarks.mornings.records import Night, Record, Told
from benchmarks.mornings.scoring import GROWING
from tasks.night.watch import growth_signals, is_old
from tasks.stores.catalog.facts import NightCount, NoticeFact


def with_perfect_clusters(record: Record) -> Record:
    """The same stream, told of as if its clusters were its classes: growth only, nothing else is told."""
    identities: dict[str, str] = {}
    born: dict[str, date] = {}
    counts: list[NightCount] = []
    before: list[NoticeFact] = []
    nights: list[Night] = []
    for night in record.nights:
        when = date.fromisoformat(night.date)
        files = [file for file in night.files if not file.is_copy]
        for file in files:
            identities.setdefault(file.label, f"c{len(identities) + 1}")
            born.setdefault(identities[file.label], when)
        tonight = Counter(identities[file.label] for file in files)
        counts += [NightCount(when, cluster, count) for cluster, count in sorted(tonight.items())]
        told = list(_told(counts, when, born, identities, before))
        before += told
        nights.append(
            replace(
                night,
                told=tuple(Told(one.event, dict(one.payload)) for one in told),
                moved={file.path: identities[file.label] for file in night.files},
                born={},
            )
        )
    return replace(record, nights=tuple(nights))


def _told(
    counts: list[NightCount],
    night: date,
    born: dict[str, date],
    identities: dict[str, str],
    before: list[NoticeFact],
) -> Iterator[NoticeFact]:
    ordinary = {identities[label] for label in (GOOD, OTHER_GOOD) if label in identities}
    signals = growth_signals(counts, night, born, ordinary)
    for cluster, signal in signals.items():
        payload = {"cluster": cluster, "value": signal.value, "limit": signal.limit, "over": signal.over}
        notice = NoticeFact("", f"growing {cluster} {night}", night, GROWING, payload, datetime.now(UTC))
        if signal.alarm and not is_old(notice, before, came=date.min):
            yield notice
