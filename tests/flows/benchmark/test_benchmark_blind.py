"""The benchmark's tables of recipe blind: what is written, that a row is a run's, that nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import mvtec_category, save_detector, save_image, tiny_config
from PIL import Image

from anoclust_core.benchmark import blind
from anoclust_core.localization import vae
from flows.benchmark.request import ARDELEAN_FIGURES, ARDELEAN_TABLES, DEFAULT_TABLES, BenchmarkRequest, default_tables
from flows.benchmark.run import run_benchmark
from flows.run import run_data
from tasks import telemetry
from tasks.stages import describe as describe_stage
from tasks.stages import localize as localize_stage
from tasks.stores.files import sha256_file, with_digest, write_json

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]

TAUS = ("0.002", "0.3sd", "1sd")
EVERYTHING = BenchmarkRequest(
    protocol="sohn", tables=tuple(ARDELEAN_TABLES), figures=tuple(ARDELEAN_FIGURES), n_subsets=2, backbones=()
)
N_TILE, N_NUT, N_COMBINED, N_NORMALS = 12, 8, 2, 3


@pytest.fixture(autouse=True, scope="module")
def short() -> Iterator[pytest.MonkeyPatch]:
    """Thirty steps of the VAE, three temperatures."""
    with pytest.MonkeyPatch.context() as patch:
        variants = {name: replace(found, vae_steps=30) for name, found in localize_stage.VARIANTS.items()}
        patch.setattr(localize_stage, "VARIANTS", variants)
        patch.setattr(vae, "CHECKPOINT_STEPS", 10)
        patch.setattr(blind, "TAUS", TAUS)
        yield patch


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A texture of MVTec with normals and masks, and a category of the user's with images of several defects."""
    root = tmp_path_factory.mktemp("benchmark-blind") / "data"
    mvtec_category(root / "tile", {"test/good": 4, "test/hole": 4, "test/scratch": 4, "train/good": N_NORMALS})
    for label in ("hole", "scratch"):
        for number in range(4):
            mask = np.zeros((64, 64), np.uint8)
            mask[20:40, 20:44] = 255
            save_image(root / "tile" / "ground_truth" / label / f"{number:03d}_mask.png", mask)
    mvtec_category(root / "nut", {"test/good": 4, "test/hole": 4, "test/combined": N_COMBINED}, seed=1)
    return root


@pytest.fixture(scope="module")
def made(data, checkpoint, tmp_path_factory, prefect_db, short) -> tuple[Path, Path, dict[str, int]]:
    """Store and output of everything, and the work that it took."""
    root = tmp_path_factory.mktemp("made-blind")
    work = run(data, checkpoint, root / "store", root / "out", EVERYTHING)
    return root / "store", root / "out", work


def run(data: Path, checkpoint: Path, store: Path, out: Path, request: BenchmarkRequest) -> dict[str, int]:
    """Run the benchmark; gives the work really done, trainings among it."""
    done: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "count", lambda what, n: done.update({what: done.get(what, 0) + n}))
        for module, name in ((localize_stage, "train_vae"), (describe_stage, "train_head")):
            patch.setattr(module, name, counted(getattr(module, name), name, done))
        run_benchmark([data], store, tiny_config(checkpoint), request, out)
    return done


def counted(original, name: str, done: dict[str, int]):
    def call(*args, **kwargs):
        done[name] = done.get(name, 0) + 1
        return original(*args, **kwargs)

    return call


def measurements(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "measurements.csv")


