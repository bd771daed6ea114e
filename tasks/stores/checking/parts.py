"""Check what runs are made of: arrays, lists of images, cached results."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anoclust_core.errors import StoreError
from tasks.stores import arrays, inventory
from tasks.stores.checking.findings import IGNORED, LEFTOVER, REBUILD, Finding, finding, told
from tasks.stores.files import read_json, without_digest
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest


def check_arrays(layout: StoreLayout, kind: str, folder: Path) -> list[Finding]:
    """Read every chunk of a sealed folder, and hold its description against its arrays."""
    try:
        description = arrays.describe(folder) or {}
        shapes = arrays.shapes(folder)
        for _ in arrays.verify(folder):
            pass
    except (StoreError, OSError) as error:
        return [finding(layout, folder, told(folder, error), REBUILD)]
    lost = sorted(inventory.ARRAYS[kind] - shapes.keys())
    if lost:
        return [finding(layout, folder, f"has lost {' and '.join(lost)}", REBUILD)]
    sides = {"embeddings": ("bags", ("hashes",)), "nearest": ("distances", ("rows", "columns"))}
    if kind in sides:
        name, lists = sides[kind]
        if tuple(len(description.get(side, ())) for side in lists) != shapes[name][: len(lists)]:
            return [finding(layout, folder, f"lists other images than its {name} have", REBUILD)]
    return []


def check_leftovers(layout: StoreLayout, category: str) -> list[Finding]:
    """Find what was never finished, and lists of undecodable images that are damaged."""
    found = [
        finding(layout, path, "was never finished", LEFTOVER, is_harmless=True)
        for path in inventory.temporary(layout, category)
    ]
    for group in inventory.groups(layout, "embeddings", category):
        unreadable = group / inventory.UNREADABLE
        if unreadable.is_file():
            try:
                without_digest(read_json(unreadable))
            except (OSError, ValueError) as error:
                found.append(
                    finding(layout, unreadable, told(unreadable, error), "delete it; those images are tried again")
                )
    return found


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
    """Cached results that no run will use: unreadable, or of arrays that are elsewhere or gone."""
    found = []
    for _, path in inventory.results(layout, category):
        try:
            handle = _handle(read_json(path)["result"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.append(finding(layout, path, told(path, error), IGNORED, is_harmless=True))
            continue
        lost = [uri for uri in _uris(handle) if not Path(uri).is_dir()]
        if lost:
            found.append(finding(layout, path, f"points at {lost[0]}, which is gone", IGNORED, is_harmless=True))
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
