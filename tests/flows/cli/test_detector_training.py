"""``anoclust detector train``: what it is trained on, what it writes, and that a run can take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, mvtec_category
from typer.testing import CliRunner, Result

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from flows.cli import app
from flows.detectors import training_note
from tasks.networks.detectors import DetectorNetwork, detector_of
from tasks.stores.files import sha256_file

pytestmark = pytest.mark.slow


def train(data: Path, out: Path, checkpoint: Path, *more: object) -> Result:
    """Train PatchCore on the tiny backbone, by the command."""
    flags = ["--backbone", TINY_BACKBONE, "--checkpoint", checkpoint, "--device", "cpu", "--settle-seconds", 0]
    command = ["detector", "train", data, "--method", "patchcore", "--out", out, *flags, *more]
    return CliRunner().invoke(app, [str(word) for word in command])


@pytest.mark.parametrize("test_images", [2, 6])
def test_a_detector_is_trained_by_the_command(checkpoint: Path, tmp_path: Path, test_images: int) -> None:
    """`anoclust detector train` takes a category's normals, however few, or else all that a run would cluster.

    It says which.
    """
    mvtec_category(tmp_path / "data" / "tile", {"train/good": 4, "test/hole": test_images})
    trained = {"auto": "normals (4 images)", "none": f"everything ({test_images} images)"}
    for normals, trained_on in trained.items():
        more = ["--image-size", TINY_SIDE, "--normals", normals]
        result = train(tmp_path / "data", tmp_path / "models", checkpoint, *more)
        assert result.exit_code == 0, result.output
        assert f"trained on {trained_on}" in result.stdout
        file = tmp_path / "models" / "tile.xml"
        note = training_note(file)
        assert note.text == f"{TINY_BACKBONE}, {TINY_SIDE} px, trained on {trained_on}"
        assert (note.on_normals, len(note.images)) == (normals == "auto", 4 if normals == "auto" else test_images)
        config = RunConfig.model_validate({"weigh": {"weights": f"detector:{file.parent}"}})
        detector = detector_of(config, "tile")
        assert detector is not None
        assert DetectorNetwork(detector).map_shape == (TINY_SIDE, TINY_SIDE)


def test_normals_of_a_folder_train_a_detector(checkpoint: Path, tmp_path: Path) -> None:
    """Known normals may lie in a folder of their own, and be fewer than the images to cluster."""
    data = flat_folder(tmp_path / "tile", range(6))
    mvtec_category(tmp_path / "known", {"good": 3})
    normals = tmp_path / "known" / "good"
    result = train(data, tmp_path / "models", checkpoint, "--image-size", TINY_SIDE, "--normals", normals)
    assert result.exit_code == 0, result.output
    assert "trained on normals (3 images)" in result.stdout


def test_pictures_that_cannot_be_decoded_are_told(checkpoint: Path, tmp_path: Path) -> None:
    """A damaged picture is told, and the note has only those that were trained on; too many of them are an error."""
    data = flat_folder(tmp_path / "tile", range(10))
    cut_off(data / "000.png")
    result = train(data, tmp_path / "models", checkpoint, "--image-size", TINY_SIDE)
    assert result.exit_code == 0, result.output
    assert "trained on everything (9 images)\n  1 file left out\n    000.png: " in result.stdout
    note = training_note(tmp_path / "models" / "tile.xml")
    assert note.text.endswith("trained on everything (9 images)")
    assert note.images == {sha256_file(data / f"{number:03d}.png") for number in range(1, 10)}
    for number in range(1, 6):
        cut_off(data / f"{number:03d}.png")
    result = train(data, tmp_path / "models", checkpoint, "--image-size", TINY_SIDE)
    assert result.exit_code == DatasetError.exit_code, result.output
    assert "6 of the 10 files of category tile cannot be used, 60%, and the limit is 30%" in result.stderr


def test_a_category_is_trained_with_its_own_settings(checkpoint: Path, tmp_path: Path) -> None:
    """What `anoclust.toml` sets for one category alone holds for its detector."""
    for name in ("bolt", "nut"):
        flat_folder(tmp_path / "data" / name, range(2))
    settings = tmp_path / "anoclust.toml"
    settings.write_text(f"[embed]\nimage_size = {TINY_SIDE}\n[category.nut.embed]\nimage_size = 32\n")
    result = train(tmp_path / "data", tmp_path / "models", checkpoint, "--config", settings)
    assert result.exit_code == 0, result.output
    for name, side in (("bolt", TINY_SIDE), ("nut", 32)):
        detector = detector_of(
            RunConfig.model_validate({"weigh": {"weights": f"detector:{tmp_path / 'models'}"}}), name
        )
        assert detector is not None
        assert DetectorNetwork(detector).input_size == (side, side)


def cut_off(file: Path) -> None:
    """Leave the first half of a file: its header can be read, and its picture cannot."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
