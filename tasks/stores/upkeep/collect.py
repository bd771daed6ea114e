"""Remove what no run needs any more: old runs first, then what only they were made of; nothing that is not ours."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from anoclust_core.errors import BusyError, ConfigError, StoreError
from tasks.stores import arrays, runs
from tasks.stores.files import is_temporary, safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.snapshots import pinned
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import ARRAY_FOLDERS
from tasks.stores.upkeep import inventory
from tasks.stores.upkeep.recover import SHARED_SECONDS

_UNITS: Final = {"h": 3600, "d": 86400, "w": 7 * 86400}

LEFTOVERS: Final = "leftovers"
DAMAGED: Final = "damaged"


_GROUPS: Final = ("embedding", "distances", "deeper", "covers", "detected")
"""Keys of a run that name groups of segments and slabs."""


@dataclass(frozen=True)
class Removal:
    """One thing that goes: what kind of thing, of which category, where, and how many bytes."""

    category: str
    kind: str
    path: Path
    bytes: int


@dataclass
class _Needed:
    """What the runs that stay are made of.

    Attributes
    ----------
    keys
        Of stages; what bears another key is not needed.
    manifests
        Names of files.
    by_group
        Content hashes by embedding or distances key.
    whole
        Embedding and distances keys of which everything is needed: nights go on with them, and files may be gone.
    by_young
        Content hashes of manifests that are too young to go: a run that was killed may come back for them.
    unknown
        Why nothing but runs and leftovers can be judged, if so.
    """

    keys: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    by_group: dict[str, set[str]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    by_young: set[str] = field(default_factory=set)
    unknown: str | None = None

    def hashes(self, group: str) -> set[str]:
        """Images whose embeddings, or distances, of one key are needed."""
        return self.by_group.get(group, set()) | self.by_young


def parse_age(text: str) -> timedelta:
    """Read an age in hours, days or weeks; a `ConfigError` if it is none.

    Examples
    --------
    >>> parse_age("90d").days, parse_age("12h").seconds, parse_age("4w").days
    (90, 43200, 28)
    """
    match = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if not match:
        raise ConfigError(f"--keep takes an age in hours, days or weeks, as in 12h, 90d or 4w; found {text!r}")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True)
class Collected:
    """What went, or would go, and what stays although it is old, and why."""

    removals: tuple[Removal, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes freed."""
        return sum(removal.bytes for removal in self.removals)


def collect(
    layout: StoreLayout,
    keep: timedelta,
    *,
    dry_run: bool = False,
    wait_seconds: float = 0.0,
    now: datetime | None = None,
) -> Collected:
    """Remove, category by category, what is older than ``keep`` and what no run needs, see `removable`.

    Parameters
    ----------
    layout
        The store.
    keep
        What is younger than this stays.
    dry_run
        Only print what would be removed.
    wait_seconds
        How long to wait for a run of a category that is going on; then the category is passed over.
    now
        Time to count back from; the present by default.
    """
    removed: list[Removal] = []
    notes: list[str] = []
    for folder in inventory.category_folders(layout):
        category = inventory.category_name(layout, folder)
        if safe_name(category) != folder:  # a very long name whose runs are gone
            notes.append(f"{folder} was skipped: its category is unknown, and so is the lock to take")
            continue
        try:
            lock = nullcontext() if dry_run else category_lock(layout, category, wait_seconds=wait_seconds)
            with lock:
                removals, why = removable(layout, folder, keep, now)
                if not dry_run:
                    remove(layout, removals)
        except BusyError as error:
            notes.append(f"{category} was skipped: {error}")
            continue
        removed += removals
        notes += why
    shared = [*removable_damage(layout, keep, now), *_removable_strays(layout, keep, now)]
    if not dry_run:
        remove(layout, shared)
    return Collected((*removed, *shared), tuple(notes))


