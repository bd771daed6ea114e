"""Files of a run for other programs: the Parquet table, and where its summary says that everything lies."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.builders import flat_folder, mvtec_category, tiny_config, write_manifest_csv
from helpers.running import run_folder, run_one

from tasks.stores import arrays
from tasks.stores.files import read_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of

pytestmark = pytest.mark.usefixtures("prefect_db")

SUMMARY_PAGE = Path(__file__).parents[2] / "docs" / "summary.md"


def test_parquet_has_the_rows_of_the_csv(tmp_path: Path, checkpoint: Path) -> None:
    """assignments.parquet has the rows and columns of assignments.csv, with types, in the same order."""
    flat_folder(tmp_path / "images", range(8))
    rows = [
        {"path": f"images/{n:03d}.png", "category": "nut", "label": ("good", "hole")[n % 2], "line": f"{n:03d}"}
        for n in range(8)
    ]
    rows[3] = {**rows[3], "label": "", "line": ""}
    run = run_folder(run_one(write_manifest_csv(tmp_path / "m.csv", rows), tmp_path / "store", tiny_config(checkpoint)))
    text = dict.fromkeys(("path", "sha256", "label", "split", "line"), str)
    written = pd.read_csv(run / "assignments.csv", dtype=text)
    typed = pd.read_parquet(run / "assignments.parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(run / "assignments.parquet")}
    assert list(types) == list(written.columns)
    assert (types["cluster"], types["anomaly_score"], types["distance"]) == ("int32", "float", "float")
    assert {types[name].removeprefix("large_") for name in text} == {"string"}
    for name in written.columns:
        if name in ("anomaly_score", "distance"):
            assert list(typed[name]) == pytest.approx(list(written[name]), rel=1e-6)
        elif name == "line":  # a CSV cannot tell an empty text from a missing one
            assert list(typed[name]) == list(written[name].fillna(""))
        else:
            assert typed[name].isna().equals(written[name].isna())
            assert list(typed[name].dropna()) == list(written[name].dropna())


def test_summary_tells_what_a_run_is_made_of(tmp_path: Path, checkpoint: Path) -> None:
    """Keys and manifest of summary.json lead to everything in the store that the run was made from."""
    data = mvtec_category(tmp_path / "nut/left", {"test/good": 3, "test/hole": 3, "train/good": 2})
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint))
    summary, layout = outcome.summary, StoreLayout(tmp_path / "store")
    assert summary["summary_version"] == 2
    assert set(summary["keys"]) == {
        *("embedding", "deeper", "distances", "pair", "near_duplicates", "weigh", "whiten", "group", "evaluate"),
    }
    manifest = load_manifest(layout.root / summary["manifest"])
    assert (len(manifest.clustered), len(manifest.normals)) == (6, 2)
    assert layout.folder("embeddings", "left", summary["keys"]["embedding"]).is_dir()
    assert layout.folder("nearest", "left", summary["keys"]["distances"]).is_dir()
    parts = parts_of(layout, summary)
    assert parts.manifest == layout.root / summary["manifest"]
    assert arrays.shapes(parts.weights)["rarity"] == (6, 64)
    assert arrays.shapes(parts.tree)["labels"] == (6,)


def test_every_field_of_the_summary_is_documented(tmp_path: Path, checkpoint: Path) -> None:
    """docs/summary.md names every field that a summary has."""
    run = run_folder(run_one(flat_folder(tmp_path / "d", range(4)), tmp_path / "store", tiny_config(checkpoint)))
    documented = set(re.findall(r"`\.?(\w+)", SUMMARY_PAGE.read_text()))
    assert set(read_json(run / "summary.json")) <= documented
