"""Connections to a SQLite catalog that can be read but not written: on a read-only disk, or of another user."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path


def is_read_only(file: Path) -> bool:
    """Whether a file is there that cannot be written, or beside which SQLite cannot put the files of a transaction."""
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def connect_read_only(file: Path, busy_seconds: float) -> sqlite3.Connection:
    """Connect to a file without making any beside it.

    Transactions that a killed writer left in the file beside it (``-wal``) count: where SQLite cannot read them in
    place, a copy in memory is read.
    """
    address = file.absolute().as_uri()
    try:
        connection = _opened(f"{address}?mode=ro", busy_seconds)
    except sqlite3.OperationalError:
        waiting = file.with_name(f"{file.name}-wal")
        if waiting.is_file() and waiting.stat().st_size:
            connection = _in_memory(file, waiting)
        else:  # nobody writes, so that no lock and no shared memory is needed
            connection = _opened(f"{address}?mode=ro&immutable=1", busy_seconds)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _opened(address: str, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=busy_seconds, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _in_memory(file: Path, waiting: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="anoclust-") as folder:
        copy = Path(folder, file.name)
        for source in (file, waiting):
            shutil.copyfile(source, Path(folder, source.name))
        with closing(sqlite3.connect(copy)) as copied:
            copied.backup(connection)
    return connection
