"""Which catalog a store has: a marker in the store, the same in the catalog; opened only if it is that one.

A store that has had nights never begins a new catalog by itself. One that is missing, empty, older than the nights of
its store, or of another store is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

from alembic.migration import MigrationContext
from sqlalchemy import Engine, String, cast, insert, inspect, select, update

from anoclust_core.errors import StoreError
from tasks.stores.catalog import checksums, opening
from tasks.stores.catalog.journal import Journal, write_out
from tasks.stores.catalog.schema import Base, Identity, Night, Outbox
from tasks.stores.files import DIGEST, read_json, safe_name, with_digest, without_digest, write_once
from tasks.stores.layout import StoreLayout

_NIGHT: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_IDENTITY: Final = re.compile(r"[0-9a-f]{32}")

Nights = Set[tuple[str, str]]
"""Nights by the name of their category's folder and their own."""


class LostCatalogError(StoreError):
    """The catalog that a store has had is not there, or another one is in its place."""


@dataclass(frozen=True)
class Marker:
    """Identity of a store's catalog and, if that is in PostgreSQL, its schema there.

    None is the schema that a connection has by itself, in which catalogs were before each store had its own.
    """

    identity: str
    schema: str | None

    @classmethod
    def of(cls, found: Found) -> Marker:
        """Take a catalog that is there as that of a store, or give a new one an identity and a schema of its own."""
        if found.identity is not None:
            return cls.named(found.identity)
        return cls(uuid4().hex, None) if found.is_there else cls.named(uuid4().hex)

    @classmethod
    def named(cls, identity: str) -> Marker:
        """Give the marker of a catalog in a schema of its own."""
        return cls(identity, f"anoclust_{identity}")


@dataclass(frozen=True)
class Found:
    """What is in a database: whether it has tables of ours, of which store, up to which change, and of which nights.

    ``identity`` is None where no store has claimed it.
    """

    is_there: bool = False
    identity: str | None = None
    position: int = 0
    nights: Nights = frozenset()


@dataclass(frozen=True)
class Known:
    """What a store knows of its catalog without looking at it.

    Attributes
    ----------
    marker
        Which catalog it has; None where it has none yet, or one of before there were markers.
    last
        Number of the last change in its journal.
    nights
        Nights that it has pages of: the catalog has these and perhaps others.
    had
        Whether there must be something in its catalog.
    """

    marker: Marker | None
    last: int
    nights: Nights
    had: bool

    @classmethod
    def of(cls, layout: StoreLayout) -> Known:
        """Read it; before the catalog is looked at, which is always ahead of the rest.

        Raises
        ------
        StoreError
            If the marker or the journal cannot be read.
        """
        marker, last, nights = read_marker(layout), Journal(layout.journal).last(), nights_of_store(layout)
        pins = (folder / layout.snapshot("").name for folder in _folders(layout.root / "nights"))
        return cls(marker, last, nights, bool(nights) or last > 0 or any(pin.is_file() for pin in pins))


