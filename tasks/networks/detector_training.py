"""What training a detector is asked for and fed with, whichever program trains it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anoclust_core.config import DEFAULT_BACKBONE
from anoclust_core.errors import ConfigError
from anoclust_core.memory.images import training_plan
from anoclust_core.memory.plan import MemoryPlan
from tasks.stores.addresses import with_home

METHODS: Final = ("patchcore", "padim", "cfa", "draem")

CFA_BACKBONES: Final = ("wide_resnet50_2", "resnet18")
"""Backbones that anomalib's CFA has and whose weights timm names alike; the first is the paper's."""

TEXTURES: Final = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "rocket")
"""Pictures that come with scikit-image: what DRAEM pastes where no folder of textures is given."""

MOST_PATCHES: Final = 50_000
"""Patches that PatchCore's coreset is chosen from: anomalib takes all of them, which takes hours on a CPU from a few
hundred pictures on. A random part stands for them."""

CORESET: Final = 0.1
"""Part of the patches that PatchCore remembers, as published."""

MOST_GAUSSIAN_IMAGES: Final = 400
"""Pictures that PaDiM's Gaussians are fitted to: it holds the features of all of them at a time."""

PADIM_FEATURES: Final = 100
"""Features that PaDiM draws, as published for ResNet-18."""

_WIDEST: Final = 1536
"""Numbers of a patch that PatchCore remembers: of WideResNet-50, the widest that is usual."""

_PIXEL_BYTES, _DRAEM_PIXEL_BYTES, _NETWORK_BYTES = 2_000, 12_000, 1_600 << 20
"""What a step computes, for each pixel of a batch, and weights with what optimisers keep of them."""

BATCH: Final = 4
"""Pictures of one step."""


@dataclass(frozen=True)
class DetectorTraining:
    """What is trained, and how.

    Attributes
    ----------
    method
        One of `METHODS`.
    backbone
        Network whose features are looked at; DRAEM has none.
    checkpoint
        File with its weights; None takes those that are installed or that timm has.
    side
        Side in pixels of the square that the detector sees.
    steps
        Optimiser steps of CFA and DRAEM.
    textures
        Folder of pictures that DRAEM pastes; None takes those of scikit-image.
    seed
        Of every random draw.
    """

    method: str
    backbone: str
    checkpoint: str | None
    side: int
    steps: int
    textures: str | None
    seed: int


def backbone_of(method: str, asked: str) -> str:
    """Backbone of a method: the one asked for, or the method's own where that is only the default.

    Raises
    ------
    ConfigError
        If the method cannot take it.
    """
    if method == "draem":
        return ""
    if method != "cfa":
        return asked
    backbone = CFA_BACKBONES[0] if asked == DEFAULT_BACKBONE else asked
    if backbone not in CFA_BACKBONES:
        raise ConfigError(f"cfa takes --backbone {' or '.join(CFA_BACKBONES)}; found {asked!r}")
    return backbone


def training_memory(training: DetectorTraining, n_images: int) -> MemoryPlan:
    """Predict the peak of training on so many pictures."""
    pixels = training.side**2
    kept = {
        "patchcore": 3 * 4 * _WIDEST * min(MOST_PATCHES, n_images * pixels // 64),
        "padim": 3 * 4 * PADIM_FEATURES * min(MOST_GAUSSIAN_IMAGES, n_images) * pixels // 16,
        "cfa": 2 * 4 * 3 * n_images * pixels,
    }
    each = _DRAEM_PIXEL_BYTES if training.method == "draem" else _PIXEL_BYTES
    return training_plan(
        picture_bytes=3 * pixels * n_images,
        kept_bytes=kept.get(training.method, 0),
        network_bytes=_NETWORK_BYTES + each * BATCH * pixels,
    )


class Batches:
    """Training pictures a few at a time, normalised, on the device."""

    def __init__(self, pictures: NDArray[np.uint8], mean: Tensor, std: Tensor, device: str) -> None:
        self.pictures, self.mean, self.std, self.device = pictures, mean, std, device

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, rows: Sequence[int]) -> Tensor:
        """Some pictures."""
        batch = torch.from_numpy(self.pictures[list(rows)]).permute(0, 3, 1, 2).float() / 255
        return ((batch - self.mean) / self.std).to(self.device)

    def once(self, n_images: int | None = None) -> Iterator[Tensor]:
        """Every picture once, or so many of them at random."""
        order = list(range(len(self)))
        if n_images is not None and n_images < len(self):
            order = torch.randperm(len(self))[:n_images].tolist()
        for start in range(0, len(order), BATCH):
            yield self.of(order[start : start + BATCH])

    def endless(self) -> Iterator[Tensor]:
        """Batches in an order that changes with every pass."""
        while True:
            order = torch.randperm(len(self)).tolist()
            for start in range(0, len(order), BATCH):
                yield self.of(order[start : start + BATCH])


@contextmanager
def textures_in(folder: str | None) -> Iterator[Path]:
    """Folder with pictures to paste."""
    if folder is not None:
        path = with_home(folder)
        if not path.is_dir():
            raise ConfigError(f"--textures {folder} is not a folder; give one with pictures, or omit it")
        yield path
        return
    from skimage import data

    with tempfile.TemporaryDirectory(prefix="anoclust-textures-") as made:
        for name in TEXTURES:
            Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB").save(Path(made) / f"{name}.png")
        yield Path(made)
