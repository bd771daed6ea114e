"""What a night looks like against its past: growth, drift; and the night concluded, with everything that it tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
from prefect import task

from anoclust_core.matching.drift import DriftSignal, grown_share, rarity_shift
from anoclust_core.matching.identities import id_order
from tasks.night.notify import DRIFT, GROWING, NEW
from tasks.night.place import UNTRACKED, Place
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import EventName, NightCount, NightFact, NoticeFact
from tasks.stores.nights.folders import NIGHT_COUNTERS

HISTORY_NIGHTS: Final = 30
"""Nights back that tonight is compared with."""


@dataclass(frozen=True)
class Watched:
    """Tonight against its past, and what was counted and measured in the night.

    Signals of the growth of every cluster with an image tonight, by identity, of the share of unknown images, and of
    the shift of rarity; None where it was not measured.
    """

    growth: Mapping[str, DriftSignal] = field(default_factory=dict)
    unknown: DriftSignal | None = None
    rarity: DriftSignal | None = None
    counters: Mapping[str, float] = field(default_factory=dict)

    @property
    def growing(self) -> list[str]:
        """Clusters that grow beyond their limits."""
        return [name for name, signal in self.growth.items() if signal.alarm]


@task(name="watch", **UNTRACKED)
def watch(*, place: Place, measured: Mapping[str, float], key: str) -> Watched:
    """Compare tonight's counts with those of the nights before, record the night as done, and what is to be told."""
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        counts = catalog.counts(place.category, since=place.night - timedelta(days=HISTORY_NIGHTS), until=place.night)
        past = [
            night
            for night in catalog.nights(
                place.category, since=place.night - timedelta(days=HISTORY_NIGHTS), until=place.night
            )
            if night.night < place.night
        ]
        tonight = catalog.night(place.category, place.night)
        born = {cluster.cluster: cluster.born for cluster in catalog.clusters(place.category)}
        earlier = dict(tonight.counters) if tonight else {}
        counters = {
            **dict.fromkeys(NIGHT_COUNTERS, 0),
            **earlier,
            **measured,
            "pair_products": earlier.get("pair_products", 0) + measured.get("pair_products", 0),
            "new_clusters": sum(
                one.event == NEW and one.night == place.night for one in catalog.notices(place.category)
            ),  # the clusters of the first clustering are told to nobody
        }
        if measured.get("reclustered"):
            counters.pop("rarity", None)  # it was measured against a snapshot that is none any more
            counters |= _placed(catalog, place, int(counters.get("new", 0)))
        comparable = [night for night in past if night.key == key]
        watched = Watched(
            growth=_growth(counts, place.night, born),
            unknown=_unknown(counters, comparable),
            rarity=_rarity(counters, comparable),
            counters=counters,
        )
        began = tonight.began if tonight else place.began
        catalog.conclude_night(
            NightFact(place.category, place.night, "done", key, began, datetime.now(UTC), counters),
            tell=_told(place, watched),
        )
    return watched


def _placed(catalog: Catalog, place: Place, n_new: int) -> dict[str, float]:
    """Where the night's images are, now that everything was re-clustered."""
    assigned, _ = catalog.night_record(place.category, place.night)
    now = catalog.assignments(place.category, [fact.content for fact in assigned])
    n_unknown = sum(fact.cluster is None for fact in now)
    return {"assigned": n_new - n_unknown, "unknown": n_unknown}


def _growth(counts: Sequence[NightCount], night: date, born: Mapping[str, date]) -> dict[str, DriftSignal]:
    """Signal of every cluster with an image tonight, against the nights since it was born."""
    totals: dict[date, int] = defaultdict(int)
    of: dict[str, dict[date, int]] = defaultdict(dict)
    for count in counts:
        totals[count.night] += count.n_images
        if count.cluster is not None:
            of[count.cluster][count.night] = count.n_images
    found = {}
    for name in sorted(of, key=id_order):
        if night in of[name]:
            nights = [one for one in sorted(totals) if born.get(name, night) <= one < night]
            found[name] = grown_share(
                of[name][night],
                totals[night],
                past_counts=[of[name].get(one, 0) for one in nights],
                past_totals=[totals[one] for one in nights],
            )
    return found


def _unknown(counters: Mapping[str, float], past: Sequence[NightFact]) -> DriftSignal | None:
    """Signal of tonight's unknown images, against nights that were assigned to the same snapshot."""
    if "rarity" not in counters:
        return None
    assigned = [night for night in past if "rarity" in night.counters]
    return grown_share(
        int(counters.get("unknown", 0)),
        int(counters.get("new", 0)),
        past_counts=[int(night.counters.get("unknown", 0)) for night in assigned],
        past_totals=[int(night.counters.get("new", 0)) for night in assigned],
    )


def _rarity(counters: Mapping[str, float], past: Sequence[NightFact]) -> DriftSignal | None:
    """Signal of tonight's rarity, against nights that measured it against the same images."""
    if "rarity" not in counters:
        return None
    medians = [np.array([night.counters["rarity"]]) for night in past if "rarity" in night.counters]
    return rarity_shift(np.array([counters["rarity"]]), medians)


def _told(place: Place, watched: Watched) -> list[NoticeFact]:
    told = [
        _notice(place, f"growing {name} {place.night}", GROWING, watched.growth[name], {"cluster": name})
        for name in watched.growing
    ]
    for what, signal in (("unknown", watched.unknown), ("rarity", watched.rarity)):
        if signal is not None and signal.alarm:
            told.append(_notice(place, f"drift {what} {place.night}", DRIFT, signal, {"what": what}))
    return told


def _notice(place: Place, name: str, event: EventName, signal: DriftSignal, more: Mapping[str, Any]) -> NoticeFact:
    payload = {
        "category": place.category,
        **more,
        "value": signal.value,
        "limit": signal.limit,
        "n_nights": signal.n_nights,
        "night": place.night.isoformat(),
        "report": place.report,
    }
    if event == GROWING:
        payload["n_images"] = int(signal.value)
    return NoticeFact(place.category, name, place.night, event, payload)
