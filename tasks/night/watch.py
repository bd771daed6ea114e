"""What a night looks like against its past: growth, drift; and the night concluded, with everything that it tells."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from prefect import task

from anoclust_core.matching.capture import VERSION_NAME
from anoclust_core.matching.drift import DriftSignal, level_shift
from anoclust_core.matching.growth import grown_counts, night_variations
from anoclust_core.matching.identities import id_order
from tasks.night.look import FEWEST_LOOKED_AT, MOST_LOOKED_AT
from tasks.night.notify import CAMERA, DRIFT, GROWING
from tasks.night.place import UNTRACKED, Place
from tasks.night.severity import cluster_severity
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import EventName, NightCount, NightFact, NoticeFact
from tasks.stores.catalog.standing import NEW
from tasks.stores.nights.folders import LOOKED_AT, NIGHT_COUNTERS, ONE_BY_ONE, RARITY_IMAGES, RARITY_SCALE

HISTORY_NIGHTS: Final = 30
"""Nights back that tonight is compared with."""

GROWTH_ALARMS: Final = 0.03
ORDINARY_ALARMS: Final = 0.002
UNKNOWN_ALARMS: Final = 0.004
RARITY_ALARMS: Final = 0.004
CAMERA_ALARMS: Final = 0.004
"""Rates of false alarms of a category and night, at most: of all its clusters together, of its clusters of ordinary
parts, of the unknown, of rarity, of the camera. More good parts are hardly ever a reason to look at anything."""

LOOKS: Final = MappingProxyType({"brightness": True, "sharpness": True, "difference": False})
"""Figures of the pictures as such, and whether a higher one is a shift too."""

LEAST_ERRORS: Final = MappingProxyType({"brightness": 0.5, "sharpness": 0.05, "difference": 0.05})
"""Errors of these figures where all pictures of all nights were alike: half a grey level, and 5 % of what is given as a
logarithm."""

USUAL_SHARES: Final = (0.02, 0.5)
"""Share of a usual cluster, at least and at most, where a cluster has no history; that of the unknown is the least."""

MOST_OF_A_NIGHT: Final = 2.0
"""Times the usual images that a night counts as at most: a first delivery of months says nothing about the others."""

MISSED_AFTER: Final = 3
"""Nights in a row with images after which a night without any is missed, while no week is known."""

REST_NIGHTS: Final = 5
NEWS_AGAIN: Final = 1.5
"""Nights for which something that was told is not told again, and how much more makes it news again."""


@dataclass(frozen=True)
class Watched:
    """Tonight against its past, and what was counted and measured in the night.

    Signals of the growth of every cluster with an image tonight, by identity, of the share of unknown images, and of
    the shift of rarity; None where it was not measured. Those of the camera by what they are of: ``images`` is how many
    came (natural logarithm, fewer is positive), the others as `anoclust_core.matching.capture.look_of_night` has them.
    ``late`` is the night that a cluster's growth is of, where images of an earlier one came and it is not tonight.
    """

    growth: Mapping[str, DriftSignal] = field(default_factory=dict)
    late: Mapping[str, date] = field(default_factory=dict)
    unknown: DriftSignal | None = None
    rarity: DriftSignal | None = None
    camera: Mapping[str, DriftSignal] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)

    @property
    def growing(self) -> list[str]:
        """Clusters that grow beyond their limits."""
        return [name for name, signal in self.growth.items() if signal.alarm]


@task(name="watch", **UNTRACKED)
def watch(*, place: Place, measured: Mapping[str, float], key: str, weights: str | None) -> Watched:
    """Compare tonight's counts with those of the nights before, record the night as done, and what is to be told.

    Parameters
    ----------
    place
        Where.
    measured
        Counters and figures of the night.
    key
        Key of the snapshot that it was assigned by, or empty.
    weights
        Folder of the rarity of tonight's images, or None.
    """
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        counts = catalog.counts(place.category, until=place.night)
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
            **_of_more(earlier, measured),
            "pair_products": earlier.get("pair_products", 0) + measured.get("pair_products", 0),
            "reclustered": max(earlier.get("reclustered", 0), measured.get("reclustered", 0)),
            "new_clusters": sum(
                one.event == NEW and one.night == place.night for one in catalog.notices(place.category)
            ),  # the clusters of the first clustering are told to nobody
        }
        if measured.get("reclustered"):
            counters |= _placed(catalog, place, int(counters.get("new", 0)))
        before = catalog.notices(place.category)
        ordinary = cluster_severity(place, catalog, weights).ordinary
        growth, late = grown(counts, place.night, catalog.nights_taken_up(place.category, place.night), born, ordinary)
        watched = Watched(
            growth=growth,
            late=late,
            unknown=_unknown(counters, past),
            rarity=_rarity(counters, past),
            camera=_looks(counters, past) | _fewer(place.night, counters, past, before),
            counters=counters,
        )
        came = max((one.night for one in past if one.counters.get("new")), default=date.min)
        began = tonight.began if tonight else place.began
        catalog.conclude_night(
            NightFact(place.category, place.night, "done", key, began, datetime.now(UTC), counters),
            tell=_told(place, watched, before, came=came),
        )
    return watched


def _of_more(earlier: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    """What was measured, without the figures of the pictures where an earlier call of the night has those of more."""
    if measured.get(LOOKED_AT, 0) >= earlier.get(LOOKED_AT, 0):
        return dict(measured)
    figures = {LOOKED_AT, VERSION_NAME, *LOOKS, *(f"{what}_error" for what in LOOKS)}
    return {name: value for name, value in measured.items() if name not in figures}


def _placed(catalog: Catalog, place: Place, n_new: int) -> dict[str, float]:
    """Where the night's images are, now that everything was re-clustered."""
    assigned, _ = catalog.night_record(place.category, place.night)
    now = catalog.assignments(place.category, [fact.content for fact in assigned])
    n_unknown = sum(fact.cluster is None for fact in now)
    return {"assigned": n_new - n_unknown, "unknown": n_unknown}


