"""Manifests at rest: what a run was given, small enough for a task to read and too large for a task's parameters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from anoclust_core.keys import content_key
from anoclust_core.records import DatasetManifest, ImageRecord, QuarantinedImage
from tasks.stores.files import read_json, write_json
from tasks.stores.layout import StoreLayout


def save_manifest(store: StoreLayout, manifest: DatasetManifest) -> Path:
    """Write a manifest under its own digest and say where it is."""
    content = asdict(manifest)
    path = store.manifest(manifest.category, content_key("manifest", content))
    if not path.is_file():
        write_json(path, content)
    return path


def load_manifest(path: Path) -> DatasetManifest:
    """Read a manifest."""
    content = read_json(path)
    return DatasetManifest(
        category=content["category"],
        images=tuple(ImageRecord(**image) for image in content["images"]),
        quarantine=tuple(QuarantinedImage(**entry) for entry in content["quarantine"]),
        notes=tuple(content["notes"]),
        n_normals_given=content["n_normals_given"],
    )
