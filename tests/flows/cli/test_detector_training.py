"""``anoclust detector train``: what it is trained on, what it writes, and that a run can take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, mvtec_category
from typer.testing import CliRunner, Result

from anoclust_core.config import RunConfig
from flows.cli import app
from flows.detectors import training_note
from tasks.networks.detectors import DetectorNetwork, detector_of

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
