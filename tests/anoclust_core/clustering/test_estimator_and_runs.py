"""`AnomalyClusterer` and `anoclust run` are one method: the same clusters of the demo's images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, tiny_config

from anoclust_core.clustering import AnomalyClusterer
from flows.run import run_data
from tasks.datasets.demo import write_demo
from tasks.datasets.loading import load_backbone, load_images

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the demo's images."""
    return write_demo(tmp_path_factory.mktemp("demo")).root


def in_a_runs_order(folder: Path) -> list[Path]:
    """Images below a folder by the hashes of their files, as runs take them."""
    return sorted(folder.rglob("*.png"), key=lambda path: hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(("category", "normals"), [("brick", "auto"), ("gravel", "none")])
def test_the_clusters_are_those_of_a_run(
    category: str, normals: str, demo: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Every image of the demo has the same cluster by the estimator as by a run, with known normals and without."""
    config = tiny_config(checkpoint, n_clusters="1:40", normals=normals)
    (outcome,) = run_data(demo, tmp_path, config, categories=[category])
    assert outcome.run is not None
    rows = pd.read_csv(outcome.run / "assignments.csv")
    of_run = dict(zip(rows["path"], rows["cluster"], strict=True))

    root = demo / category
    paths = in_a_runs_order(root / "test")
    backbone = load_backbone(TINY_BACKBONE, checkpoint=str(checkpoint), image_size=TINY_SIDE, device="cpu")
    known = load_images(in_a_runs_order(root / "train")) if normals == "auto" else None
    fitted = AnomalyClusterer(backbone, n_clusters=(1, 40)).fit(load_images(paths), normals=known)

    assert len(of_run) == len(paths) == 72
    expected = np.array([of_run[path.relative_to(root).as_posix()] for path in paths])
    np.testing.assert_array_equal(fitted.labels_, expected)
    assert fitted.criterion_ == outcome.summary["n_clusters_rule"]
    score = rows.set_index("path")["anomaly_score"].reindex([path.relative_to(root).as_posix() for path in paths])
    np.testing.assert_allclose(fitted.rarity_.max(axis=1), score, rtol=1e-3)
