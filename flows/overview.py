"""The summary page of a command over several categories: from what came of each to one page in the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anoclust_core.errors import StoreError
from anoclust_core.reporting.agenda import NOTHING
from anoclust_core.reporting.overview import OverviewRow, render_overview
from anoclust_core.safe_text.masking import masked_text
from flows.nights.outcome import NightOutcome
from flows.run import CategoryOutcome
from tasks.stores import runs
from tasks.stores.files import write_text
from tasks.stores.layout import StoreLayout


def write_runs_overview(store: Path, outcomes: Sequence[CategoryOutcome]) -> Path | None:
    """Write the page of a run over several categories; gives its path, None for a single one."""
    layout = StoreLayout(store.absolute())
    rows = [_of_run(layout, outcome) for outcome in outcomes]
    return _write(layout, f"Run of {len(rows)} categories", rows) if len(rows) > 1 else None


def write_nights_overview(store: Path, outcomes: Sequence[NightOutcome]) -> Path | None:
    """Write the page of a night over several categories, of several nights the last; None for a single category."""
    layout = StoreLayout(store.absolute())
    last = {outcome.category: outcome for outcome in outcomes}
    if len(last) < 2:
        return None
    night = max(outcome.night for outcome in last.values())
    title = f"Night of {night.day} {night:%B %Y}, {len(last)} categories"
    return _write(layout, title, [_of_night(layout, outcome) for outcome in last.values()], counted="new images")


def _write(layout: StoreLayout, title: str, rows: Sequence[OverviewRow], *, counted: str = "images") -> Path:
    write_text(layout.overview, render_overview(title, rows, created_at=datetime.now(UTC), counted=counted))
    return layout.overview


def _of_run(layout: StoreLayout, outcome: CategoryOutcome) -> OverviewRow:
    if outcome.run is None:
        return OverviewRow(outcome.category, "failed", told=(masked_text(str(outcome.error)),))
    summary, images = outcome.summary, outcome.summary["images"]
    news = [*_changes(layout, outcome), *_set_aside(images), *outcome.repairs] if outcome.is_new else _set_aside(images)
    structure = summary.get("structure")
    told = ["" if outcome.is_new else "nothing new: this run was finished before", *news]
    if structure is not None and not structure["is_certain"]:
        told.append("perhaps all images are of one kind: the structure is uncertain")
    return OverviewRow(
        outcome.category,
        "look" if news else "well",
        images=images["clustered"],
        clusters=summary["n_clusters"],
        told=tuple(line for line in told if line),
        seconds=outcome.seconds,
        report=_address(layout, outcome.run / runs.REPORT),
    )


def _changes(layout: StoreLayout, outcome: CategoryOutcome) -> list[str]:
    """What a new run has that the one before had not."""
    assert outcome.run is not None  # noqa: S101 - the caller has asked
    before = [run for run in runs.list_runs(layout.runs(outcome.category)) if run.name < outcome.run.name]
    if not before:
        return ["first run of the category"]
    try:
        past = runs.read_summary(max(before, key=lambda run: run.name))
    except StoreError:  # damaged: nothing to compare with
        return ["new run"]
    now = outcome.summary
    counts = (
        (now["images"]["clustered"] - past["images"]["clustered"], "image"),
        (now["n_clusters"] - past["n_clusters"], "cluster"),
    )
    changed = [
        f"{abs(n):,} {'more' if n > 0 else 'fewer'} {what}{'' if abs(n) == 1 else 's'}" for n, what in counts if n
    ]
    return [f"{' and '.join(changed)} than in the run before" if changed else "other images or settings than before"]


def _set_aside(images: dict[str, Any]) -> list[str]:
    n_bad, n_later = images["quarantined"], images.get("deferred", 0)
    told = [f"{n_bad:,} file{'' if n_bad == 1 else 's'} could not be used"] if n_bad else []
    return [*told, f"{n_later:,} file{'' if n_later == 1 else 's'} left for the next run"] if n_later else told


def _of_night(layout: StoreLayout, outcome: NightOutcome) -> OverviewRow:
    if outcome.error is not None:
        return OverviewRow(outcome.category, "failed", told=(masked_text(str(outcome.error)),))
    counters = outcome.counters
    told = [outcome.nothing_came or "", outcome.line or ""]
    if not outcome.is_new and not outcome.nothing_came:
        told.append("nothing new")
    if counters.get("unknown"):
        told.append(f"{counters['unknown']:,} unknown")
    to_do = bool(outcome.nothing_came or outcome.quarantine or outcome.line not in (None, NOTHING))
    return OverviewRow(
        outcome.category,
        "look" if to_do else "well",
        images=counters.get("new", 0),
        clusters=None,
        told=tuple(line for line in told if line),
        seconds=outcome.seconds,
        report=_address(layout, outcome.report) if outcome.report else "",
    )


def _address(layout: StoreLayout, path: Path) -> str:
    """Address of a file of the store relative to the page, which lies at its root."""
    return quote(path.relative_to(layout.root).as_posix())
