"""Verify a store: every checksum of every array, and every reference from one thing to another; nothing is changed."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import StoreError
from tasks.stores import arrays, inventory, runs
from tasks.stores.files import read_json, without_digest
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.parts import parts_of
from tasks.stores.snapshots import pinned

_REBUILD: Final = "the next run that needs it puts it aside and computes it anew"
_RUN_AGAIN: Final = "delete the run's folder, and the same command again makes it anew"
_CLUSTER_ANEW: Final = "the next night clusters everything anew"
_LEFTOVER: Final = "a run that was killed, or still goes on, left it; the next run of the category removes it"
_PUT_ASIDE: Final = "a run has put it aside and computed it anew; `anoclust store gc` removes it in time"
_IGNORED: Final = "it is computed anew where it is needed; `anoclust store gc` removes it in time"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes
    ----------
    path
        What it is about, relative to the store.
    what
        What was found.
    advice
        What to do.
    is_harmless
        Whether no result depends on it: what killed runs leave behind, cached results of a store that was moved.
    """

    path: str
    what: str
    advice: str
    is_harmless: bool = False


@dataclass(frozen=True)
class Checked:
    """Outcome of a check: folders and bytes that were read, and what was found."""

    folders: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def damage(self) -> list[Finding]:
        """Findings that matter."""
        return [finding for finding in self.findings if not finding.is_harmless]


