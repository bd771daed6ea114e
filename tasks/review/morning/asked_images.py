"""Which images are asked about in one morning: as many as the last night leaves, and fewer with every answer."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from anoclust_core.errors import StoreError
from anoclust_core.matching.morning_list import BETWEEN, MOST_IMAGES, QuestionKind, in_turn
from tasks.review.clusters import CategoryState
from tasks.review.morning.likeness import suggested_clusters
from tasks.review.morning.telling import telling
from tasks.review.reading import Reading
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.facts import UNKNOWN, Settled
from tasks.stores.nights.snapshots import read_snapshot

N_CANDIDATES: Final = 100
"""Least sure images of each cluster that are looked at."""


@dataclass(frozen=True)
class AskedImage:
    """An image to ask about: by content, why, and the cluster that it is in, with the confidence of its last run."""

    content: str
    kind: QuestionKind
    cluster: str | None = None
    confidence: float = 0.0


@dataclass(frozen=True)
class Today:
    """What people have answered since the last night: images placed or taken out then, and questions set aside."""

    images: frozenset[str] = frozenset()
    dismissed: frozenset[str] = frozenset()


def images_to_ask(
    reading: Reading, state: CategoryState, settled: Settled, today: Today
) -> tuple[list[AskedImage], dict[str, str]]:
    """Images to ask about, each once, and the nearest other cluster of these and of every cluster.

    Chosen is among all images that were open when the last night ended, by what its run says of them. Those that were
    answered since are left out only then, so that none moves up in their place: the list of a morning has an end.

    Parameters
    ----------
    reading, state
        The category.
    settled, today
        What people need not be asked about, and what of it they have answered since the last night.
    """
    category, aside = state.category, {one.removeprefix("image-") for one in settled.dismissed}
    aside_today = {one.removeprefix("image-") for one in today.dismissed}
    before = ((settled.placed.keys() | settled.wrong) - today.images) | (aside - aside_today)
    members = {name: [one for one in some if one not in before] for name, some in reading.everywhere(category).items()}
    unknown = members.pop(UNKNOWN, [])
    cluster_of = {content: name for name, some in members.items() for content in some}
    said = reading.catalog.by_runs(category, sorted(today.images))
    unplaced = {one for one, cluster in said.items() if cluster is None}
    chosen: dict[str, QuestionKind] = dict.fromkeys(
        _unknown(reading, state, [one for one in unknown if one not in said], unplaced), "unknown"
    )
    least = ({one for some in members.values() for one in some[-N_CANDIDATES:]} | said.keys()) - unplaced
    sure = {one.content: one.confidence for one in reading.catalog.assignments(category, sorted(least))}
    unsure = [one for _, one in sorted((confidence, one) for one, confidence in sure.items() if confidence < BETWEEN)]
    by_run = reading.catalog.by_runs(category, unsure)  # of runs, so that an answer does not change who has a turn
    groups = [by_run.get(one) for one in unsure]
    chosen |= dict.fromkeys((unsure[at] for at in in_turn(groups, most=MOST_IMAGES)), "between")
    unknown_now = {*unknown, *unplaced}
    told = [
        one for one in _telling(reading, category, frozenset(before)) if one not in chosen and one not in unknown_now
    ]
    chosen |= dict.fromkeys(told[:MOST_IMAGES], "telling")
    left = [one for one in chosen if one not in today.images and one not in aside]
    images = [AskedImage(one, chosen[one], cluster_of.get(one), sure.get(one, 0.0)) for one in left]
    living = [row.cluster for row in state.rows if row.fact is not None]
    suggested: dict[str, str] = {}
    with suppress(StoreError, OSError):  # what is gone or damaged suggests nothing: `store check` tells it
        suggested = suggested_clusters(reading.measures(category), cluster_of, left, living)
    return images, suggested


def _unknown(reading: Reading, state: CategoryState, unknown: Sequence[str], unplaced: AbstractSet[str]) -> list[str]:
    """Unknown images: those of the last night first, and of these the farthest from every cluster.

    ``unplaced`` were unknown when the last night ended.
    """
    category, nights = state.category, state.nights
    of_last = set(reading.members(category, UNKNOWN, Chosen(since=nights[-1]))) if nights else set()
    tonight = [one for one in unknown if one in of_last][:MOST_IMAGES]
    earlier = [one for one in unknown if one not in of_last][:MOST_IMAGES]
    pool = sorted({*tonight, *earlier, *unplaced})
    facts = reading.catalog.known_images(category, pool)
    far = {one.content: one.confidence for one in reading.catalog.assignments(category, pool)}
    pool.sort(key=lambda one: (facts[one].night != nights[-1], -far[one], one))
    return pool[:MOST_IMAGES]


def _telling(reading: Reading, category: str, answered: frozenset[str]) -> list[str]:
    """Images of the last re-clustering whose names would teach most, the same all day."""

    def read() -> list[str]:
        fact = reading.catalog.latest_snapshot(category)
        if fact is None or fact.n_images < 2:
            return []
        with suppress(StoreError, OSError):  # what is gone or damaged asks nothing: `store check` tells it
            return telling(reading.layout, category, read_snapshot(fact), answered)
        return []

    return reading.once(category, "telling", (answered,), read, of="images")
