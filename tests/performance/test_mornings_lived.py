"""The benchmark of mornings on a few nights, and data sets dealt out with a class that begins."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from helpers.builders import TINY_BACKBONE, write_manifest_csv

from anoclust_core.errors import ConfigError
from benchmarks import nights
from benchmarks.mornings import records

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.mornings.direct import leave_prefect_out

leave_prefect_out()
from anoclust_core.synthesis.streams import plan_stream
from benchmarks.mornings import living, records
from flows.settings import resolve

folder, checkpoint, backbone = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
planned = plan_stream(3)
images = tuple(image for image in planned.images if image.night < 3)
source = living.StreamSource(replace(planned, n_nights=3, images=images), folder)
settings = {"night.captured": "path:%Y-%m-%d", "night.day_starts": "00:00", "data.settle_seconds": 0}
network = {"embed.backbone": backbone, "embed.checkpoint": checkpoint, "embed.image_size": 64, "embed.device": "cpu"}
records.save(living.live(source, folder, resolve(settings | network).config), folder / "record.json")
"""


@pytest.mark.slow
def test_a_few_nights_are_lived_through(tmp_path: Path, checkpoint: Path) -> None:
    """The record has every file with its class and a cluster for each image, without a Prefect server."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(checkpoint), TINY_BACKBONE],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = records.load(tmp_path / "record.json")
    assert record is not None
    assert [night.number for night in record.nights] == [0, 1, 2]
    assert record.nights[0].reclustered == "the first time"
    for night, partition in record.partitions():
        assert partition.keys() == {file.path for one in record.nights[: night.number + 1] for file in one.files}
    assert 0 <= record.scores["scratch"] <= 1
    assert not (tmp_path / "store").exists()


def dealt(folder: Path, *, begins: nights.Begins | None = None, keep_labels: bool = True) -> list[dict[str, str]]:
    """Deal twenty good images, ten holes and three normals out over ten nights."""
    rows = [{"path": f"{at}.png", "category": "tile", "split": "test", "label": "good"} for at in range(20)]
    rows += [{**row, "path": f"h{row['path']}", "label": "hole"} for row in rows[:10]]
    rows += [{**row, "path": f"n{row['path']}", "split": "train"} for row in rows[:3]]
    write_manifest_csv(folder / "all.csv", rows)
    out = folder / "dealt.csv"
    category, labels = nights.deal(folder / "all.csv", out, nights=10, seed=1, begins=begins, keep_labels=keep_labels)
    assert category == "tile"
    assert len(labels) == 30
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def night_of(row: dict[str, str]) -> int:
    return (date.fromisoformat(row[nights.COLUMN]) - nights.FIRST).days


def test_a_data_set_is_dealt_out_evenly(tmp_path: Path) -> None:
    """Three images a night; known normals are there from the first."""
    rows = dealt(tmp_path)
    found = [night_of(row) for row in rows if row[nights.COLUMN]]
    assert sorted(found) == [night for night in range(10) for _ in range(3)]
    assert {row["split"] for row in rows if not row[nights.COLUMN]} == {"train"}


def test_a_class_begins_on_a_night(tmp_path: Path) -> None:
    """Holes come from night 5 on, two a night, the others all the time; the nights need not see labels."""
    rows = dealt(tmp_path, begins=nights.Begins("hole", 5), keep_labels=False)
    assert {(row["split"], row["label"]) for row in rows} == {("test", ""), ("train", "good")}
    holes = [night_of(row) for row in rows if "/h" in row["path"]]
    others = [night_of(row) for row in rows if row[nights.COLUMN] and "/h" not in row["path"]]
    assert sorted(holes) == [night for night in range(5, 10) for _ in range(2)]
    assert sorted(others) == [night for night in range(10) for _ in range(2)]


def test_a_class_that_is_not_there_cannot_begin(tmp_path: Path) -> None:
    """The message names the classes."""
    with pytest.raises(ConfigError, match="class dent, found good, hole"):
        dealt(tmp_path, begins=nights.Begins("dent", 5))