def read_marker(layout: StoreLayout) -> Marker | None:
    """Read which catalog a store has; None where it has none yet.

    Raises
    ------
    StoreError
        If that cannot be read.
    """
    path = layout.identity
    try:
        found = read_json(path)
        content = without_digest(found)
        if DIGEST not in found or not _IDENTITY.fullmatch(content["catalog"]):
            raise ValueError("it is cut off")  # noqa: TRY301 - like every other damage of it
        schema = content["schema"]
        return Marker(content["catalog"], str(schema) if schema is not None else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LostCatalogError(
            f"{path} names the store's catalog, but cannot be read ({error}); restore it from a backup, or run "
            f"`anoclust store rebuild-catalog --store {layout.root}`, which writes it again"
        ) from error


def write_marker(layout: StoreLayout, marker: Marker) -> Marker:
    """Note which catalog a store has, unless it has one already, and say which it is."""
    content: dict[str, Any] = {
        "catalog": marker.identity,
        "schema": marker.schema,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_once(layout.identity, (json.dumps(with_digest(content), indent=2) + "\n").encode())
    written = read_marker(layout)
    assert written is not None  # noqa: S101 - for the type checker: it was written just now
    return written


def nights_of_store(layout: StoreLayout) -> Nights:
    """Nights that the store has pages of: the catalog has these and perhaps others."""
    return frozenset(
        (category.name, night.name)
        for category in _folders(layout.root / "nights")
        for night in _folders(category)
        if _NIGHT.fullmatch(night.name)
    )


def open_catalog(
    layout: StoreLayout, where: Path | str, *, create: bool = True, busy_seconds: float = opening.BUSY_SECONDS
) -> Engine:
    """Connect to the catalog of a store, bring it up to date, and let the store's journal have everything.

    Parameters
    ----------
    layout
        The store.
    where
        File or URL of its catalog.
    create
        Whether to begin one where the store has never had any.
    busy_seconds
        How long to wait for somebody else who writes.

    Raises
    ------
    LostCatalogError
        If it is missing, empty, older than the store or of another one, or there has not been any yet.
    StoreError, ConfigError, BusyError
        As in `opening.open_engine`.
    """
    found, marker = _found(layout, where, busy_seconds)
    if not found.is_there and not create:
        raise no_nights(layout)
    may_write = create or os.access(layout.root, os.W_OK)
    if marker is None and may_write:
        marker = write_marker(layout, Marker.of(found))
    schema = marker.schema if marker else None
    engine = opening.connect(where, busy_seconds=busy_seconds, schema=schema)
    try:
        opening.bring_up_to_date(engine, schema=schema)
        _check_position(engine)
        if marker is not None and may_write:
            claim(layout, engine, marker)
            with opening.told_as_ours(engine):
                write_out(engine, Journal(layout.journal))
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_position(engine: Engine) -> None:
    """See that the catalog is right about its journal, before anything is written because it says so.

    Raises
    ------
    DamagedCatalogError
        If it is not.
    """
    tables = [Base.metadata.tables[one.__tablename__] for one in (Identity, Outbox)]
    with opening.told_as_ours(engine), engine.connect() as connection:
        wrong = next(checksums.wrong_rows(connection, tables), None)
    if wrong is not None:
        raise opening.damaged(opening.shown(engine.url), wrong)


def is_begun(layout: StoreLayout, where: Path | str) -> bool:
    """Whether a store has a catalog yet; nothing is made or changed.

    Raises
    ------
    LostCatalogError
        If it has had one and that is lost.
    StoreError, ConfigError
        As in `opening.open_engine`.
    """
    return _found(layout, where, opening.BUSY_SECONDS)[0].is_there


def look(where: Path | str, known: Known, *, busy_seconds: float = opening.BUSY_SECONDS) -> Found:
    """See what there is where the catalog of a store should be; nothing is made or changed.

    Raises
    ------
    StoreError
        If it cannot be reached or is damaged.
    """
    file = opening.file_of(where)
    if file is not None and (not file.exists() or (file.is_file() and file.stat().st_size == 0)):
        return Found()  # SQLite would make a file, or write into the empty one
    if file is None and known.marker is None:  # of this store there are only catalogs of before each had a schema
        found = _probed(where, None, busy_seconds)
        return found if found.identity is None and known.nights & found.nights else Found()
    return _probed(where, known.marker.schema if known.marker else None, busy_seconds)


def claim(layout: StoreLayout, engine: Engine, marker: Marker) -> None:
    """Let a catalog that no store has claimed be that of this one.

    Raises
    ------
    LostCatalogError
        If another store was faster.
    """
    with opening.told_as_ours(engine):
        with engine.connect() as connection:
            found = connection.scalars(select(Identity.identity)).one_or_none()
        if found is None:
            with engine.execution_options(writes=True).begin() as connection:
                if connection.scalars(select(Identity.only)).one_or_none() is None:
                    connection.execute(insert(Identity).values(only=1, identity=None, position=0))
                mine = update(Identity).where(Identity.identity.is_(None)).values(identity=marker.identity)
                connection.execute(mine)
                found = connection.scalars(select(Identity.identity)).one()
    if found != marker.identity:
        raise lost(layout, f"the catalog {opening.shown(engine.url)} is of another store")


def lost(layout: StoreLayout, what: str) -> LostCatalogError:
    """Say what is wrong with the catalog of a store, and what can be done."""
    root = layout.root
    return LostCatalogError(
        f"{what}; restore it from a backup, or rebuild it from the store's journal and nights with `anoclust store "
        f"rebuild-catalog --store {root}`, or start over with `anoclust nightly DATA --store {root} --new-catalog`, "
        "which keeps the old nights aside"
    )


def no_nights(layout: StoreLayout) -> LostCatalogError:
    """Say that there has not been a night yet, and how to have one."""
    return LostCatalogError(
        f"there have been no nights in {layout.root} yet; `anoclust nightly DATA --store {layout.root}` makes the first"
    )


def problem(layout: StoreLayout, where: Path | str, found: Found, known: Known) -> str | None:
    """Say in words what keeps a catalog from being that of its store; None if nothing does.

    Parameters
    ----------
    layout, where
        The store, and where its catalog should be.
    found, known
        What is there, and what the store knows.
    """
    catalog = f"the catalog {opening.place_of(where)}"
    if not found.is_there or (found.position == 0 and not found.nights):
        if not known.had:
            return None
        file = opening.file_of(where)
        is_empty = found.is_there or (file is not None and file.exists())
        return f"{catalog} {'is empty' if is_empty else 'is gone'}, but there have been nights in {layout.root}"
    if is_of_another(layout, where, found, known):
        return f"{catalog} is of another store than {layout.root}"
    missing = sorted(known.nights - found.nights, key=lambda night: night[::-1])
    if missing:
        category, night = missing[-1]
        return f"{catalog} is older than its store: it lacks the night {night} of {unquote(category)}"
    if known.last > found.position or (known.last and found.identity is None):
        n_lacking = max(1, known.last - found.position)
        return f"{catalog} is older than its store: the journal has {n_lacking:,} more changes"
    return None


def _found(layout: StoreLayout, where: Path | str, busy_seconds: float) -> tuple[Found, Marker | None]:
    """See what there is, and that it is the catalog of the store."""
    known = Known.of(layout)
    found = look(where, known, busy_seconds=busy_seconds)
    marker = known.marker or read_marker(layout)  # somebody else may have had the first night meanwhile
    wrong = problem(layout, where, found, replace(known, marker=marker))
    if wrong is not None:
        raise lost(layout, wrong)
    return found, marker


def is_of_another(layout: StoreLayout, where: Path | str, found: Found, known: Known) -> bool:
    """Whether a catalog is of another store; the file inside of a store that knows of none is its own."""
    if found.identity is None:
        return False
    if known.marker is None:
        return opening.file_of(where) != layout.catalog
    return found.identity != known.marker.identity


def _probed(where: Path | str, schema: str | None, busy_seconds: float) -> Found:
    engine = opening.connect(where, busy_seconds=busy_seconds, schema=schema)
    try:
        with opening.told_as_ours(engine), engine.connect() as connection:
            if MigrationContext.configure(connection).get_current_revision() is None:
                return Found()
            dates = cast(Night.night, String)  # as text: a damaged date is no date
            nights = frozenset(
                (safe_name(category), night) for category, night in connection.execute(select(Night.category, dates))
            )
            if not inspect(connection).has_table(Identity.__tablename__):
                return Found(True, None, 0, nights)
            told = connection.execute(select(Identity.identity, Identity.position)).one_or_none()
            identity, position = (None, 0) if told is None else told  # somebody may have emptied all tables
            return Found(True, identity, position, nights)
    finally:
        engine.dispose()


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted; none where there is none."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
