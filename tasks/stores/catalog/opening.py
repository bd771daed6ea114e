"""Connections to the catalog's database: opened, migrated, and their errors in our words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlencode

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError, StatementError

from anoclust_core.errors import AnoclustError, BusyError, ConfigError, StoreError
from anoclust_core.safe_text.masking import HIDDEN, masked, masked_text, without
from tasks.stores.catalog import checksums
from tasks.stores.catalog.readonly import connect_read_only, is_read_only
from tasks.stores.catalog.schema import from_json, to_json

BUSY_SECONDS: Final = 30.0
"""How long a writer waits for another one."""

LAST_PORT: Final = 65535

CONNECT_SECONDS: Final = 20
"""How long a database server may take to let somebody in; the URL may say otherwise."""

_UNUSABLE: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM}
)
"""What SQLite says of the machine, not of the file."""

_JSON: Final[Mapping[str, Any]] = MappingProxyType({"json_serializer": to_json, "json_deserializer": from_json})

MIGRATIONS: Final = Path(__file__).parent / "migrations"


class DamagedCatalogError(StoreError):
    """The file of a catalog is no longer one that can be read."""


_MIGRATION_LOCK: Final = 0x616E6F63
"""Number of PostgreSQL's advisory lock that one process at a time migrates under."""

_NO_DRIVER: Final = "PostgreSQL needs a driver; run: pip install 'anoclust[postgres]'"