def check_store(
    layout: StoreLayout,
    categories: Sequence[str] = (),
    *,
    catalog: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read everything that a store holds for some categories, or for all.

    Parameters
    ----------
    layout
        The store.
    categories
        Names; all by default.
    catalog
        File or URL of the catalog; None where there is none.
    progress
        Called with (bytes read, bytes in all).

    Raises
    ------
    ConfigError
        If a category is not in the store.
    """
    names = inventory.chosen_folders(layout, categories)
    folders = [
        (kind, path)
        for name in names
        for kind in inventory.ARRAYS
        for path in inventory.array_folders(layout, kind, name)
    ]
    sealed = [(kind, path, inventory.tree_bytes(path)) for kind, path in folders if arrays.is_complete(path)]
    total, done = sum(size for _, _, size in sealed), 0
    findings = [
        _finding(layout, path, "is incomplete", _LEFTOVER, is_harmless=True)
        for _, path in folders
        if not arrays.is_complete(path)
    ]
    for kind, path, size in sealed:
        findings += _check_arrays(layout, kind, path)
        done += size
        if progress:
            progress(done, total)
    for name in names:
        findings += _check_leftovers(layout, name)
        findings += _check_manifests(layout, name)
        findings += _check_runs(layout, name)
        findings += _check_results(layout, name)
        findings += _check_nights(layout, name)
    if catalog is not None:
        findings += _check_catalog(catalog)
    if not categories:
        findings += [
            _finding(layout, path, "was damaged", _PUT_ASIDE, is_harmless=True) for path, _ in inventory.damaged(layout)
        ]
    return Checked(len(sealed), total, tuple(sorted(findings, key=lambda finding: (finding.is_harmless, finding.path))))


def _check_arrays(layout: StoreLayout, kind: str, folder: Path) -> list[Finding]:
    """Read every chunk of a sealed folder, and hold its description against its arrays."""
    try:
        description = arrays.describe(folder) or {}
        shapes = arrays.shapes(folder)
        for _ in arrays.verify(folder):
            pass
    except (StoreError, OSError) as error:
        return [_finding(layout, folder, _told(folder, error), _REBUILD)]
    lost = sorted(inventory.ARRAYS[kind] - shapes.keys())
    if lost:
        return [_finding(layout, folder, f"has lost {' and '.join(lost)}", _REBUILD)]
    sides = {"embeddings": ("bags", ("hashes",)), "nearest": ("distances", ("rows", "columns"))}
    if kind in sides:
        name, lists = sides[kind]
        if tuple(len(description.get(side, ())) for side in lists) != shapes[name][: len(lists)]:
            return [_finding(layout, folder, f"lists other images than its {name} have", _REBUILD)]
    return []


def _check_nights(layout: StoreLayout, category: str) -> list[Finding]:
    """Hold what nights are assigned to against what there is."""
    folder = layout.root / "nights" / category
    try:
        frozen = pinned(layout, folder)
        if frozen is None:
            return []
        keys, manifest = frozen["keys"], layout.root / frozen["manifest"]
        needed = [layout.root / "weights" / category / keys["weigh"], layout.root / "trees" / category / keys["group"]]
    except (StoreError, KeyError, TypeError) as error:
        return [_finding(layout, folder, _told(folder, error), _CLUSTER_ANEW)]
    lost = [path for path in needed if not arrays.is_complete(path)] + ([] if manifest.is_file() else [manifest])
    return [
        _finding(layout, folder, f"goes on from {path.relative_to(layout.root)}, which is gone", _CLUSTER_ANEW)
        for path in lost
    ]


def _check_catalog(catalog: Path | str) -> list[Finding]:
    """Read the whole catalog, where there is one."""
    if isinstance(catalog, Path) and not catalog.exists():
        return []
    from tasks.stores.catalog.catalog import Catalog

    try:
        with Catalog.open(catalog) as opened:
            opened.check()
    except StoreError as error:
        return [Finding("catalog", str(error), "see its message")]
    return []


def _check_leftovers(layout: StoreLayout, category: str) -> list[Finding]:
    found = [
        _finding(layout, path, "was never finished", _LEFTOVER, is_harmless=True)
        for path in inventory.temporary(layout, category)
    ]
    for group in inventory.groups(layout, "embeddings", category):
        unreadable = group / inventory.UNREADABLE
        if unreadable.is_file():
            try:
                without_digest(read_json(unreadable))
            except (OSError, ValueError) as error:
                found.append(
                    _finding(layout, unreadable, _told(unreadable, error), "delete it; those images are tried again")
                )
    return found


def _check_manifests(layout: StoreLayout, category: str) -> list[Finding]:
    found = []
    for path in inventory.manifests(layout, category):
        try:
            load_manifest(path)
        except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
            found.append(
                _finding(layout, path, _told(path, error), "delete it; the next run of these images writes it")
            )
    return found


def _check_runs(layout: StoreLayout, category: str) -> list[Finding]:
    """Whether the files of every run are there and what they refer to is."""
    folder = layout.root / "runs" / category
    found = [finding for run in runs.list_runs(folder) for finding in _check_run(layout, run)]
    try:
        latest = runs.latest_run(folder)
    except StoreError as error:
        return [
            *found,
            _finding(
                layout, folder / runs.LATEST, _told(folder / runs.LATEST, error), "delete it; the next run writes it"
            ),
        ]
    if latest is not None and not (folder / latest / runs.SUMMARY).is_file():
        advice = "run any data of this category again, or delete the file"
        found.append(_finding(layout, folder / runs.LATEST, f"names the run {latest}, which is gone", advice))
    return found


def _check_run(layout: StoreLayout, run: Path) -> list[Finding]:
    try:
        summary = runs.read_summary(run)
        version = int(summary["summary_version"])
        n_images = int(summary["images"]["clustered"])
    except (StoreError, KeyError, TypeError, ValueError) as error:
        return [_finding(layout, run, f"its {runs.SUMMARY} cannot be read: {_told(run, error)}", _RUN_AGAIN)]
    if version > runs.SUMMARY_VERSION:
        what = f"is of a newer Anoclust (summary version {version}; this one knows {runs.SUMMARY_VERSION})"
        return [_finding(layout, run, what, "install that version to work with it")]
    if version < runs.SUMMARY_VERSION:
        what = f"is of an older Anoclust (summary version {version}) and does not tell what it is made of"
        return [
            _finding(
                layout, run, what, "its report can be read; the same command again makes a new run", is_harmless=True
            )
        ]
    lost = [
        name for name in (runs.REPORT, runs.ASSIGNMENTS_CSV, runs.ASSIGNMENTS_PARQUET) if not (run / name).is_file()
    ]
    found = [_finding(layout, run, f"has lost {' and '.join(lost)}", _RUN_AGAIN)] if lost else []
    if runs.ASSIGNMENTS_CSV not in lost and _count_rows(run / runs.ASSIGNMENTS_CSV) != n_images:
        found.append(
            _finding(layout, run, f"{runs.ASSIGNMENTS_CSV} has not the {n_images} rows of its summary", _RUN_AGAIN)
        )
    try:
        parts = parts_of(layout, summary)
    except StoreError as error:
        return [*found, _finding(layout, run, _told(run, error), _RUN_AGAIN)]
    lost_parts = [path for path in (parts.weights, parts.tree) if not arrays.is_complete(path)]
    for path in (*lost_parts, *([] if parts.manifest.is_file() else [parts.manifest])):
        missing = path.relative_to(layout.root).as_posix()
        found.append(_finding(layout, run, f"is made of {missing}, which is gone", _RUN_AGAIN))
    return found


def _count_rows(assignments: Path) -> int | None:
    """Rows of a CSV file without its header; None where it cannot be read."""
    try:
        with assignments.open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    except (OSError, ValueError, csv.Error):
        return None


def _check_results(layout: StoreLayout, category: str) -> list[Finding]:
    """Cached results that no run will use: unreadable, or of arrays that are elsewhere or gone."""
    found = []
    for _, path in inventory.results(layout, category):
        try:
            handle = _handle(read_json(path)["result"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.append(_finding(layout, path, _told(path, error), _IGNORED, is_harmless=True))
            continue
        lost = [uri for uri in _uris(handle) if not Path(uri).is_dir()]
        if lost:
            found.append(_finding(layout, path, f"points at {lost[0]}, which is gone", _IGNORED, is_harmless=True))
    return found


def _handle(result: str) -> Any:
    """Content of a cached result, behind its checksum where it has one, as `tasks.orchestration` writes it.

    Raises
    ------
    ValueError
        If it is not what was written.
    """
    digest, _, text = result.partition(" ")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        return json.loads(result)
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ValueError("its checksum does not match")
    return json.loads(text)


def _uris(value: Any) -> Iterator[str]:
    """Folders that a handle names, wherever in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "uri":
                yield str(inner)
            else:
                yield from _uris(inner)


def _finding(layout: StoreLayout, path: Path, what: str, advice: str, *, is_harmless: bool = False) -> Finding:
    return Finding(path.relative_to(layout.root).as_posix(), what, advice, is_harmless)


def _told(path: Path, error: Exception) -> str:
    """An error's words without the path that stands before them anyway."""
    text = str(error) or type(error).__name__
    return text.replace(f"{path}/", "").removeprefix(f"{path} ")
