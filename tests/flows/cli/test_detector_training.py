"""``anoclust detector train``: what it is trained on, what it writes, and that a run can take it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, mvtec_category
from typer.testing import CliRunner

from anoclust_core.config import RunConfig
from flows.cli import app
from flows.detectors import training_note
from tasks.networks.detectors import DetectorNetwork, detector_of

pytestmark = pytest.mark.slow


def test_a_detector_is_trained_by_the_command(checkpoint: Path, tmp_path: Path) -> None:
    """`anoclust detector train` takes a category's normals, or else all that a run would cluster, and says which."""
    mvtec_category(tmp_path / "data" / "tile", {"train/good": 4, "test/hole": 2})
    flags = ["--backbone", TINY_BACKBONE, "--checkpoint", checkpoint, "--image-size", TINY_SIDE, "--device", "cpu"]
    command = ["detector", "train", tmp_path / "data", "--method", "patchcore", "--out", tmp_path / "models", *flags]
    for more, trained_on in (([], "normals (4 images)"), (["--normals", "none"], "everything (2 images)")):
        result = CliRunner().invoke(app, [str(word) for word in [*command, "--settle-seconds", 0, *more]])
        assert result.exit_code == 0, result.output
        assert f"trained on {trained_on}" in result.stdout
        file = tmp_path / "models" / "tile.xml"
        note = training_note(file)
        assert note.text == f"{TINY_BACKBONE}, {TINY_SIDE} px, trained on {trained_on}"
        assert (note.on_normals, len(note.images)) == (not more, 4 if not more else 2)
        config = RunConfig.model_validate({"weigh": {"weights": f"detector:{file.parent}"}})
        detector = detector_of(config, "tile")
        assert detector is not None
        assert DetectorNetwork(detector).map_shape == (TINY_SIDE, TINY_SIDE)
