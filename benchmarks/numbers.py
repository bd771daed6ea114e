"""Number of clusters without labels on descriptors that other programs made: ``python -m benchmarks.numbers FOLDER``.

Every ``<category>.npz`` of the folder has ``labels`` and one array of descriptors or more, named by what rarity was
measured against, such as ``blind`` and ``normals``. The table is that of ``anoclust benchmark --ablation``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anoclust_core.benchmark.numbers import measure_numbers
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.benchmark.tables_auto import numbers_rows
from anoclust_core.evaluation.protocols import SOHN


def measure(folder: Path, seed: int) -> Iterator[tuple[str, Measurement]]:
    """Yield the rows of every category and array."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            labels = [str(label) for label in file["labels"]]
            described = {name: file[name].astype(np.float32) for name in file.files if name != "labels"}
        for name, descriptors in described.items():
            for row in measure_numbers(descriptors.__getitem__, labels, name, protocol=SOHN, seed=seed):
                yield path.stem, row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of descriptors, one file a category")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    asked = parser.parse_args()
    measured = list(measure(asked.folder, asked.seed))
    if not measured:
        parser.error(f"{asked.folder} has no file *.npz")
    print(numbers_rows(measured, f"Descriptors of {asked.folder.name}, not smoothed, Ward.").markdown())


if __name__ == "__main__":
    main()
