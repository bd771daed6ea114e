"""A catalog to test with, in SQLite and in a PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.stores.catalog.catalog import Catalog


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Path]:
    """Start a server on a socket in a folder of its own, as somebody who is not root: PostgreSQL refuses root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip("no PostgreSQL server: /usr/lib/postgresql is empty (apt-get install postgresql)")
    as_user: list[str] = []
    # short: the path of a socket has 107 characters at most
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(found[-1].with_name(program)), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    data = folder / "data"
    try:
        run("initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=20"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield folder
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgresql_url(postgresql: Path) -> Callable[[], str]:
    """Make empty databases."""
    import psycopg

    def make() -> str:
        name = f"t{uuid4().hex}"
        with psycopg.connect(host=str(postgresql), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={postgresql}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Give a place for a catalog that is not there yet."""
    if request.param == "sqlite":
        return tmp_path / "store" / "catalog.sqlite"
    return str(request.getfixturevalue("new_postgresql_url")())


@pytest.fixture
def catalog(where: Path | str) -> Iterator[Catalog]:
    """Give an empty catalog."""
    with Catalog.open(where) as opened:
        yield opened
