"""``anoclust check``: what it says of a folder, what a run would take, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, mvtec_category, save_detector, save_image, surface
from helpers.parts import part_manifest
from PIL import Image
from typer.testing import CliRunner, Result

from anoclust_core.errors import DatasetError
from flows.cli import app, load_command

COUNTS = {"train/good": 4, "test/good": 3, "test/hole": 3}


def anoclust(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def tiny(checkpoint: Path) -> list[object]:
    return ["--backbone", TINY_BACKBONE, "--checkpoint", checkpoint, "--image-size", TINY_SIDE, "--device", "cpu"]


def checked(data: Path, checkpoint: Path, *arguments: object) -> dict[str, Any]:
    """What a check of one category says, as JSON, with the whole forecast."""
    result = anoclust("check", data, *tiny(checkpoint), "--json", *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (category,) = found["categories"]
    return {**category, "run": found["forecast"]}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Category with normals and labels, one picture twice, one that is a broken file."""
    folder = mvtec_category(tmp_path_factory.mktemp("data") / "board", COUNTS)
    (folder / "test" / "hole" / "copy.png").write_bytes((folder / "test" / "hole" / "000.png").read_bytes())
    (folder / "test" / "hole" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def found(board: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a check says of it."""
    return checked(board, checkpoint, "--store", tmp_path_factory.mktemp("out") / "store")


def test_what_is_in_a_folder(found: dict[str, Any]) -> None:
    """Files by role, split and label, those that cannot be used with the reason, sizes, formats, copies."""
    assert (found["files"], found["looked_at"], found["labelled"]) == (12, 12, 8)
    kinds = {(one["role"], one["split"], one["label"]): one["files"] for one in found["kinds"]}
    assert kinds == {
        ("normal", "train", "good"): 4,
        ("cluster", "test", "good"): 3,
        ("cluster", "test", "hole"): 5,
    }
    assert [entry["path"] for entry in found["unusable"]] == ["test/hole/broken.png"]
    assert found["unusable"][0]["reason"] == "is not a PNG, JPEG, BMP, TIFF or WebP image but text"
    pictures = found["pictures"]
    assert pictures["smallest"] == pictures["largest"] == [TINY_SIDE, TINY_SIDE]
    assert pictures["formats"] == {"PNG": 11}
    assert pictures["depths"] == {"8 bits": 11}
    assert pictures["colours"] == {"grey stored as colour": 7, "colour": 4}
    assert pictures["exact_copies"] == 1
    assert pictures["alignment"]["verdict"] == "not aligned"


def test_settings_that_a_run_would_take(found: dict[str, Any]) -> None:
    """Recipe, size, normals, number of clusters and protocol, each with why."""
    taken = {one["name"]: (one["value"], one["why"]) for one in found["settings"]}
    assert taken["recipe"][0] == "auto"
    assert taken["image size"][0] == str(TINY_SIDE)
    assert taken["normals"][0] == "4"
    assert taken["clusters"] == ("2", "as many as there are classes, since every image has a label (protocol sohn)")
    assert taken["protocol"] == ("sohn", "agreement with the 7 labels is told")


def test_way_of_resizing_and_range_are_told(checkpoint: Path, tmp_path: Path) -> None:
    """Where they are not the defaults, the settings name them; a range that cannot be is told before the run."""
    for number in range(4):
        deep = np.random.default_rng(number).normal(1800, 90, (40, 120)).clip(0, 4095)
        save_image(tmp_path / "deep" / f"{number}.tif", deep.astype(np.uint16))
        save_image(tmp_path / "floats" / f"{number}.tif", deep.astype(np.float32))
    asked = ("--resize", "crop", "--range", "0:8191", "--settle-seconds", 0)
    found = checked(tmp_path / "deep", checkpoint, *asked)
    taken = {one["name"]: one["value"] for one in found["settings"]}
    assert (taken["resize"], taken["range"]) == ("crop", "0:8191")
    assert any("0 is black and 8,191 white, as asked for with --range" in note for note in found["notes"])
    assert found["pictures"]["brightness"]["median"] == pytest.approx(1800 / 32, abs=4)
    result = anoclust("check", tmp_path / "floats", *tiny(checkpoint), "--range", "full", "--settle-seconds", 0)
    assert "no largest value; give --range LOW:HIGH" in " ".join(result.output.split())


def test_a_detector_is_tried(board: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A detector of the user's own is a setting with its time and its memory; no images are compared."""
    model = save_detector(tmp_path / "model.onnx")
    found = checked(board, checkpoint, "--weights", f"detector:{model}")
    taken = {one["name"]: one["value"] for one in found["settings"]}
    assert taken["weights"] == f"detector:{model}"
    assert found["forecast"]["seconds_by_part"]["maps of the detector"] > 0
    assert found["forecast"]["memory_bytes_by_stage"].keys() == {"detect", "embed", "whiten", "group", "report"}


def test_the_forecast_has_every_part(found: dict[str, Any]) -> None:
    """Seconds by what takes them, and the memory of every stage on top of what the process has before."""
    run = found["run"]
    assert run["seconds"] == pytest.approx(sum(run["seconds_by_part"].values()))
    assert min(run["seconds_by_part"].values()) > 0
    stages = found["forecast"]["memory_bytes_by_stage"]
    assert stages.keys() == {"embed", "pair", "whiten", "group", "report"}
    assert run["peak_memory_bytes"] == run["base_memory_bytes"] + max(stages.values())


def test_nothing_is_stored(board: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a store nor anything else is written, not even for a table."""
    monkeypatch.chdir(tmp_path)
    before = sorted(board.rglob("*"))
    result = anoclust("check", board, *tiny(checkpoint))
    assert result.exit_code == 0, result.output
    assert list(tmp_path.iterdir()) == []
    assert sorted(board.rglob("*")) == before
    words = (
        "12; all looked at",
        "8: 5 hole (test), 3 good (test)",
        "1 file",
        "test/hole/broken.png: is not",
        "1 exact",
        "in all",
    )
    assert [word for word in words if word not in result.stdout] == []


def test_a_sample_says_how_many_of_how_many(tmp_path: Path, checkpoint: Path) -> None:
    """Only as many files as asked for are read; the others are counted, and a run is forecast over all of them."""
    data = flat_folder(tmp_path / "board", range(12))
    few, all_ = (checked(data, checkpoint, "--sample", n) for n in (5, 12))
    assert (few["files"], few["looked_at"], few["pictures"]["decoded"]) == (12, 5, 5)
    assert few["forecast"]["memory_bytes_by_stage"]["pair"] == all_["forecast"]["memory_bytes_by_stage"]["pair"]
    assert few["pictures"]["near_duplicates"] is None
    assert all_["pictures"]["near_duplicates"] == []
    taken = {one["name"]: one["value"] for one in few["settings"]}
    assert (taken["normals"], taken["clusters"]) == ("none", "auto")


def test_parts_beyond_the_sample_are_counted(tmp_path: Path, checkpoint: Path) -> None:
    """By part, views that were not read belong to their parts too: four parts cannot be six clusters."""
    manifest = part_manifest(tmp_path, range(4))
    asked = ("--by", "part", "--n-clusters", "6", "--sample", "5")
    result = anoclust("check", manifest, *tiny(checkpoint), *asked)
    assert "has only 4 parts to cluster" in result.stderr


def test_rubbish_has_the_exit_code_of_the_run(tmp_path: Path, checkpoint: Path) -> None:
    """Where too many files cannot be used, the reasons are told, and the exit code is the one that a run ends with."""
    data = flat_folder(tmp_path / "board", range(3))
    for number in range(4):
        (data / f"text{number}.png").write_text("no picture")
    (data / "empty.jpg").touch()
    save_image(data / "black.png", np.zeros((TINY_SIDE, TINY_SIDE), np.uint8))
    result = anoclust("check", data, *tiny(checkpoint))
    assert result.exit_code == DatasetError.exit_code
    assert "a run could not start: 6 of the 9 files" in result.stderr
    assert "the file is empty" in result.stdout
    assert "every pixel is black" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--n-clusters", "50"], 2, "has only"),
        (["--memory", "1MiB"], 5, "stage embed needs"),
        (["--backbone", "no_such_network"], 2, "no_such_network"),
        (["--category", "bord"], 2, "did you mean board?"),
    ],
    ids=["clusters", "memory", "backbone", "category"],
)
def test_a_run_that_could_not_start(board: Path, checkpoint: Path, arguments: list[str], code: int, words: str) -> None:
    """What would end a run at once ends the check with the same exit code, and the message says what to do."""
    own = [] if "--backbone" in arguments else tiny(checkpoint)
    result = anoclust("check", board, *own, *arguments)
    assert result.exit_code == code
    assert words in result.stderr


def test_it_takes_every_flag_of_the_run() -> None:
    """Whoever writes `check` for `run` has no flag refused, but for the maps that only a run can write."""
    flags = {name: {flag for one in load_command(name).params for flag in one.opts} for name in ("check", "run")}
    assert flags["run"] - flags["check"] == {"--export-maps"}


def test_deep_pictures(tmp_path: Path, checkpoint: Path) -> None:
    """The bits that are used are told beside those that are stored, with what becomes black and white."""
    (tmp_path / "board").mkdir()
    for number in range(4):
        twelve = surface(number, "hole")[:, :, 0].astype(np.uint16) * 16
        Image.fromarray(twelve).save(tmp_path / "board" / f"{number}.png")
    found = checked(tmp_path / "board", checkpoint)
    assert found["pictures"]["depths"] == {"16 bits, of which 12 are used": 4}
    assert found["pictures"]["colours"] == {"grey": 4}
    assert any("0 is black and 4,095 white" in note for note in found["notes"])


def test_a_fixed_camera_and_turned_pictures(tmp_path: Path, checkpoint: Path) -> None:
    """Pictures of one part that differ by noise are aligned; alpha and EXIF orientation are counted."""
    (tmp_path / "board").mkdir()
    part = np.kron(np.random.default_rng(0).integers(40, 200, (16, 16)), np.ones((8, 8)))
    for number in range(6):
        noisy = (part + np.random.default_rng(number + 1).normal(0, 4, part.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / "board" / f"{number}.png")
    turned = Image.fromarray(np.rot90(part).astype(np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "board" / "turned.jpg", exif=exif)
    Image.fromarray(part.astype(np.uint8)).convert("RGBA").save(tmp_path / "board" / "alpha.png")
    pictures = checked(tmp_path / "board", checkpoint)["pictures"]
    assert pictures["alignment"]["verdict"] == "aligned"
    assert (pictures["turned_by_exif"], pictures["with_alpha"]) == (1, 1)
    assert pictures["formats"] == {"PNG": 7, "JPEG": 1}
