"""Finished runs: a folder each, found by key, and ``latest.json``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import StoreError
from tasks.stores.files import new_folder, read_json, write_json

LATEST: Final = "latest.json"
SUMMARY: Final = "summary.json"
REPORT: Final = "report.html"

_KEY_DIGITS: Final = 12


def new_run_id(key: str) -> str:
    """Name of a run: when it began (UTC) and the start of its key."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{key[:_KEY_DIGITS]}"


def find_run(runs: Path, key: str) -> Path | None:
    """Newest finished run of a key, or None."""
    found = sorted(runs.glob(f"[0-9]*-{key[:_KEY_DIGITS]}/{SUMMARY}"))
    return found[-1].parent if found else None


@contextmanager
def publish_run(runs: Path, run_id: str) -> Iterator[Path]:
    """Fill the folder of a new run; it appears whole, and then ``latest.json`` names it."""
    with new_folder(runs / run_id) as folder:
        yield folder
    point_latest(runs, run_id)


def point_latest(runs: Path, run_id: str) -> None:
    """Let ``latest.json`` name a finished run."""
    write_json(runs / LATEST, {"run_id": run_id})


def read_summary(run: Path) -> dict[str, Any]:
    """Summary of a finished run.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        summary: dict[str, Any] = read_json(run / SUMMARY)
    except (OSError, ValueError) as error:
        raise StoreError(f"{run / SUMMARY} cannot be read ({error}); delete {run} and run again") from error
    return summary
