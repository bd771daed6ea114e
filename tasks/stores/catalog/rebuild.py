"""The catalog rebuilt, or an older copy completed, from the journal of its store and the pages of its nights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.orm import Session

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores.catalog import changes, opening, pages
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.changes import Changes
from tasks.stores.catalog.identity import (
    Found,
    Known,
    LostCatalogError,
    Marker,
    claim,
    is_of_another,
    look,
    nights_of_store,
    no_nights,
    problem,
    read_marker,
    write_marker,
)
from tasks.stores.catalog.journal import Journal, write_out
from tasks.stores.catalog.schema import Identity, Outbox
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.nights.arrivals import NightRules
from tasks.stores.upkeep import inventory

COUNTED: Final = (
    "images",
    "nights",
    "snapshots",
    "clusters",
    "assignments",
    "decisions",
    "placements",
    "exclusions",
    "notices",
)
"""Tables that a person is told of."""


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild restored.

    Attributes
    ----------
    before, after
        Rows by table.
    n_changes
        Changes that were read from the journal.
    n_nights
        Nights that were read from their pages, because no journal has them.
    lacks
        What could not be given back, in words.
    aside
        Folder of what was damaged or of another store, or None.
    """

    before: Mapping[str, int]
    after: Mapping[str, int]
    n_changes: int
    n_nights: int
    lacks: tuple[str, ...]
    aside: Path | None


