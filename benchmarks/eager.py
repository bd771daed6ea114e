"""The reference of embedding: timm's network as it comes, in a process that does nothing else.

In the stage's own process the same network was seen at two speeds, 131 and 82 images a second, each for the whole
process: by what was freed before, glibc gives large buffers back to the kernel or keeps them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from anoclust_core.embedding.backbones import build_extractor
from anoclust_core.records import EmbeddingSpec
from tasks.networks.checkpoints import load_state_dict

_KEEP_BUFFERS: Final = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""Settings of glibc with which the slow state was never seen."""

_BATCH, _N_IMAGES, _UP_TO_FEATURES = int, int, bool
_Asked = tuple[_BATCH, _N_IMAGES, _UP_TO_FEATURES]


class EagerProcess:
    """A process that passes prepared images through a network, in channels-last float32, on all cores."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def forward(self, *, batch: int, n_images: int, up_to_features: bool = True) -> Callable[[], float]:
        """What passes the first images once when it is called, and gives the processor time of that in seconds."""

        def passed() -> float:
            self._connection.send((batch, n_images, up_to_features))
            spent: float = self._connection.recv()
            return spent

        return passed


@contextmanager
def eager_process(spec: EmbeddingSpec, prepared: Path) -> Iterator[EagerProcess]:
    """Start one for the images of a file, shape ``(n, 3, side, side)``, float32; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with patch.dict(os.environ, _KEEP_BUFFERS):
        process = context.Process(target=_serve, args=(theirs, spec, prepared), daemon=True)
        process.start()
    theirs.close()  # or nobody is told when the process dies
    try:
        yield EagerProcess(ours)
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection, spec: EmbeddingSpec, prepared: Path) -> None:
    images = torch.from_numpy(np.load(prepared))
    extractor = build_extractor(spec, load_state_dict(spec.backbone, spec.timm_model, None))
    extractor = extractor.to(memory_format=torch.channels_last)
    batches: dict[_Asked, list[Tensor]] = {}
    with torch.inference_mode():
        while True:
            try:
                asked: _Asked = connection.recv()
            except EOFError:
                return
            batch, n_images, up_to_features = asked
            if asked not in batches:
                parts = images[:n_images].split(batch)
                batches[asked] = [part.contiguous(memory_format=torch.channels_last) for part in parts]
            start = time.process_time()
            for part in batches[asked]:
                if up_to_features:
                    extractor(part)
                else:
                    extractor.model.forward_features(part)  # type: ignore[operator]
            connection.send(time.process_time() - start)
