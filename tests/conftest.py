"""Shared by all tests: an environment that touches nothing of the user's, servers of their own, a tiny backbone.

Its presence puts this folder on the import path, so that tests can share builders and example records.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

_HOME = pytest.StashKey[str]()
_TABLES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Set what Prefect and the model hub read when they are imported."""
    config.stash[_HOME] = tempfile.mkdtemp(prefix="anoclust-tests-")
    home = Path(config.stash[_HOME])
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "ANOCLUST_"))]:
        del os.environ[name]
    os.environ.update(
        PREFECT_HOME=str(home / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
        PREFECT_LOGGING_TO_API_ENABLED="false",
        PREFECT_LOGGING_LEVEL="WARNING",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="90",
        HF_HOME=str(home / "hub"),
        TORCH_HOME=str(home / "torch"),
        MPLBACKEND="Agg",
        ANOCLUST_CACHE=str(home / "cache"),
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests' Prefect wrote."""
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _settled_files() -> Iterator[None]:
    """Set the clock that files are dated by an hour ahead: tests write images and cluster them at once."""
    from tasks.images import file_check

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_check, "now", lambda: time.time() + 3600)
        yield


@pytest.fixture(scope="session")
def print_table(request: pytest.FixtureRequest) -> Callable[[Sequence[Sequence[object]]], None]:
    """Print what tests measured, the first row being the columns' names, at the end of the output."""
    tables = request.config.stash.setdefault(_TABLES, [])

    def keep(rows: Sequence[Sequence[object]]) -> None:
        lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        tables.append("\n".join(lines))

    return keep


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the tables of one of several worker processes to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tables"] = session.config.stash.get(_TABLES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's tables."""
    node.config.stash.setdefault(_TABLES, []).extend(getattr(node, "workeroutput", {}).get("tables", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables."""
    for table in config.stash.get(_TABLES, []):
        terminalreporter.write_line("")
        terminalreporter.write_line(table)


@pytest.fixture(scope="session")
def prefect_db() -> Iterator[None]:
    """Give flows a Prefect server with an empty database, and no heartbeat: it holds up every flow for a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=90),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny backbone that tests embed with: random, the same in every session."""
    from helpers.builders import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("backbone") / "tiny.safetensors")


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
def new_postgresql_url(postgresql: Path) -> Callable[..., str]:
    """Make databases: empty ones, or copies of one that nobody is connected to, given by its URL."""
    import psycopg

    def make(copy_of: str = "postgresql://postgres@/template1") -> str:
        name, template = f"t{uuid4().hex}", urlsplit(copy_of).path.lstrip("/")
        with psycopg.connect(host=str(postgresql), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://postgres@/{name}?host={postgresql}"

    return make
