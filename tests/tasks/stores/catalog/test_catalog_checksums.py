"""What the catalog says is what was written, or an error: rows, bits of the file, old catalogs."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from filling import fill
from sqlalchemy import Connection, create_engine, inspect, text
from typer.testing import CliRunner

from anoclust_core.errors import StoreError
from flows.cli import app
from tasks.stores.catalog import opening
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.schema import Base
from tasks.stores.layout import StoreLayout

FACTS = tuple(name for name in Base.metadata.tables if name not in {"identity", "outbox"})


@pytest.fixture
def filled(where: Path | str) -> Path | str:
    """Give a catalog with two categories."""
    with Catalog.open(where) as catalog:
        for category in ("tile", "screw"):
            fill(catalog, category)
    return where


def change(where: Path | str, statement: str) -> None:
    """Change rows behind the program's back."""
    engine = opening.open_engine(where)
    with engine.execution_options(writes=True).begin() as connection:
        assert connection.execute(text(statement)).rowcount > 0
    engine.dispose()


def test_every_way_of_writing_makes_checksums(filled: Path | str) -> None:
    """Nothing that the program writes fails its own check, and no row is without a checksum."""
    with Catalog.open(filled) as catalog:
        catalog.check()
        catalog.check(["tile"])
    engine = opening.open_engine(filled)
    with engine.connect() as connection:
        for name in FACTS:
            count = f"SELECT count(*), count(nullif(checksum, 0)) FROM {name}"
            n_rows, n_sealed = connection.execute(text(count)).one()
            assert n_rows == n_sealed > 0, name
    engine.dispose()


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("images", "quarantined = NULL WHERE quarantined IS NOT NULL"),
        ("images", "extra = '{}'"),
        ("images", "path = path || ' '"),
        ("snapshots", "merge_height = merge_height + 0.0000001"),
        ("snapshots", "details = '{'"),
        ("nights", "state = 'failed'"),
        ("nights", "night = '2026-11-09' WHERE night = '2026-11-02'"),
        ("nights", "ended = '2026-11-01 12:00:01.000000'"),
        ("clusters", "state = 'retired' WHERE state = 'confirmed'"),
        ("clusters", "name = 'Edge' WHERE name = 'edge'"),
        ("clusters", "born_in = NULL WHERE born_in IS NOT NULL"),
        ("assignments", "confidence = 1"),
        ("decisions", "who = 'lee' WHERE who = 'kim'"),
        ("decisions", "undone_by = NULL WHERE undone_by IS NOT NULL"),
        ("placements", "cluster = 'c1'"),
        ("notices", "sent_at = NULL WHERE sent_at IS NOT NULL"),
        ("runs", "snapshot = NULL, night = '2030-01-01' WHERE snapshot = 's1' AND category = 'tile'"),
        ("identity", "position = position + 1"),
    ],
)
def test_a_row_changed_behind_our_back_is_found(filled: Path | str, table: str, changed: str) -> None:
    """Whatever column it is, the error names table and row."""
    if table == "snapshots" and "{'" in changed and isinstance(filled, str):
        changed = """details = '{"a": 1}'"""  # PostgreSQL itself refuses what is no JSON
    change(filled, f"UPDATE {table} SET {changed}")
    with Catalog.open(filled) as catalog, pytest.raises(StoreError, match=f"checksum of row .* of {table} does not"):
        catalog.check()
    if table != "identity":
        with Catalog.open(filled) as catalog, pytest.raises(StoreError, match=f"of {table} does not match"):
            catalog.check(["tile"])


def test_other_categories_are_not_read(filled: Path | str) -> None:
    """A damaged row of one category does not keep people from another."""
    change(filled, "UPDATE clusters SET note = 'x' WHERE category = 'screw'")
    with Catalog.open(filled) as catalog:
        catalog.check(["tile"])
        with pytest.raises(StoreError, match="screw, c1 of clusters"):
            catalog.check(["screw"])


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("clusters", "state = 'confirmee'"),
        ("nights", "state = 'over'"),
        ("decisions", "kind = 'renamed'"),
        ("notices", "event = 'anoclust.news'"),
        ("runs", "night = '2030-01-01'"),
    ],
)
def test_states_and_kinds_that_are_none_are_refused(filled: Path | str, table: str, changed: str) -> None:
    """The database itself has no other words than those of the program."""
    engine = opening.open_engine(filled)
    with (
        pytest.raises(StoreError, match="refused"),
        opening.told_as_ours(engine),
        engine.execution_options(writes=True).begin() as connection,
    ):
        connection.execute(text(f"UPDATE {table} SET {changed}"))
    engine.dispose()


