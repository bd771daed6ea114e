"""Check what runs are made of: arrays, lists of images, cached results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from anoclust_core.errors import DamagedError, StoreError
from tasks.images.category_decoding import read_decoding
from tasks.store_check.findings import GONE_ROUND, REBUILT, SWEPT, Fault, Finding, finding, told
from tasks.stores import arrays, runs
from tasks.stores.files import read_checked
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.results import read_result
from tasks.stores.stage_keys import ARRAY_FOLDERS
from tasks.stores.upkeep import inventory


def check_arrays(layout: StoreLayout, kind: str, folder: Path) -> list[Finding]:
    """Read every chunk of a folder of arrays, and hold its description against its arrays."""
    if not arrays.is_complete(folder):
        return [finding(layout, folder, "is incomplete", SWEPT, Fault.LEFTOVER)]
    try:
        description = arrays.describe(folder) or {}
        shapes = arrays.shapes(folder)
        for _ in arrays.verify(folder):
            pass
    except (StoreError, OSError) as error:
        return [finding(layout, folder, told(folder, error), REBUILT)]
    lost = sorted(ARRAY_FOLDERS[kind].arrays - shapes.keys())
    if lost:
        return [finding(layout, folder, f"has lost {' and '.join(lost)}", REBUILT)]
    sides = {
        "embeddings": ("bags", ("hashes",)),
        "nearest": ("distances", ("rows", "columns")),
        "detected": ("maps", ("hashes",)),
    }
    if kind in sides:
        name, lists = sides[kind]
        if tuple(len(description.get(side, ())) for side in lists) != shapes[name][: len(lists)]:
            return [finding(layout, folder, f"lists other images than its {name} have", REBUILT)]
    return []


def check_leftovers(layout: StoreLayout, category: str) -> list[Finding]:
    """Find what was never finished, and lists of undecodable images that are damaged."""
    found = [
        finding(layout, path, "was never finished", SWEPT, Fault.LEFTOVER)
        for path in inventory.temporary(layout, category)
    ]
    for group in inventory.groups(layout, "embeddings", category):
        unreadable = group / inventory.UNREADABLE
        try:
            read_checked(unreadable)
        except FileNotFoundError:
            continue
        except (OSError, DamagedError) as error:
            found.append(finding(layout, unreadable, told(unreadable, error), REBUILT))
    return found


def check_decoding(layout: StoreLayout, category: str) -> list[Finding]:
    """Read how deep pictures are decoded, and find it missing where finished runs were made with it."""
    path = layout.root / "decoding" / f"{category}.json"
    try:
        kept = read_decoding(path)
    except StoreError as error:
        return [finding(layout, path, told(path, error), "see its message")]
    if kept is None and any(_was_decoded(run) for run in runs.list_runs(layout.root / "runs" / category)[:1]):
        advice = "restore it from a backup; without it the next run takes a new range for deep pictures"
        return [finding(layout, path, "is gone, and the newest run was made with it", advice, Fault.MISSING)]
    return []


def _was_decoded(run: Path) -> bool:
    """Whether a run had deep pictures, or others that are not plain ones of 8 bits."""
    with suppress(StoreError):
        embedding = runs.read_summary(run).get("embedding")
        return isinstance(embedding, dict) and embedding.get("decoding") is not None
    return False


def check_manifests(layout: StoreLayout, category: str) -> list[Finding]:
    """Read every manifest."""
    found = []
    for path in inventory.manifests(layout, category):
        try:
            load_manifest(path)
        except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
            found.append(finding(layout, path, told(path, error), "delete it; the next run of these images writes it"))
    return found


def check_results(layout: StoreLayout, category: str) -> list[Finding]:
    """Read every cached result; find those that no run will use, whose arrays are elsewhere or gone."""
    found = []
    for _, path in inventory.results(layout, category):
        try:
            handle = read_result(path, path.relative_to(layout.results).as_posix())
        except (OSError, DamagedError) as error:
            if _is_cut_off(path):
                found.append(finding(layout, path, "was never finished", GONE_ROUND, Fault.LEFTOVER))
            else:
                found.append(finding(layout, path, told(path, error), GONE_ROUND))
            continue
        lost = [uri for uri in _uris(handle) if not Path(uri).is_dir()]
        if lost:
            found.append(finding(layout, path, f"points at {lost[0]}, which is gone", GONE_ROUND, Fault.UNUSED))
    return found


def _is_cut_off(result: Path) -> bool:
    """Whether a kill has cut off what Prefect was writing: it writes results in place."""
    try:
        return not result.read_bytes().endswith(b"}")
    except OSError:
        return False


def _uris(value: Any) -> Iterator[str]:
    """Folders that a handle names, wherever in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "uri":
                yield str(inner)
            else:
                yield from _uris(inner)
