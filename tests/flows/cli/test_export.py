"""Heat maps of finished runs as files: what is in them, how they are named, and that no path leads out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, mvtec_category, tiny_config, write_manifest_csv
from helpers.running import assignments, run_folder, run_one
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

from anoclust_core.config import RunConfig
from anoclust_core.errors import StoreError
from flows.cli import app
from flows.run import CategoryOutcome
from tasks.export import maps
from tasks.export.maps import ExportedMaps, export_maps, map_names
from tasks.stores import runs
from tasks.stores.files import read_json, write_json
from tasks.stores.layout import StoreLayout

pytestmark = pytest.mark.usefixtures("prefect_db")


def anoclust(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None
) -> tuple[Path, CategoryOutcome]:
    """Make a run of 8 images of several folders, 2 of them with the same bytes: its root and outcome."""
    root = tmp_path_factory.mktemp("finished")
    data = mvtec_category(root / "nut", {"test/good": 3, "test/hole": 4, "train/good": 2})
    shutil.copy(data / "test" / "hole" / "001.png", data / "test" / "hole" / "copy.png")
    return root, run_one(data, root / "store", tiny_config(checkpoint))


def exported(finished: tuple[Path, CategoryOutcome], out: Path) -> ExportedMaps:
    root, outcome = finished
    return export_maps(StoreLayout(root / "store"), run_folder(outcome), out)


def pixels(path: Path) -> NDArray[np.int64]:
    """Colours of a picture."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(np.int64)


