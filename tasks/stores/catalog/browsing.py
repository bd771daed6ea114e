"""What people look through, a part at a time: never all images of a category at once; within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, literal, select, union
from sqlalchemy.orm import Session

from anoclust_core.matching.identities import owner_of
from tasks.stores.catalog import clusters, images, standing
from tasks.stores.catalog.schema import Assignment, Exclusion, Image, Placement

MOST_VALUES: Final = 40
"""Different values of a column from which on it tells single images apart, such as a serial number, and no kinds."""

LABEL: Final = "label"
"""Stands beside the extra columns: the label that came with an image."""


@dataclass(frozen=True)
class Chosen:
    """Which images of a category are looked at; by default all.

    Attributes
    ----------
    since, until
        Nights; both ends count.
    columns
        Values by column of the manifest; `LABEL` is one of them.
    """

    since: date | None = None
    until: date | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """The same for the same choice."""
        return self.since, self.until, tuple(sorted(self.columns.items()))

    def __bool__(self) -> bool:
        """Whether it leaves any image out."""
        return self != Chosen()


class Browsing:
    """A category as it is at one moment; make one with `Catalog.browsing`.

    Clusters are named by identity, None are the unknown images; what was merged into a cluster belongs to it.

    Parameters
    ----------
    session, category
        Where.
    """

    def __init__(self, session: Session, category: str) -> None:
        self._session, self._category = session, category
        self._is_sqlite = session.get_bind().dialect.name == "sqlite"

    def revision(self) -> tuple[Any, ...]:
        """Tell this state of the category from every later one."""
        return standing.revision(self._session, self._category)

    def members(self, cluster: str | None, chosen: Chosen) -> list[str]:
        """Images of a cluster by content, the most typical first: those that belong to it most surely."""
        parts = self._parts(cluster)
        of_parts = Assignment.cluster.is_(None) if cluster is None else Assignment.cluster.in_(parts)
        candidates = union(
            select(Assignment.content).where(Assignment.category == self._category, of_parts),
            select(Placement.content).where(Placement.category == self._category, Placement.cluster.in_(parts)),
            *([] if cluster else [select(Exclusion.content).where(Exclusion.category == self._category)]),
        )
        now = images.current(self._category, candidates).subquery()
        query = select(now.c.content).where(now.c.cluster.is_(None) if cluster is None else now.c.cluster.in_(parts))
        if chosen:
            query = query.join(Image, self._of(now)).where(*self._conditions(chosen))
        return list(self._session.scalars(query.order_by(now.c.confidence.desc(), now.c.content)))

    def leading(self, n: int, chosen: Chosen) -> dict[str | None, list[str]]:
        """The ``n`` most typical images of every cluster that has some."""
        now = images.current(self._category).subquery()
        order = (now.c.confidence.desc(), now.c.content)
        rank = func.row_number().over(partition_by=now.c.cluster, order_by=order).label("rank")
        query = select(now.c.cluster, now.c.content, now.c.confidence, rank)
        if chosen:
            query = query.join(Image, self._of(now)).where(*self._conditions(chosen))
        ranked = query.subquery()
        first = select(ranked.c.cluster, ranked.c.content, ranked.c.confidence).where(ranked.c.rank <= n)
        into = clusters.merges(self._session, self._category)
        found: dict[str | None, list[tuple[float, str]]] = {}
        for cluster, content, confidence in self._session.execute(first):
            owner = None if cluster is None else owner_of(cluster, into)
            found.setdefault(owner, []).append((-confidence, content))
        return {owner: [content for _, content in sorted(some)[:n]] for owner, some in found.items()}

    def sizes(self, chosen: Chosen) -> dict[str | None, int]:
        """How many of the chosen images are in every cluster that has some."""
        return {cluster: sum(counts.values()) for cluster, counts in self._counted(literal(""), chosen).items()}

    def breakdown(self, column: str, chosen: Chosen) -> dict[str | None, dict[str, int]]:
        """How many images of every cluster have each value of a column; those without one under the empty text."""
        return self._counted(self._value(column), chosen)

    def columns(self) -> dict[str, list[str]]:
        """Columns of the manifest with few different values, `LABEL` among them, and these values, in order."""
        found = {}
        for name in [LABEL, *self._names()]:
            values = select(self._value(name)).where(Image.category == self._category).distinct().limit(MOST_VALUES + 1)
            some = sorted(value for value in self._session.scalars(values) if value)
            if 0 < len(some) <= MOST_VALUES:
                found[name] = some
        return found

    def n_images(self) -> tuple[int, int]:
        """How many images can be used, and how many cannot."""
        usable = func.count().filter(Image.quarantined.is_(None))
        query = select(usable, func.count()).where(Image.category == self._category)
        n_usable, n_all = self._session.execute(query).one()
        return n_usable, n_all - n_usable

    def _names(self) -> list[str]:
        """Names of the extra columns."""
        if self._is_sqlite:
            keys = func.json_each(Image.extra).table_valued("key", joins_implicitly=True)
            query = select(keys.c.key)
        else:
            query = select(func.json_object_keys(Image.extra))
        return sorted(self._session.scalars(query.where(Image.category == self._category).distinct()))

    def _counted(self, value: ColumnElement[Any], chosen: Chosen) -> dict[str | None, dict[str, int]]:
        now = images.current(self._category).subquery()
        query: Select[Any] = (
            select(now.c.cluster, value, func.count())
            .join(Image, self._of(now))
            .where(*self._conditions(chosen))
            .group_by(now.c.cluster, value)
        )
        into = clusters.merges(self._session, self._category)
        found: dict[str | None, dict[str, int]] = {}
        for cluster, name, count in self._session.execute(query):
            of = found.setdefault(None if cluster is None else owner_of(cluster, into), {})
            of[name or ""] = of.get(name or "", 0) + count
        return found

    def _parts(self, cluster: str | None) -> Sequence[str]:
        """A cluster, and those that were merged into it."""
        if cluster is None:
            return []
        into = clusters.merges(self._session, self._category)
        return [cluster, *(name for name in into if owner_of(name, into) == cluster)]

    def _of(self, now: Any) -> ColumnElement[bool]:
        return and_(Image.category == self._category, Image.content == now.c.content)

    def _value(self, column: str) -> ColumnElement[Any]:
        """Value of a column of an image."""
        if column == LABEL:
            return Image.__table__.c.label
        if not self._is_sqlite:
            text: ColumnElement[Any] = Image.extra[column].as_string()
            return text
        # a JSON path cannot name every key
        pairs = func.json_each(Image.extra).table_valued("key", "value", joins_implicitly=True)
        return select(pairs.c.value).where(pairs.c.key == column).limit(1).scalar_subquery()

    def _conditions(self, chosen: Chosen) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [self._value(name) == value for name, value in chosen.columns.items()]
        if chosen.since is not None:
            found.append(Image.night >= chosen.since)
        if chosen.until is not None:
            found.append(Image.night <= chosen.until)
        return found
