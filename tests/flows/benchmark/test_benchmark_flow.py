"""The benchmark flow on made-up data sets: what it writes, what it computes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import (
    TINY_BACKBONE,
    flat_folder,
    mvtec_category,
    save_image,
    surface,
    tiny_config,
    write_manifest_csv,
)
from PIL import Image

from anoclust_core.errors import ConfigError, DatasetError
from flows.benchmark.request import EXPERIMENT_OF_FIGURE, EXPERIMENT_OF_TABLE, BenchmarkRequest
from flows.benchmark.run import run_benchmark
from tasks import telemetry

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]

EVERYTHING = BenchmarkRequest(
    protocol="sohn",
    tables=tuple(EXPERIMENT_OF_TABLE),
    figures=tuple(EXPERIMENT_OF_FIGURE),
    n_subsets=3,
    backbones=(),
)
N_IMAGES, N_NORMALS = 12, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories; one has normals and masks."""
    root = tmp_path_factory.mktemp("benchmark") / "data"
    mvtec_category(root / "tile", {"test/good": 4, "test/hole": 4, "test/scratch": 4, "train/good": N_NORMALS})
    for label in ("hole", "scratch"):
        for number in range(4):
            mask = np.zeros((64, 64), np.uint8)
            mask[20:40, 20:44] = 255
            save_image(root / "tile" / "ground_truth" / label / f"{number:03d}_mask.png", mask)
    mvtec_category(root / "nut", {"test/good": 5, "test/hole": 5}, seed=1)
    return root


@pytest.fixture(scope="module")
def made(data, checkpoint, tmp_path_factory, prefect_db) -> tuple[Path, Path, dict[str, int]]:
    """Store and output of everything, and the work that it took."""
    root = tmp_path_factory.mktemp("made")
    work = run(data, checkpoint, root / "store", root / "out", EVERYTHING)
    return root / "store", root / "out", work


def run(data: Path, checkpoint: Path, store: Path, out: Path, request: BenchmarkRequest) -> dict[str, int]:
    """Run the benchmark; gives the work really done."""
    done: dict[str, int] = {}
    original = telemetry.count

    def count(what: str, n: int) -> None:
        done[what] = done.get(what, 0) + n
        original(what, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "count", count)
        run_benchmark([data], store, tiny_config(checkpoint), request, out)
    return done


def width(picture: Path) -> int:
    """Width of a picture in pixels."""
    with Image.open(picture) as image:
        return image.width


def test_every_table_and_figure_is_written(made):
    """All tables stand on one page and in CSV files, all figures are pictures, all numbers are in one file."""
    _, out, _ = made
    page = (out / "benchmark.md").read_text()
    for table in ("Table 1", "Tables 2 and 8", "Table 3", "Table 4", "Table 5", "Table 7", "Table 9", "Table 10"):
        assert f"## {table}" in page or f"## {table}:" in page, table
    assert "other features than ours" in page
    assert "not selected" in page
    for number in ("4", "6", "7", "8", "9", "10", "11", "13"):
        assert width(out / f"figure-{number}.png") > 200
    for category in ("nut", "tile"):
        for number in ("3", "5"):
            assert width(out / f"figure-{number}-{category}.png") > 200
    numbers = pd.read_csv(out / "measurements.csv")
    assert set(numbers["experiment"]) == {
        *EXPERIMENT_OF_TABLE.values(),
        "temperatures",
        "top_patches",
        "shares_of_normals",
    }
    assert numbers["nmi"].between(0, 1)[numbers["nmi"].notna()].all()
    table_1 = pd.read_csv(out / "table-1.csv")
    assert {"average", "max Hausdorff", "weighted average", "weighted average, normals", "one cluster"} <= set(
        table_1["method"]
    )


def test_masks_give_the_oracle_row_and_localisation(made):
    """Where there are masks, the oracle's weights are a row, and the weights' localisation is scored."""
    numbers = pd.read_csv(made[1] / "measurements.csv")
    distances = numbers[numbers["experiment"] == "distances"].set_index(["category", "method"])
    assert ("tile", "weighted average, masks") in distances.index
    assert ("nut", "weighted average, masks") not in distances.index
    assert distances.loc[("tile", "weighted average, normals"), "pixel_auroc"] == pytest.approx(0.5, abs=0.5)
    assert np.isnan(distances.loc[("nut", "weighted average"), "pixel_auroc"])


def test_one_pairwise_pass_serves_everything(made):
    """All tables, figures, sweeps and subsets need every image once and every pair once, a backbone's layer each."""
    _, _, work = made
    pairs = N_IMAGES * (N_IMAGES - 1) // 2 + N_IMAGES * N_NORMALS + 10 * 9 // 2
    images = N_IMAGES + N_NORMALS + 10
    # twice: the usual layer, and the last one of Table 4
    assert work == {"images_embedded": 2 * images, "pair_products": 2 * pairs}