def test_every_clustered_image_has_its_own_rarity(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """The largest value of an image's map is its anomaly score: float32, on the patch grid, no normals among them."""
    made = exported(finished, tmp_path)
    assert made == ExportedMaps(tmp_path / "nut", 8, 0)
    scores = assignments(finished[1])["anomaly_score"]
    found = {path.relative_to(made.folder).as_posix()[:-4]: np.load(path) for path in made.folder.rglob("*.npy")}
    assert set(found) == set(scores.index)
    assert {(rarity.shape, str(rarity.dtype)) for rarity in found.values()} == {((8, 8), "float32")}
    for path, rarity in found.items():
        assert rarity.max() == pytest.approx(scores[path], abs=2e-6)
    assert scores.nunique() == 7
    np.testing.assert_array_equal(found["test/hole/001.png"], found["test/hole/copy.png"])


def test_heat_lies_where_the_map_is_high(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """Pictures have the image's size; they are warmer than the image where its patches are rare, else left alone."""
    made = exported(finished, tmp_path)
    scale = read_json(made.folder / "scale.json")
    for path, name in scale["files"].items():
        picture, image = pixels(made.folder / f"{name}.png"), pixels(finished[0] / "nut" / path)
        assert picture.shape == image.shape
        rarity = np.load(made.folder / f"{name}.npy")
        cell = TINY_SIDE // 8
        change = np.abs(picture - image).sum(axis=2).reshape(8, cell, 8, cell).mean(axis=(1, 3))
        # a patch whose neighbours are common too is left alone
        padded = np.pad(rarity, 1, mode="edge")
        around = np.max([padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)], axis=0)
        assert change[around <= scale["transparent_up_to"]].sum() == 0
        if rarity.max() >= scale["red_from"]:
            assert change.max() > 20
            assert (
                np.hypot(
                    *np.subtract(np.unravel_index(change.argmax(), (8, 8)), np.unravel_index(rarity.argmax(), (8, 8)))
                )
                <= 3
            )


def test_one_scale_for_the_category(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """scale.json tells the run, the ends of the colours over all images, and every file."""
    made = exported(finished, tmp_path)
    scale = read_json(made.folder / "scale.json")
    everything = np.stack([np.load(path) for path in made.folder.rglob("*.npy")])
    assert scale["transparent_up_to"] == pytest.approx(np.median(everything))
    assert scale["red_from"] == pytest.approx(np.percentile(everything, 99.5))
    assert scale["run_id"] == run_folder(finished[1]).name
    assert (scale["grid"], scale["unit"]) == ([8, 8], "standard deviations")  # three distances to the normals, added up
    assert sorted(scale["files"]) == sorted(assignments(finished[1]).index)


def test_the_same_files_again(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """Exporting twice gives the same bytes, and nothing else appears."""

    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    exported(finished, tmp_path)
    first = contents()
    exported(finished, tmp_path)
    assert contents() == first
    assert len(first) == 2 * 8 + 1


def test_images_that_are_gone_show_heat_alone(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """Images that were moved or changed since the run are counted; their maps are as before, the heat stands alone."""
    (tmp_path / "copy").mkdir()
    shutil.move(finished[0] / "nut" / "test" / "good" / "001.png", tmp_path / "copy")
    (finished[0] / "nut" / "test" / "good" / "002.png").rename(tmp_path / "copy" / "002.png")
    shutil.copy(finished[0] / "nut" / "test" / "good" / "000.png", finished[0] / "nut" / "test" / "good" / "002.png")
    try:
        made = exported(finished, tmp_path / "out")
    finally:
        shutil.copytree(tmp_path / "copy", finished[0] / "nut" / "test" / "good", dirs_exist_ok=True)
    assert (made.n_images, made.n_without_source) == (8, 2)
    for name in ("001", "002"):
        with Image.open(made.folder / "test" / "good" / f"{name}.png.png") as alone:
            assert alone.mode == "RGBA"
        assert np.load(made.folder / "test" / "good" / f"{name}.png.npy").shape == (8, 8)


def test_large_images_are_shown_smaller(
    tmp_path: Path, finished: tuple[Path, CategoryOutcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No picture is longer than the limit."""
    monkeypatch.setattr(maps, "MAX_SIDE", 40)
    made = exported(finished, tmp_path)
    assert {pixels(path).shape for path in made.folder.rglob("*.png")} == {(40, 40, 3)}


def test_hostile_paths_stay_inside(tmp_path: Path, checkpoint: Path) -> None:
    """Absolute paths, `..` and names that differ in case only: every image has its own files, all inside the folder."""
    flat_folder(tmp_path / "images", range(6))
    (tmp_path / "images" / "A.png").write_bytes((tmp_path / "images" / "005.png").read_bytes())
    (tmp_path / "images" / "a.png").write_bytes((tmp_path / "images" / "004.png").read_bytes())
    outside = flat_folder(tmp_path / "outside", [7])
    paths = [f"images/{n:03d}.png" for n in range(4)]
    paths += ["images/A.png", "images/a.png", str(outside / "007.png"), "images/../images/000.png"]
    rows = [{"path": path, "category": "../nut"} for path in paths]
    data = write_manifest_csv(tmp_path / "m.csv", rows)
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    made = export_maps(StoreLayout(tmp_path / "store"), run_folder(outcome), tmp_path / "out")
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made.folder.parent == tmp_path / "out"
    assert all(path.resolve().is_relative_to(made.folder) for path in new)
    assert len(new) == 2 * 8 + 1
    files = read_json(made.folder / "scale.json")["files"]
    assert set(files) == set(paths)
    assert len({name.casefold() for name in files.values()}) == 8


parts = st.sampled_from(
    ["a", "A", "é", "e\u0301", "..", ".", "", "x.npy", "x", "x.png.npy", "scale.json", "a\\b", "a:b", "%2E.", "n" * 300]
)


@given(st.lists(st.lists(parts, min_size=1, max_size=4).map("/".join), unique=True))
def test_names_never_clash(paths: list[str]) -> None:
    """Whatever the paths are: one name each, inside the folder, none of them a folder where another is a file."""
    import unicodedata

    names = map_names(paths)
    assert list(names) == paths
    files = [
        unicodedata.normalize("NFC", f"{name}{end}").casefold() for name in names.values() for end in (".npy", ".png")
    ]
    files.append("scale.json")
    assert len(set(files)) == len(files)
    folders = {"/".join(file.split("/")[:n]) for file in files for n in range(1, file.count("/") + 1)}
    assert not folders & set(files)
    for name in names.values():
        assert not Path(name).is_absolute()
        assert not {"", ".", ".."} & set(name.split("/"))
        assert all(len(part.encode()) < 200 for part in name.split("/"))
    plain = [path for path in paths if path == "x"]
    assert all(names[path] == path or len(paths) > 1 for path in plain)


def test_runs_of_another_version_are_refused(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """A run that does not tell what it is made of is refused with what to do."""
    run = tmp_path / run_folder(finished[1]).name
    shutil.copytree(run_folder(finished[1]), run)
    summary = {name: value for name, value in read_json(run / "summary.json").items() if name != "digest"}
    write_json(run / "summary.json", {**summary, "summary_version": 1})
    with pytest.raises(StoreError, match="version 1, this Anoclust knows version 2; run the same command again"):
        export_maps(StoreLayout(finished[0] / "store"), run, tmp_path / "out")
    write_json(run / "summary.json", {**summary, "manifest": "../../x.json"})
    with pytest.raises(StoreError, match="names no parts of a store"):
        export_maps(StoreLayout(finished[0] / "store"), run, tmp_path / "out")


def flags(config: RunConfig) -> list[object]:
    return [
        "--backbone",
        TINY_BACKBONE,
        "--checkpoint",
        config.embed.checkpoint,
        "--image-size",
        TINY_SIDE,
        "--device",
        "cpu",
    ]


def test_run_exports_maps_also_where_nothing_is_to_do(
    tmp_path: Path, finished: tuple[Path, CategoryOutcome], checkpoint: Path
) -> None:
    """--export-maps writes the maps of a run that is finished already, says where, and leaves the store as it is."""
    arguments = ["run", finished[0] / "nut", "--store", finished[0] / "store", *flags(tiny_config(checkpoint))]
    result = anoclust(*arguments, "--export-maps", tmp_path / "maps")
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.stdout
    assert f"nut: maps of 8 images\n  {tmp_path / 'maps' / 'nut'}" in result.stdout
    assert len(list((tmp_path / "maps" / "nut").rglob("*.npy"))) == 8
    as_json = anoclust(*arguments, "--export-maps", tmp_path / "maps", "--json")
    assert json.loads(as_json.stdout)[0]["category"] == "nut"


def test_maps_never_become_images(finished: tuple[Path, CategoryOutcome], checkpoint: Path) -> None:
    """A folder inside the data is refused before anything runs: the next run would cluster the maps."""
    data = finished[0] / "nut"
    arguments = ["run", data, "--store", finished[0] / "store", *flags(tiny_config(checkpoint))]
    result = anoclust(*arguments, "--export-maps", data / "maps")
    assert result.exit_code == 2
    assert "where the next run would take the maps for images" in result.stderr
    assert not (data / "maps").exists()


def test_maps_that_cannot_be_written(tmp_path: Path, finished: tuple[Path, CategoryOutcome], checkpoint: Path) -> None:
    """Where the maps cannot be written the command says so with exit code 4, and that the run is finished."""
    (tmp_path / "file").write_text("")
    arguments = ["run", finished[0] / "nut", "--store", finished[0] / "store", *flags(tiny_config(checkpoint))]
    result = anoclust(*arguments, "--export-maps", tmp_path / "file")
    assert result.exit_code == 4
    assert "is finished, but its maps could not be written" in result.stderr
    assert "Traceback" not in result.output


def test_export_of_a_finished_run(tmp_path: Path, finished: tuple[Path, CategoryOutcome]) -> None:
    """`anoclust export maps` writes the same files from the store alone, of the latest or of a named run."""
    store, run = finished[0] / "store", run_folder(finished[1])
    exported(finished, tmp_path / "expected")
    for number, wanted in enumerate(([], ["nut"], ["nut", "--run", run.name])):
        out = tmp_path / str(number)
        result = anoclust("export", "maps", *wanted, "--store", store, "--out", out)
        assert result.exit_code == 0, result.output
        for path in (tmp_path / "expected").rglob("*.*"):
            assert (out / path.relative_to(tmp_path / "expected")).read_bytes() == path.read_bytes()
    for wanted, words in (
        (["nutt"], "did you mean nut?"),
        (["nut", "--run", run.name[:-1] + "x"], f"did you mean {run.name}?"),
        (["nut", "--run", "x"], "`anoclust show` lists them"),
        (["--run", run.name], "name the category too"),
    ):
        wrong = anoclust("export", "maps", *wanted, "--store", store, "--out", tmp_path / "wrong")
        assert (wrong.exit_code, words in wrong.stderr) == (2, True), wrong.output
    assert runs.latest_run(run.parent) == run.name
