"""Files of `anoclust export clusters`, read as the programs read them that they are for.

The formats: https://docs.voxel51.com/user_guide/import_datasets.html and https://labelstud.io/guide/predictions.html.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import jsonschema
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.builders import save_image, surface
from PIL import Image

from anoclust_core.errors import ConfigError, StoreError
from tasks.export.clusters import FORMATS, ExportedClusters, cluster_table
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact

NIGHT = datetime(2026, 11, 1, 12, tzinfo=UTC)
ODD = 'chip & "crack" <7>, äöü'
WHERE = {"a": "c1", "b": "c1", "c": "c2", "d": None, "e": "c2"}
"""Cluster of each image; c1 has a name that is trouble in CSV, XML and JSON, the file of e is gone."""

FIFTYONE_LABELS = {
    "type": "object",
    "required": ["classes", "labels"],
    "additionalProperties": False,
    "properties": {
        "classes": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "labels": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    },
}
"""labels.json of a FiftyOneImageClassificationDataset: a target for each file in data/, by its name without ending."""

LABELSTUDIO_TASKS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "additionalProperties": False,
        "properties": {
            "data": {"type": "object", "required": ["image"], "properties": {"image": {"type": "string"}}},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "result": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["from_name", "to_name", "type", "value"],
                                "properties": {
                                    "type": {"const": "choices"},
                                    "value": {
                                        "type": "object",
                                        "required": ["choices"],
                                        "properties": {"choices": {"type": "array", "items": {"type": "string"}}},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""Tasks with predictions in the basic JSON format of Label Studio, for a labelling configuration with <Choices>."""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give a night of five images, whose files have names that a URL cannot hold as they are."""
    images = []
    for number, content in enumerate(WHERE):
        file = save_image(tmp_path / "data" / f"{content} #{number}&50%+ü.png", surface(number))
        images.append(ImageFact(content, f"tile/{file.name}", NIGHT, NIGHT.date(), file=str(file), extra={"line": "7"}))
    images[-1] = replace(images[-1], file=str(tmp_path / "gone.png"))
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        opened.record_night(
            NightFact("tile", NIGHT.date(), "done", "", NIGHT, NIGHT),
            new=images,
            assignments=[AssignmentFact(content, cluster, 0.25, 0.9) for content, cluster in WHERE.items()],
            born={"c1": {"images": 2}, "c2": {"images": 2}},
        )
        opened.rename("tile", "c1", ODD, who="kim")
        yield opened


def export(catalog: Catalog, kind: str, folder: Path) -> ExportedClusters:
    write, ending = FORMATS[kind]
    return write(cluster_table(catalog, "tile"), folder / f"tile{ending}")


def test_csv_is_read_by_any_reader(catalog: Catalog, tmp_path: Path) -> None:
    """A row per image, by path, with the odd name as it is and nothing where there is no cluster."""
    made = export(catalog, "csv", tmp_path)
    assert b"\r" not in made.path.read_bytes()
    with made.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert {row["sha256"]: row["cluster"] for row in rows} == {c: cluster or "" for c, cluster in WHERE.items()}
    assert [row["name"] for row in rows] == [ODD, ODD, "", "", ""]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert {(row["night"], row["line"], float(row["confidence"])) for row in rows} == {("2026-11-01", "7", 0.9)}


def test_parquet_has_types(catalog: Catalog, tmp_path: Path) -> None:
    """Text is text, numbers are numbers, and what is missing is null; the same rows as in CSV."""
    table = pq.read_table(export(catalog, "parquet", tmp_path).path)
    types = {field.name: str(field.type).removeprefix("large_") for field in table.schema}
    assert types["distance"] == types["confidence"] == "double"
    assert {kind for name, kind in types.items() if name not in {"distance", "confidence"}} == {"string"}
    assert dict(zip(table["sha256"].to_pylist(), table["cluster"].to_pylist(), strict=True)) == WHERE
    assert table["name"].to_pylist() == [ODD, ODD, None, None, None]


def test_fiftyone_finds_every_image_and_its_class(catalog: Catalog, tmp_path: Path) -> None:
    """labels.json has the documented form; each of its names is one image in data/ that can be opened."""
    made = export(catalog, "fiftyone", tmp_path)
    labels = json.loads((made.path / "labels.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(FIFTYONE_LABELS).validate(labels)
    files = {file.stem: file for file in (made.path / "data").iterdir()}
    assert files.keys() == labels["labels"].keys()
    for file in files.values():
        with Image.open(file) as image:
            image.verify()
    found = {name: labels["classes"][target] for name, target in labels["labels"].items()}
    assert found == {"a": ODD, "b": ODD, "c": "c2", "d": "unknown"}
    assert (made.n_images, made.n_without_file) == (4, 1)
    with pytest.raises(StoreError, match="not empty"):
        export(catalog, "fiftyone", tmp_path)


def test_labelstudio_takes_tasks_and_configuration(catalog: Catalog, tmp_path: Path) -> None:
    """Tasks have the documented form, choose among the configuration's choices, and address the files themselves."""
    made = export(catalog, "labelstudio", tmp_path)
    tasks = json.loads(made.path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(LABELSTUDIO_TASKS).validate(tasks)
    view = ElementTree.fromstring(made.path.with_suffix(".xml").read_text(encoding="utf-8"))
    (image,), (choices,) = view.iter("Image"), view.iter("Choices")
    assert choices.get("toName") == image.get("name")
    known = {choice.get("value") for choice in choices}
    found = {}
    for task in tasks:
        ((result,),) = (prediction["result"] for prediction in task["predictions"])
        assert (result["from_name"], result["to_name"]) == (choices.get("name"), image.get("name"))
        (found[task["data"]["sha256"]],) = result["value"]["choices"]
        address = urlsplit(task["data"][str(image.get("value")).lstrip("$")])
        assert (address.path, address.fragment) == ("/data/local-files/", "")
        ((file,),) = parse_qs(address.query, strict_parsing=True).values()
        assert Path("/", file).is_file()
    assert found == {"a": ODD, "b": ODD, "c": "c2", "d": "unknown"}
    assert set(found.values()) == known
    with pytest.raises(ConfigError, match="would be the file of the labelling configuration"):
        FORMATS["labelstudio"][0](pd.DataFrame(), tmp_path / "tasks.xml")
