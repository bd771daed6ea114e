"""Finished runs: a folder each, found by key, and ``latest.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from anoclust_core.embedding.deep_images import DeepRange, Outside
from anoclust_core.errors import DamagedError, StoreError
from tasks.stores.files import (
    new_folder,
    read_checked,
    read_json,
    told_as_damage,
    with_digest,
    without_digest,
    write_json,
)
from tasks.stores.layout import StoreLayout

LATEST: Final = "latest.json"
SUMMARY: Final = "summary.json"
REPORT: Final = "report.html"
ASSIGNMENTS_CSV: Final = "assignments.csv"
ASSIGNMENTS_PARQUET: Final = "assignments.parquet"
FIGURES: Final = "figures"

SUMMARY_VERSION: Final = 2
"""Version of summary.json's layout, docs/summary.md; raise it when a field changes its meaning or goes."""

_KEY_DIGITS: Final = 12
_RUN_ID: Final = re.compile(rf"(\d{{8}}T\d{{6}}Z)-[0-9a-f]{{{_KEY_DIGITS}}}")
_WHEN: Final = "%Y%m%dT%H%M%SZ"


def new_run_id(runs: Path, key: str) -> str:
    """Name of a run: when it began (UTC) and the start of its key; the next second whose name is not taken."""
    began = datetime.now(UTC)
    while (runs / (run_id := f"{began:{_WHEN}}-{key[:_KEY_DIGITS]}")).exists():
        began += timedelta(seconds=1)
    return run_id


def began_at(run_id: str) -> datetime | None:
    """When a run began, or None for a name that is not a run's.

    Examples
    --------
    >>> began_at("20261122T015450Z-1de587475605").isoformat(), began_at("notes")
    ('2026-11-22T01:54:50+00:00', None)
    """
    match = _RUN_ID.fullmatch(run_id)
    try:
        return datetime.strptime(match[1], _WHEN).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def list_runs(runs: Path) -> list[Path]:
    """Folders of all runs of a category, the newest first."""
    if not runs.is_dir():
        return []
    found = (path for path in runs.iterdir() if began_at(path.name) and path.is_dir() and not path.is_symlink())
    return sorted(found, key=lambda path: path.name, reverse=True)


def latest_run(runs: Path) -> str | None:
    """Run that ``latest.json`` names, or None where there is no such file.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    try:
        found = read_checked(runs / LATEST).get("run_id")
    except FileNotFoundError:
        return None
    except (OSError, DamagedError) as error:
        told = error.found if isinstance(error, DamagedError) else f"{runs / LATEST} cannot be read ({error})"
        raise StoreError(f"{told}; delete it, the next run writes it") from error
    if not isinstance(found, str):
        raise StoreError(f"{runs / LATEST} names no run; delete it, the next run writes it")
    return found


def find_run(runs: Path, key: str) -> Path | None:
    """Newest finished run of a key, or None.

    Raises
    ------
    DamagedError
        If its summary is damaged.
    """
    for summary in sorted(runs.glob(f"[0-9]*-{key[:_KEY_DIGITS]}/{SUMMARY}"), reverse=True):
        if read_summary(summary.parent).get("key") == key:
            return summary.parent
    return None


@contextmanager
def publish_run(runs: Path, run_id: str) -> Iterator[Path]:
    """Fill the folder of a new run; it appears whole, and then ``latest.json`` names it."""
    with new_folder(runs / run_id) as folder:
        yield folder
    point_latest(runs, run_id)


def point_latest(runs: Path, run_id: str) -> None:
    """Let ``latest.json`` name a finished run; a damaged one is written again."""
    try:
        named = latest_run(runs)
    except StoreError:
        named = None
    if named != run_id:
        write_json(runs / LATEST, with_digest({"run_id": run_id}))


def read_summary(run: Path) -> dict[str, Any]:
    """Summary of a finished run.

    Raises
    ------
    StoreError
        If it is missing; `DamagedError` if it is not what was written.
    """
    try:
        with told_as_damage(run / SUMMARY, blamed=run):
            summary: dict[str, Any] = read_json(run / SUMMARY)
            without_digest(summary)
    except OSError as error:
        raise StoreError(f"{run / SUMMARY} cannot be read ({error}); delete {run} and run again") from error
    return summary


def deep_ranges(summary: Mapping[str, Any]) -> tuple[DeepRange, ...]:
    """Which values were black and white in a run's deep pictures; a run of an earlier version does not say."""
    decoding = summary.get("embedding", {}).get("decoding") or {}
    return tuple(DeepRange(**one) for one in decoding.get("deep", ()))


def outside_range(summary: Mapping[str, Any]) -> dict[str, Outside]:
    """How far a run's deep images lie outside of their range, by path; a run of an earlier version does not say."""
    return {path: Outside(**one) for path, one in summary.get("outside_range", {}).items()}


_KEY: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes
    ----------
    manifest, weights, tree
        Where they lie in the store.
    keys
        By stage, as in the summary.
    """

    manifest: Path
    weights: Path
    tree: Path
    keys: Mapping[str, str]


def parts_of(layout: StoreLayout, summary: Mapping[str, Any]) -> Parts:
    """Find what a run is made of.

    Raises
    ------
    StoreError
        If the summary is of another version of Anoclust, or damaged.
    """
    version = summary.get("summary_version")
    if version != SUMMARY_VERSION:
        raise StoreError(
            f"its summary is of version {version}, this Anoclust knows version {SUMMARY_VERSION}; run the same command "
            "again to make a new run"
        )
    try:
        category, keys = str(summary["category"]), {str(name): str(key) for name, key in summary["keys"].items()}
        names = [keys[name] for name in ("embedding", "distances", "weigh", "group")]
        if not all(_KEY.fullmatch(name) for name in (*names, Path(summary["manifest"]).stem)):
            raise StoreError(f"its {SUMMARY} names no parts of a store; run again to make a new run")
        return Parts(
            manifest=layout.manifest(category, Path(summary["manifest"]).stem),
            weights=layout.folder("weights", category, keys["weigh"]),
            tree=layout.folder("trees", category, keys["group"]),
            keys=keys,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"its {SUMMARY} is damaged ({error!r}); run again to make a new run") from error
