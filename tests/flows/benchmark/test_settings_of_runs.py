"""Settings that runs follow and the papers know nothing of: the benchmark is measured without them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.builders import mvtec_category, tiny_config

from anoclust_core.config import RunConfig
from flows.benchmark import run as benchmark
from flows.benchmark.request import BenchmarkRequest

REQUEST = BenchmarkRequest("sohn", ("1", "ardelean-1", "ardelean-3"), (), n_subsets=2, backbones=())


def measured_with(config: RunConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Settings that the benchmark's flow is given for both papers, where a user has these."""
    data = mvtec_category(folder / "data" / "nut", {"test/good": 3, "test/hole": 3}).parent
    given: list[RunConfig] = []

    def flow(_paths, _store, jobs, blind, _request, out) -> str:
        given.extend([*(job.config for job in jobs), blind.config, blind.reference.config])
        return out

    monkeypatch.setattr(benchmark, "with_prefect", lambda _: nullcontext())
    monkeypatch.setattr("flows.benchmark.flow.benchmark", flow)
    benchmark.run_benchmark([data], folder / "store", config, REQUEST, folder / "out")
    assert len(given) == 3
    return given


def test_images_are_rows_whatever_runs_cluster(checkpoint, tmp_path, monkeypatch):
    """With --by part in the settings the benchmark still describes and scores every image."""
    config = tiny_config(checkpoint, by="part", part="path:*/{part}")
    assert {one.group.by for one in measured_with(config, tmp_path, monkeypatch)} == {"image"}


def test_the_detector_of_runs_is_not_asked(checkpoint, tmp_path, monkeypatch):
    """No row follows the detector that runs are weighted by: images are not shown to it, and it need not be there."""
    config = tiny_config(checkpoint, weights=f"detector:{tmp_path / 'of other categories.onnx'}")
    assert {one.weigh.weights for one in measured_with(config, tmp_path, monkeypatch)} == {"rarity"}