def test_repeat_and_sweep_do_no_work(made, data, checkpoint, tmp_path):
    """The same command again computes nothing, and another protocol or seed compares no pair."""
    store, out, _ = made
    assert run(data, checkpoint, store, tmp_path / "again", EVERYTHING) == {}
    assert (tmp_path / "again" / "measurements.csv").read_text() == (out / "measurements.csv").read_text()
    request = replace(EVERYTHING, protocol="ncd", tables=("1", "9"), figures=("6",), n_subsets=4)
    assert run(data, checkpoint, store, tmp_path / "other", request) == {}
    assert "F1 (micro)" in (tmp_path / "other" / "benchmark.md").read_text()


def test_stopped_benchmark_goes_on(data, checkpoint, tmp_path, monkeypatch):
    """A benchmark that stops half-way keeps what it measured; the next one measures only the rest."""
    from tasks.benchmark import sohn as stage

    calls: list[str] = []
    stop_at = 2
    original: dict[str, Callable] = dict(stage.EXPERIMENTS)

    def counted(name: str) -> Callable:
        def experiment(category, conditions):
            calls.append(f"{name} {category.name}")
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            return original[name](category, conditions)

        return experiment

    monkeypatch.setattr(stage, "EXPERIMENTS", {name: counted(name) for name in original})
    request = replace(EVERYTHING, tables=("1", "5"), figures=())
    with pytest.raises(BaseException, match=r".*"):
        run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
    first, stop_at = list(calls), 0
    calls.clear()
    run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
    assert first[0] not in calls
    assert {*first, *calls} == {f"{e} {c}" for e in ("temperatures", "distances", "variants") for c in ("nut", "tile")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tables": ("6",)}, "--table takes one of 1, 2"),
        ({"figures": ("12",)}, "--figure takes one of 3, 4"),
        ({"protocol": "shon"}, "expected a protocol of sohn"),
        ({"n_subsets": 1}, "--subsets takes a whole number from 2"),
    ],
)
def test_unknown_requests_are_refused(data, checkpoint, tmp_path, change, words):
    """A table, figure or protocol that does not exist is an error before anything is read."""
    with pytest.raises(ConfigError, match=words):
        run(data, checkpoint, tmp_path / "store", tmp_path / "out", replace(EVERYTHING, **change))


def test_images_without_labels_are_refused(checkpoint, tmp_path):
    """Without labels there is nothing to score; the message names the first image."""
    data = flat_folder(tmp_path / "board", range(4))
    with pytest.raises(DatasetError, match=r"needs a label for every image; 4 of category board .*first: 000\.png"):
        run(data, checkpoint, tmp_path / "store", tmp_path / "out", EVERYTHING)


def test_settings_of_one_category_are_left_out_and_told(checkpoint, tmp_path):
    """Categories are compared under the same settings: one that has its own is told, and they do not count."""
    data = flat_folder(tmp_path / "board", range(4))
    config = tiny_config(checkpoint)
    config = config.with_own({"board": tiny_config(checkpoint, normals=str(tmp_path / "gone")), "nut": config})
    said: list[str] = []
    with pytest.raises(DatasetError, match="needs a label"):
        run_benchmark([data], tmp_path / "store", config, EVERYTHING, tmp_path / "out", say=said.append)
    assert said == ["all categories are measured with the same settings; what is set for board alone is left out"]


def test_regions_are_refused(checkpoint, tmp_path):
    """The papers look at whole pictures; a manifest with regions says so instead of being read as if it had none."""
    mask = save_image(tmp_path / "mask.png", np.full((64, 64), 255, np.uint8))
    save_image(tmp_path / "a.png", surface(0))
    row = {"path": "a.png", "category": "board", "label": "good", "roi": mask.name}
    data = write_manifest_csv(tmp_path / "images.csv", [row])
    with pytest.raises(DatasetError, match="whole pictures, as the papers do; omit the column roi"):
        run(data, checkpoint, tmp_path / "store", tmp_path / "out", EVERYTHING)


def test_other_backbones_are_bars(data, checkpoint, tmp_path, made):
    """A second backbone is measured and stands in the figure's numbers; the tables stay those of the first."""
    store, _, _ = made
    request = replace(EVERYTHING, tables=("1",), figures=("10",), backbones=(TINY_BACKBONE,))
    run(data, checkpoint, store, tmp_path / "out", request)
    assert set(pd.read_csv(tmp_path / "out" / "measurements.csv")["backbone"]) == {TINY_BACKBONE}


def test_recipe_auto_is_taken_apart(made, data, checkpoint, tmp_path):
    """--ablation writes its two tables, embeds one more level and compares no pair again; a repeat does nothing."""
    store, _, _ = made
    request = replace(EVERYTHING, tables=(), figures=(), n_subsets=2, ablation=True)
    work = run(data, checkpoint, store, tmp_path / "apart", request)
    assert work == {"images_embedded": N_IMAGES + N_NORMALS + 10}
    rows = pd.read_csv(tmp_path / "apart" / "ablation.csv")
    assert set(rows["method"]) >= {"auto", "sohn", "average", "one level"}
    assert set(rows.loc[rows["category"] == "tile", "rarity against"]) == {
        "blind",
        "normals",
        "normals without siblings",
    }
    assert set(rows.loc[rows["category"] == "nut", "rarity against"]) == {"blind"}
    assert "auto" in (tmp_path / "apart" / "n-clusters.csv").read_text()
    assert run(data, checkpoint, store, tmp_path / "again", request) == {}
