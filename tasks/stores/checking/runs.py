"""Check runs and nights: their files, and what they refer to."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from anoclust_core.errors import StoreError
from tasks.stores import arrays, runs
from tasks.stores.checking.findings import Finding, finding, told
from tasks.stores.layout import StoreLayout
from tasks.stores.parts import parts_of
from tasks.stores.snapshots import pinned

_RUN_AGAIN: Final = "delete the run's folder, and the same command again makes it anew"
_CLUSTER_ANEW: Final = "the next night clusters everything anew"


def check_runs(layout: StoreLayout, category: str) -> list[Finding]:
    """Whether the files of every run are there and what they refer to is."""
    folder = layout.root / "runs" / category
    found = [finding for run in runs.list_runs(folder) for finding in _check_run(layout, run)]
    try:
        latest = runs.latest_run(folder)
    except StoreError as error:
        return [
            *found,
            finding(
                layout, folder / runs.LATEST, told(folder / runs.LATEST, error), "delete it; the next run writes it"
            ),
        ]
    if latest is not None and not (folder / latest / runs.SUMMARY).is_file():
        advice = "run any data of this category again, or delete the file"
        found.append(finding(layout, folder / runs.LATEST, f"names the run {latest}, which is gone", advice))
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
        return [finding(layout, run, what, "install that version to work with it")]
    if version < runs.SUMMARY_VERSION:
        what = f"is of an older Anoclust (summary version {version}) and does not tell what it is made of"
        return [
            finding(
                layout, run, what, "its report can be read; the same command again makes a new run", is_harmless=True
            )
        ]
    lost = [
        name for name in (runs.REPORT, runs.ASSIGNMENTS_CSV, runs.ASSIGNMENTS_PARQUET) if not (run / name).is_file()
    ]
    found = [finding(layout, run, f"has lost {' and '.join(lost)}", _RUN_AGAIN)] if lost else []
    if runs.ASSIGNMENTS_CSV not in lost and _count_rows(run / runs.ASSIGNMENTS_CSV) != n_images:
        found.append(
            finding(layout, run, f"{runs.ASSIGNMENTS_CSV} has not the {n_images} rows of its summary", _RUN_AGAIN)
        )
    try:
        parts = parts_of(layout, summary)
    except StoreError as error:
        return [*found, finding(layout, run, told(run, error), _RUN_AGAIN)]
    lost_parts = [path for path in (parts.weights, parts.tree) if not arrays.is_complete(path)]
    for path in (*lost_parts, *([] if parts.manifest.is_file() else [parts.manifest])):
        missing = path.relative_to(layout.root).as_posix()
        found.append(finding(layout, run, f"is made of {missing}, which is gone", _RUN_AGAIN))
    return found


def _count_rows(assignments: Path) -> int | None:
    """Rows of a CSV file without its header; None where it cannot be read."""
    try:
        with assignments.open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except (OSError, ValueError, csv.Error):
        return None


def check_nights(layout: StoreLayout, category: str) -> list[Finding]:
    """Hold what nights are assigned to against what there is."""
    folder = layout.root / "nights" / category
    try:
        frozen = pinned(layout, folder)
        if frozen is None:
            return []
        keys, manifest = frozen["keys"], layout.root / frozen["manifest"]
        needed = [layout.root / "weights" / category / keys["weigh"], layout.root / "trees" / category / keys["group"]]
    except (StoreError, KeyError, TypeError) as error:
        return [finding(layout, folder, told(folder, error), _CLUSTER_ANEW)]
    lost = [path for path in needed if not arrays.is_complete(path)] + ([] if manifest.is_file() else [manifest])
    return [
        finding(layout, folder, f"goes on from {path.relative_to(layout.root)}, which is gone", _CLUSTER_ANEW)
        for path in lost
    ]
