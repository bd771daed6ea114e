"""The runs that a store holds, for people who look back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores import runs
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep import inventory


@dataclass(frozen=True)
class PastRun:
    """One finished run.

    Attributes
    ----------
    category
        Name of the product.
    folder
        Where it lies.
    is_latest
        Whether the last command asked for this one.
    summary
        Content of its ``summary.json``; None where that cannot be read.
    error
        Why its summary cannot be read, or, where ``latest.json`` cannot be, why no run is told as the latest.
    """

    category: str
    folder: Path
    is_latest: bool
    summary: Mapping[str, Any] | None
    error: str | None = None


def newest_runs(layout: StoreLayout, category: str | None, limit: int) -> list[PastRun]:
    """Newest runs of one category, or of each: by category, the newest first.

    Raises
    ------
    ConfigError
        If the category is not in the store.
    StoreError
        If there is no run.
    """
    folders = inventory.chosen_folders(layout, [category] if category is not None else [])
    found = []
    for folder in folders:
        name = inventory.category_name(layout, folder)
        place = layout.root / "runs" / folder
        latest, error = None, None
        try:
            latest = runs.latest_run(place)
        except StoreError as damage:
            error = str(damage)
        found += [_past_run(name, run, run.name == latest, error) for run in runs.list_runs(place)[:limit]]
    if not found and limit:
        raise _no_runs(layout, category)
    return found


def chosen_runs(layout: StoreLayout, category: str | None, run_id: str | None) -> list[tuple[str, Path]]:
    """Name and folder of one run, or of the one that each ``latest.json`` names, in one category or in all.

    Raises
    ------
    ConfigError
        If category or run are not in the store, or a run is named without its category.
    StoreError
        If there is no run.
    """
    if run_id is not None and category is None:
        raise ConfigError("--run selects a run of one category; name the category too")
    chosen = []
    for folder in inventory.chosen_folders(layout, [category] if category is not None else []):
        place = layout.root / "runs" / folder
        names = [run.name for run in runs.list_runs(place)]
        wanted = run_id or runs.latest_run(place)
        if wanted in names:
            chosen.append((inventory.category_name(layout, folder), place / str(wanted)))
        elif run_id is not None:
            close = get_close_matches(run_id, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "`anoclust show` lists them"
            raise ConfigError(f"no run {run_id} of {category} in {layout.root}; {hint}")
    if not chosen:
        raise _no_runs(layout, category)
    return chosen


def _no_runs(layout: StoreLayout, category: str | None) -> StoreError:
    what = f"of category {category} " if category is not None else ""
    return StoreError(f"there are no runs {what}in {layout.root} yet; `anoclust run DATA` makes one")


def _past_run(category: str, run: Path, is_latest: bool, error: str | None) -> PastRun:
    try:
        return PastRun(category, run, is_latest, runs.read_summary(run), error)
    except StoreError as damage:
        return PastRun(category, run, is_latest, None, str(damage))
