"""A catalog that is gone, empty, old or of another store is told, and given back from the store's journal."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text
from stores import Store, a_life, day, live, put

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores.catalog import changes, opening
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.identity import LostCatalogError, is_begun, read_marker
from tasks.stores.catalog.journal import Journal
from tasks.stores.catalog.rebuild import start_over
from tasks.stores.layout import StoreLayout


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    """Make empty stores; those with PostgreSQL share one database."""
    url = None if request.param == "sqlite" else str(request.getfixturevalue("new_postgresql_url")())

    def make(name: str) -> Store:
        layout = StoreLayout(tmp_path / name)
        layout.root.mkdir()
        return Store(layout, url or layout.catalog)

    return make


@pytest.fixture
def store(new_store: Callable[[str], Store]) -> Store:
    return new_store("store")


@pytest.fixture
def file_store(tmp_path: Path) -> Store:
    layout = StoreLayout(tmp_path / "store")
    layout.root.mkdir()
    return Store(layout, layout.catalog)


# -- given back -----------------------------------------------------------------------------------------------------


def test_a_lost_catalog_is_given_back_row_by_row(store: Store) -> None:
    """After every kind of night and decision the rebuilt tables are equal to the lost ones, numbers and all."""
    live(store)
    before = store.rows()
    assert all(before.values()), "every table has something to lose"
    store.lose_catalog()
    with pytest.raises(LostCatalogError, match=r"is gone.*rebuild-catalog.*--new-catalog"):
        store.open()
    rebuilt = store.rebuild()
    assert store.rows() == before
    assert rebuilt.after == {name: len(rows) for name, rows in before.items() if name != "runs"}
    assert set(rebuilt.before.values()) == {0}
    assert rebuilt.lacks == ()


def test_after_every_step_a_lost_catalog_is_given_back(file_store: Store) -> None:
    """Whenever the catalog is lost, what is given back is what was there."""
    for step in a_life(file_store):
        step()
        before = file_store.rows()
        file_store.lose_catalog()
        file_store.rebuild()
        assert file_store.rows() == before


def test_life_goes_on_as_if_nothing_had_been_lost(new_store: Callable[[str], Store]) -> None:
    """A store whose catalog was lost in the middle ends with the tables of one that lost nothing."""
    twin, store = new_store("twin"), new_store("store")
    for number, (undisturbed, disturbed) in enumerate(zip(a_life(twin), a_life(store), strict=True)):
        undisturbed()
        disturbed()
        if number in {5, 11}:
            store.lose_catalog()
            store.rebuild()

    def timeless(one: Store) -> object:
        """Rows without moments, and without the checksum in the last column, which covers these."""
        return {
            name: [[value for value in row[:-1] if not hasattr(value, "microsecond")] for row in rows]
            for name, rows in one.rows().items()
        }

    assert timeless(store) == timeless(twin)


def test_a_rebuild_done_again_changes_nothing(store: Store) -> None:
    """Also on a catalog that is as it should be."""
    live(store)
    journal, rows = store.layout.journal.read_bytes(), store.rows()
    for _ in range(2):
        again = store.rebuild()
        assert (again.n_changes, again.n_nights, again.lacks, again.aside) == (0, 0, (), None)
        assert again.before == again.after
    assert store.layout.journal.read_bytes() == journal
    assert store.rows() == rows


@pytest.mark.parametrize("at", [1, 4, 9, 16])
def test_an_older_copy_is_refused_and_completed(file_store: Store, tmp_path: Path, at: int) -> None:
    """A restored backup lacks what came after it; the journal has it."""
    steps = a_life(file_store)
    for step in steps[:at]:
        step()
    with sqlite3.connect(file_store.layout.catalog) as connection:  # a backup as SQLite makes it
        connection.execute("VACUUM INTO ?", (str(tmp_path / "backup"),))
    connection.close()
    for step in steps[at:]:
        step()
    before = file_store.rows()
    file_store.lose_catalog()
    shutil.copy(tmp_path / "backup", file_store.layout.catalog)
    with pytest.raises(LostCatalogError, match="is older than its store"):
        file_store.open()
    rebuilt = file_store.rebuild()
    assert file_store.rows() == before
    assert 0 < rebuilt.n_changes < Journal(file_store.layout.journal).last()


def test_one_decision_that_is_missing_is_noticed(file_store: Store, tmp_path: Path) -> None:
    """A backup of before the last decision is older, although it has all nights."""
    put(file_store, 0, {"a": "c1"}, ["c1"])
    shutil.copy(file_store.layout.catalog, tmp_path / "backup")
    file_store.do(lambda c: c.rename("tile", "c1", "dent", who="kim"))
    file_store.lose_catalog()
    shutil.copy(tmp_path / "backup", file_store.layout.catalog)
    with pytest.raises(LostCatalogError, match="the journal has 1 more changes"):
        file_store.open()
    file_store.rebuild()
    with file_store.open() as catalog:
        assert catalog.cluster("tile", "dent").cluster == "c1"


# -- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: (path.unlink(), Catalog.open(path).close()), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged"),
        (lambda path: path.write_bytes(b"\0" * 9000), "is damaged"),
    ],
)
def test_a_file_that_lost_everything_is_never_begun_again(
    file_store: Store, harm: Callable[[Path], object], told: str
) -> None:
    """Truncated, emptied or overwritten: told, left as it is, and given back by a rebuild."""
    live(file_store)
    before = file_store.rows()
    for ending in ("-wal", "-shm"):
        file_store.layout.catalog.with_name(f"catalog.sqlite{ending}").unlink(missing_ok=True)
    harm(file_store.layout.catalog)
    harmed = file_store.layout.catalog.read_bytes()
    with pytest.raises(StoreError, match=rf"{told}.*rebuild-catalog"):
        file_store.open()
    assert file_store.layout.catalog.read_bytes() == harmed
    file_store.rebuild()
    assert file_store.rows() == before


@pytest.mark.parametrize("also", [(), ("identity",)])
def test_tables_that_somebody_emptied_are_filled_again(store: Store, also: tuple[str, ...]) -> None:
    """Rows that were deleted by hand are missed: the pages of nights tell of them, and the journal has them."""
    live(store)
    before = store.rows()
    marker = read_marker(store.layout)
    engine = opening.connect(store.where, schema=marker.schema if marker else None)
    with engine.begin() as connection:
        changes.clear(connection)
        for table in also:
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()
    with pytest.raises(LostCatalogError, match=r"is empty|lacks the night"):
        store.open()
    store.rebuild()
    assert store.rows() == before
    store.open().close()


def test_the_catalog_of_another_store_is_refused(new_store: Callable[[str], Store]) -> None:
    """Copied into a store it is told to be another's, also where the two have the same nights."""
    mine, other = new_store("mine"), new_store("other")
    live(mine)
    live(other)
    before = mine.rows()
    if opening.file_of(mine.where) is not None:
        mine.lose_catalog()
        shutil.copy(other.layout.catalog, mine.layout.catalog)
        with pytest.raises(LostCatalogError, match="of another store"):
            mine.open()
        rebuilt = mine.rebuild()
        assert rebuilt.aside is not None
        assert (rebuilt.aside / "catalog.sqlite").is_file()
    assert mine.rows() == before


