"""Tables of the catalog. A change here needs a migration beside it: a test compares the two."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any, Final, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from anoclust_core.matching.night_dates import in_utc
from tasks.stores.catalog.facts import ClusterState, DecisionKind, EventName, NightState

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Names of constraints, the same in every database, so that a migration can name them."""


CHECKSUM: Final = "checksum"
"""Column of every table, see `tasks.stores.catalog.checksums`."""


def one_of(column: str, words: object, *, name: str) -> CheckConstraint:
    """Let a column have no other values than those of a `Literal`."""
    values = ", ".join(f"'{word}'" for word in get_args(words))
    return CheckConstraint(f"{column} IN ({values})", name=name)


def to_json(value: Any) -> str:
    """Write a JSON value as every database and reader takes it: infinity and NaN are refused."""
    return json.dumps(value, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Read a JSON value; an infinity, which an earlier version wrote, is None."""
    return json.loads(text, parse_constant=lambda _: None)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: refused without a time zone, kept in UTC, given back in UTC. SQLite knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give a moment in UTC."""
        if value is None:
            return None
        moment = in_utc(value)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give a moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, str: String}  # noqa: RUF012 - SQLAlchemy's

    checksum: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0", sort_order=1)


class Image(Base):
    """An image, told by its content."""

    __tablename__ = "images"
    __table_args__ = (Index(None, "category", "night"),)

    category: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    first_seen: Mapped[datetime]
    captured_at: Mapped[datetime]
    night: Mapped[date]
    extra: Mapped[dict[str, Any]]
    quarantined: Mapped[str | None]
    file: Mapped[str | None]
    split: Mapped[str | None]
    label: Mapped[str | None]
    mask: Mapped[str | None]
    part: Mapped[str | None]
    decided_by: Mapped[str | None]


class Snapshot(Base):
    """A re-clustering."""

    __tablename__ = "snapshots"

    category: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    made_at: Mapped[datetime]
    n_images: Mapped[int]
    merge_height: Mapped[float]
    details: Mapped[dict[str, Any]]


class Run(Base):
    """A night, or a re-clustering: what assignments come from. The higher number counts."""

    __tablename__ = "runs"
    __table_args__ = (
        ForeignKeyConstraint(["category", "snapshot"], ["snapshots.category", "snapshots.key"]),
        Index(None, "category", "night", unique=True),
        Index(None, "category", "snapshot", unique=True),
        CheckConstraint(
            "(night IS NULL AND snapshot IS NOT NULL) OR (night IS NOT NULL AND snapshot IS NULL)", name="kind"
        ),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str]
    night: Mapped[date | None]
    snapshot: Mapped[str | None]


class Night(Base):
    """A night."""

    __tablename__ = "nights"
    __table_args__ = (one_of("state", NightState, name="state"),)  # databases allow "failed" too, which none has

    category: Mapped[str] = mapped_column(primary_key=True)
    night: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[str]
    key: Mapped[str]
    began: Mapped[datetime]
    ended: Mapped[datetime]
    counters: Mapped[dict[str, Any]]


class Cluster(Base):
    """A cluster, for good: none is ever deleted that a person may have seen."""

    __tablename__ = "clusters"
    __table_args__ = (
        ForeignKeyConstraint(["category", "merged_into"], ["clusters.category", "clusters.cluster"]),
        one_of("state", ClusterState, name="state"),
    )

    category: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    born: Mapped[date]
    born_in: Mapped[int | None] = mapped_column(ForeignKey("runs.number", ondelete="SET NULL"))
    name: Mapped[str | None]
    note: Mapped[str]
    merged_into: Mapped[str | None]
    ordinary: Mapped[bool | None]


class Assignment(Base):
    """Where an image was put by a run."""

    __tablename__ = "assignments"
    __table_args__ = (
        ForeignKeyConstraint(["category", "content"], ["images.category", "images.content"]),
        ForeignKeyConstraint(["category", "cluster"], ["clusters.category", "clusters.cluster"]),
        Index(None, "category", "content", "run"),
        Index(None, "category", "cluster"),
    )

    run: Mapped[int] = mapped_column(ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True)
    content: Mapped[str] = mapped_column(primary_key=True)
    category: Mapped[str]
    cluster: Mapped[str | None]
    distance: Mapped[float]
    confidence: Mapped[float]


class Decision(Base):
    """Something that a person decided about a cluster, or that a run did to it."""

    __tablename__ = "decisions"
    __table_args__ = (
        ForeignKeyConstraint(["category", "cluster"], ["clusters.category", "clusters.cluster"]),
        Index(None, "category", "cluster"),
        one_of("kind", DecisionKind, name="kind"),
    )

    number: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str]
    cluster: Mapped[str]
    kind: Mapped[str]
    who: Mapped[str]
    at: Mapped[datetime]
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    run: Mapped[int | None] = mapped_column(ForeignKey("runs.number", ondelete="CASCADE"))
    undone_by: Mapped[int | None] = mapped_column(ForeignKey("decisions.number"))


class Placement(Base):
    """Where a person put an image: it counts more than what runs say, while that cluster is there."""

    __tablename__ = "placements"
    __table_args__ = (
        ForeignKeyConstraint(["category", "content"], ["images.category", "images.content"]),
        ForeignKeyConstraint(["category", "cluster"], ["clusters.category", "clusters.cluster"]),
    )

    category: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str]


class Exclusion(Base):
    """A cluster that a person took an image out of: no run puts it back there.

    With a run, only what was assigned up to that one does not count: a later run may put the image there.
    """

    __tablename__ = "exclusions"
    __table_args__ = (
        ForeignKeyConstraint(["category", "content"], ["images.category", "images.content"]),
        ForeignKeyConstraint(["category", "cluster"], ["clusters.category", "clusters.cluster"]),
    )

    category: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(primary_key=True)
    until_run: Mapped[int | None]


class Notice(Base):
    """Something that others are told once: recorded with what it is about, sent afterwards."""

    __tablename__ = "notices"
    __table_args__ = (one_of("event", EventName, name="event"),)

    category: Mapped[str] = mapped_column(primary_key=True)
    notice: Mapped[str] = mapped_column(primary_key=True)
    night: Mapped[date]
    event: Mapped[str]
    payload: Mapped[dict[str, Any]]
    sent_at: Mapped[datetime | None]


class Identity(Base):
    """The one row that says which store the catalog is of."""

    __tablename__ = "identity"
    __table_args__ = (CheckConstraint('"only" = 1', name="only"),)

    only: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    identity: Mapped[str | None]
    position: Mapped[int]


class Outbox(Base):
    """A change that was committed and that the store's journal may not have yet."""

    __tablename__ = "outbox"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    record: Mapped[str] = mapped_column(Text)
