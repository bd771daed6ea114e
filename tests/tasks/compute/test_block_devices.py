"""Where a worker computes its blocks, and that it does not matter for what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.builders import digest, unit_bags

from anoclust_core.embedding import extraction
from anoclust_core.errors import ConfigError
from anoclust_core.pairwise import gpu
from tasks.compute import pair_device
from tasks.compute.dask_jobs import run_jobs
from tasks.compute.pair_blocks import compute_block
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.nearest import NearestSlabs, WantedPairs

HASHES = [digest(f"image {number}") for number in range(8)]
N_PATCHES = 6

ON_TORCH = "cpu:0"
"""Name of the processor that only torch uses: stands for a GPU."""


@pytest.fixture(autouse=True)
def _chosen_again():
    """Let every test choose for itself."""
    pair_device.choose_worker_device.cache_clear()
    yield
    pair_device.choose_worker_device.cache_clear()


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    segments = EmbeddingSegments(tmp_path_factory.mktemp("devices") / "embeddings")
    bags = unit_bags(len(HASHES), N_PATCHES)
    bags[3, :4] = bags[2, 0]
    segments.append(HASHES, bags)
    return segments.folder


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the machine has a GPU's driver."""
    file = tmp_path / "driver"
    file.touch()

    def say(there: bool) -> None:
        monkeypatch.setattr(pair_device, "GPU_FILES", (str(file if there else tmp_path / "none"),))

    return say


def test_without_a_driver_torch_is_not_asked(driver, monkeypatch) -> None:
    """A worker without a GPU computes on its cores, and does not import torch to find out."""
    driver(False)
    monkeypatch.setattr(extraction, "choose_device", None)
    assert pair_device.choose_worker_device("auto") == "cpu"
    driver(True)
    assert pair_device.choose_worker_device("cpu") == "cpu"


@pytest.mark.parametrize(("n_gpus", "found"), [(0, "cpu"), (2, "cuda")])
def test_with_a_driver_auto_is_what_torch_sees(driver, monkeypatch, n_gpus: int, found: str) -> None:
    """A driver alone is no GPU that torch can use; one that it sees is taken."""
    driver(True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    assert pair_device.choose_worker_device("auto") == found


def test_a_gpu_that_is_asked_for_must_be_there(driver, monkeypatch, embeddings, tmp_path) -> None:
    """A worker without the GPU that was asked for says so, and computes nothing on its cores instead."""
    driver(False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = NearestSlabs(tmp_path / "slabs").plan(WantedPairs(HASHES), embeddings, N_PATCHES, 4, device="cuda:1")
    with pytest.raises(ConfigError, match="--device cuda:1: torch sees 0 CUDA devices here; use --device cpu or auto"):
        run_jobs(compute_block, plan.blocks, address=None, on_done=lambda *_: None)


def stored(
    folder: Path, embeddings: Path, pairs: WantedPairs, device: str, *, side: int = 3
) -> tuple[NearestSlabs, np.ndarray]:
    """Slabs and distances that blocks write on a device."""
    slabs = NearestSlabs(folder)
    plan = slabs.plan(pairs, embeddings, N_PATCHES, side, device=device)
    plan.create()
    for block in plan.blocks:
        compute_block(block)
        plan.block_done(block)
    rows, columns = [*pairs.mutual, *pairs.rows], pairs.mutual or pairs.columns
    return slabs, np.concatenate([part for _, part in slabs.read(rows, columns)])


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(WantedPairs(mutual=HASHES), id="mutual"),
        pytest.param(WantedPairs(rows=HASHES[:5], columns=HASHES[5:]), id="one direction"),
        pytest.param(WantedPairs(rows=HASHES[:5], columns=HASHES[5:], both_ways=True), id="both ways"),
        pytest.param(WantedPairs(mutual=HASHES, with_means=True), id="means"),
    ],
)
def test_what_is_stored_does_not_depend_on_the_device(tmp_path, monkeypatch, embeddings, pairs: WantedPairs) -> None:
    """Blocks on a torch device write what others do, up to half precision's last digit, and the same zeros."""
    monkeypatch.setattr(pair_device, "choose_worker_device", lambda device: device)
    ours, on_torch = stored(tmp_path / "torch", embeddings, pairs, ON_TORCH)
    plain, on_cores = stored(tmp_path / "plain", embeddings, pairs, "cpu")
    np.testing.assert_array_max_ulp(on_torch, on_cores, maxulp=1)
    np.testing.assert_array_equal(on_torch == 0, on_cores == 0)
    if pairs.with_means:
        np.testing.assert_array_equal(ours.read_means(HASHES), plain.read_means(HASHES))


@pytest.mark.parametrize(
    ("name", "groups"),
    [("nearest_distances_within", 1), ("nearest_distances", 2), ("mutual_nearest_distances", 2)],
)
def test_one_block_at_a_time_is_on_the_gpu(monkeypatch, name: str, groups: int) -> None:
    """However many threads read and write for a GPU, one computes there."""
    here = most = 0

    def compute(*bags: np.ndarray, device: str) -> tuple[str, int]:
        nonlocal here, most
        here += 1
        most = max(most, here)
        time.sleep(0.01)
        here -= 1
        return device, len(bags)

    monkeypatch.setattr(gpu, name, compute)
    bags = unit_bags(2)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(getattr(pair_device, name), *[bags] * groups, device="cuda:1") for _ in range(12)]
    assert [job.result() for job in jobs] == [("cuda:1", groups)] * 12
    assert most == 1
