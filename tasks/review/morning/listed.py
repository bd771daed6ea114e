"""What is asked in the morning and in which order: decided here alone, for the page and for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from anoclust_core.errors import StoreError
from anoclust_core.matching.morning_list import BETWEEN, MOST_IMAGES, QuestionKind, in_order, in_turn
from tasks.review.clusters import CategoryState, ClusterRow
from tasks.review.morning.likeness import suggested_clusters
from tasks.review.morning.telling import telling
from tasks.review.places import UNKNOWN
from tasks.review.reading import Reading
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.decisions.words import touched
from tasks.stores.catalog.facts import DecisionFact, Settled
from tasks.stores.catalog.standing import NEW
from tasks.stores.nights.snapshots import read_snapshot

N_CANDIDATES: Final = 40
"""Least sure images of each cluster that are looked at, and five times as many unknown ones."""

_ALARMS: Final[Mapping[str, QuestionKind]] = MappingProxyType(
    {"camera": "camera", "growing": "growing", "unknown": "surge", "rarity": "drift", "merged": "lost", "gone": "lost"}
)
"""Things that a night gives to do and that ask for a decision: the others are files, and new clusters."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes
    ----------
    name
        Tells it from all others, for good: the same thing is asked by the same name in every morning.
    kind
        What it is about.
    text, why
        What is asked, and why.
    cluster
        Cluster that it is about, or that its image is in; None where there is none.
    content
        Image that it is about, or None.
    suggested
        Nearest other cluster: to merge with, or to move the image to; None where that is not known.
    undo
        Decision by which a lost cluster is brought back.
    again
        Name of the question that a re-clustering left open.
    """

    name: str
    kind: QuestionKind
    text: str
    why: str
    cluster: str | None = None
    content: str | None = None
    suggested: str | None = None
    undo: int | None = None
    again: str | None = None


def morning_list(reading: Reading, category: str) -> Sequence[Question]:
    """Open questions of a category, those to answer first; none before its first clusters."""
    return reading.once(category, "morning", (), lambda: _listed(reading, category))


def called(state: CategoryState, cluster: str) -> str:
    """A cluster as people call it."""
    row = state.row(cluster)
    return f"{cluster} “{row.name}”" if row is not None and row.name else cluster


@dataclass(frozen=True)
class _Images:
    """Images that may be asked about, and clusters to suggest.

    Unknown ones of the last night and of before; least sure ones, with cluster and confidence; telling ones, with their
    cluster; by cluster and image the nearest other cluster.
    """

    tonight: Sequence[str]
    before: Sequence[str]
    between: Mapping[str, tuple[str, float]]
    telling: Mapping[str, str]
    suggested: Mapping[str, str]


def _listed(reading: Reading, category: str) -> tuple[Question, ...]:
    state = reading.state(category)
    if not any(row.fact is not None for row in state.rows):
        return ()
    with reading.catalog.view() as view:
        settled = view.settled(category)
        history = [one for one in view.history(category) if not one.undone]
        again = view.questions(category)
        news = {str(one.payload["cluster"]) for one in view.notices(category) if one.event == NEW}
        nights = view.nights(category)
    images = reading.once(category, "asked images", (), lambda: _images(reading, state, settled), of="places")
    found = list(_alarms(state, history, images.suggested, nights[-1].ended if nights else None))
    found += [
        Question(
            f"again-{one.question}",
            "again",
            one.text,
            f"A re-clustering has changed what somebody had decided about {one.of}.",
            one.cluster,
            again=one.question,
        )
        for one in again
    ]
    asked = {one.cluster for one in found if one.kind == "growing"}
    found += _clusters(state, news, asked, images.suggested)
    found += _of_images(state, images, settled.dismissed)
    found = [one for one in found if one.name not in settled.dismissed]
    return tuple(found[at] for at in in_order([one.kind for one in found]))


def _alarms(
    state: CategoryState, history: Sequence[DecisionFact], suggested: Mapping[str, str], ended: datetime | None
) -> Iterable[Question]:
    """What the last night told and nobody has decided about since."""
    seen: Counter[str] = Counter()
    for kind, text, cluster in state.told.to_do if state.told is not None else ():
        if kind not in _ALARMS or state.told is None:
            continue
        name = "-".join([kind, *([cluster] if cluster else []), state.told.night.isoformat()])
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name}-{seen[name]}"
        why = f"The night of {state.told.night:%d %B %Y} told it."
        if _ALARMS[kind] == "lost":
            lost = [one for one in history if one.kind in {"merged", "retired"} and one.cluster == cluster]
            if lost:
                why = f"{why} {cluster} was known: a re-clustering joined it to another cluster, or dissolved it."
                yield Question(name, "lost", f"{text}. Is that right?", why, cluster, undo=lost[-1].number)
        elif cluster is None:
            yield Question(name, _ALARMS[kind], f"{text[:1].upper()}{text[1:]}.", why)
        elif state.row(cluster) is not None and not _decided(history, cluster, ended):
            yield Question(name, _ALARMS[kind], f"{text}. What is it?", why, cluster, suggested=suggested.get(cluster))


def _decided(history: Sequence[DecisionFact], cluster: str, since: datetime | None) -> bool:
    """Whether a person has decided about a cluster since a moment."""
    by_people = [one for one in history if one.night is None and one.kind not in {"undo", "dismiss"}]
    later = [one for one in by_people if since is None or one.when > since]
    return any(cluster in touched(one.cluster, one.before, one.after) for one in later)


def _clusters(
    state: CategoryState, news: AbstractSet[str], asked: AbstractSet[str | None], suggested: Mapping[str, str]
) -> Iterable[Question]:
    """Clusters that nobody has named or marked: those that were told as new, and the others."""
    for row in state.rows:
        fact = row.fact
        if fact is None or fact.name or fact.ordinary is not None or not row.n_images or row.cluster in asked:
            continue
        is_new = row.cluster in news or row.tells.is_new
        yield Question(
            f"name-{row.cluster}",
            "new" if is_new else "unnamed",
            f"What is {row.cluster}?",
            _about(row, is_new=is_new),
            row.cluster,
            suggested=suggested.get(row.cluster),
        )


def _about(row: ClusterRow, *, is_new: bool) -> str:
    born = f", born on {row.fact.born:%d %B %Y}" if is_new and row.fact is not None else ""
    looks = " Nights take it for ordinary parts: it stands out so little." if row.tells.is_ordinary else ""
    images = "1 image" if row.n_images == 1 else f"{row.n_images:,} images"
    what = "A new cluster" if is_new else "Nobody has named it yet"
    return f"{what}{born}: {images}, {row.tonight:,} of the last night.{looks}"


def _of_images(state: CategoryState, images: _Images, dismissed: AbstractSet[str]) -> list[Question]:
    """Questions about single images; none is asked about twice."""
    suggested = images.suggested
    asked: dict[str, Question] = {}

    def ask(kind: QuestionKind, content: str, text: str, why: str, cluster: str | None) -> None:
        name = f"image-{content}"
        asked[content] = Question(name, kind, text, why, cluster, content, suggested.get(content))

    def left(contents: Iterable[str]) -> list[str]:
        return [one for one in contents if one not in asked and f"image-{one}" not in dismissed]

    for part in (images.tonight, images.before):
        open_ones = left(part)
        for at in in_turn([suggested.get(one) for one in open_ones], most=MOST_IMAGES - len(asked)):
            near = suggested.get(open_ones[at])
            why = "It is too far from every cluster." + (f" {called(state, near)} is the nearest." if near else "")
            ask("unknown", open_ones[at], "Where does this image belong?", why, None)
    unsure = left(content for content in images.between if content in suggested)
    pairs = [frozenset({images.between[one][0], suggested[one]}) for one in unsure]
    for at in in_turn(pairs, most=MOST_IMAGES):
        (cluster, confidence), other = images.between[unsure[at]], suggested[unsure[at]]
        text = f"Does this image belong to {called(state, cluster)} or to {called(state, other)}?"
        ask("between", unsure[at], text, f"It is in {cluster} with a confidence of {confidence:.0%}.", cluster)
    for content in left(images.telling)[:MOST_IMAGES]:
        cluster = images.telling[content]
        why = "It stands in the middle of many that nobody has said anything about: its name teaches most."
        ask("telling", content, f"Does this image belong to {called(state, cluster)}?", why, cluster)
    return list(asked.values())


def _images(reading: Reading, state: CategoryState, settled: Settled) -> _Images:
    """Find images that may be asked about."""
    category, nights = state.category, state.nights
    answered = settled.placed.keys() | settled.wrong
    members = {row.cluster: reading.members(category, row.cluster, Chosen()) for row in state.rows}
    unknown = [one for one in members.pop(UNKNOWN, ()) if one not in answered]
    of_last = set(reading.members(category, UNKNOWN, Chosen(since=nights[-1]))) if nights else set()
    tonight = [one for one in unknown if one in of_last][: 5 * N_CANDIDATES]
    before = [one for one in unknown if one not in of_last][: 5 * N_CANDIDATES]
    # the surest come first
    least = [one for contents in members.values() for one in contents[-N_CANDIDATES:] if one not in answered]
    places = reading.catalog.assignments(category, least)
    places.sort(key=lambda place: (place.confidence, place.content))
    cluster_of = {content: cluster for cluster, contents in members.items() for content in contents}
    between = {
        place.content: (cluster_of[place.content], place.confidence)
        for place in places
        if place.confidence < BETWEEN and place.content in cluster_of
    }
    fact = reading.catalog.latest_snapshot(category)
    told: Sequence[str] = ()
    suggested: Mapping[str, str] = {}
    if fact is not None and fact.n_images > 1:
        with suppress(StoreError, OSError):  # what is gone or damaged asks and suggests nothing: `store check` tells it
            told = telling(reading.layout, category, read_snapshot(fact), answered)
    in_clusters = {content: cluster_of[content] for content in told if content in cluster_of}
    with suppress(StoreError, OSError):
        suggested = suggested_clusters(
            reading.measures(category), cluster_of, [*tonight, *before, *between, *in_clusters], list(members)
        )
    return _Images(tonight, before, between, in_clusters, suggested)
