"""The README's code is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np


def test_library_example_runs(capsys):
    """The library's ten lines run on features and labels, and print scores."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    features = np.random.default_rng(0).normal(size=(12, 9, 5))
    exec(code, {"features": features, "labels": [number % 6 for number in range(12)]})
    assert "Scores(nmi=" in capsys.readouterr().out
