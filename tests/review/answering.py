"""Answers of the morning list, given to every question and looked for afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from anoclust_core.matching.identities import owner_of
from tasks.review.morning.answers import give
from tasks.review.morning.listed import Question, morning_list
from tasks.review.reading import Reading
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import DecisionFact

WHO = "Kim"

PLAN: dict[str, Sequence[tuple[str, str]]] = {
    "camera": [("dismiss", "")],
    "new": [("name", "edge chip")],
    "growing": [("ordinary", "")],
    "surge": [("dismiss", "")],
    "drift": [("dismiss", "")],
    "unnamed": [("name", "scratch"), ("merge", ""), ("name", "smooth"), ("name", "pit"), ("dismiss", "")],
    "unknown": [("move", ""), ("place", "edge chip"), ("dismiss", "")],
    "between": [("right", ""), ("move", ""), ("wrong", ""), ("place", "scratch"), ("place", "kink"), ("dismiss", "")],
    "telling": [("right", ""), ("move", "")],
}
"""Answers to the questions of each kind, in turn, and what is typed with them."""


def planned() -> dict[str, Iterator[tuple[str, str]]]:
    """The plan from its beginning."""
    return {kind: cycle(answers) for kind, answers in PLAN.items()}


def answer_everything(reading: Reading, category: str) -> list[Question]:
    """Go through the list to its end; gives what was asked."""
    plan, asked = planned(), []
    while questions := morning_list(reading, category):
        question = questions[0]
        answer, text = next(plan[question.kind])
        give(reading.catalog, reading.state(category), question, answer, text, who=WHO)
        asked.append(question)
    return asked


def decided(catalog: Catalog, category: str) -> list[DecisionFact]:
    """What people decided and did not take back."""
    found = catalog.history(category)
    return [one for one in found if one.night is None and one.kind != "undo" and not one.undone]


def broken(reading: Reading, category: str, decisions: Sequence[DecisionFact]) -> list[str]:
    """Decisions that do not hold."""
    catalog = reading.catalog
    merges, clusters = catalog.merges(category), {one.cluster: one for one in catalog.clusters(category)}
    places = {place.content: place.cluster for place in catalog.assignments(category)}
    last_move = {
        content: one for one in decisions if one.kind in {"move", "split"} for content in one.after["contents"]
    }
    asked = {one.name for one in morning_list(reading, category)}

    def holds(one: DecisionFact) -> bool:
        match one.kind:
            case "rename":
                return clusters[one.cluster].name == one.after["name"]
            case "merge":
                return merges.get(one.cluster) == one.after["merged_into"]
            case "ordinary":
                return clusters[one.cluster].ordinary is one.after["ordinary"]
            case "dismiss":
                return one.after["question"] not in asked
            case "wrong":
                return all(places[content] != owner_of(one.cluster, merges) for content in one.after["contents"])
            case _:
                to = owner_of(one.after.get("cluster", one.cluster), merges)
                return all(places[content] == to for content in one.after["contents"] if last_move[content] is one)

    return [f"{one.number} {one.kind} {one.cluster} {one.after}" for one in decisions if not holds(one)]


def result(catalog: Catalog, category: str) -> dict[frozenset[str], tuple[str | None, bool | None, str]]:
    """Living clusters by their images, with name, mark and state: numbers that were given once are not given again."""
    facts = {one.cluster: one for one in catalog.clusters(category)}
    members: dict[str | None, set[str]] = {}
    for place in catalog.assignments(category):
        members.setdefault(place.cluster, set()).add(place.content)
    return {
        frozenset(contents): (None, None, "unknown")
        if cluster is None
        else (facts[cluster].name, facts[cluster].ordinary, facts[cluster].state)
        for cluster, contents in members.items()
    }
