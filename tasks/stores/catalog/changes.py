"""Which rows a transaction changed, as JSON text: what the journal keeps and a rebuild writes back."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    RowMapping,
    Table,
    bindparam,
    delete,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapper, ORMExecuteState, Session

from anoclust_core.errors import StoreError
from tasks.stores.catalog import checksums
from tasks.stores.catalog.schema import CHECKSUM, Base, Identity, Outbox, UtcDateTime

TABLES: Final[tuple[Table, ...]] = tuple(
    table for table in Base.metadata.sorted_tables if table.name not in {Identity.__tablename__, Outbox.__tablename__}
)
"""Tables of facts, each after those that it refers to."""

_BY_NAME: Final = {table.name: table for table in TABLES}

_OWN: Final[Mapping[str, str]] = {"clusters": "merged_into", "decisions": "undone_by"}
"""Columns that refer to another row of the same table, by table."""

_REFERRED_TO: Final = frozenset(key.column.table for table in TABLES for key in table.foreign_keys)
"""Tables that others, or they themselves, refer to."""

_NUMBERED: Final = ("runs", "decisions")
"""Tables whose rows the database numbers."""

Key = tuple[Any, ...]


class Changes:
    """Rows that a session touches, from now until its transaction ends.

    Whatever way a row is written, through an object or by a statement, its key is noted; what the row holds is read
    once, at the end. So nothing that writes to the catalog has to think of the journal.

    Parameters
    ----------
    session
        Its transaction has just begun.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        checksums.noted(session.connection())
        self._touched: dict[str, set[Key]] = defaultdict(set)
        event.listen(session, "after_flush", self._flushed)
        event.listen(session, "do_orm_execute", self._executed)

    def commit_to_outbox(self) -> None:
        """Number what was changed and keep it in the outbox, in the same transaction; nothing if nothing was."""
        self._session.flush()
        connection = self._session.connection()
        changed = {table.name: self._of(connection, table) for table in TABLES if self._touched[table.name]}
        checksums.seal_noted(connection, [(table, self._touched[table.name]) for table in TABLES])
        if changed:
            put_in_outbox(connection, {"changes": changed})

    def _of(self, connection: Connection, table: Table) -> dict[str, Any]:
        keys = self._touched[table.name]
        rows = list(_rows(connection, table, keys))
        there = {tuple(row[name] for name in table.primary_key.columns.keys()) for row in rows}  # noqa: SIM118
        return _encoded(table, rows, sorted(keys - there, key=str))

    def _flushed(self, session: Session, _context: object) -> None:
        for row in (*session.new, *session.dirty, *session.deleted):
            mapper: Mapper[Any] = inspect(row).mapper
            self._note(mapper, [mapper.primary_key_from_instance(row)])

    def _executed(self, state: ORMExecuteState) -> None:
        mapper = state.bind_mapper
        if mapper is None or not (state.is_insert or state.is_update or state.is_delete):
            return
        names = [column.name for column in mapper.primary_key]
        if state.is_insert:
            given = state.parameters or {}
            rows = [given] if isinstance(given, Mapping) else given
            self._note(mapper, [tuple(row[name] for name in names) for row in rows])
        else:  # asked before the statement runs
            chosen = cast("Any", state.statement).whereclause
            found = select(*mapper.primary_key)
            self._note(mapper, state.session.execute(found if chosen is None else found.where(chosen)).all())

    def _note(self, mapper: Mapper[Any], keys: Sequence[Sequence[Any]]) -> None:
        self._touched[cast("Table", mapper.local_table).name].update(tuple(key) for key in keys)


def put_in_outbox(connection: Connection, content: Mapping[str, Any]) -> int:
    """Give a change the next number and keep it until the journal has it; nobody else has a number meanwhile."""
    connection.execute(update(Identity).values(position=Identity.position + 1))
    position, identity = connection.execute(select(Identity.position, Identity.identity)).one()
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"position": position, "catalog": identity, "at": moment, **content}
    record = json.dumps(told, separators=(",", ":"), allow_nan=False)
    connection.execute(insert(Outbox).values(position=position, record=record))
    return int(position)


