"""What people decided about clusters that a re-clustering has split or joined since: asked again where it is not clear.

Clear, and done without a question: a name, a note and a mark stay with the cluster that keeps the identity; moved
images stay; an image that is wrong in a cluster stays out of the one that this is joined to; a name or mark of the
larger cluster counts more than that of one joined to it. What is left is found anew each time from the history, so that
any decision that settles a question, and its undoing, is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.wording import counted
from tasks.stores.catalog import clusters, images
from tasks.stores.catalog.decisions import of_clusters, of_images
from tasks.stores.catalog.facts import Author, QuestionFact, QuestionKind
from tasks.stores.catalog.schema import Cluster, Decision


def questions(session: Session, category: str) -> list[QuestionFact]:
    """Questions that are open, the oldest first."""
    told = select(Decision).where(Decision.category == category, Decision.undone_by.is_(None))
    history = list(session.scalars(told.order_by(Decision.number)))
    answered = {one.after["question"] for one in history if one.kind == "answer"}
    rows = {one.cluster: one for one in session.scalars(select(Cluster).where(Cluster.category == category))}
    latest: dict[tuple[QuestionKind, str, str], QuestionFact] = {}
    for change in history:
        if change.kind in {"merged", "was_split"}:
            for one in _about(session, change, history, rows):
                latest[one.kind, one.of, one.cluster] = one
    found = [one for one in latest.values() if one.question not in answered]
    return sorted(found, key=lambda one: (one.change, id_order(one.cluster), one.kind))


def answer(session: Session, category: str, question: str, is_so: bool, *, by: Author) -> int:
    """Answer a question: yes does what is asked, no leaves everything; gives the number of the decision.

    Raises
    ------
    ConfigError
        If no such question is open.
    """
    there = {one.question: one for one in questions(session, category)}
    if question not in there:
        raise ConfigError(
            f"no question {question} of {category} is open; `anoclust clusters list {category}` prints those that are"
        )
    asked = there[question]
    row = clusters.find(session, category, asked.cluster)
    if not is_so:
        return of_clusters.decide(session, row, "answer", by, {}, {"question": question, "yes": False}).number
    if asked.kind == "wrong":
        return of_images.mark_wrong(session, category, asked.contents, by=by)[0]
    of = clusters.find(session, category, asked.of)
    if asked.kind == "name":
        return of_clusters.rename(session, category, asked.cluster, of.name or "", by=by)
    return of_clusters.mark_ordinary(session, category, asked.cluster, bool(of.ordinary), by=by)


@dataclass(frozen=True)
class _Change:
    """A cluster that was split or joined, a living one that its images are in, and the decisions before that."""

    row: Decision
    of: Cluster
    to: Cluster
    before: Sequence[Decision]

    @property
    def when(self) -> str:
        night = self.row.after.get("night")
        return f"on {night}" if night else f"on {self.row.at:%Y-%m-%d}"

    @property
    def did(self) -> str:
        """What happened, as the end of a sentence about the new cluster."""
        verb = "split off from" if self.row.kind == "was_split" else "joined with"
        return f"{self.to.cluster} was {verb} {self.of.cluster} {self.when}"

    def ask(self, kind: QuestionKind, text: str, contents: Sequence[str] = ()) -> QuestionFact:
        name = f"{self.row.number}-{self.to.cluster}-{kind}"
        return QuestionFact(name, kind, self.to.cluster, self.of.cluster, self.row.number, text, tuple(contents))


def _about(
    session: Session, row: Decision, history: Sequence[Decision], rows: dict[str, Cluster]
) -> Iterator[QuestionFact]:
    """Questions that one split or joining leaves."""
    merges = clusters.merges(session, row.category)
    named = row.after["parts"] if row.kind == "was_split" else [row.after["merged_into"]]
    before = [one for one in history if one.number < row.number and one.run != row.run]
    for name in sorted({owner_of(one, merges) for one in named} - {row.cluster}, key=id_order):
        if clusters.is_living(rows[name]):
            change = _Change(row, rows[row.cluster], rows[name], before)
            yield from _of_mark(change)
            if row.kind == "merged":
                yield from _of_name(change)
            else:
                yield from _of_wrong(session, change)


def _of_mark(change: _Change) -> Iterator[QuestionFact]:
    of, to = change.of, change.to
    was_marked = any(one.kind == "ordinary" and one.cluster == of.cluster for one in change.before)
    if was_marked and of.ordinary is not None and to.ordinary is None:
        what = "no defect" if of.ordinary else "a defect"
        yield change.ask("mark", f"{of.cluster} is marked as {what}, and {change.did}: is {to.cluster} {what} too?")


def _of_name(change: _Change) -> Iterator[QuestionFact]:
    of, to = change.of, change.to
    was_named = any(one.kind == "rename" and one.cluster == of.cluster for one in change.before)
    if was_named and of.name and not to.name:
        yield change.ask("name", f"{of.cluster} was named {of.name}, and {change.did}: is {to.cluster} {of.name}?")


def _of_wrong(session: Session, change: _Change) -> Iterator[QuestionFact]:
    category, of, to = change.row.category, change.of.cluster, change.to.cluster
    wrong = {
        content
        for one in change.before
        if one.kind == "wrong" and of in one.after["parts"]
        for content in one.after["contents"]
    }
    by_hand = images.placements(session, category, sorted(wrong))
    merges = clusters.merges(session, category)
    there = [
        fact.content
        for fact in images.current_assignments(session, category, sorted(wrong - by_hand.keys()))
        if fact.cluster is not None and owner_of(fact.cluster, merges) == to
    ]
    if there:
        many = f"{counted(len(there), 'image')} that {'is' if len(there) == 1 else 'are'}"
        yield change.ask("wrong", f"{many} wrong in {of} went to {to}, and {change.did}: wrong in {to} too?", there)
