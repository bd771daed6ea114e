"""Where the distances of a block are computed: on the processor, or on the GPU of the worker that runs the block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.pairwise import cpu
from anoclust_core.pairwise.kernels.machine_code import keep_in
from anoclust_core.records import Window
from tasks.compute.kept_code import KeptCode, code_folder

GPU_FILES: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a GPU's driver brings along: NVIDIA's, the one of Windows' subsystem for Linux, AMD's."""

keep_in(KeptCode(code_folder()))

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


def nearest_distances_within(
    bags: NDArray[np.floating[Any]], *, device: str, window: Window | None = None
) -> NDArray[np.float32]:
    """`cpu.nearest_distances_within` on a device, or within a window; a GPU computes one block at a time."""
    if window is not None:
        from anoclust_core.pairwise import aligned

        with _side_by_side(device):
            return aligned.nearest_distances_within(bags, window=window, device=device)
    if device == "cpu":
        return cpu.nearest_distances_within(bags)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.nearest_distances_within(bags, device=device)


def mutual_nearest_distances(
    bags: NDArray[np.floating[Any]],
    others: NDArray[np.floating[Any]],
    *,
    device: str,
    window: Window | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`cpu.mutual_nearest_distances` on a device, or within a window; a GPU computes one block at a time."""
    if window is not None:
        from anoclust_core.pairwise import aligned

        with _side_by_side(device):
            return aligned.mutual_nearest_distances(bags, others, window=window, device=device)
    if device == "cpu":
        return cpu.mutual_nearest_distances(bags, others)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.mutual_nearest_distances(bags, others, device=device)


def nearest_distances(
    bags: NDArray[np.floating[Any]],
    references: NDArray[np.floating[Any]],
    *,
    device: str,
    window: Window | None = None,
) -> NDArray[np.float32]:
    """`cpu.nearest_distances` on a device, or within a window; a GPU computes one block at a time."""
    if window is not None:
        from anoclust_core.pairwise import aligned

        with _side_by_side(device):
            return aligned.nearest_distances(bags, references, window=window, device=device)
    if device == "cpu":
        return cpu.nearest_distances(bags, references)
    from anoclust_core.pairwise import gpu

    with _one_on_gpu:
        return gpu.nearest_distances(bags, references, device=device)


def mutual_nearest_and_mean_distances(
    bags: NDArray[np.floating[Any]],
    others: NDArray[np.floating[Any]],
    *,
    device: str,
    window: Window | None = None,
) -> cpu.MutualDistances:
    """`cpu.mutual_nearest_and_mean_distances`, or the same within a window, and only that on a device."""
    if window is None:
        return cpu.mutual_nearest_and_mean_distances(bags, others)
    from anoclust_core.pairwise import aligned

    with _side_by_side(device):
        return aligned.mutual_nearest_and_mean_distances(bags, others, window=window, device=device)


def nearest_and_mean_distances_within(
    bags: NDArray[np.floating[Any]], *, device: str, window: Window | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """`cpu.nearest_and_mean_distances_within`, or the same within a window, and only that on a device."""
    if window is None:
        return cpu.nearest_and_mean_distances_within(bags)
    from anoclust_core.pairwise import aligned

    with _side_by_side(device):
        return aligned.nearest_and_mean_distances_within(bags, window=window, device=device)


@contextmanager
def _side_by_side(device: str) -> Iterator[None]:
    """Let blocks be computed by torch one at a time on a GPU, and on one thread each on the processor."""
    if device != "cpu":
        with _one_on_gpu:
            yield
        return
    import torch

    torch.set_num_threads(1)  # for good: what follows in the process sets it as it needs it
    yield
