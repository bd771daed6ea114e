"""Manifests at rest: what a run was given, small enough for a task to read and too large for a task's parameters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from anoclust_core.records import DatasetManifest, ImageRecord, SetAside
from tasks.stores.files import read_json, told_as_damage, write_json
from tasks.stores.layout import StoreLayout


def save_manifest(store: StoreLayout, manifest: DatasetManifest) -> Path:
    """Write a manifest under its own digest and say where it is."""
    content = manifest.as_json()
    path = store.manifest(manifest.category, content_key("manifest", content))
    try:
        _read_content(path)
    except (FileNotFoundError, DamagedError):
        write_json(path, content)
    return path


def load_manifest(path: Path) -> DatasetManifest:
    """Read a manifest.

    Raises
    ------
    DamagedError
        If it is not what was written: its name is the digest of that.
    """
    found = path.stat()
    return _loaded(path, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size))


@lru_cache(maxsize=4)
def _loaded(path: Path, _: tuple[int, ...]) -> DatasetManifest:
    """The manifest that a file holds in this state, read once: a night asks for that of its snapshot five times."""
    content = _read_content(path)
    return DatasetManifest(
        category=content["category"],
        images=tuple(ImageRecord(**image) for image in content["images"]),
        quarantine=tuple(SetAside(**entry) for entry in content["quarantine"]),
        notes=tuple(content["notes"]),
        n_normals_given=content["n_normals_given"],
        deferred=tuple(SetAside(**entry) for entry in content.get("deferred", ())),
    )


def _read_content(path: Path) -> dict[str, Any]:
    with told_as_damage(path):
        content: dict[str, Any] = read_json(path)
        if content_key("manifest", content) != path.stem:
            raise ValueError("its checksum does not match")
    return content
