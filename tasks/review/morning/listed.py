"""What is asked in the morning and in which order: decided here alone, for the page and for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from anoclust_core.matching.morning_list import QuestionKind, in_order
from anoclust_core.wording import counted
from tasks.review.clusters import CategoryState, ClusterRow
from tasks.review.morning.asked_images import AskedImage, Today, images_to_ask
from tasks.review.reading import Reading
from tasks.stores.catalog.decisions.words import touched
from tasks.stores.catalog.facts import DecisionFact
from tasks.stores.catalog.standing import NEW

KINDS: Final[Mapping[QuestionKind, str]] = MappingProxyType(
    {
        "camera": "Camera",
        "new": "New cluster",
        "growing": "Growing",
        "surge": "More unknown images",
        "drift": "Parts look different",
        "lost": "Lost cluster",
        "again": "Asked again",
        "unnamed": "Cluster without a name",
        "unknown": "Unknown image",
        "between": "Between two clusters",
        "telling": "Teaches most",
    }
)
"""Kinds of questions, for people."""

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
    ended = nights[-1].ended if nights else None
    asked_images, suggested = images_to_ask(reading, state, settled, _of_today(history, ended))
    found = list(_alarms(state, history, suggested, ended))
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
    found += _clusters(state, news, asked, suggested)
    found += [_of_image(state, one, suggested) for one in asked_images]
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
        why = f"Reported in the night of {state.told.night:%d %B %Y}."
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
            _about(row, state.unit, is_new=is_new),
            row.cluster,
            suggested=suggested.get(row.cluster),
        )


def _about(row: ClusterRow, unit: str, *, is_new: bool) -> str:
    born = f", born on {row.fact.born:%d %B %Y}" if is_new and row.fact is not None else ""
    looks = " Nights treat it as ordinary parts, because it hardly stands out." if row.tells.is_ordinary else ""
    what = "A new cluster" if is_new else "Nobody has named it yet"
    return f"{what}{born}: {counted(row.n_images, unit)}, {row.tonight:,} of the last night.{looks}"


def _of_today(history: Sequence[DecisionFact], ended: datetime | None) -> Today:
    """What people have answered since the last night."""
    late = [one for one in history if one.night is None and ended is not None and one.when > ended]
    placed: dict[str, bool] = {}
    for one in late:
        if one.kind in {"move", "split", "wrong"}:
            for content in one.after["contents"]:
                placed.setdefault(content, one.before.get("placed", {}).get(content) is None)
    dismissed = frozenset(one.after["question"] for one in late if one.kind == "dismiss")
    return Today(frozenset(content for content, is_new in placed.items() if is_new), dismissed)


def _of_image(state: CategoryState, image: AskedImage, suggested: Mapping[str, str]) -> Question:
    """Question about one image."""
    cluster, near = image.cluster, suggested.get(image.content)
    own = called(state, cluster) if cluster else ""
    text = f"Does this image belong to {own}?" if cluster else "Where does this image belong?"
    if image.kind == "unknown":
        why = "It is too far from every cluster." + (f" {called(state, near)} is the nearest." if near else "")
    elif image.kind == "between":
        text = f"Does this image belong to {own} or to {called(state, near)}?" if near else text
        why = f"It is in {cluster} with a confidence of {image.confidence:.0%}."
    else:
        why = "It stands in the middle of many that nobody has said anything about: its name teaches most."
    return Question(f"image-{image.content}", image.kind, text, why, cluster, image.content, near)