def test_stores_in_one_database_do_not_see_each_other(new_store: Callable[[str], Store]) -> None:
    """The same categories and images in two stores are two categories; decisions stay with their own."""
    first, second = new_store("first"), new_store("second")
    put(first, 0, {"a": "c1", "b": "c1"}, ["c1"])
    put(second, 0, {"a": "c1"}, ["c1"])
    first.do(lambda c: c.rename("tile", "c1", "dent", who="kim"))
    with first.open() as one, second.open() as two:
        assert [cluster.name for cluster in one.clusters("tile")] == ["dent"]
        assert [(cluster.name, cluster.n_images) for cluster in two.clusters("tile")] == [(None, 1)]
    first.lose_catalog()
    with pytest.raises(LostCatalogError):
        first.open()
    first.rebuild()
    with first.open() as one, second.open() as two:
        assert one.cluster("tile", "dent").n_images == 2
        assert len(two.images("tile")) == 1


def test_a_file_named_by_url_belongs_to_the_first_store(tmp_path: Path) -> None:
    """A second store gets no place in it."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    first, second = (Store(StoreLayout(tmp_path / name), url) for name in ("first", "second"))
    for one in (first, second):
        one.layout.root.mkdir()
    put(first, 0, {"a": "c1"}, ["c1"])
    with pytest.raises(LostCatalogError, match="is of another store"):
        second.open()
    put(first, 1, {"b": "c1"})
    with pytest.raises(StoreError, match="of another store"):
        second.rebuild()


@pytest.mark.parametrize("left", ["nights", "snapshot", "journal"])
def test_any_trace_of_nights_keeps_a_new_catalog_from_being_begun(file_store: Store, left: str) -> None:
    """Pages of nights, the note of a snapshot, the journal: each alone is enough, also without the marker."""
    live(file_store, page=left == "nights")
    if left == "snapshot":
        pin = file_store.layout.snapshot("tile")
        pin.parent.mkdir(parents=True)
        pin.write_text("{}")
    if left != "journal":
        shutil.rmtree(file_store.layout.identity.parent)
    file_store.layout.identity.unlink(missing_ok=True)
    file_store.lose_catalog()
    with pytest.raises(LostCatalogError, match="is gone"):
        file_store.open()
    assert not file_store.layout.catalog.exists()


def test_a_store_that_never_had_a_night_begins_its_first(file_store: Store) -> None:
    """A marker alone, as a kill may leave it, is no night: nothing was lost."""
    file_store.open().close()
    file_store.lose_catalog()
    assert not is_begun(file_store.layout, file_store.where)
    put(file_store, 0, {"a": "c1"}, ["c1"])
    with file_store.open() as catalog:
        assert catalog.categories() == ["tile"]


def test_the_marker_is_written_once(store: Store) -> None:
    """It stays as it is for good, and the catalog has the same identity."""
    put(store, 0, {"a": "c1"}, ["c1"])
    before = store.layout.identity.read_bytes()
    live(store)
    assert store.layout.identity.read_bytes() == before
    assert store.layout.identity.stat().st_nlink == 1


def test_a_damaged_marker_is_told_and_written_again(file_store: Store) -> None:
    """Whatever bit flips in it: either it reads the same, or it is told; a rebuild mends it."""
    put(file_store, 0, {"a": "c1"}, ["c1"])
    marker, path = read_marker(file_store.layout), file_store.layout.identity
    data = path.read_bytes()
    n_told = 0
    for bit in range(0, 8 * len(data), 3):
        path.write_bytes(bytes(byte ^ (1 << bit % 8) if at == bit // 8 else byte for at, byte in enumerate(data)))
        try:
            assert read_marker(file_store.layout) == marker
        except LostCatalogError as error:
            assert "rebuild-catalog" in str(error)
            n_told += 1
    assert n_told > len(data)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="rebuild-catalog"):
        file_store.open()
    file_store.rebuild()
    assert read_marker(file_store.layout) == marker
    with file_store.open() as catalog:
        assert catalog.categories() == ["tile"]


# -- the journal ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_killed_between_database_and_journal_nothing_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that was committed is written into the journal by whoever opens the catalog next."""
    put(store, 0, {"a": "c1"}, ["c1"])

    def killed(*_: object) -> None:
        raise Killed

    with store.open() as catalog, monkeypatch.context() as patch:
        patch.setattr("tasks.stores.catalog.catalog.write_out", killed)
        with pytest.raises(Killed):
            catalog.rename("tile", "c1", "dent", who="kim")
    store.open().close()
    before = store.rows()
    store.lose_catalog()
    store.rebuild()
    assert store.rows() == before
    with store.open() as catalog:
        assert catalog.cluster("tile", "dent").cluster == "c1"


