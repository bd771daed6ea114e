from __future__ import annotations

import sys

import numpy as np
import torch

from benchmarks import gpu


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys) -> None:
    """Where torch sees no GPU the script says so and ends with an exit code of its own, not as if it had measured."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == gpu.NOTHING_MEASURED == 2
    told = capsys.readouterr()
    assert not told.out
    assert "sees no device cuda here: nothing was measured" in told.err


def test_the_script_runs_on_the_cpu_too(monkeypatch, capsys, tmp_path) -> None:
    """Every figure is printed for simulated features and for a file of them."""
    np.save(tmp_path / "tiles.npy", np.random.default_rng(0).standard_normal((4, 9, 5)).astype(np.float16))
    given = ["gpu", "--device", "cpu", "--quick", "--bags", str(tmp_path / "tiles.npy")]
    monkeypatch.setattr(sys, "argv", given)
    assert gpu.main() == 0
    told = capsys.readouterr().out
    assert "tiles.npy: 2 with 2 images, 9 x 5" in told
    assert told.count("share of the peak, array to array:") == told.count("largest difference to the CPU:") == 4
