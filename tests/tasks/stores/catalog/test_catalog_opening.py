from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.opening import MIGRATIONS, connect, open_engine
from tasks.stores.catalog.schema import Base


def test_migrations_make_the_tables_of_the_program(where: Path | str) -> None:
    """What the migrations made is what the program expects, to the last index."""
    engine = open_engine(where)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_newer_catalog_is_left_alone(where: Path | str) -> None:
    """Tables of a version that this one does not know are refused with the two versions."""
    engine = open_engine(where)
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match=r"newer version of Anoclust \(its tables are 9999, this one knows"):
        Catalog.open(where)


def test_decisions_of_an_earlier_version_keep_their_numbers(where: Path | str) -> None:
    """They may be of more kinds then; no number is given again, also none of a row that is gone."""
    engine = connect(where)
    with engine.execution_options(writes=True).begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.exec_driver_sql(
            "INSERT INTO clusters (category, cluster, state, born, note) "
            "VALUES ('tile', 'c1', 'confirmed', '2026-11-01', '')"
        )
        for kind in ("rename", "undo", "note"):
            connection.exec_driver_sql(
                "INSERT INTO decisions (category, cluster, kind, who, at, before, after) VALUES ('tile', 'c1', "
                f"'{kind}', 'kim', '2026-11-01 12:00:00.000000', '{{}}', '{{}}')"
            )
        connection.exec_driver_sql("UPDATE decisions SET undone_by = 2 WHERE number = 1")
        connection.exec_driver_sql("DELETE FROM decisions WHERE number = 3")
    engine.dispose()
    with Catalog.open(where) as catalog:
        catalog.check()
        assert [(one.number, one.kind, one.undone) for one in catalog.history("tile")] == [
            (1, "rename", True),
            (2, "undo", False),
        ]
        assert catalog.mark_ordinary("tile", "c1", True, who="kim") == 4
        catalog.check()


def test_a_migration_that_fails_leaves_nothing(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a migration is none: the next one starts where the last one did."""
    from alembic import op

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(RuntimeError, match="killed"):
            Catalog.open(where)
    with Catalog.open(where) as catalog:
        catalog.check()


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one" * 9, b"SQLite format 3\0" * 99]
)
def test_a_file_that_is_no_catalog_is_told(tmp_path: Path, content: bytes) -> None:
    """The message says what it is and what to do, and the file is left as it is."""
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"catalog\.sqlite is damaged.*backup"):
        Catalog.open(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    """Checking reads everything."""
    path = tmp_path / "catalog.sqlite"
    Catalog.open(path).close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"), Catalog.open(path) as catalog:
        catalog.check()


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    """Neither a folder nor a file for a folder can hold a catalog."""
    with pytest.raises(StoreError, match="cannot be used"):
        Catalog.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="there cannot be a catalog"):
        Catalog.open(tmp_path / "file" / "catalog.sqlite")


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "sqlite://", "postgresql:/x"])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    """Only SQLite files and PostgreSQL are supported."""
    with pytest.raises(ConfigError, match=r"PostgreSQL|postgresql"):
        Catalog.open(url)


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    """The message says which server, and keeps the password to itself."""
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as caught:
        Catalog.open(f"postgresql://me:secret@/x?host={tmp_path}")
    assert "me:***@" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    """Readers do not wait for writers, and references are checked."""
    engine = open_engine(tmp_path / "catalog.sqlite")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


def test_a_killed_writer_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    """Killed in the middle of a night: nothing of it is there, and the next one is recorded."""
    path = tmp_path / "catalog.sqlite"
    Catalog.open(path).close()
    program = f"""
import time
from pathlib import Path
from sqlalchemy import text
from tasks.stores.catalog.opening import MIGRATIONS, connect, open_engine
with open_engine(Path({str(path)!r})).execution_options(writes=True).begin() as connection:
    connection.execute(text("INSERT INTO nights (category, night, state, key, began, ended, counters) VALUES "
        "('a', '2026-01-01', 'done', 'k', '2026-01-01 00:00:00', '2026-01-01 00:00:00', '{{}}')"))
    print("in the middle", flush=True)
    time.sleep(60)
"""
    root = Path(__file__).parents[4]
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "in the middle"
        os.kill(process.pid, signal.SIGKILL)
    began = time.monotonic()
    with Catalog.open(path) as catalog:
        assert catalog.nights() == []
    assert time.monotonic() - began < 5
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
