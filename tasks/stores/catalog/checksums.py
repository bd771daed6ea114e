"""A checksum for every row: made when a transaction that wrote the row ends, compared before a command reads it.

Databases keep no checksum of what a row holds: one flipped bit makes another state of a state. The checksum is over the
values as the database gives them, so that nothing has to be converted to compare it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast
from zlib import crc32

from sqlalchemy import ColumnElement, Connection, Engine, Table, event, literal_column, select, text
from sqlalchemy.sql.dml import Insert, Update

from tasks.stores.catalog.schema import CHECKSUM, Base

TABLES: Final[tuple[Table, ...]] = tuple(Base.metadata.sorted_tables)

_BATCH: Final = 500
"""Values in one statement; SQLite of some systems takes no more than 999."""

_WRITTEN: Final = "anoclust tables written"
_NOTED: Final = "anoclust rows noted"
"""Names of what is remembered of a connection during a transaction."""

Key = tuple[Any, ...]


def keep(engine: Engine) -> None:
    """Let every transaction of an engine make the checksums of what it wrote when it ends, however it wrote it.

    Where rows are noted one by one, see `noted`, only these are read again; otherwise the tables that were written.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.info[_WRITTEN], connection.info[_NOTED] = set(), False

    @event.listens_for(engine, "before_execute")
    def before_execute(connection: Connection, statement: Any, *_: Any) -> None:
        if isinstance(statement, (Insert, Update)) and not connection.info[_NOTED]:
            connection.info[_WRITTEN].add(cast("Table", statement.table).name)

    @event.listens_for(engine, "commit")
    def commit(connection: Connection) -> None:
        for table in TABLES:
            if table.name in connection.info[_WRITTEN]:
                _seal(connection, table)


def noted(connection: Connection) -> None:
    """Say that from now on, until `seal_noted`, somebody notes the keys of all rows that are written."""
    connection.info[_NOTED] = True


def seal_noted(connection: Connection, table_keys: Iterable[tuple[Table, Iterable[Key]]]) -> None:
    """Make the checksums of rows whose keys were noted."""
    connection.info[_NOTED] = False
    for table, keys in table_keys:
        if table.name not in connection.info[_WRITTEN]:
            for condition in with_keys(table, keys):
                _seal(connection, table, condition)


def seal_everything(connection: Connection) -> None:
    """Make the checksums of all rows: what is there is taken for sound."""
    for table in TABLES:
        _seal(connection, table)


def with_keys(table: Table, keys: Iterable[Key]) -> Iterator[Sequence[ColumnElement[bool]]]:
    """Conditions that rows with some keys fulfil, few enough values at once; the keys' order is kept."""
    *first, last = table.primary_key.columns
    alike: dict[Key, list[Any]] = {}
    for key in sorted(keys, key=str):
        alike.setdefault(key[:-1], []).append(key[-1])
    for beginning, ends in alike.items():
        same = [column == value for column, value in zip(first, beginning, strict=True)]
        for start in range(0, len(ends), _BATCH):
            yield [*same, last.in_(ends[start : start + _BATCH])]


def damage(connection: Connection, categories: Sequence[str] = ()) -> Iterator[str]:
    """Say what is not as it was written: of rows those of some categories, or all.

    Whether tables and indexes of SQLite belong together is always looked at as a whole: a row that cannot be found by
    its index has no checksum that fails.
    """
    if connection.dialect.name == "sqlite":
        told = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        yield from (" ".join(line.split()) for line in told if line != "ok")
        lost = [] if categories else connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        yield from (f"table {row[0]} refers to a row of {row[2]} that is not there" for row in lost)
    yield from wrong_rows(connection, TABLES, categories)


def wrong_rows(connection: Connection, tables: Iterable[Table], categories: Sequence[str] = ()) -> Iterator[str]:
    """Say which rows are not as they were written, of some categories or all; what is of no category counts always."""
    for table in tables:
        condition = [table.c.category.in_(categories)] if categories and "category" in table.c else []
        names = [column.name for column in table.columns if column.name != CHECKSUM]
        at = [names.index(column.name) for column in table.primary_key]
        start = _start(table)
        for row in _raw(connection, table, CHECKSUM, condition):
            if row[0] != crc32(ascii(row[1:]).encode(), start):
                yield f"checksum of row {', '.join(str(row[1 + place]) for place in at)} of {table.name} does not match"


def _seal(connection: Connection, table: Table, condition: Sequence[ColumnElement[bool]] = ()) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    place, same = ("rowid", "rowid = :at") if is_sqlite else ("ctid::text", "ctid = CAST(:at AS tid)")
    start = _start(table)
    sums = [
        {"at": row[0], "sum": crc32(ascii(row[1:]).encode(), start)}
        for row in _raw(connection, table, place, condition)
    ]
    if sums:
        connection.execute(text(f"UPDATE {table.name} SET {CHECKSUM} = :sum WHERE {same}"), sums)  # noqa: S608 - names of ours


def _raw(
    connection: Connection, table: Table, first: str, condition: Sequence[ColumnElement[bool]]
) -> Iterator[tuple[Any, ...]]:
    """Rows as the database gives them, all but the checksum, behind something else of the row."""
    quote = connection.dialect.identifier_preparer.quote
    as_text = "" if connection.dialect.name == "sqlite" else "::text"
    names = [f"{quote(column.name)}{as_text}" for column in table.columns if column.name != CHECKSUM]
    query = select(*(literal_column(name) for name in (first, *names))).select_from(table).where(*condition)
    found = connection.execute(query)
    yield from cast("Iterable[tuple[Any, ...]]", found.cursor)  # the driver's own tuples: a night reads thousands
    found.close()


def _start(table: Table) -> int:
    return crc32(table.name.encode())