def open_engine(where: Path | str, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """Connect to a catalog and bring its tables up to date.

    Parameters
    ----------
    where
        A SQLite file, made if there is none, or the URL of a database: ``postgresql://user@host/name``.
    busy_seconds
        How long a writer waits for another one.

    Raises
    ------
    ConfigError
        If the URL is none, or of a database that is not supported.
    StoreError
        If the catalog cannot be reached or read, or is of a newer version.
    BusyError
        If somebody else writes all the time.
    """
    engine = connect(where, busy_seconds=busy_seconds)
    try:
        bring_up_to_date(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def connect(where: Path | str, *, busy_seconds: float = BUSY_SECONDS, schema: str | None = None) -> Engine:
    """Connect to a catalog as it is; ``schema`` is that of PostgreSQL, where it is not the user's own.

    Raises
    ------
    ConfigError
        If the URL is none, or of a database that is not supported.
    StoreError
        If a SQLite file cannot be there.
    """
    url = _url_of(where)
    if url.drivername.startswith("sqlite"):
        return _sqlite(url, busy_seconds)
    return _postgresql(url, busy_seconds, schema)


def bring_up_to_date(engine: Engine, *, schema: str | None = None) -> None:
    """Make the tables of this version, and the schema that they are in.

    Raises
    ------
    StoreError
        If the catalog cannot be reached or read, or is of a newer version.
    BusyError
        If somebody else writes all the time.
    """
    with told_as_ours(engine):
        with engine.connect() as connection:
            is_done = is_current(connection)
        if not is_done:  # only then wait for those who write
            _refuse_read_only(engine)
            with engine.execution_options(writes=True).begin() as connection:
                _migrate(connection, schema)


@contextmanager
def told_as_ours(engine: Engine) -> Iterator[None]:
    """Raise what a database complains about as errors that say what to do."""
    place = shown(engine.url)
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, place) from error
    except UnicodeDecodeError as error:  # also in what SQLite says about it
        raise damaged(place, "it holds invalid text") from error
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _of_sqlite(error.orig, place) from error
        told = _first_line(error, engine.url)
        if isinstance(error, OperationalError):
            if "lock timeout" in str(error.orig):
                raise BusyError(f"another process is writing to the catalog {place}; try again in a moment") from error
            raise StoreError(
                f"the catalog {place} cannot be used: {told}; check that it can be reached and written"
            ) from error
        raise StoreError(f"the catalog {place} refused: {told}") from error
    except StatementError as error:
        if isinstance(error.orig, AnoclustError):
            raise error.orig from None  # a value that was refused before the database saw it
        raise


def place_of(where: Path | str) -> str:
    """Where a catalog is, without the password."""
    return shown(_url_of(where))


def file_of(where: Path | str) -> Path | None:
    """File of a catalog in SQLite; None of one in PostgreSQL."""
    url = _url_of(where)
    return Path(str(url.database)) if url.drivername.startswith("sqlite") else None


def _of_sqlite(error: sqlite3.Error, place: str) -> AnoclustError:
    kind = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest says which of a kind
    if kind in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BusyError(f"another process is writing to the catalog {place}; try again in a moment")
    if kind == sqlite3.SQLITE_READONLY:
        return StoreError(
            f"the catalog {place} can only be read here: the file, its folder or its disk is read-only; run the "
            "command where it can be written"
        )
    if kind in _UNUSABLE:
        return StoreError(f"the catalog {place} cannot be used: {error}; check that it can be reached and written")
    if isinstance(error, sqlite3.IntegrityError):
        return StoreError(f"the catalog {place} refused: {error}")
    return damaged(place, str(error))


def damaged(place: str, what: str) -> DamagedCatalogError:
    """Say that a catalog is damaged, and what to do."""
    return DamagedCatalogError(
        f"the catalog {place} is damaged: {what}; restore it from a backup, or rebuild it with `anoclust store "
        "rebuild-catalog`"
    )


def shown(url: URL) -> str:
    """Where a catalog is, without the password."""
    if url.drivername.startswith("sqlite"):
        return url.database or ""
    return masked(url.render_as_string(hide_password=True))


def of_one_moment(engine: Engine) -> Engine:
    """Let all that one transaction reads be of one moment; SQLite does so by itself."""
    return (
        engine.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else engine
    )


def lock_category(connection: Connection, category: str) -> None:
    """Lock a category against other writers until the transaction ends; SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        key = f"anoclust:{category}"
        locked = "SELECT pg_advisory_xact_lock(hashtextextended(coalesce(current_schema(), '') || :key, 0))"
        connection.execute(text(locked), {"key": key})


def _url_of(where: Path | str) -> URL:
    """Read the URL of a catalog.

    Errors do not repeat it, nor do they bring along an error that does: what is wrong may be the password.
    """
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        found = "a port that is not a number" if isinstance(error, ValueError) else "neither"
        raise ConfigError(
            f"expected the path of a SQLite file or the URL of a database for the catalog, found {found}; write "
            "postgresql://user@host:5432/name, or user:password in place of user, with %40, %2F and %3A in a password "
            "for an at sign, / and :"
        ) from None
    kind = url.get_backend_name()
    if kind in {"postgresql", "postgres"}:
        _check_parts(url, where)
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and url.database:
        if not (url.username or url.password or url.host or url.port):
            return url.set(drivername="sqlite")
        raise ConfigError("a SQLite file has neither user nor host; the catalog's URL is sqlite:////folder/file.sqlite")
    raise ConfigError(f"a catalog is kept in a SQLite file or in PostgreSQL, found {kind}; give a URL of one of them")


def _check_parts(url: URL, written: str) -> None:
    """Refuse a URL in which a password ends too early: its rest would be taken, and told, for a host or a name.

    Raises
    ------
    ConfigError
        If so, or if the port is none.
    """
    has_two_ends = url.username is not None and written.count("@") > 1  # of what is read as a query, some is dropped
    names = f"{url.username or ''}{url.host or ''}"
    looks_like_parameters = re.search(r"\?\w+=", url.password or "")
    if has_two_ends or "@" in f"{url.host}{url.database}" or re.search(r"[/?#=@\s]", names) or looks_like_parameters:
        raise ConfigError(
            "the catalog's URL can be read in more than one way; in names and passwords write %40 for @, %2F for /, "
            "%3A for :, %3F for ?, %23 for #, %3D for = and %20 for a space"
        )
    if url.port is not None and not 1 <= url.port <= LAST_PORT:
        raise ConfigError(f"the port of the catalog's URL is {url.port}; expected 1 to {LAST_PORT}")


def _sqlite(url: URL, busy_seconds: float) -> Engine:
    file = Path(str(url.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"there cannot be a catalog at {file}: {error.strerror or error}") from error
    read_only = is_read_only(file)
    if read_only:
        engine = create_engine(url, creator=lambda: connect_read_only(file, busy_seconds), **_JSON)
    else:
        engine = create_engine(url, connect_args={"timeout": busy_seconds}, **_JSON)
    checksums.keep(engine)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = (
            None  # the driver begins no transaction by itself: also tables are then made in one
        )
        if read_only:
            return
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        # where the file system has no shared memory this stays what it was, which is as safe and less parallel; beside
        # somebody who writes SQLite refuses the switch at once, whatever the timeout, and a later connection makes it
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            with suppress(sqlite3.OperationalError):
                cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a reader that turns writer could not wait for another writer, so a writer says so at once
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, busy_seconds: float, schema: str | None) -> Engine:
    # values as text are always the same: their checksums are
    options = f"-c lock_timeout={int(busy_seconds * 1000)} -c timezone=UTC -c datestyle=ISO -c extra_float_digits=1"
    if schema is not None:
        options += f" -c search_path={schema}"
    limit = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    try:
        engine = create_engine(url, connect_args={"options": options, **limit}, pool_pre_ping=True, **_JSON)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError(_NO_DRIVER) from error
    checksums.keep(engine)
    return engine


def _refuse_read_only(engine: Engine) -> None:
    """Say so where a catalog would have to be brought up to date and cannot be.

    Raises
    ------
    StoreError
        If so.
    """
    if engine.dialect.name == "sqlite" and is_read_only(Path(str(engine.url.database))):
        raise StoreError(
            f"the catalog {shown(engine.url)} is from an older version of Anoclust, and can only be read here; run "
            "`anoclust status` once where the store can be written, to update the catalog"
        )


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this version.

    Raises
    ------
    StoreError
        If they are those of a newer one.
    """
    found, (known, head) = MigrationContext.configure(connection).get_current_revision(), _revisions()
    if found is not None and found not in known:
        raise StoreError(
            f"the catalog {shown(connection.engine.url)} is from a newer version of Anoclust (its tables are {found}, "
            f"this one knows {head}); upgrade Anoclust; the catalog was not changed"
        )
    return found == head


@lru_cache(maxsize=1)
def _revisions() -> tuple[frozenset[str], str | None]:
    """Revisions of the tables that this version knows, and its own; a process reads them once."""
    script = ScriptDirectory(str(MIGRATIONS))
    return frozenset(revision.revision for revision in script.walk_revisions()), script.get_current_head()


def _migrate(connection: Connection, schema: str | None) -> None:
    """Bring the tables up to date, in the connection's transaction: all of it or nothing."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if schema is not None:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    if not is_current(connection):  # somebody else may have been faster
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        checksums.seal_everything(connection)


def _first_line(error: DatabaseError, url: URL) -> str:
    """What a driver says, which has the password and may repeat it."""
    parameters = [part for value in url.query.values() for part in ([value] if isinstance(value, str) else value)]
    harmless = masked(f"postgresql://{'?' + urlencode(url.query, doseq=True) if url.query else ''}")
    secrets = [
        str(url.password or ""),
        quote(str(url.password or ""), safe=""),
        *(parameters if HIDDEN in harmless else []),
    ]
    return masked_text(without(str(error.orig).strip().partition("\n")[0], *secrets))
