"""The page of a finished night in the Prefect UI, loaded by a browser from a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import save_image
from helpers.chromium import browse, needs_chromium
from helpers.stack import eventually
from PIL import Image

from anoclust_core.synthesis import draw_defect, draw_normal

PICTURE = Path(__file__).parents[3] / "docs" / "images" / "night.png"
REWRITE = "REWRITE_DOCS"
"""Environment variable that lets this test write the picture of the page."""

NIGHTS = {"2026-11-19": ("good", "hole", "scratch") * 6, "2026-11-20": ("good", "hole", "scratch", "stain") * 4}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),  # two cores may be busy
    needs_chromium,
]


@pytest.fixture(scope="module")
def page(stack, tmp_path_factory):
    """Address of the page of the second of two nights with the demo's kind of images, and the run's name."""
    from skimage import data

    root, photograph = tmp_path_factory.mktemp("ui"), np.asarray(data.grass())
    for at, (night, labels) in enumerate(NIGHTS.items()):
        for number, label in enumerate(labels):
            rng = np.random.default_rng([at, number])
            pixels = draw_normal(photograph, rng, quarter_turns=True)
            drawn = pixels if label == "good" else draw_defect(pixels, rng, defect=label)[0]
            save_image(root / "data" / "grass" / night / f"{number}.png", drawn)
    for night in NIGHTS:
        command = [sys.executable, "-m", "flows.cli", "nightly", str(root / "data"), "--store", str(root / "store")]
        done = subprocess.run(
            [*command, "--as-of", night, "--captured", "path:%Y-%m-%d"],
            env=stack.environment, cwd=root, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    name = f"grass {night} ({len(labels)} new)"
    (run,) = stack.find("flow_runs", flow_runs={"name": {"any_": [name]}})

    def recorded():
        tasks = stack.find("task_runs", flow_runs={"id": {"any_": [run["id"]]}})
        return len(tasks) >= 6 and {task["state_type"] for task in tasks} == {"COMPLETED"}

    assert eventually(recorded, seconds=120)
    return f"{stack.url.removesuffix('/api')}/v2/runs/flow-run/{run['id']}?tab=Artifacts", name


def test_a_night_is_found_in_the_ui(page, tmp_path):
    """The page shows the run by its name, as completed, and its artifacts: counts, the new cluster, the report."""
    address, name = page
    words = re.sub(r"<[^>]+>", " ", browse(address, tmp_path, "--dump-dom", seconds=20)[0])
    assert name in words
    assert "Completed" in words
    for artifact in ("night-grass", "night-report-grass"):
        assert artifact in words


def test_the_page_can_be_photographed(page, tmp_path):
    """The page is drawn: the run's graph, in colours, on more than an empty sheet."""
    picture = tmp_path / "night.png"
    browse(page[0], tmp_path, f"--screenshot={picture}", seconds=20)
    with Image.open(picture) as image:
        shades = np.asarray(image.convert("L"), dtype=float)
        if os.environ.get(REWRITE):
            image.convert("RGB").quantize(128).save(PICTURE, optimize=True)
    assert shades.std() > 10