@pytest.mark.parametrize("at", ["before", "within", "after"])
def test_killed_while_the_journal_is_written(store: Store, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Before, within and after the line: it is there once, and the catalog is not taken for an older one."""
    put(store, 0, {"a": "c1"}, ["c1"])
    append = Journal.append

    def killed(journal: Journal, records: list[str]) -> None:
        if at == "after":
            append(journal, records)
        elif at == "within":
            with journal.path.open("ab") as file:
                file.write(b'{"digest":"00')
        raise Killed

    with store.open() as catalog, monkeypatch.context() as patch:
        patch.setattr(Journal, "append", killed)
        with pytest.raises(Killed):
            catalog.rename("tile", "c1", "dent", who="kim")
    store.open().close()
    positions = [entry.position for entry in Journal(store.layout.journal).entries()]
    assert positions == list(range(1, len(positions) + 1))
    before = store.rows()
    store.lose_catalog()
    store.rebuild()
    assert store.rows() == before


def test_what_was_rolled_back_never_comes_to_life(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision whose transaction failed at its very end is in no journal."""
    put(store, 0, {"a": "c1"}, ["c1"])
    with store.open() as catalog, monkeypatch.context() as patch:
        from tasks.stores.catalog.changes import Changes

        commit = Changes.commit_to_outbox

        def failing(self: Changes) -> None:
            commit(self)
            raise RuntimeError("the disk is gone")

        patch.setattr(Changes, "commit_to_outbox", failing)
        with pytest.raises(RuntimeError, match="the disk is gone"):
            catalog.rename("tile", "c1", "dent", who="kim")
    store.do(lambda c: c.annotate("tile", "c1", "x", who="kim"))
    assert b"dent" not in store.layout.journal.read_bytes()
    before = store.rows()
    store.lose_catalog()
    store.rebuild()
    assert store.rows() == before


def test_a_journal_that_is_gone_is_written_again(store: Store) -> None:
    """The catalog has everything; from the next command on the journal has it too."""
    live(store)
    store.layout.journal.unlink()
    store.open().close()
    put(store, 6, {"z": None})
    before = store.rows()
    store.lose_catalog()
    store.rebuild()
    assert store.rows() == before


@pytest.mark.parametrize("line", [0, 3, -1])
def test_a_damaged_journal_is_kept_aside_and_written_again(file_store: Store, line: int) -> None:
    """With the catalog there nothing is lost; without it, everything before the damage comes back, and it is told."""
    live(file_store)
    journal, before = file_store.layout.journal, file_store.rows()
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"tile", b"tilf", 1)
    journal.write_bytes(b"".join(lines))
    copy = journal.read_bytes()
    rebuilt = file_store.rebuild()
    assert rebuilt.aside is not None
    assert (rebuilt.aside / "journal.jsonl").read_bytes() == copy
    assert file_store.rows() == before
    assert file_store.rebuild().aside is None
    file_store.lose_catalog()
    file_store.rebuild()
    assert file_store.rows() == before
    file_store.lose_catalog()
    journal.write_bytes(copy)
    partly = file_store.rebuild()
    assert any("damaged" in what for what in partly.lacks)


