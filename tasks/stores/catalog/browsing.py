"""What people look through: where all images are, in few bytes each, and what columns say; within one transaction."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from anoclust_core.matching.identities import id_order, owner_of
from tasks.stores.catalog import clusters, images, standing
from tasks.stores.catalog.facts import ClusterFact, fact_of
from tasks.stores.catalog.schema import Cluster, Decision, Image, Night, Run

MOST_VALUES: Final = 40
"""Different values of a column from which on it tells single images apart, such as a serial number, and no kinds."""

LABEL: Final = "label"
"""Stands beside the extra columns: the label that came with an image."""

_ONLY_WORDS: Final = ("rename", "note", "ordinary", "dismiss")
"""Decisions that move no image."""


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


@dataclass(frozen=True)
class Places:
    """Where every image is, the surest first: 100,000 images take 15 MB.

    Attributes
    ----------
    contents
        Of the images.
    names
        Clusters that there are images of; None are the unknown. What was merged into a cluster belongs to it.
    clusters
        Number of each image's cluster in ``names``.
    nights
        Night of each image, as the number of its day.
    """

    contents: Sequence[str]
    names: Sequence[str | None]
    clusters: array[int]
    nights: array[int]


class Browsing:
    """A category as it is at one moment; make one with `Catalog.browsing`.

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

    def revision_of_images(self) -> tuple[Any, ...]:
        """Tell which images there are, and what manifests say of them, from what nights bring later."""
        return tuple(self._session.execute(select(*self._nights())).one())

    def revision_of_places(self) -> tuple[Any, ...]:
        """Tell where images are from where they are later: what people only say of clusters does not count."""
        decided = select(func.max(Decision.number)).where(
            Decision.category == self._category, Decision.kind.not_in(_ONLY_WORDS)
        )
        return tuple(self._session.execute(select(*self._nights(), decided.scalar_subquery())).one())

    def places(self) -> Places:
        """Where every image is."""
        into = clusters.merges(self._session, self._category)
        numbers: dict[str | None, int] = {}
        contents, of, nights = [], array("i"), array("i")
        for content, cluster, _, night in images.placed_rows(self._session, self._category):
            owner = None if cluster is None else owner_of(cluster, into)
            contents.append(content)
            of.append(numbers.setdefault(owner, len(numbers)))
            nights.append(night.toordinal())
        return Places(contents, list(numbers), of, nights)

    def clusters(self, sizes: Mapping[str, int]) -> list[ClusterFact]:
        """All clusters that there ever were, by identity, with the sizes that are known already."""
        found = self._session.scalars(select(Cluster).where(Cluster.category == self._category))
        return [
            fact_of(ClusterFact, one, n_images=sizes.get(one.cluster, 0))
            for one in sorted(found, key=lambda one: id_order(one.cluster))
        ]

    def taken_back(self) -> set[str]:
        """Clusters that a person had made, by a split, a cut or with chosen images, and that was undone."""
        query = select(Decision).where(
            Decision.category == self._category,
            Decision.kind.in_(("split", "cut", "move")),
            Decision.undone_by.is_not(None),
        )
        return {cluster for undone in self._session.scalars(query) for cluster in _made_by(undone)}

    def with_values(self, columns: Mapping[str, str]) -> set[str]:
        """Images that have some values of some columns."""
        wanted = [self._value(name) == value for name, value in columns.items()]
        return set(self._session.scalars(select(Image.content).where(Image.category == self._category, *wanted)))

    def values(self, column: str) -> dict[str, str]:
        """Value of a column of every image that has one."""
        value = self._value(column)
        query = select(Image.content, value).where(Image.category == self._category, value.is_not(None))
        return {content: text for content, text in self._session.execute(query) if text}

    def columns(self) -> dict[str, list[str]]:
        """Columns of the manifest with few different values, `LABEL` among them, and these values, in order."""
        found = {}
        for name in [LABEL, *self._names()]:
            values = select(self._value(name)).where(Image.category == self._category).distinct()
            some = sorted(value for value in self._session.scalars(values.limit(MOST_VALUES + 2)) if value)
            if 0 < len(some) <= MOST_VALUES:
                found[name] = some
        return found

    def n_images(self) -> tuple[int, int]:
        """How many images can be used, and how many cannot."""
        usable = func.count().filter(Image.quarantined.is_(None))
        query = select(usable, func.count()).where(Image.category == self._category)
        n_usable, n_all = self._session.execute(query).one()
        return n_usable, n_all - n_usable

    def _nights(self) -> list[Any]:
        run = select(func.max(Run.number)).where(Run.category == self._category)
        night = select(func.max(Night.ended)).where(Night.category == self._category)
        return [run.scalar_subquery(), night.scalar_subquery()]

    def _names(self) -> list[str]:
        """Names of the extra columns."""
        if self._is_sqlite:
            keys = func.json_each(Image.extra).table_valued("key", joins_implicitly=True)
            query = select(keys.c.key)
        else:
            query = select(func.json_object_keys(Image.extra))
        return sorted(self._session.scalars(query.where(Image.category == self._category).distinct()))

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


def _made_by(decision: Decision) -> list[str]:
    """Clusters that a person's decision made."""
    match decision.kind:
        case "cut":
            return list(decision.after["born"])
        case "split":
            return [decision.after["cluster"]]
        case _:
            return [decision.cluster] if decision.after.get("started") else []
