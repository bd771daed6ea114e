"""Questions of the morning list that people set aside, and what they need not be asked about again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order
from tasks.stores.catalog import clusters
from tasks.stores.catalog.decisions.of_clusters import decide
from tasks.stores.catalog.facts import Author, Settled
from tasks.stores.catalog.schema import Decision, Exclusion, Placement

MAX_QUESTION: Final = 100
"""Longest name of a question, in characters: an image's has the 64 of its content."""


def dismiss(session: Session, category: str, question: str, text: str, about: str | None, *, by: Author) -> int:
    """Set a question aside; gives the number of the decision.

    Parameters
    ----------
    session, category
        Where.
    question, text
        Its name, and what it asks.
    about
        Cluster that it is about; of what is about none, the first one has the decision.
    by
        Who and when.

    Raises
    ------
    ConfigError
        If it is set aside already, or its name is none.
    """
    if not question or len(question) > MAX_QUESTION or not question.isprintable():
        raise ConfigError(
            f"expected the name of a question, found {question[:MAX_QUESTION]!r}; `anoclust clusters ask {category} "
            "--list` prints them"
        )
    if question in dismissed(session, category):
        raise ConfigError(f"question {question} of {category} is dismissed already; `anoclust clusters undo` undoes it")
    first = min(clusters.identities(session, category), key=id_order, default="c1")
    cluster = clusters.find(session, category, about or first)
    return decide(session, cluster, "dismiss", by, {}, {"question": question, "text": text}).number


def dismissed(session: Session, category: str) -> frozenset[str]:
    """Names of the questions that people have set aside."""
    told = select(Decision.after).where(
        Decision.category == category, Decision.kind == "dismiss", Decision.undone_by.is_(None)
    )
    return frozenset(after["question"] for after in session.scalars(told))


def settled(session: Session, category: str) -> Settled:
    """What people need not be asked about again."""
    by_hand = select(Placement.content, Placement.cluster).where(Placement.category == category)
    wrong: Sequence[str] = session.scalars(select(Exclusion.content).where(Exclusion.category == category)).all()
    placed = {content: cluster for content, cluster in session.execute(by_hand)}  # noqa: C416 - rows are no pairs to mypy
    return Settled(placed, frozenset(wrong), dismissed(session, category))
