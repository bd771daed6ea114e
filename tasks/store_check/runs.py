"""Check runs and nights: their files, and what they refer to."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import StoreError
from tasks.store_check.findings import Fault, Finding, finding, told
from tasks.stores import arrays, runs
from tasks.stores.files import FILES, changed_files
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.folders import is_whole_page, spoiled_files
from tasks.stores.nights.snapshots import made_of, pinned
from tasks.stores.runs import parts_of
from tasks.stores.upkeep import inventory

_RUN_AGAIN: Final = "delete the run's folder, and run the same command to make it again"
_WRITTEN_AGAIN: Final = "the next run of the category writes it again"
_PINNED_AGAIN: Final = "the next night of the category writes it again"
_FOR_READING: Final = (
    "nothing depends on it; `anoclust nightly --as-of` writes the nights since the last re-clustering again"
)
_RECLUSTERED: Final = "the next night re-clusters everything"


def check_runs(layout: StoreLayout, category: str) -> list[Finding]:
    """Whether the files of every run are there and what they refer to is."""
    folder = layout.root / "runs" / category
    found = [one for run in runs.list_runs(folder) for one in _check_run(layout, run)]
    try:
        latest = runs.latest_run(folder)
    except StoreError as error:
        return [*found, finding(layout, folder / runs.LATEST, told(folder / runs.LATEST, error), _WRITTEN_AGAIN)]
    if latest is not None and not (folder / latest / runs.SUMMARY).is_file():
        advice = "run any data of this category again, or delete the file"
        found.append(
            finding(layout, folder / runs.LATEST, f"names the run {latest}, which is gone", advice, Fault.MISSING)
        )
    return found


def _check_run(layout: StoreLayout, run: Path) -> list[Finding]:
    try:
        summary = runs.read_summary(run)
        version = int(summary["summary_version"])
        n_images = int(summary["images"]["clustered"])
    except (StoreError, KeyError, TypeError, ValueError) as error:
        return [finding(layout, run, f"its {runs.SUMMARY} cannot be read: {told(run, error)}", _RUN_AGAIN)]
    if version > runs.SUMMARY_VERSION:
        what = f"is of a newer Anoclust (summary version {version}; this one knows {runs.SUMMARY_VERSION})"
        return [finding(layout, run, what, "install that version to work with it", Fault.OTHER_VERSION)]
    if version < runs.SUMMARY_VERSION:
        what = f"is of an older Anoclust (summary version {version}) and does not record what it is made of"
        return [
            finding(
                layout,
                run,
                what,
                "its report can still be read; run the same command again to make a new run",
                Fault.UNUSED,
            )
        ]
    found = [finding(layout, run, f"its {name} {what}", _RUN_AGAIN) for name, what in _spoiled(run, summary, n_images)]
    try:
        parts = parts_of(layout, summary)
    except StoreError as error:
        return [*found, finding(layout, run, told(run, error), _RUN_AGAIN)]
    lost_parts = [path for path in (parts.weights, parts.tree) if not arrays.is_complete(path)]
    for path in (*lost_parts, *([] if parts.manifest.is_file() else [parts.manifest])):
        missing = path.relative_to(layout.root).as_posix()
        found.append(finding(layout, run, f"is made of {missing}, which is gone", _RUN_AGAIN, Fault.MISSING))
    return found


def _spoiled(run: Path, summary: Mapping[str, Any], n_images: int) -> list[tuple[str, str]]:
    """Files of a run that are not what was written, and what became of them."""
    if FILES in summary:
        return list(changed_files(run, summary[FILES]).items())
    names = (runs.REPORT, runs.ASSIGNMENTS_CSV, runs.ASSIGNMENTS_PARQUET)
    found = [(name, "is gone") for name in names if not (run / name).is_file()]
    # of a version before there were checksums: looked at as far as can be
    if not found:
        if not is_whole_page(run / runs.REPORT):
            found.append((runs.REPORT, "is cut off"))
        if _count_rows(run / runs.ASSIGNMENTS_CSV) != n_images:
            found.append((runs.ASSIGNMENTS_CSV, f"does not have the {n_images} rows of its summary"))
        if _count_parquet_rows(run / runs.ASSIGNMENTS_PARQUET) != n_images:
            found.append((runs.ASSIGNMENTS_PARQUET, f"does not have the {n_images} rows of its summary"))
    return found


def _count_rows(assignments: Path) -> int | None:
    """Rows of a CSV file without its header; None where it cannot be read."""
    try:
        with assignments.open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except (OSError, ValueError, csv.Error):
        return None


def _count_parquet_rows(assignments: Path) -> int | None:
    """Rows of a Parquet file; None where it cannot be read."""
    import pandas as pd

    try:
        return len(pd.read_parquet(assignments))
    except Exception:  # noqa: BLE001 - pyarrow has errors of its own beside OSError and ValueError
        return None


def check_nights(layout: StoreLayout, category: str) -> list[Finding]:
    """Read the summary and the report of every night, and hold what nights are assigned to against what there is."""
    found = [one for night in inventory.nights(layout, category) for one in _check_night(layout, night)]
    folder = layout.root / "nights" / category
    pin = folder / layout.snapshot("").name
    try:
        snapshot = pinned(layout, folder)
        if snapshot is None:
            return found
        keys, manifest = snapshot["keys"], layout.root / snapshot["manifest"]
        needed = made_of(layout, category, keys)
    except (StoreError, OSError, KeyError, TypeError) as error:
        return [*found, finding(layout, pin, told(pin, error), _PINNED_AGAIN)]
    lost = [path for path in needed if not arrays.is_complete(path)] + ([] if manifest.is_file() else [manifest])
    return [
        *found,
        *(
            finding(
                layout,
                folder,
                f"continues from {path.relative_to(layout.root)}, which is gone",
                _RECLUSTERED,
                Fault.MISSING,
            )
            for path in lost
        ),
    ]


def _check_night(layout: StoreLayout, night: Path) -> list[Finding]:
    try:
        spoiled = spoiled_files(night)
    except FileNotFoundError:
        return [finding(layout, night, "was never finished", _FOR_READING, Fault.LEFTOVER)]
    return [finding(layout, night / name, what, _FOR_READING) for name, what in spoiled.items()]
