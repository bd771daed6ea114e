"""Everything that a run imports, for the process that the others are forked from."""

from __future__ import annotations

import gc
from importlib import import_module

import numpy as np

from anoclust_core.pairwise.cpu import nearest_distances_within

MODULES = (
    "flows.cluster",
    "flows.run",
    "helpers.processes",
    "anyio._backends._asyncio",
    "email.policy",
    "fastapi",
    "matplotlib.pyplot",
    "pandas.io.formats.csvs",
    "PIL.BmpImagePlugin",
    "PIL.JpegImagePlugin",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.telemetry.run_telemetry",
    "prefect.utilities.visualization",
    "pyarrow.parquet",
)
"""What a run imports at its start, and what libraries import when they are first used."""

for name in MODULES:
    import_module(name)

# compiles the kernel of image pairs, which every child would do again
nearest_distances_within(np.ones((2, 1, 1), np.float32))

gc.collect()
gc.freeze()  # a collection in a child would touch, and so copy, all that was imported here
