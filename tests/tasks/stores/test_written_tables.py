"""CSV files that we write: no cell is a formula, and our own readers find what was there."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import config_of, save_image, surface

from tasks.datasets.public import COLUMNS, write_manifest
from tasks.export.clusters import write_csv, write_parquet
from tasks.images.listing import list_datasets
from tasks.stores.written_tables import csv_of_frame, csv_of_rows

NAMES = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "'=x", "''-y", "＝1", "x;=1", "plain", "-0.5", 'a"=b']


def test_texts_and_columns_are_made_safe_and_numbers_stay() -> None:
    """A negative number is one for whoever reads the file; a missing text is an empty cell."""
    frame = pd.DataFrame({"=x": ["=1", None], "n": [-0.5, np.nan], "at": [-3, 4], "is": [True, False]})
    assert csv_of_frame(frame) == "'=x,n,at,is\n'=1,-0.5,-3,True\n,,4,False\n"
    kinds = frame.astype({"=x": "string"})
    assert csv_of_frame(kinds) == csv_of_frame(frame)
    assert csv_of_frame(frame.astype({"=x": "category"})) == csv_of_frame(frame)


def test_tables_of_the_benchmark_are_safe() -> None:
    """Their rows are texts, among them names of categories and negative scores."""
    assert csv_of_rows([["category", "@nmi"], ["=1+1", "-0.12"]]) == "category,'@nmi\n'=1+1,-0.12\n"


def test_a_carriage_return_breaks_no_row() -> None:
    """It may be in a file's name or in a quoted cell of a manifest; whoever reads the table finds it in its cell."""
    rows = [["path", "cluster"], ["a\rb.png", "c1"], ["c.png", "c2\n"]]
    assert list(csv.reader(io.StringIO(csv_of_rows(rows), newline=""))) == rows
    frame = pd.DataFrame({"path": ["a\rb.png", "c.png"], "cluster": ["c1", None], "n": [1, 2]})
    read = pd.read_csv(io.StringIO(csv_of_frame(frame), newline=""))
    assert read["path"].tolist() == ["a\rb.png", "c.png"]
    assert read["cluster"].isna().tolist() == [False, True]
    assert read["n"].tolist() == [1, 2]


def test_two_columns_of_one_name_are_both_safe() -> None:
    """A manifest's further column may be named like another."""
    frame = pd.DataFrame([["=1", "=2"]], columns=["a", "a"])
    assert csv_of_frame(frame) == "a,a\n'=1,'=2\n"


def test_exported_clusters_are_safe_as_csv_and_raw_as_parquet(tmp_path: Path) -> None:
    """Parquet is read by programs only, and has the names themselves."""
    table = pd.DataFrame({"path": NAMES, "distance": np.linspace(-1, 1, len(NAMES))})
    write_csv(table, tmp_path / "clusters.csv")
    write_parquet(table, tmp_path / "clusters.parquet")
    rows = list(csv.reader(io.StringIO((tmp_path / "clusters.csv").read_text(encoding="utf-8"))))
    assert not any(re.match(r"[=@＝]|[+-](?!\d*\.?\d+$)", cell) for row in rows for cell in row)
    assert pd.read_parquet(tmp_path / "clusters.parquet")["path"].tolist() == NAMES


def test_a_manifest_that_we_wrote_is_read_back(tmp_path: Path) -> None:
    """Labels, further columns and their names come back as they were, be they formulas or begin with an apostrophe."""
    rows = []
    for at, name in enumerate(NAMES):
        image = tmp_path / "images" / f"{at}.png"
        save_image(image, surface(at))
        rows.append([str(image), "=board", "test", name, "", name])
    out = write_manifest(pd.DataFrame(rows, columns=[*COLUMNS, "=note"]), tmp_path / "manifest.csv")
    cells = [cell for row in csv.reader(io.StringIO(out.read_text(encoding="utf-8"))) for cell in row]
    assert not any(re.match(r"[=@＝]|[+-](?!\d*\.?\d+$)", cell) for cell in cells)
    (manifest,) = list_datasets(out, config_of(settle_seconds=0))
    assert manifest.category == "=board"
    assert [image.label for image in manifest.images] == [image.extra["=note"] for image in manifest.images]
    assert sorted(str(image.label) for image in manifest.images) == sorted(NAMES)


@pytest.mark.parametrize("name", ["=1+1.png", "'=x.png", "-a.png", "@b.png"])
def test_relative_paths_of_a_manifest_are_read_back(name: str, tmp_path: Path) -> None:
    """A file whose name is a formula is found by the manifest in which it is made safe."""
    save_image(tmp_path / name, surface(1))
    (tmp_path / "manifest.csv").write_text(csv_of_rows([["path", "category"], [name, "board"]]), encoding="utf-8")
    (manifest,) = list_datasets(tmp_path / "manifest.csv", config_of(settle_seconds=0))
    assert [image.path for image in manifest.images] == [name]


def test_nothing_else_writes_csv() -> None:
    """Every CSV file of the product goes through the two functions that make its cells safe."""
    root = Path(__file__).parents[3]
    writers = [
        path.name
        for layer in ("anoclust_core", "tasks", "flows")
        for path in (root / layer).rglob("*.py")
        if re.search(r"\.to_csv\(|csv\.writer\(|DictWriter\(|savetxt\(", path.read_text(encoding="utf-8"))
    ]
    assert writers == ["written_tables.py"]