def removable(
    layout: StoreLayout, folder: str, keep: timedelta, now: datetime | None = None
) -> tuple[list[Removal], list[str]]:
    """List what may go of one category, in an order that is safe to stop at any point.

    Runs that began longer ago than ``keep`` go, but never the newest, nor the one that ``latest.json`` names, nor the
    one that nights are assigned to. Of everything else goes what no remaining run is made of, if it too is older than
    ``keep``.

    Parameters
    ----------
    layout
        The store.
    folder
        Name of the category's folders.
    keep
        What is younger than this stays, whatever it is.
    now
        Time to count back from; the present by default.

    Returns
    -------
    removals
        What may go.
    notes
        What stays although it is old, and why.
    """
    before = (now or datetime.now(UTC)) - keep
    category = inventory.category_name(layout, folder)
    old_runs, staying, notes = _split_runs(layout, folder, before)
    needed = _needed_by(layout, folder, staying, before)
    going = [("runs", path) for path in old_runs]
    if needed.unknown is None:
        going += _unneeded(layout, folder, needed)
    else:
        notes.append(f"{category}: {needed.unknown}; only old runs and leftovers are removed there")
    for kind in ARRAY_FOLDERS:
        unsealed = (path for path in inventory.array_folders(layout, kind, folder) if not arrays.is_complete(path))
        going += [(LEFTOVERS, path) for path in unsealed]
    going += [(LEFTOVERS, path) for path in inventory.temporary(layout, folder)]
    removals = []
    for kind, path in going:
        foreign = inventory.foreign_files(path) if path.is_dir() and not is_temporary(path) else []
        if foreign:
            notes.append(_stays(layout, path, foreign[0]))
        elif kind == "runs" or inventory.newest_change(path) < before.timestamp():
            removals.append(Removal(category, kind, path, inventory.tree_bytes(path)))
    return removals, notes


def removable_damage(layout: StoreLayout, keep: timedelta, now: datetime | None = None) -> list[Removal]:
    """List what was put aside as damaged longer ago than ``keep``."""
    before = (now or datetime.now(UTC)) - keep
    return [
        Removal("", DAMAGED, path, inventory.tree_bytes(path))
        for path, since in inventory.damaged(layout)
        if since < before
    ]


def _removable_strays(layout: StoreLayout, keep: timedelta, now: datetime | None) -> list[Removal]:
    """List what killed runs left where no category has a place; no lock says whether a run is still writing it."""
    before = (now or datetime.now(UTC)) - max(keep, timedelta(seconds=SHARED_SECONDS))
    return [
        Removal("", LEFTOVERS, path, inventory.tree_bytes(path))
        for path in inventory.shared_strays(layout)
        if inventory.newest_change(path) < before.timestamp()
    ]


def remove(layout: StoreLayout, removals: Iterable[Removal]) -> None:
    """Remove what was listed, one after the other; hold the category's lock.

    A folder loses its name first: killed at any point, no half of it is ever read.
    """
    for removal in removals:
        path = removal.path
        if path.is_dir() and not path.is_symlink():
            aside = path
            if not is_temporary(path):
                aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
                path.rename(aside)
            shutil.rmtree(aside)
        else:
            path.unlink(missing_ok=True)
        _prune(layout.root, path.parent)