def grown(
    counts: Sequence[NightCount], night: date, taken_up: Set[date], born: Mapping[str, date], ordinary: Set[str]
) -> tuple[dict[str, DriftSignal], dict[str, date]]:
    """Signals of growth, and of which night each is where that is not tonight.

    A cluster that does not grow tonight is judged by the earlier nights that images came of, the latest first: a
    command that runs after ``night.day_starts``, or again after an outage, takes up images of nights that are over.

    Parameters
    ----------
    counts, night, born, ordinary
        As for `growth_signals`.
    taken_up
        Nights that the images of tonight's call are of; those of more than ``HISTORY_NIGHTS`` back are not judged.
    """
    found = growth_signals(counts, night, born, ordinary)
    of_night: dict[str, date] = {}
    since = night - timedelta(days=HISTORY_NIGHTS)
    for one in sorted((one for one in taken_up if since <= one < night), reverse=True):
        for name, signal in growth_signals(counts, one, born, ordinary).items():
            if name not in found or (signal.alarm and not found[name].alarm):
                found[name], of_night[name] = signal, one
    return found, of_night


def growth_signals(
    counts: Sequence[NightCount], night: date, born: Mapping[str, date], ordinary: Set[str]
) -> dict[str, DriftSignal]:
    """Signal of every cluster with an image in a night but the new ones.

    The history of a cluster begins with its first image, or ``HISTORY_NIGHTS`` back where that is older: nights without
    one count.

    Parameters
    ----------
    counts
        Images of all nights; those of later nights do not count.
    night
        The night.
    born
        Night of every cluster's birth.
    ordinary
        Clusters of ordinary parts.
    """
    since = night - timedelta(days=HISTORY_NIGHTS)
    totals: dict[date, int] = defaultdict(int)
    of: dict[str, dict[date, int]] = defaultdict(dict)
    first: dict[str, date] = {}
    for count in counts:
        if count.cluster is not None:
            first[count.cluster] = min(count.night, first.get(count.cluster, count.night))
        if since <= count.night <= night:
            totals[count.night] += count.n_images
            if count.cluster is not None:
                of[count.cluster][count.night] = count.n_images
    nights = sorted(totals)
    if night not in totals:
        return {}
    histories = {name: [found.get(one, 0) for one in nights] for name, found in of.items()}
    everything = [totals[one] for one in nights]
    shares = [sum(history) / max(sum(everything), 1) for history in histories.values()]
    usual = float(np.clip(np.median(shares), *USUAL_SHARES)) if shares else USUAL_SHARES[0]
    own = {name: history[bisect_left(nights, first[name]) :] for name, history in histories.items()}
    tested = [name for name in sorted(of, key=id_order) if night in of[name] and born[name] < night]
    variations = night_variations({name: history[:-1] for name, history in own.items()}, everything[:-1])
    found: dict[str, DriftSignal] = {}
    for is_ordinary, rate in ((False, GROWTH_ALARMS), (True, ORDINARY_ALARMS)):
        found |= grown_counts(
            {name: own[name] for name in tested if (name in ordinary) == is_ordinary},
            everything,
            usual=usual,
            variations=variations,
            false_alarms=rate,
        )
    return found


