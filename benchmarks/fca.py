"""An anomaly map of 512 x 64 x 64 features: shared comparisons against sorting every window, one thread each."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from anoclust_core.localization.fca import anomaly_map
from anoclust_core.localization.fca_torch import anomaly_map_on_device
from benchmarks.timing import in_turns, tell

sys.path.append(str(Path(__file__).parents[1] / "tests" / "anoclust_core" / "localization"))
from fca_reference import map_by_sorting  # the tests' reference is the benchmark's

SHAPE = (512, 64, 64)


def main() -> None:
    """Print the figures for features as a ReLU leaves them, half of them 0, and for residuals, none of them 0."""
    normal = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    for name, features in {"ReLU features": np.maximum(normal, 0), "signed residuals": normal}.items():
        sys.stdout.write(f"\n{name}, {' x '.join(map(str, SHAPE))}, one thread; ratio to shared comparisons\n")
        on_device = torch.from_numpy(features)
        ways = {
            "shared comparisons": lambda features=features: anomaly_map(features),
            "the same in torch": lambda on_device=on_device: anomaly_map_on_device(on_device),
            "one stable sort, scatter": lambda features=features: map_by_sorting(features, dtype=torch.float32),
            "two sorts": lambda features=features: map_by_sorting(features, two_sorts=True, dtype=torch.float32),
        }
        tell(in_turns(ways), against="shared comparisons")
        off = np.abs(anomaly_map(features) - map_by_sorting(features)).max()
        sys.stdout.write(f"largest difference to one stable sort in double precision: {off:.1e}\n")


if __name__ == "__main__":
    main()
