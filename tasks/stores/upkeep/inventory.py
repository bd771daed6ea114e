"""What a store holds: folders and files that Anoclust wrote, told by place and name; all else is somebody's own."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores import arrays, runs
from tasks.stores.files import is_temporary, safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import ARRAY_FOLDERS

KINDS: Final = (*ARRAY_FOLDERS, "manifests", "runs", "nights", "thumbnails")
"""Folders of a store that have one folder per category."""

UNREADABLE: Final = "unreadable.json"
"""Beside segments: which images could not be decoded."""

NIGHT_REPORT: Final = "report.html"
NIGHT_SUMMARY: Final = "summary.json"
"""What the folder of a night holds."""

CHECKSUMS: Final = ".files.json"
"""Ends the name of the file that has the checksums of a converted network and of the features beside it."""

RESULTS: Final = "results"
SHARED: Final = ("backbones", "decoding", "digests", "frames", "locks", "regions")
"""Folders that belong to no category."""

_GROUPED: Final = tuple(kind for kind, folder in ARRAY_FOLDERS.items() if folder.grouped)
"""Kinds that have one folder an embedding or distance key, and the folders of arrays in there."""

_KEY: Final = re.compile(r"[0-9a-f]{32}")
_PART: Final = re.compile(r"[0-9a-f]{16}")
_MANIFEST: Final = re.compile(r"[0-9a-f]{32}\.json")
_REGION: Final = re.compile(r"region-[0-9a-f]{32}\.json")
_PUT_ASIDE: Final = re.compile(r"[a-z]+-.+-(\d{8}T\d{12}Z)")
_RESULT: Final = re.compile(r"([0-9a-f]{32})-[0-9a-f]{8}")
_LOST_RESULT: Final = _KEY
"""Name that Prefect gives to the error of a stage, which it keeps like a result and nobody reads again."""

_NIGHT: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_NETWORK: Final = re.compile(rf"([0-9a-f]{{32}})(?:\.onnx|\.npz|{re.escape(CHECKSUMS)})")


@dataclass
class CategorySize:
    """Bytes on disk of one category.

    ``weights`` counts anomaly maps, what was trained and trees too, ``runs`` nights, manifests, cached results and
    thumbnails.
    """

    category: str
    embeddings: int = 0
    distances: int = 0
    weights: int = 0
    runs: int = 0

    def add(self, what: str, size: int) -> None:
        """Count some bytes as ``embeddings``, ``distances``, ``weights`` or ``runs``."""
        setattr(self, what, getattr(self, what) + size)

    @property
    def total(self) -> int:
        """All of it."""
        return self.embeddings + self.distances + self.weights + self.runs


@dataclass
class StoreSize:
    """Bytes on disk of a store.

    Attributes
    ----------
    categories
        By category.
    shared
        What serves all of them.
    damaged
        What was put aside.
    other
        What is not Anoclust's.
    """

    categories: list[CategorySize] = field(default_factory=list)
    shared: int = 0
    damaged: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(size.total for size in self.categories) + self.shared + self.damaged + self.other


_COUNTED_AS: Final = {
    **{kind: folder.counted_as for kind, folder in ARRAY_FOLDERS.items()},
    **dict.fromkeys(("manifests", "runs", "nights", "thumbnails", RESULTS), "runs"),
}


def store_size(layout: StoreLayout) -> StoreSize:
    """Count the bytes of a store by category and kind."""
    found = StoreSize()
    by_folder = {folder: CategorySize(category_name(layout, folder)) for folder in category_folders(layout)}
    for top in _children(layout.root):
        is_catalog = top == layout.identity.parent or top.name.startswith(layout.catalog.name)  # SQLite keeps two more
        if top.name in SHARED or is_catalog or top == layout.overview:
            found.shared += tree_bytes(top)
        elif top in {layout.damaged, layout.aside}:
            found.damaged += tree_bytes(top)
        elif top.name in (*KINDS, RESULTS):
            inner = [path for stage in _children(top) for path in _children(stage)]
            if top.name == RESULTS:
                found.shared += sum(tree_bytes(path) for path in _children(top) if not _is_folder(path))
            for path in inner if top.name == RESULTS else _children(top):
                if path.name in by_folder:
                    by_folder[path.name].add(_COUNTED_AS[top.name], tree_bytes(path))
                else:
                    found.other += tree_bytes(path)
        else:
            found.other += tree_bytes(top)
    found.categories = sorted(by_folder.values(), key=lambda size: size.category)
    return found


def category_folders(layout: StoreLayout) -> list[str]:
    """Names of the folders that categories have, in order."""
    found = {path.name for kind in KINDS for path in _children(layout.root / kind) if _is_folder(path)}
    found |= {path.name for stage in _children(layout.root / RESULTS) for path in _children(stage) if _is_folder(path)}
    return sorted(name for name in found if not name.startswith("."))


def shared_names(layout: StoreLayout) -> set[str]:
    """Names of categories' folders that have a file among what all share, whether or not there is such a folder."""
    return {path.stem for name in ("digests", "locks") for path in _children(layout.root / name)}


def category_name(layout: StoreLayout, folder: str) -> str:
    """Name of the category behind a folder's name; of a very long one only a run knows the end."""
    name = unquote(folder)
    if safe_name(name) == folder:
        return name
    for run in runs.list_runs(layout.root / "runs" / folder):
        try:
            return str(runs.read_summary(run)["category"])
        except (StoreError, KeyError, TypeError):
            continue
    return folder