def _unknown(counters: Mapping[str, float], past: Sequence[NightFact]) -> DriftSignal | None:
    """Signal of tonight's unknown images, against nights whose images were given to clusters one by one."""
    if not _is_one_by_one(counters):
        return None
    nights = [night.counters for night in past if _is_one_by_one(night.counters)]
    unknown, new = ([int(of.get(what, 0)) for of in (*nights, counters)] for what in ("unknown", "new"))
    return grown_counts(
        {"unknown": unknown},
        new,
        usual=USUAL_SHARES[0],
        variations=night_variations({"unknown": unknown[:-1]}, new[:-1]),
        false_alarms=UNKNOWN_ALARMS,
    )["unknown"]


def _is_one_by_one(counters: Mapping[str, float]) -> bool:
    """Whether images of a night were given to clusters one by one; of earlier versions only their rarity tells it."""
    return bool(counters.get(ONE_BY_ONE, "rarity" in counters))


def _rarity(counters: Mapping[str, float], past: Sequence[NightFact]) -> DriftSignal | None:
    """Signal of tonight's rarity, against nights that were measured in the same way; None for too few images."""
    if "rarity_error" not in counters or _n_rare(counters) < FEWEST_LOOKED_AT:
        return None
    nights = _of_one_scale([night.counters for night in past if "rarity_error" in night.counters], counters)
    return _shift("rarity", [*nights, counters], [_n_rare(of) for of in (*nights, counters)], RARITY_ALARMS)


def _of_one_scale(past: Sequence[Mapping[str, float]], counters: Mapping[str, float]) -> list[Mapping[str, float]]:
    """Those nights, in their order, whose rarity was measured as tonight's was.

    Nights of earlier versions do not say how. They are taken for what the first night after them says, so that an
    upgrade loses no history.
    """
    found: list[Mapping[str, float]] = []
    scale = now = counters.get(RARITY_SCALE)
    for of in reversed(past):
        now = of.get(RARITY_SCALE, now)
        if now == scale:
            found.append(of)
    return found[::-1]


def _looks(counters: Mapping[str, float], past: Sequence[NightFact]) -> dict[str, DriftSignal]:
    """Signals of the pictures as such, against nights whose figures were measured in the same way."""
    measured = counters.get(VERSION_NAME, 1)  # versions before there was a number have none
    comparable = [night.counters for night in past if night.counters.get(VERSION_NAME, 1) == measured]
    rate = CAMERA_ALARMS / 2 / len(LOOKS)
    found = {}
    for what, two_sided in LOOKS.items():
        if what in counters:
            nights = [of for of in (*comparable, counters) if what in of]
            counts = [_n_looked_at(of) for of in nights]
            found[what] = _shift(what, nights, counts, rate, two_sided=two_sided, least_error=LEAST_ERRORS[what])
    return found


def _shift(
    what: str,
    nights: Sequence[Mapping[str, float]],
    counts: Sequence[int],
    rate: float,
    *,
    two_sided: bool = True,
    least_error: float = 0.0,
) -> DriftSignal:
    """Signal of a figure of some nights, each with its error; one that is not two-sided is told where it is lower."""
    sign = 1 if two_sided else -1
    return level_shift(
        [sign * of[what] for of in nights],
        errors=[of[f"{what}_error"] for of in nights],
        counts=counts,
        false_alarms=rate,
        two_sided=two_sided,
        least_error=least_error,
    )


def _n_rare(counters: Mapping[str, float]) -> int:
    """Images that the rarity of a night is of; nights of earlier versions do not say it."""
    return max(int(counters.get(RARITY_IMAGES, counters.get("new", 0))), 1)


def _n_looked_at(counters: Mapping[str, float]) -> int:
    """Pictures that the figures of a night are of; nights of earlier versions do not say it."""
    return max(int(counters.get(LOOKED_AT, min(counters.get("new", 0), MOST_LOOKED_AT))), 1)


