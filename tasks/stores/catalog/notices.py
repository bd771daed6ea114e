"""What others are told once: recorded beside its cause, sent later, marked as sent; within one transaction each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from tasks.stores.catalog.facts import NoticeFact, columns_of, fact_of
from tasks.stores.catalog.schema import Notice


def add(session: Session, notices: Iterable[NoticeFact]) -> None:
    """Record what is to be told; what is known already stays as it is, sent or not."""
    for fact in notices:
        if session.get(Notice, (fact.category, fact.notice)) is None:
            session.add(Notice(**columns_of(fact)))
            session.flush()


def notices(session: Session, category: str, *, only_unsent: bool) -> list[NoticeFact]:
    """Notices by night, then by name."""
    query = select(Notice).where(Notice.category == category).order_by(Notice.night, Notice.notice)
    if only_unsent:
        query = query.where(Notice.sent_at.is_(None))
    return [fact_of(NoticeFact, found) for found in session.scalars(query)]


def mark_sent(session: Session, category: str, names: Iterable[str], *, when: datetime) -> None:
    """Note that some were sent."""
    for name in names:
        found = session.get(Notice, (category, name))
        if found is not None:
            found.sent_at = when
    session.flush()
