"""Shared by all tests: an environment that touches nothing of the user's, a Prefect server of its own, a tiny backbone.

Its presence puts this folder on the import path, so that tests can share builders and example records.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests' Prefect wrote."""
    shutil.rmtree(config.stash[_HOME], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _settled_files() -> Iterator[None]:
    """Set the clock that files are dated by an hour ahead: tests write images and cluster them at once."""
    from tasks.stores import examining

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examining, "now", lambda: time.time() + 3600)
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
    from builders import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("backbone") / "tiny.safetensors")