# -- old stores -----------------------------------------------------------------------------------------------------


LATER = {("images", "part"), ("images", "decided_by")}
"""Columns that came after."""


def old_catalog(store: Store) -> None:
    """Put the same facts into a catalog of before there were identities, journals and checksums, where it was then."""
    marker = read_marker(store.layout)
    engine = opening.connect(store.where, schema=marker.schema if marker else None)
    with engine.connect() as connection:
        facts = changes.everything(connection)["changes"]
    engine.dispose()
    store.lose_catalog()
    shutil.rmtree(store.layout.identity.parent)
    engine = opening.connect(store.where)
    with engine.execution_options(writes=True).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(opening.MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        tables = inspect(connection)
        for table in changes.TABLES:
            if not tables.has_table(table.name):
                assert table.name not in facts
                continue
            told = facts[table.name]
            columns = [column["name"] for column in tables.get_columns(table.name)]
            known = [name for name in told["columns"] if name in columns]
            names = ", ".join(f'"{name}"' for name in known)
            values = ", ".join(f":{name}" for name in known)
            rows = [dict(zip(told["columns"], map(as_text, row), strict=True)) for row in told["put"]]
            assert not any(row[name] for row in rows for name in set(told["columns"]) - set(known))
            rows = [{name: row[name] for name in known} for row in rows]
            rows.sort(key=lambda row: (row.get("merged_into") or row.get("undone_by")) is not None)
            connection.execute(text(f"INSERT INTO {table.name} ({names}) VALUES ({values})"), rows)
        changes.number_on(connection)
    engine.dispose()


def as_text(value: object) -> object:
    """Value as a statement without types takes it; moments as SQLite keeps them, without a zone."""
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, str) and value.endswith("+00:00"):
        return datetime.fromisoformat(value).replace(tzinfo=None).isoformat(" ", "microseconds")
    return value