def pick(numbers: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        numbers = numbers[numbers[column] == value]
    assert len(numbers) == 1
    return numbers.iloc[0]


def test_every_table_and_figure_is_written(made):
    """All tables are on the page and in CSV files, published rows beside ours; the figure is a picture and a table."""
    _, out, _ = made
    page = (out / "benchmark.md").read_text()
    for title in ("Table 1", "Table 2", "Table 3", "Table 4", "supplement S4", "Figure 5"):
        assert f"## Ardelean & Weyrich, {title}" in page, title
    assert "published, other backbone" in page
    assert "tile 12, nut 8" in page or "nut 8, tile 12" in page
    with Image.open(out / "ardelean-figure-5.png") as figure:
        assert figure.width > 200
    assert "ardelean-figure-5.png" in page
    first = pd.read_csv(out / "ardelean-1.csv").set_index("method")
    texture = [name for name in first.columns if name.startswith("MVTec (texture), 1 of 5")]
    assert list(first.loc["SPICE, published only", [texture[0]]]) == ["–"]
    assert "0.268 / 0.079 / 0.174" in set(first.loc["SPICE, published only"])
    assert "0.790 / 0.716 / 0.806" in set(first.loc["ours"])
    measured = first.loc[["average", "max Hausdorff", "weighted average", "ours", "one cluster"], texture[0]]
    assert not measured.isin(["–"]).any()
    second = pd.read_csv(out / "ardelean-2.csv").set_index("method")
    assert "97.50 / 99.02 / 99.93" in set(second.loc["FCA + VAE, no flat field"])  # as the paper has it
    assert "97.50 / 99.02 / 99.93" not in set(second.loc["FCA + VAE, flat field"])
    nut = next(name for name in second.columns if name.startswith("nut"))
    assert second.loc["FCA, no flat field", nut].startswith("– / – / ")
    tile = next(name for name in second.columns if name.startswith("MVTec"))
    assert second.loc["FCA + VAE, flat field", tile] != second.loc["FCA + VAE, no flat field", tile]
    fourth = pd.read_csv(out / "ardelean-4.csv").set_index("method")
    assert set(fourth.loc["k-means"]) > {"0.778"}
    assert len(fourth) == 8 + 2
    assert set(pd.read_csv(out / "ardelean-s4.csv")["rule"]) == set(blind.THRESHOLD_RULES)
    curve = pd.read_csv(out / "ardelean-figure-5.csv")
    assert len(curve) == 2 * 2 * 2 * len(TAUS)
    numbers = measurements(out)
    assert set(numbers["protocol"]) == {"ardelean"}
    assert numbers["nmi"].between(0, 1)[numbers["nmi"].notna()].all()
    assert numbers["pro"].between(0, 1)[numbers["pro"].notna()].all()
    assert {"anomalous_share", "threshold", "tau"} <= set(numbers.columns)


def test_every_stage_is_done_once(made, data, checkpoint, tmp_path):
    """One VAE a category, a head for every setting that differs, pairs for the rows of Sohn et al.; then nothing."""
    store, out, work = made
    images = N_TILE + N_NUT
    heads = 1 + 1 + 2 + (len(TAUS) - 1)  # full; without VAE; two more thresholds; temperatures but the tables' own
    assert work == {
        "images_embedded": 2 * images,  # feature maps, and patches for Sohn's rows
        "pair_products": (N_TILE * (N_TILE - 1) + N_NUT * (N_NUT - 1)) // 2,
        "train_vae": 2,
        "train_head": 2 * heads,
    }
    assert run(data, checkpoint, store, tmp_path / "again", EVERYTHING) == {}
    assert (tmp_path / "again" / "measurements.csv").read_text() == (out / "measurements.csv").read_text()


def test_trained_detectors_have_rows(made, data, checkpoint, tmp_path):
    """A detector of a category is shown its images once and scored as the other maps; the others' rows say why not."""
    store = made[0]
    save_detector(tmp_path / "detectors" / "patchcore" / "tile.onnx")
    request = replace(EVERYTHING, tables=("ardelean-2",), figures=(), detectors=str(tmp_path / "detectors"))
    assert run(data, checkpoint, store, tmp_path / "out", request) == {"images_detected": N_TILE}
    table = pd.read_csv(tmp_path / "out" / "ardelean-2.csv").set_index("method")
    tile = next(name for name in table.columns if name.startswith("MVTec"))
    assert all(float(score) >= 0 for score in table.loc["PatchCore", tile].split(" / "))
    assert {"CFA, weights not at hand", "DRAEM, not trained", "PaDiM, not trained"} <= set(table.index)
    row = pick(measurements(tmp_path / "out"), category="tile", experiment=blind.LOCALIZATION, method="PatchCore")
    assert row["image_auroc"] > 0.9  # holes and scratches are far from grey
    assert "PatchCore: trained elsewhere." in (tmp_path / "out" / "benchmark.md").read_text()


def test_a_detector_that_knows_normals_says_so(made, data, checkpoint, tmp_path):
    """Its row has "(normals given)", and a note says how many of the scored images it has seen."""
    model = tmp_path / "detectors" / "patchcore" / "tile.onnx"
    save_detector(model, usual=0.3)  # another model than the other test's, whose maps it counts
    seen = [sha256_file(file) for file in sorted((data / "tile" / "test").rglob("*.png"))[:3]]
    how = {"backbone": "", "steps": 0, "side": 64, "trained_on": "normals", "n_images": 5, "images": [*seen, "0" * 64]}
    write_json(model.with_suffix(".json"), with_digest(how))
    request = replace(EVERYTHING, tables=("ardelean-2",), figures=(), detectors=str(tmp_path / "detectors"))
    run(data, checkpoint, made[0], tmp_path / "out", request)
    table = pd.read_csv(tmp_path / "out" / "ardelean-2.csv").set_index("method")
    assert "PatchCore (normals given)" in table.index
    told = "PatchCore: 64 px, trained on normals (5 images), 3 of them scored here."
    assert told in (tmp_path / "out" / "benchmark.md").read_text()


def test_ablation_rows_are_ordinary_runs(made, data, checkpoint):
    """Each row has the scores of a run with these settings, which finds its maps and descriptors made."""
    store, out, _ = made
    numbers = measurements(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localize_stage, "train_vae", None)
        patch.setattr(describe_stage, "train_head", None)
        for method, settings in blind.ABLATIONS.items():
            config = tiny_config(checkpoint, recipe="blind", **settings)
            (outcome,) = run_data(data, store, config, categories=["tile"])
            assert outcome.error is None
            row = pick(numbers, category="tile", experiment=blind.ABLATION, method=method, clustering="Ward")
            for score in ("nmi", "ari", "f1_micro"):
                assert outcome.summary["metrics"]["full"][score] == pytest.approx(row[score], abs=1e-12)
                defects = outcome.summary["metrics"]["defect_only"][score]
                assert defects == pytest.approx(row[f"{score}_defects_only"], abs=1e-12)


def test_points_of_the_curve_are_rows_of_the_tables(made):
    """At the tables' temperature both lines of the figure go through the ablation's rows."""
    numbers = measurements(made[1])
    for category in ("tile", "nut"):
        for line, method in ((blind.HEAD, "ours"), (blind.NO_HEAD, "ours without contrastive learning")):
            for clustering in ("Ward", "k-means"):
                where = {"category": category, "clustering": clustering}
                point = pick(numbers, experiment=blind.TEMPERATURES, method=line, setting="0.3sd", **where)
                row = pick(numbers, experiment=blind.ABLATION, method=method, **where)
                for score in ("tau", "nmi", "ari", "f1_micro"):
                    assert point[score] == pytest.approx(row[score], abs=1e-9)


def test_recipe_blind_compares_no_pair(data, checkpoint, tmp_path):
    """Tables that show no row of Sohn et al. embed once and compare no two images."""
    request = replace(EVERYTHING, tables=("ardelean-3",), figures=())
    work = run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
    assert work == {"images_embedded": N_TILE + N_NUT, "train_vae": 2, "train_head": 4}
    assert default_tables(["ardelean-5"]) == ()
    assert default_tables(["ardelean-5", "6"]) == default_tables([]) == DEFAULT_TABLES


def test_tables_of_both_papers(made, data, checkpoint, tmp_path):
    """Together each keeps its protocol: images of several defects are among Sohn's, and not among the others."""
    store, _, _ = made
    request = replace(EVERYTHING, tables=("1", "ardelean-1"), figures=())
    work = run(data, checkpoint, store, tmp_path / "out", request)
    more = N_COMBINED * N_NUT + N_COMBINED * (N_COMBINED - 1) // 2 + N_TILE * N_NORMALS
    assert work == {"images_embedded": N_COMBINED + N_NORMALS, "pair_products": more}
    assert set(measurements(tmp_path / "out")["protocol"]) == {"sohn", "ardelean"}
    page = (tmp_path / "out" / "benchmark.md").read_text()
    assert page.index("## Table 1") < page.index("## Ardelean & Weyrich, Table 1")


class Stopped(BaseException):
    """Stands for a kill."""


def test_stopped_benchmark_goes_on(data, checkpoint, tmp_path):
    """A benchmark that is killed while it trains its third head keeps the other two."""
    request = replace(EVERYTHING, tables=("ardelean-3",), figures=())
    original, calls = describe_stage.train_head, []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe_stage, "train_head", killed)
        with pytest.raises(BaseException, match=r".*"):
            run_benchmark([data], tmp_path / "store", tiny_config(checkpoint), request, tmp_path / "out")
    work = run(data, checkpoint, tmp_path / "store", tmp_path / "out", request)
    assert work["train_head"] == 2


def test_variant_and_threshold_are_told(checkpoint, tmp_path):
    """The settings of recipe blind decide the rows, and stand in the notes."""
    data = mvtec_category(tmp_path / "data" / "nut", {"test/good": 3, "test/hole": 3})
    config = tiny_config(checkpoint, variant="paper", threshold="otsu", border=0.125, tau="0.002", flat_field=False)
    request = replace(EVERYTHING, tables=("ardelean-3",), figures=())
    page = run_benchmark([data.parent], tmp_path / "store", config, request, tmp_path / "out")
    text = page.read_text()
    assert "variant `paper`" in text
    assert "tau 0.002, threshold `otsu`, no flat field, border 0.125" in text