def rebuild_catalog(
    layout: StoreLayout,
    where: Path | str,
    rules: NightRules,
    *,
    wait_seconds: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Rebuilt:
    """Restore what a lost catalog held, or what an older copy of it lacks; running it again changes nothing.

    Parameters
    ----------
    layout, where
        The store, and where its catalog is to be.
    rules
        Which night an image belongs to, for nights that no journal has.
    wait_seconds
        How long to wait for runs of any category to end.
    progress
        Called with (bytes of the journal read, bytes in all).

    Raises
    ------
    StoreError
        If there is nothing to make it from, or the database belongs to another store.
    BusyError
        If a run goes on.
    """
    with ExitStack() as held:
        for folder in inventory.category_folders(layout):
            held.enter_context(
                category_lock(layout, inventory.category_name(layout, folder), wait_seconds=wait_seconds)
            )
        keeper, journal = _Keeper(layout), Journal(layout.journal)
        known = _known(layout, keeper)
        found, engine = _sound(layout, where, known, keeper)
        try:
            if not known.had and not found.is_there:
                raise no_nights(layout)
            marker = known.marker or write_marker(layout, Marker.of(found))
            if engine is None:
                engine = opening.connect(where, schema=marker.schema)
            opening.bring_up_to_date(engine, schema=marker.schema)
            claim(layout, engine, marker)
            plan = _Plan.of(journal, found.position if found.identity == marker.identity else 0)
            rebuilt = _fill(layout, engine, journal, plan, rules, progress)
            if plan.is_damaged:
                keeper.keep(layout.journal)
            with opening.told_as_ours(engine):
                write_out(engine, journal)
        finally:
            if engine is not None:
                engine.dispose()
        return replace(rebuilt, aside=keeper.folder)


def start_over(layout: StoreLayout, where: Path | str) -> Path | None:
    """Make room for a new catalog in place of one that is lost; the old nights, journal and catalog are kept aside.

    Returns
    -------
    aside
        Folder that they are in; None where there has been nothing yet.

    Raises
    ------
    ConfigError
        If the catalog is there and fits its store.
    StoreError
        If the database cannot be reached.
    """
    keeper = _Keeper(layout)
    file = opening.file_of(where)
    try:
        known = Known.of(layout)
        found = look(where, known)
        wrong = problem(layout, where, found, known)
    except (LostCatalogError, opening.DamagedCatalogError):
        found, wrong = Found(is_there=True), "damaged"
    if wrong is None:
        if not found.is_there:
            return None
        raise ConfigError(
            f"--new-catalog starts over after a catalog is lost, but the catalog of {layout.root} exists; omit the "
            "flag, or give another --store"
        )
    if file is not None and file != layout.catalog and file.is_file():
        raise ConfigError(
            f"--new-catalog does not touch {file}, because it is outside {layout.root}; move it away, or name another "
            "file with --catalog"
        )
    for path in (layout.root / "nights", layout.identity.parent, *_files(layout.catalog)):
        keeper.keep(path)
    return keeper.folder


class _Keeper:
    """Moves things into a folder of the store that nothing is ever removed from; made when it is needed."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self.folder: Path | None = None

    def keep(self, path: Path) -> None:
        """Move a file or folder there, if there is one."""
        if path.exists():
            if self.folder is None:
                self.folder = self._layout.aside / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
                self.folder.mkdir(parents=True)
            path.rename(self.folder / path.name)


@dataclass(frozen=True)
class _Plan:
    """Which changes of a journal a catalog gets: those from ``first`` to ``last``, none where ``first`` is larger.

    It has the first ``start`` changes already. ``n_lost`` counts lines that are damaged, and changes behind them that
    cannot be used.
    """

    start: int
    first: int
    last: int
    n_lost: int

    @classmethod
    def of(cls, journal: Journal, start: int) -> _Plan:
        """Read a journal once; from a whole catalog in it on, nothing before matters."""
        first, last, n_lost = start + 1, start, 0
        for entry in journal.entries():
            if entry.is_base and entry.position > start:
                first, last, n_lost = entry.position, entry.position, 0
            elif entry.position == last + 1 and not n_lost:
                last = entry.position
            elif entry.position == 0 or entry.position > last:
                n_lost += 1
        return cls(start, first, last, n_lost)

    @property
    def is_damaged(self) -> bool:
        """Whether the journal cannot go on as it is."""
        return self.n_lost > 0


def _known(layout: StoreLayout, keeper: _Keeper) -> Known:
    """What a store knows of its catalog, also where its marker or the end of its journal is damaged."""
    journal = Journal(layout.journal)
    entries = [(entry.position, entry.record.get("catalog")) for entry in journal.entries()]
    try:
        marker = read_marker(layout)
    except LostCatalogError:
        keeper.keep(layout.identity)
        marker = None
    named = next((name for _, name in reversed(entries) if name), None)
    if marker is None and named is not None:
        marker = write_marker(layout, Marker.named(named))
    nights = nights_of_store(layout)
    return Known(marker, max((position for position, _ in entries), default=0), nights, bool(entries or nights))


def _sound(layout: StoreLayout, where: Path | str, known: Known, keeper: _Keeper) -> tuple[Found, Engine | None]:
    """What there is of the catalog, and a connection if it can be gone on with; what cannot is put aside.

    Raises
    ------
    StoreError
        If the database cannot be reached, or belongs to another store.
    """
    try:
        found = look(where, known)
    except opening.DamagedCatalogError:
        found, is_mine = Found(is_there=True), False
    else:
        is_mine = not is_of_another(layout, where, found, known)
    if not found.is_there:
        if opening.file_of(where) == layout.catalog:  # SQLite would take what is left beside it for part of a new one
            for path in _files(layout.catalog):
                keeper.keep(path)
        return found, None
    engine = opening.connect(where, schema=known.marker.schema if known.marker else None)
    try:
        if is_mine:
            opening.bring_up_to_date(engine)
            Catalog(engine).check()
            is_emptied = bool(known.nights - found.nights) and found.position == known.last
            return replace(found, position=0) if is_emptied else found, engine
    except StoreError:
        if opening.file_of(where) is None:  # a schema of its own in PostgreSQL: its rows are replaced
            return replace(found, identity=None), engine
    except BaseException:
        engine.dispose()
        raise
    engine.dispose()
    if opening.file_of(where) != layout.catalog:
        raise StoreError(
            f"the catalog {opening.place_of(where)} is damaged or of another store than {layout.root}; move it away, "
            "or name another one with night.catalog"
        )
    for path in _files(layout.catalog):
        keeper.keep(path)
    return Found(), None


def _fill(
    layout: StoreLayout,
    engine: Engine,
    journal: Journal,
    plan: _Plan,
    rules: NightRules,
    progress: Callable[[int, int], None] | None,
) -> Rebuilt:
    """Write what the plan says and what is only in pages of nights, all of it or nothing."""
    total = journal.bytes
    lacks: list[str] = []
    with opening.told_as_ours(engine), Session(engine.execution_options(writes=True)) as session, session.begin():
        connection = session.connection()
        before = _counts(connection)
        if plan.first <= plan.last:
            if plan.start == 0:
                changes.clear(connection)
                connection.execute(delete(Outbox))
            for entry in journal.entries():
                if plan.first <= entry.position <= plan.last:
                    changes.apply(connection, entry.record)
                if progress:
                    progress(entry.read, total)
            connection.execute(update(Identity).values(position=plan.last))
            changes.number_on(connection)
        if plan.is_damaged:
            lacks.append(f"{plan.n_lost:,} changes of the journal are damaged, or come after one that is")
        tracked = Changes(session)
        n_nights, told = pages.complete(layout, session, rules)
        tracked.commit_to_outbox()
        after = _counts(connection)
    return Rebuilt(before, after, max(0, plan.last - plan.first + 1), n_nights, (*lacks, *told), None)


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in changes.TABLES
        if table.name in COUNTED
    }


def _files(catalog: Path) -> list[Path]:
    """File of a catalog, and the two that SQLite keeps beside it."""
    return [catalog.with_name(f"{catalog.name}{ending}") for ending in ("", "-wal", "-shm")]
