"""Lasting clusters for other programs: tables, FiftyOne, Label Studio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import pandas as pd

from anoclust_core.errors import ConfigError, StoreError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import UNKNOWN
from tasks.stores.files import write_bytes, write_json, write_text
from tasks.stores.written_tables import csv_of_frame, with_given

CONFIGURATION: Final = ".xml"
"""Ending of Label Studio's labelling configuration, which lies beside the tasks."""

_COLUMNS: Final = {
    "path": "string",
    "sha256": "string",
    "cluster": "string",
    "name": "string",
    "distance": "float64",
    "confidence": "float64",
    "night": "string",
    "captured_at": "string",
    "first_seen": "string",
    "label": "string",
    "file": "string",
}
"""Columns of the tables, and their types; with parts there are `part` and, by part, `decides` besides."""


@dataclass(frozen=True)
class ExportedClusters:
    """What was written, where; images that a program needs the file of, and whose file is gone, were left out."""

    path: Path
    n_images: int
    n_without_file: int = 0


def cluster_table(catalog: Catalog, category: str) -> pd.DataFrame:
    """One row per image, by path: its cluster as a person or the last run placed it, merges followed.

    Views of a part have the cluster of the one that decides. Without parts there are no columns of them.
    """
    names = {cluster.cluster: cluster.name for cluster in catalog.clusters(category)}
    facts = {fact.content: fact for fact in catalog.images(category)}
    placed_of = {placed.content: placed for placed in catalog.assignments(category)}
    decided_by = catalog.views(category)
    names_parts = any(fact.part for fact in facts.values())
    rows = []
    for content, image in facts.items():
        placed = placed_of.get(decided_by.get(content, content))
        if placed is None:
            continue
        row: dict[str, object] = {
            "path": image.path,
            "sha256": content,
            "cluster": placed.cluster,
            "name": names.get(placed.cluster) if placed.cluster else None,
            "distance": placed.distance,
            "confidence": placed.confidence,
            "night": image.night.isoformat(),
            "captured_at": image.captured_at.isoformat(),
            "first_seen": image.first_seen.isoformat() if image.first_seen else None,
            "label": image.label,
            "file": image.file,
            **({"part": image.part} if names_parts else {}),
            **({"decides": content not in decided_by} if decided_by else {}),
        }
        rows.append(with_given(row, image.extra))
    table = pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))
    kinds = _COLUMNS | ({"decides": "bool"} if decided_by else {})
    typed = table.astype({name: kinds.get(name, "string") for name in table.columns})
    return typed.sort_values("path", kind="stable", ignore_index=True)


def write_csv(table: pd.DataFrame, out: Path) -> ExportedClusters:
    """Write one file of comma-separated values, UTF-8, in which no cell is a formula."""
    write_text(out, csv_of_frame(table))
    return ExportedClusters(out, len(table))


def write_parquet(table: pd.DataFrame, out: Path) -> ExportedClusters:
    """Write one Parquet file."""
    content: bytes = table.to_parquet(None, engine="pyarrow", index=False)
    write_bytes(out, content)
    return ExportedClusters(out, len(table))


def write_fiftyone(table: pd.DataFrame, out: Path) -> ExportedClusters:
    """Write a folder for ``fo.types.FiftyOneImageClassificationDataset``: links to the images, and their clusters.

    Raises
    ------
    StoreError
        If the folder is there and holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty; name a new folder with --out")
    there = _with_file(table)
    classes = sorted({_class_of(row) for row in there})
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    labels = {}
    for row in there:
        file = Path(str(row["file"]))
        (data / f"{row['sha256']}{file.suffix.lower()}").symlink_to(file)
        labels[str(row["sha256"])] = classes.index(_class_of(row))
    write_json(out / "labels.json", {"classes": classes, "labels": labels})
    return ExportedClusters(out, len(there), len(table) - len(there))


def write_labelstudio(table: pd.DataFrame, out: Path) -> ExportedClusters:
    """Write tasks for Label Studio with clusters as predictions, and beside them the labelling configuration.

    Images are addressed as local files from the root of the file system: set
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/`` and ``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true``.

    Raises
    ------
    ConfigError
        If the tasks would have the configuration's name.
    """
    if out.suffix.lower() == CONFIGURATION:
        raise ConfigError(
            f"{out} would be the file of the labelling configuration; give the tasks another ending: .json"
        )
    there = _with_file(table)
    classes = sorted({_class_of(row) for row in there})
    tasks = [
        {
            "data": {
                "image": f"/data/local-files/?d={quote(str(row['file']).lstrip('/'))}",
                "path": row["path"],
                "sha256": row["sha256"],
                "night": row["night"],
                **({"part": row["part"]} if "part" in row and not pd.isna(row["part"]) else {}),
            },
            "predictions": [
                {
                    "model_version": "anoclust",
                    "score": float(row["confidence"]),
                    "result": [
                        {
                            "from_name": "cluster",
                            "to_name": "image",
                            "type": "choices",
                            "value": {"choices": [_class_of(row)]},
                        }
                    ],
                }
            ],
        }
        for row in there
    ]
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    write_json(out, tasks)
    write_text(
        out.with_suffix(CONFIGURATION),
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="cluster" toName="image" choice="single">\n{choices}\n  </Choices>\n</View>\n',
    )
    return ExportedClusters(out, len(there), len(table) - len(there))


FORMATS: Final = MappingProxyType(
    {
        "csv": (write_csv, ".csv"),
        "parquet": (write_parquet, ".parquet"),
        "fiftyone": (write_fiftyone, ""),
        "labelstudio": (write_labelstudio, ".json"),
    }
)
"""What writes each format, and how its file's name ends."""


def _with_file(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return [row for row in rows if not pd.isna(row["file"]) and Path(str(row["file"])).is_file()]


def _class_of(row: dict[str, Any]) -> str:
    """Name of a cluster, else its identity."""
    if pd.isna(row["cluster"]):
        return UNKNOWN
    return str(row["cluster"]) if pd.isna(row["name"]) else str(row["name"])
