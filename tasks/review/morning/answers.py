"""What can be answered to a question, and what each answer does: the rows that the other actions write too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from anoclust_core.errors import ConfigError
from anoclust_core.wording import counted
from tasks.review.clusters import CategoryState
from tasks.review.morning.listed import Question, called
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.undoing import BY_PEOPLE, LOSSES
from tasks.stores.catalog.decisions.words import in_words
from tasks.stores.catalog.facts import DecisionFact

AnswerKind = Literal[
    "name",
    "merge",
    "merge-other",
    "right",
    "move",
    "place",
    "ordinary",
    "good",
    "wrong",
    "back",
    "yes",
    "no",
    "dismiss",
]

Takes = Literal["nothing", "name", "cluster", "cluster or name"]
"""What an answer needs besides: the name of the cluster, another cluster, or for an image either of the two."""


@dataclass(frozen=True)
class Offer:
    """An answer that a question takes.

    Attributes
    ----------
    kind
        Which one.
    keys
        That give it, each a single character.
    label
        What it does, on a button.
    takes
        What it needs besides.
    """

    kind: AnswerKind
    keys: str
    label: str
    takes: Takes = "nothing"


def offers(question: Question, state: CategoryState) -> list[Offer]:
    """Answers that a question takes, the usual ones first."""
    cluster, suggested = question.cluster, question.suggested
    near = called(state, suggested) if suggested else ""
    seen = Offer("dismiss", "d", "Seen, nothing to do")
    if question.kind == "again":
        return [Offer("yes", "y", "Yes"), Offer("no", "x", "No, leave it")]
    if question.kind == "lost":
        return [Offer("back", "r", f"No, bring {cluster} back"), Offer("dismiss", "d", "Yes, leave it")]
    if question.content is not None:
        return _of_image(question, state, near)
    if cluster is None:
        return [seen]
    found = [Offer("name", "n", f"Name {cluster}", "name")]
    if suggested:
        found.append(Offer("merge", "m", f"Merge with {near}"))
    found.append(Offer("merge-other", "o", "Merge with another", "cluster"))
    found.append(Offer("ordinary", "x", "Not a defect"))
    return [*found, seen if question.kind == "growing" else Offer("dismiss", "d", "Do not ask again")]


def _of_image(question: Question, state: CategoryState, near: str) -> list[Offer]:
    cluster = question.cluster
    found = [Offer("right", "y", f"Yes, {called(state, cluster)}")] if cluster else []
    if near:
        found.append(Offer("move", "m", f"Move to {near}"))
    if cluster:
        found.append(Offer("place", "no", "Another cluster, or a new name", "cluster or name"))
    else:
        found.append(Offer("place", "no", "Another cluster, or a new one: its name", "cluster or name"))
    good = _good_parts(state, cluster)
    if good and good != question.suggested:
        found.append(Offer("good", "x", f"Not a defect: to {called(state, good)}"))
    if cluster:
        found.append(Offer("wrong", "w", f"Wrong in {cluster}: take it out"))
    return [*found, Offer("dismiss", "d", "Do not ask again")]


def give(
    catalog: Catalog,
    state: CategoryState,
    question: Question,
    answer: str,
    text: str = "",
    *,
    who: str,
    seen: int | None = None,
) -> list[int]:
    """Give an answer, and the numbers of its decisions, all of one moment; `take_back` undoes it.

    Parameters
    ----------
    catalog, state
        The category, and how it stands.
    question
        An open one.
    answer
        One of its `offers`.
    text
        What that needs besides.
    who
        Decides.
    seen
        Version of the question's cluster as a person saw it; None checks nothing. Of images it is not checked: what is
        decided about one does not depend on others of its cluster.

    Raises
    ------
    ConfigError
        If it is no answer to this question, or what it needs is missing; `ChangedSinceError` if somebody else changed
        the cluster.
    """
    known = {offer.kind: offer for offer in offers(question, state)}
    offer = next((one for kind, one in known.items() if kind == answer), None)
    text = " ".join(text.split())
    if offer is None:
        raise ConfigError(f"expected one of the answers {', '.join(known)}, found {answer!r}")
    if offer.takes != "nothing" and not text:
        raise ConfigError(f"give a {offer.takes}: nothing was given")
    who, at = " ".join(who.split()), datetime.now(UTC)
    expected = {question.cluster: seen} if question.cluster and seen is not None and not question.content else None
    _DO[offer.kind](_Asked(catalog, state, question, text, who, at, expected))
    return [one.number for one in catalog.history(state.category) if _moment(one) == (who, at) and one.night is None]


def take_back(catalog: Catalog, category: str, number: int, *, who: str) -> None:
    """Undo an answer, all decisions of its moment, the last first.

    Raises
    ------
    ConfigError
        If there is no such decision to undo, or another one builds on it.
    """
    history = catalog.history(category)
    wanted = next((one for one in history if one.number == number and not one.undone), None)
    if wanted is None:
        raise ConfigError(f"there is no decision {number} to undo in {category}")
    of_it = [one.number for one in history if _moment(one) == _moment(wanted) and not one.undone]
    catalog.undo_all(category, of_it[::-1], who=who)


def given_since(catalog: Catalog, category: str, who: str, since: int) -> list[list[DecisionFact]]:
    """Answers that somebody has given after a decision and not taken back, oldest first: decisions of one moment."""
    history = catalog.history(category)
    lost = {one.number for one in history if one.kind in LOSSES}
    found: dict[tuple[str, datetime], list[DecisionFact]] = {}
    for one in history:
        is_answer = one.kind in BY_PEOPLE or one.after.get("undone") in lost
        if one.number > since and one.who == who and one.night is None and not one.undone and is_answer:
            found.setdefault(_moment(one), []).append(one)
    return list(found.values())


def told(decisions: Sequence[DecisionFact], state: CategoryState) -> str:
    """What an answer did, in words, with the images that its cluster has now."""
    return ", and ".join(_told(one, state) for one in decisions)


def _told(one: DecisionFact, state: CategoryState) -> str:
    if one.kind == "undo":
        return f"brought {one.cluster} back"
    words = (
        f"named {one.cluster} “{one.after['name']}”" if one.kind == "rename" and one.after["name"] else in_words(one)
    )
    shown = str(one.after["merged_into"]) if one.kind == "merge" else one.cluster
    row = state.row(shown)
    if one.kind not in {"rename", "merge", "ordinary"} or row is None:
        return words
    return f"{words}; {counted(row.n_images, state.unit)}"


def _moment(one: DecisionFact) -> tuple[str, datetime]:
    return one.who, one.when


def _good_parts(state: CategoryState, but: str | None) -> str | None:
    """The largest cluster of ordinary parts; none for an image that is in one."""
    rows = [row for row in state.rows if row.tells.is_ordinary]
    if any(row.cluster == but for row in rows):
        return None
    return max(rows, key=lambda row: row.n_images).cluster if rows else None


@dataclass(frozen=True)
class _Asked:
    """All that an answer is given with."""

    catalog: Catalog
    state: CategoryState
    question: Question
    text: str
    who: str
    when: datetime
    expected: Mapping[str, int] | None

    @property
    def category(self) -> str:
        return self.state.category

    @property
    def cluster(self) -> str:
        return self.question.cluster or ""

    @property
    def suggested(self) -> str:
        return self.question.suggested or ""

    @property
    def content(self) -> str:
        return self.question.content or ""

    def move(self, to: str) -> None:
        self.catalog.move(self.category, [self.content], to=to, who=self.who, when=self.when)

    def merge(self, into: str) -> None:
        named, expected = [self.cluster], self.expected
        self.catalog.merge(self.category, named, into=into, who=self.who, when=self.when, expected=expected)

    def name(self) -> None:
        named, name, expected = self.cluster, self.text, self.expected
        self.catalog.rename(self.category, named, name, who=self.who, when=self.when, expected=expected)

    def ordinary(self) -> None:
        expected = self.expected
        self.catalog.mark_ordinary(self.category, self.cluster, True, who=self.who, when=self.when, expected=expected)

    def place(self) -> None:
        """Move the image to the cluster that is called so, or make one of it; the last image of one is its name."""
        living = {row.cluster for row in self.state.rows if row.fact is not None}
        living |= {row.name for row in self.state.rows if row.name}
        row, contents, name = self.state.row(self.cluster), [self.content], self.text
        if name in living:
            self.move(name)
        elif row is None:
            self.catalog.start(self.category, contents, name=name, who=self.who, when=self.when)
        elif row.n_images == 1:
            self.name()
        else:
            self.catalog.split(self.category, self.cluster, contents, name=name, who=self.who, when=self.when)

    def wrong(self) -> None:
        self.catalog.mark_wrong(self.category, [self.content], who=self.who, when=self.when)

    def bring_back(self) -> None:
        self.catalog.undo(self.category, self.question.undo, who=self.who, when=self.when)

    def answer(self, is_so: bool) -> None:
        self.catalog.answer(self.category, self.question.again or "", is_so, who=self.who, when=self.when)

    def dismiss(self) -> None:
        name, text, about = self.question.name, self.question.text, self.question.cluster
        self.catalog.dismiss(self.category, name, text, who=self.who, about=about, when=self.when)


_DO: Final[Mapping[AnswerKind, Callable[[_Asked], None]]] = MappingProxyType(
    {
        "name": _Asked.name,
        "merge": lambda asked: asked.merge(asked.suggested),
        "merge-other": lambda asked: asked.merge(asked.text),
        "right": lambda asked: asked.move(asked.cluster),
        "move": lambda asked: asked.move(asked.suggested),
        "place": _Asked.place,
        "ordinary": _Asked.ordinary,
        "good": lambda asked: asked.move(_good_parts(asked.state, asked.cluster) or ""),
        "wrong": _Asked.wrong,
        "back": _Asked.bring_back,
        "yes": lambda asked: asked.answer(True),
        "no": lambda asked: asked.answer(False),
        "dismiss": _Asked.dismiss,
    }
)
