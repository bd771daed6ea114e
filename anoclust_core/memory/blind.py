"""What recipe blind takes: training its VAE, and anomaly maps; its head, and descriptors."""

from __future__ import annotations

from typing import Final

from anoclust_core.memory.plan import FIXED, MIB, MemoryPlan

_OPTIMISERS: Final = 160 * MIB
"""Torch's compiler, which its optimisers import with their first step."""

_MAPPED: Final = 256 * MIB
"""Of a mapped file, while a head is trained: 64 KiB around each of 190 cells of 20 steps."""


def localize_plan(
    *, n_contents: int, n_patches: int, dim: int, sampled: int, batch: int, threads: int, at_once: int
) -> MemoryPlan:
    """Predict the peak of blind localisation.

    Parameters
    ----------
    n_contents
        Distinct images.
    n_patches, dim
        Of the feature maps.
    sampled
        Cells that the VAE is trained on.
    batch
        Cells a training step.
    threads
        Images whose maps are made side by side.
    at_once
        Images that are read together.
    """
    one = 4 * n_patches * dim
    training = {"sampled cells": 4 * sampled * dim, "a training step": 60 * 4 * batch * max(dim, 128)}
    making = {"residuals and ranks": (12 * one + (16 << 20)) * threads, "maps": 12 * n_contents * n_patches}
    larger = max(training, making, key=lambda parts: sum(parts.values()))
    return MemoryPlan(
        stage="localize",
        parts={
            "images being read": 4 * at_once * one,
            **larger,
            "torch's optimisers": _OPTIMISERS,
            "the rest": 4 * FIXED,
        },
        knob="lower --image-size, or use recipe sohn",
    )


def describe_plan(*, n_images: int, n_contents: int, n_patches: int, dim: int, threads: int) -> MemoryPlan:
    """Predict the peak of pooling around anomaly maps, and of training a head.

    While a head is trained, all feature maps are mapped from a file, and let go after some steps.

    Parameters
    ----------
    n_images, n_contents
        Clustered images, and distinct ones among them.
    n_patches, dim
        Of the feature maps.
    threads
        Images that are described side by side.
    """
    one = 4 * n_patches * dim
    return MemoryPlan(
        stage="describe",
        parts={
            "feature maps": min(n_contents * one // 2, _MAPPED) + 4 * 16 * one,
            "feature maps and their projections": threads * (8 * one + 12 * n_patches * 512),
            "maps and weights": 60 * n_images * n_patches,
            "distances between images": 24 * n_contents**2,
            "descriptors": 16 * n_images * max(dim, 512),
            "the rest": 4 * FIXED,
        },
        knob="lower --image-size, or use recipe sohn",
    )
