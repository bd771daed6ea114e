"""Where the distances of a block are computed: on the processor, or on the GPU of the worker that runs the block."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise import cpu

GPU_FILES: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a GPU's driver brings along: NVIDIA's, the one of Windows' subsystem for Linux, AMD's."""

_one_on_gpu = Lock()
"""Many threads read and write for a GPU; its memory is planned for one block."""


@cache
def choose_worker_device(wanted: str) -> str:
    """Torch device of this process for ``auto``, ``cpu``, ``cuda`` or ``cuda:INDEX``.

    Torch is asked only where there may be a GPU: importing it takes a worker seconds and hundreds of MiB.

    Raises
    ------
    ConfigError
        If CUDA is asked for and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not any(Path(file).exists() for file in GPU_FILES)):
        return "cpu"
    from anoclust_core.embedding.extraction import choose_device

    return choose_device(wanted)


def nearest_distances_within(bags: NDArray[np.floating[Any]], *, device: str) -> NDArray[np.float32]:
    """`cpu.nearest_distances_within` on a device; a GPU computes one block at a time."""
    if device == "cpu":
        return cpu.nearest_distances_within(bags)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.nearest_distances_within(bags, device=device)


def mutual_nearest_distances(
    bags: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]], *, device: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`cpu.mutual_nearest_distances` on a device; a GPU computes one block at a time."""
    if device == "cpu":
        return cpu.mutual_nearest_distances(bags, others)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.mutual_nearest_distances(bags, others, device=device)


def nearest_distances(
    bags: NDArray[np.floating[Any]], references: NDArray[np.floating[Any]], *, device: str
) -> NDArray[np.float32]:
    """`cpu.nearest_distances` on a device; a GPU computes one block at a time."""
    if device == "cpu":
        return cpu.nearest_distances(bags, references)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.nearest_distances(bags, references, device=device)