def test_migrations_make_the_constraints_of_the_program(where: Path | str) -> None:
    """Every table has the constraints that the program names, and no others."""
    engine = opening.open_engine(where)
    found = {
        name: {check["name"] for check in inspect(engine).get_check_constraints(name)} for name in Base.metadata.tables
    }
    named = {
        name: {one.name for one in table.constraints if str(one.name).startswith("ck_")}
        for name, table in Base.metadata.tables.items()
    }
    assert found == named
    assert sum(map(len, found.values())) == 6
    engine.dispose()


@pytest.fixture
def older(where: Path | str) -> Iterator[Connection]:
    """Give the catalog of an earlier version, with a cluster and what refers to it, in a transaction."""
    if isinstance(where, Path):
        where.parent.mkdir()
    engine = create_engine(opening._url_of(where))
    with engine.execution_options(writes=True).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(opening.MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        moment = "'2026-11-01 12:00:00'"
        for statement in (
            f"INSERT INTO images (category, content, path, first_seen, captured_at, night, extra) "
            f"VALUES ('tile', 'a', 'a.png', {moment}, {moment}, '2026-11-01', '{{}}')",
            "INSERT INTO runs (number, category, night) VALUES (7, 'tile', '2026-11-01')",
            "INSERT INTO clusters (category, cluster, state, born, born_in, note) "
            "VALUES ('tile', 'c1', 'provisional', '2026-11-01', 7, 'old')",
            "INSERT INTO assignments (run, content, category, cluster, distance, confidence) "
            "VALUES (7, 'a', 'tile', 'c1', 0.1, 0.9)",
            f"INSERT INTO decisions (number, category, cluster, kind, who, at, before, after, run) "
            f"VALUES (3, 'tile', 'c1', 'born', 'anoclust', {moment}, '{{}}', '{{}}', 7)",
        ):
            connection.execute(text(statement))
        yield connection
    engine.dispose()


def test_an_older_catalog_gets_checksums(older: Connection, where: Path | str) -> None:
    """Everything that was there is there, and is checked from now on; numbers go on."""
    older.commit()
    with Catalog.open(where) as catalog:
        catalog.check()
        (cluster,) = catalog.clusters("tile")
        assert (cluster.note, cluster.n_images, cluster.state) == ("old", 1, "provisional")
        assert [(one.number, one.kind) for one in catalog.history("tile")] == [(3, "born")]
    change(where, "UPDATE clusters SET note = 'new'")
    with Catalog.open(where) as catalog, pytest.raises(StoreError, match="tile, c1 of clusters"):
        catalog.check()


def test_an_older_catalog_with_a_state_that_is_none_is_told(older: Connection, where: Path | str) -> None:
    """The row is named, with what to do, and nothing is changed."""
    older.execute(text("UPDATE clusters SET state = 'confirmee'"))
    older.commit()
    with pytest.raises(StoreError, match=r"row category tile, cluster c1 of clusters.*'confirmee'.*backup"):
        Catalog.open(where)


READING = (
    ("status",),
    ("status", "tile"),
    ("clusters", "list", "tile", "--all"),
    ("clusters", "show", "tile", "c1"),
    ("clusters", "history", "tile"),
    ("export", "clusters", "tile"),
)
N_FLIPS = 150


def _dumped(file: Path) -> object:
    """All rows as they are read, whatever is wrong with the file; anything wrong is another content."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            names = [*FACTS, "identity", "outbox", "alembic_version"]
            return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names[:-1]}
    except (sqlite3.Error, ValueError) as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_flipped_bit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of flips that change what is read the check finds all; commands give the right answer or exit code 4."""
    store = tmp_path / "store"
    file, kept = store / "catalog.sqlite", tmp_path / "kept"
    with Catalog.open(file, store=StoreLayout(store)) as catalog:
        fill(catalog)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    shutil.copytree(store, kept)
    sound = kept / "catalog.sqlite"
    data, expected = sound.read_bytes(), _dumped(sound)
    monkeypatch.chdir(tmp_path)
    answers = {words: _answer(words, store) for words in READING}
    assert {code for code, _ in answers.values()} == {0}, answers
    rng, n_changing = random.Random(16), 0
    while n_changing < N_FLIPS:
        bit = rng.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        if _dumped(file) == expected:
            continue
        n_changing += 1
        code, told = _answer(("store", "check"), store)
        assert code == 4, f"bit {bit}: {told}"
        words = READING[n_changing % len(READING)]
        code, told = _answer(words, store)
        assert (code, told) == answers[words] or (code == 4 and told.count("\n") == 1), f"bit {bit}: {code} {told}"
        shutil.rmtree(store)
        shutil.copytree(kept, store)


def _answer(words: tuple[str, ...], store: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--store", str(store)], env={"COLUMNS": "200"})
    out = Path("tile-clusters.csv")
    written = out.read_text() if out.exists() else ""
    out.unlink(missing_ok=True)
    told = result.stderr if result.exit_code else result.stdout
    return result.exit_code, re.sub(r"\d+:\d+", "", told) + written