def _fewer(
    night: date, counters: Mapping[str, float], past: Sequence[NightFact], before: Sequence[NoticeFact]
) -> dict[str, DriftSignal]:
    """Signal of how many images came. Nights of which it was told that few came say nothing about what is usual.

    Tonight alone is expected to be the median of the nights before; several nights, the geometric mean.
    """
    faults = {one.night for one in before if one.event == CAMERA and one.payload.get("what") == "images"}
    came = {one.night: one.counters.get("new", 0) for one in past}
    usual = [count for one, count in came.items() if count and one not in faults]
    usual = usual or [count for count in came.values() if count]
    tonight = counters.get("new", 0)
    if tonight:
        middle = float(np.median([*usual, tonight]))
        history = np.minimum(usual, MOST_OF_A_NIGHT * middle)
        fewer = (-np.log([*history, tonight])).tolist()
        signal = level_shift(
            fewer,
            errors=[1 / np.sqrt(middle)] * len(fewer),
            counts=[1] * len(fewer),
            false_alarms=CAMERA_ALARMS / 2,
            two_sided=False,
        )
        if len(usual) and signal.over == 1:
            signal = replace(signal, expected=-float(np.log(np.median(usual))))
    elif _is_missed(night, came):
        expected = float(np.log(np.median(usual)))
        signal = DriftSignal(expected, 0.0, True, len(usual), -expected)
    else:
        return {}
    return {"images": signal}


def _is_missed(night: date, came: Mapping[date, float]) -> bool:
    """Whether images are missed on a night without any: they came on this day of each of the last two weeks.

    In the first week, where they came on each of the last ``MISSED_AFTER`` nights.
    """
    first = min(came, default=night)
    weeks = [night - timedelta(days=back) for back in (7, 14)]
    known = [day for day in weeks if first <= day] or [
        night - timedelta(days=back) for back in range(1, MISSED_AFTER + 1)
    ]
    return all(came.get(day, 0) > 0 for day in known)


def _told(place: Place, watched: Watched, before: Sequence[NoticeFact], *, came: date) -> list[NoticeFact]:
    """What is told; the same thing within ``REST_NIGHTS`` is no news, unless it is half as much again.

    ``came`` is the last night before with an image: a night without any is news if it is the first one after that.
    """
    told = [_grows(place, watched, name) for name in watched.growing]
    for what, signal in (("unknown", watched.unknown), ("rarity", watched.rarity)):
        if signal is not None and signal.alarm:
            told.append(_notice(place, f"drift {what} {place.night}", DRIFT, signal, {"what": what}))
    told += [
        _notice(place, f"camera {what} {place.night}", CAMERA, signal, {"what": what})
        for what, signal in watched.camera.items()
        if signal.alarm
    ]
    return [one for one in told if not is_old(one, before, came)]


def is_old(notice: NoticeFact, before: Sequence[NoticeFact], came: date) -> bool:
    """Whether something was told before, and not so much more has come of it that it is news again.

    ``came`` is the last night before with an image. What has moved the other way since is another thing.
    """
    since = notice.night - timedelta(days=REST_NIGHTS)
    if notice.payload["limit"] == 0:  # no image at all: what was told of nights with some is another thing
        since = max(since, came + timedelta(days=1))
    about = ("cluster", "what")
    same = [
        one.payload
        for one in before
        if one.event == notice.event
        and since <= one.night <= notice.night
        and all(one.payload.get(name) == notice.payload.get(name) for name in about)
        and (one.payload["value"] < 0) == (notice.payload["value"] < 0)
    ]
    most = max((abs(payload["value"]) / payload.get("over", 1) for payload in same), default=None)
    return most is not None and abs(notice.payload["value"]) / notice.payload["over"] < NEWS_AGAIN * most


def _grows(place: Place, watched: Watched, cluster: str) -> NoticeFact:
    """Tell that a cluster grows: of a night once, whenever its images came."""
    late = watched.late.get(cluster)
    more = {"cluster": cluster} if late is None else {"cluster": cluster, "of_night": late.isoformat()}
    return _notice(place, f"growing {cluster} {late or place.night}", GROWING, watched.growth[cluster], more)


def _notice(place: Place, name: str, event: EventName, signal: DriftSignal, more: Mapping[str, Any]) -> NoticeFact:
    payload = {
        "category": place.category,
        **more,
        "value": signal.value,
        "limit": signal.limit,
        "expected": signal.expected,
        "over": signal.over,
        "n_nights": signal.n_nights,
        "night": place.night.isoformat(),
        "report": place.report,
    }
    if event == GROWING:
        payload["n_images"] = int(signal.value)
    return NoticeFact(place.category, name, place.night, event, payload)