def chosen_folders(layout: StoreLayout, wanted: Iterable[str]) -> list[str]:
    """Folder names of some categories, of all where none is named.

    Raises
    ------
    ConfigError
        If a category is not in the store.
    """
    known = category_folders(layout)
    folders = [safe_name(name) for name in wanted]
    names = [category_name(layout, folder) for folder in known]
    for name, folder in zip(wanted, folders, strict=True):
        if folder not in known:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"found {', '.join(names) or 'none'}"
            raise ConfigError(f"no category {name} in {layout.root}; {hint}")
    return folders or known


def array_folders(layout: StoreLayout, kind: str, category: str) -> Iterator[Path]:
    """Folders of arrays of one kind, sealed or not; ``category`` is the name of its folder."""
    top = layout.root / kind / category
    groups = [path for path in _children(top) if _named(path, _KEY)] if kind in _GROUPED else [top]
    for group in groups:
        pattern = _PART if kind in _GROUPED else _KEY
        yield from (path for path in _children(group) if _named(path, pattern) and _is_folder(path))


def groups(layout: StoreLayout, kind: str, category: str) -> list[Path]:
    """Folders that hold the segments of an embedding spec, or the slabs of its distances; their names are keys."""
    return [path for path in _children(layout.root / kind / category) if _named(path, _KEY) and _is_folder(path)]


def manifests(layout: StoreLayout, category: str) -> list[Path]:
    """Manifests of a category."""
    return [path for path in _children(layout.root / "manifests" / category) if _named(path, _MANIFEST)]


def results(layout: StoreLayout, category: str) -> list[tuple[str, Path]]:
    """Cached results of a category's stages, each with the content key that it is for; a folder there is damage."""
    return [
        (match[1], path)
        for stage in _children(layout.results)
        for path in _children(stage / category)
        if (match := _RESULT.fullmatch(path.name)) and not path.is_symlink()
    ]


def nights(layout: StoreLayout, category: str) -> list[Path]:
    """Folders of a category's nights."""
    return [path for path in _children(layout.root / "nights" / category) if _named(path, _NIGHT) and _is_folder(path)]


def backbone_cards(layout: StoreLayout) -> list[Path]:
    """What names of backbones resolve to, a JSON file each."""
    return [path for path in _children(layout.root / "backbones") if _named(path, _MANIFEST)]


def regions(layout: StoreLayout) -> list[Path]:
    """Masks of what is looked at, a JSON file each; they are small, and stay."""
    return [path for path in _children(layout.root / "regions") if _named(path, _REGION)]


def networks(layout: StoreLayout) -> list[Path]:
    """Converted networks: the paths of their files without what these end in."""
    names = {match[1] for path in _children(layout.root / "backbones") if (match := _NETWORK.fullmatch(path.name))}
    return [layout.root / "backbones" / name for name in sorted(names)]


def shared_strays(layout: StoreLayout) -> list[Path]:
    """What killed runs left where no category has a place: files on the way, and errors that Prefect has kept."""
    places = [layout.root, layout.identity.parent, *(layout.root / name for name in SHARED)]
    found = [path for place in places for path in _children(place) if is_temporary(path)]
    found += [path for path in _children(layout.results) if _named(path, _LOST_RESULT) and path.is_file()]
    return [path for path in found if not path.is_symlink()]


def temporary(layout: StoreLayout, category: str) -> list[Path]:
    """What processes that were killed left behind under names of the way, wherever a category may have some."""
    places = [layout.root / kind / category for kind in KINDS]
    places += nights(layout, category)
    places += [group for kind in _GROUPED for group in groups(layout, kind, category)]
    places += [stage / category for stage in _children(layout.results)]
    return [path for place in places for path in _children(place) if is_temporary(path) and not path.is_symlink()]


def damaged(layout: StoreLayout) -> list[tuple[Path, datetime]]:
    """What was put aside as damaged, and when."""
    return [
        (path, datetime.strptime(match[1], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC))
        for path in _children(layout.damaged)
        if (match := _PUT_ASIDE.fullmatch(path.name)) and not path.is_symlink()
    ]


def foreign_files(folder: Path) -> list[str]:
    """Names in a folder of arrays, or of a run, that are not Anoclust's: a person has put them there."""
    known = {runs.SUMMARY, runs.REPORT, runs.ASSIGNMENTS_CSV, runs.ASSIGNMENTS_PARQUET, runs.FIGURES, arrays.MARKER}
    known = known.union(*(folder.arrays for folder in ARRAY_FOLDERS.values()))
    return [
        path.name
        for path in _children(folder)
        if path.name not in known and not is_temporary(path) and not (path / "zarr.json").is_file()
    ]


def tree_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as such."""
    total = 0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        if _is_folder(here):
            waiting += _children(here)
        else:
            try:
                total += here.lstat().st_size
            except FileNotFoundError:
                continue  # a run that goes on has removed or renamed it
    return total


def newest_change(path: Path) -> float:
    """When a file, or anything below a folder, was last written, in seconds since 1970.

    What is gone by now counts as written just now: somebody is at work there.
    """
    try:
        newest = path.lstat().st_mtime
        for folder, _, files in os.walk(path):
            for name in files:
                newest = max(newest, (Path(folder) / name).lstat().st_mtime)
    except FileNotFoundError:
        return math.inf
    return newest


def _children(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is no folder."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _named(path: Path, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(path.name) is not None