def everything(connection: Connection) -> dict[str, Any]:
    """All that a catalog holds, as one change that starts from scratch."""
    changes = {}
    for table in TABLES:
        rows = list(connection.execute(select(table).order_by(*table.primary_key)).mappings())
        if rows:
            changes[table.name] = _encoded(table, rows, [])
    return {"base": True, "changes": changes}


def clear(connection: Connection) -> None:
    """Take everything out of a catalog."""
    for table in reversed(TABLES):  # a row may refer to another of its table: that is looked at when all are gone
        connection.execute(delete(table))


def apply(connection: Connection, record: Mapping[str, Any]) -> None:
    """Write what a change says into a catalog, whatever of it is there already.

    Raises
    ------
    StoreError
        If it has a table or column that this version does not know.
    """
    if record.get("base"):
        clear(connection)
    unknown = record["changes"].keys() - _BY_NAME.keys()
    changed = {table: record["changes"][table.name] for table in TABLES if table.name in record["changes"]}
    for table, told in changed.items():
        unknown |= set(told["columns"]) - set(table.columns.keys())
    if unknown:
        raise StoreError(
            f"change {record['position']} of the journal is of a newer version of Anoclust (it has {min(unknown)}); "
            "upgrade Anoclust"
        )
    put = {table: [_decoded(table, told["columns"], row) for row in told["put"]] for table, told in changed.items()}
    for table in reversed(changed):
        keys = [_decoded(table, table.primary_key.columns.keys(), key) for key in changed[table]["gone"]]
        if table not in _REFERRED_TO:  # what it refers to may go: it must not stand in the way
            keys += [{name: row[name] for name in table.primary_key.columns.keys()} for row in put[table]]  # noqa: SIM118
        if keys:
            matches = (column == bindparam(f"of_{column.name}") for column in table.primary_key)
            connection.execute(
                delete(table).where(*matches), [{f"of_{name}": value for name, value in key.items()} for key in keys]
            )
    for table, rows in put.items():
        if rows:
            _put(connection, table, rows)


def number_on(connection: Connection) -> None:
    """Let the database number new rows after those that were written with their numbers; SQLite does by itself."""
    if connection.dialect.name == "postgresql":
        for name in _NUMBERED:
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'number'), "  # noqa: S608 - names of ours
                    f"(SELECT coalesce(max(number), 0) + 1 FROM {name}), false)"
                )
            )


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    kind = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = table.primary_key.columns.keys()
    new = kind.insert(table)
    others = {name: new.excluded[name] for name in rows[0] if name not in keys}
    statement = new.on_conflict_do_update(index_elements=keys, set_=others)
    waiting = rows
    while waiting:  # a row that refers to another of these comes after it
        open_keys = {tuple(row[name] for name in keys) for row in waiting}
        ready = [row for row in waiting if _referred(table, keys, row) not in open_keys]
        if not ready:
            raise StoreError(f"rows of {table.name} in the journal refer to each other in a circle; it is damaged")
        connection.execute(statement, ready)
        waiting = [row for row in waiting if _referred(table, keys, row) in open_keys]


def _referred(table: Table, keys: Sequence[str], row: Mapping[str, Any]) -> Key | None:
    """Key of the row of the same table that a row refers to, if any."""
    own = _OWN.get(table.name)
    return None if own is None or row[own] is None else (*(row[name] for name in keys[:-1]), row[own])


def _rows(connection: Connection, table: Table, keys: Iterable[Key]) -> Iterator[RowMapping]:
    """Rows with some keys, by key."""
    for condition in checksums.with_keys(table, keys):
        found = select(table).where(*condition).order_by(*table.primary_key)
        yield from connection.execute(found).mappings()


def _encoded(table: Table, rows: Sequence[RowMapping], gone: Sequence[Key]) -> dict[str, Any]:
    columns = [name for name in table.columns.keys() if name != CHECKSUM]  # noqa: SIM118 - of columns, not of names
    return {
        "columns": columns,
        "put": [[_plain(row[name]) for name in columns] for row in rows],
        "gone": [[_plain(value) for value in key] for key in gone],
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # a moment is a date too


def _decoded(table: Table, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: _value(table.columns[name], value) for name, value in zip(names, values, strict=True)}


def _value(column: ColumnElement[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if isinstance(column.type, Date) else value