def _prune(root: Path, folder: Path) -> None:
    """Remove folders that became empty, up to the store."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _split_runs(layout: StoreLayout, folder: str, before: datetime) -> tuple[list[Path], list[Path], list[str]]:
    """Split runs into those that go and those that stay, the newest first; and say why an old one stays."""
    found = runs.list_runs(layout.root / "runs" / folder)
    try:
        latest = runs.latest_run(layout.root / "runs" / folder)
        continued = (pinned(layout, layout.root / "nights" / folder) or {}).get("run")
    except StoreError as error:
        return [], found, [f"{error}; until then all runs of {inventory.category_name(layout, folder)} stay"]
    old, staying, notes = [], found[:1], []
    for run in found[1:]:
        began, foreign = runs.began_at(run.name), inventory.foreign_files(run)
        if run.name in {latest, continued} or began is None or began >= before:
            staying.append(run)
        elif foreign:
            staying.append(run)
            notes.append(_stays(layout, run, foreign[0]))
        else:
            old.append(run)
    return old, staying, notes


def _stays(layout: StoreLayout, path: Path, foreign: str) -> str:
    return f"{path.relative_to(layout.root)} stays: {foreign} in it is not Anoclust's"


def _needed_by(layout: StoreLayout, folder: str, staying: list[Path], before: datetime) -> _Needed:
    """Collect what the runs that stay are made of, and the images of young manifests."""
    needed = _Needed()
    try:
        snapshot = pinned(layout, layout.root / "nights" / folder)
    except StoreError as error:
        needed.unknown = f"it is unknown what its nights are assigned to ({error})"
        return needed
    if snapshot is not None:
        needed.keys.update(snapshot["keys"].values())
        needed.manifests.add(Path(snapshot["manifest"]).name)
        needed.whole.update(snapshot["keys"][name] for name in _GROUPS if name in snapshot["keys"])
    for run in staying:
        try:
            parts = parts_of(layout, runs.read_summary(run))
            images = {image.sha256 for image in load_manifest(parts.manifest).images}
        except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
            needed.unknown = f"it is unknown what run {run.name} is made of ({error})"
            return needed
        needed.keys.update(parts.keys.values())
        needed.manifests.add(parts.manifest.name)
        for group in (parts.keys[name] for name in _GROUPS if name in parts.keys):
            needed.by_group.setdefault(group, set()).update(images)
    for path in inventory.manifests(layout, folder):
        if inventory.newest_change(path) >= before.timestamp():
            with suppress(StoreError, OSError, ValueError, KeyError, TypeError):  # damaged: no run can use it
                needed.by_young.update(image.sha256 for image in load_manifest(path).images)
    return needed


def _unneeded(layout: StoreLayout, folder: str, needed: _Needed) -> list[tuple[str, Path]]:
    """Everything sealed and every small file that the runs that stay are not made of."""
    found: list[tuple[str, Path]] = []
    for kind in (kind for kind, folder in ARRAY_FOLDERS.items() if not folder.grouped):
        found += [
            (kind, path) for path in inventory.array_folders(layout, kind, folder) if path.name not in needed.keys
        ]
    found += [
        ("results", path)
        for key, path in inventory.results(layout, folder)
        if key not in needed.keys and path.is_file()
    ]
    for kind, sides in (("nearest", ("rows", "columns")), ("embeddings", ("hashes",)), ("detected", ("hashes",))):
        for path in inventory.array_folders(layout, kind, folder):
            wanted = needed.hashes(path.parent.name)
            if path.parent.name not in needed.whole and any(wanted.isdisjoint(side) for side in _sides(path, sides)):
                found.append((kind, path))
    for group in inventory.groups(layout, "embeddings", folder):
        segments = {path for kind, path in found if kind == "embeddings" and path.parent == group}
        if group.name not in needed.by_group.keys() | needed.whole and segments.issuperset(
            p for p in group.iterdir() if p.is_dir()
        ):
            found += [("embeddings", path) for path in group.iterdir() if path.name == inventory.UNREADABLE]
    found += [("manifests", path) for path in inventory.manifests(layout, folder) if path.name not in needed.manifests]
    return [(kind, path) for kind, path in found if path.is_file() or arrays.is_complete(path)]


def _sides(folder: Path, names: Iterable[str]) -> list[list[str]]:
    """Content hashes that a segment or slab is about; none, so that it stays, where that cannot be read."""
    with suppress(StoreError, OSError):
        description = arrays.describe(folder)
        if description is not None and all(name in description for name in names):
            return [list(description[name]) for name in names]
    return []