def test_an_old_store_is_taken_over_with_its_decisions(store: Store) -> None:
    """Opened by this version once, all that its catalog has is in the journal, and can be given back."""
    live(store, of_now=False)
    old_catalog(store)
    store.open().close()
    before = store.rows()
    assert b"look at" in store.layout.journal.read_bytes()
    size = store.layout.journal.stat().st_size
    store.open().close()
    assert store.layout.journal.stat().st_size == size
    if opening.file_of(store.where) is not None:
        store.lose_catalog()
        store.rebuild()
    assert store.rows() == before


def test_an_old_database_goes_to_the_store_whose_nights_it_has(new_store: Callable[[str], Store]) -> None:
    """A new store beside it gets a schema of its own, and so does a store with other nights."""
    old, fresh = new_store("old"), new_store("fresh")
    live(old, of_now=False)
    rows = old.rows()
    old_catalog(old)
    put(fresh, 0, {"x": "c1"}, ["c1"])
    with fresh.open() as catalog:
        assert [one.content for one in catalog.images("tile")] == ["x"]
    old.open().close()
    assert old.rows() == rows


def test_an_old_backup_in_an_old_store_is_refused(file_store: Store) -> None:
    """Without marker and journal, the pages of nights tell that the catalog is older."""
    live(file_store, of_now=False)
    old_catalog(file_store)
    (file_store.layout.night("tile", day(9))).mkdir()
    with pytest.raises(LostCatalogError, match="lacks the night 2026-11-10 of tile"):
        file_store.open()
    assert not file_store.layout.identity.exists()


# -- starting over --------------------------------------------------------------------------------------------------


def test_starting_over_keeps_what_was_there(store: Store) -> None:
    """Old nights, journal and marker are moved aside; the new catalog begins at c1, and a fine one is left alone."""
    live(store)
    with pytest.raises(ConfigError, match=r"the catalog of .* exists"):
        start_over(store.layout, store.where)
    journal = store.layout.journal.read_bytes()
    store.lose_catalog()
    aside = start_over(store.layout, store.where)
    assert aside is not None
    assert (aside / "catalog" / "journal.jsonl").read_bytes() == journal
    assert (aside / "nights" / "tile" / str(day(0))).is_dir()
    assert start_over(store.layout, store.where) is None
    put(store, 7, {"n": "c1"}, ["c1"])
    with store.open() as catalog:
        assert [one.cluster for one in catalog.clusters("tile")] == ["c1"]


def test_a_read_only_store_is_left_as_it_is(file_store: Store) -> None:
    """Opening it to read writes neither marker nor journal."""
    live(file_store)
    shutil.rmtree(file_store.layout.identity.parent)
    access = os.access
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
        with Catalog.open(file_store.where, store=file_store.layout, create=False) as catalog:
            assert catalog.categories() == ["tile"]
    assert not file_store.layout.identity.parent.exists()
