"""A store that can only be read: on a read-only mount, or in a folder of somebody else."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from filling import fill
from sqlalchemy import text

from tasks.stores.catalog import opening
from tasks.stores.catalog.catalog import Catalog

Typed = Callable[..., "subprocess.CompletedProcess[str]"]

READING = (
    "status",
    "clusters list tile",
    "clusters show tile c1",
    "clusters history tile",
    "export clusters tile",
    "store size",
    "store check",
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store with nights."""
    with Catalog.open(tmp_path / "store" / "catalog.sqlite") as catalog:
        fill(catalog)
    return tmp_path / "store"


@pytest.fixture
def typed(store: Path) -> Typed:
    """Give commands on the store, which they can only read: by a mount of their own for root, else by permissions."""
    program = [sys.executable, "-c", "from flows.cli import main; main()"]
    root = Path(__file__).parents[4]

    def run(words: str) -> subprocess.CompletedProcess[str]:
        line = shlex.join([*program, *words.split(), "--store", str(store)])
        shell = ["sh", "-c", line]
        if os.geteuid() == 0:
            folder = shlex.quote(str(store))
            mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
            shell = ["unshare", "--mount", "sh", "-c", f"{mount} && {line}"]
            if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
                pytest.skip("root can write everywhere, and may not mount here")
        else:
            store.chmod(0o555)
        try:
            return subprocess.run(
                shell,
                cwd=store.parent,
                env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        finally:
            store.chmod(0o755)

    return run


@pytest.mark.slow
def test_commands_that_read_need_no_more(store: Path, typed: Typed) -> None:
    """They answer as on a store that can be written, and make no file; a decision is refused in one paragraph."""
    before = (store / "catalog.sqlite").read_bytes()
    for words in READING:
        found = typed(words)
        assert found.returncode == 0, found.stderr
    assert "edge" in typed("clusters list tile").stdout
    refused = typed("clusters note tile c1 hello")
    assert refused.returncode == 4
    assert "can only be read here" in refused.stderr
    assert [path.name for path in store.iterdir()] == ["catalog.sqlite"]
    assert (store / "catalog.sqlite").read_bytes() == before


@pytest.mark.slow
def test_what_a_killed_writer_left_counts(store: Path, typed: Typed) -> None:
    """Transactions that are in the file beside the catalog are read, though SQLite cannot work on it in place."""
    kept = store.parent / "kept"
    with Catalog.open(store / "catalog.sqlite") as catalog:
        catalog.annotate("tile", "c1", "written last", who="kim")
        shutil.copytree(store, kept)  # as if killed now
    shutil.rmtree(store)
    shutil.move(kept, store)
    (store / "catalog.sqlite-shm").unlink()
    assert (store / "catalog.sqlite-wal").stat().st_size
    found = typed("clusters list tile")
    assert found.returncode == 0, found.stderr
    assert "written last" in found.stdout


@pytest.mark.slow
def test_an_older_catalog_says_where_it_is_brought_up_to_date(store: Path, typed: Typed) -> None:
    """Nothing can be brought up to date where nothing can be written."""
    engine = opening.open_engine(store / "catalog.sqlite")
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    engine.dispose()
    with closing(sqlite3.connect(store / "catalog.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = typed("status")
    assert found.returncode == 4
    assert "older version of Anoclust, and can only be read here" in found.stderr
    assert "`anoclust status`" in found.stderr
