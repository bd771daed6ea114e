"""What a training will take, said before it begins: seconds by timing a few steps, bytes by what they keep."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from anoclust_core.benchmark.deep.building import Pretrained, build_method
from anoclust_core.benchmark.deep.settings import DeepSettings, IicSettings
from anoclust_core.benchmark.deep.training import DeepMethod
from anoclust_core.localization.training import torch_generator
from anoclust_core.memory.plan import MemoryPlan

PROBE_IMAGES: Final = 32
PROBE_IMAGES_LARGE: Final = 12
"""Made-up pictures that an epoch is timed on; fewer where a large network is trained from the start, as a step may need
more memory than there is. Twice as many as clusters where these are more."""

_FIXED: Final = 256 << 20
"""Engines that start, arenas of the allocator."""

_WORKSPACE: Final = 2
"""Gradients of what a step keeps, and room for a convolution to work in."""


@dataclass(frozen=True)
class Probe:
    """What an epoch of each phase took on a few made-up pictures.

    Attributes
    ----------
    n_images
        Pictures.
    bank_seconds
        To make the method ready: features of all views, for the methods that keep them.
    epoch_seconds
        Of one epoch, by phase; of IIC with one pair of views an image.
    step_bytes
        Most that a step keeps for its gradients.
    step_images
        Images in such a step.
    state_bytes
        Of all that is learnt or remembered.
    feature_bytes
        Of the features kept of an image, all views.
    """

    n_images: int
    bank_seconds: float
    epoch_seconds: tuple[float, ...]
    step_bytes: int
    step_images: int
    state_bytes: int
    feature_bytes: int


@dataclass(frozen=True)
class DeepPlan:
    """What training will take: seconds, and bytes as a plan that can be checked."""

    seconds: float
    memory: MemoryPlan


def probe(
    method: str,
    *,
    n_clusters: int,
    settings: DeepSettings,
    seed: int,
    device: str = "cpu",
    pretrained: Pretrained | None = None,
) -> Probe:
    """Make a method ready on a few made-up pictures, and time an epoch of each phase.

    Parameters
    ----------
    method, n_clusters, settings, seed, device, pretrained
        As `building.build_method` takes them. ``pretrained`` may have been trained a little afterwards where the
        settings say that the network is: it must not be used for anything else.

    Raises
    ------
    ConfigError
        As `building.build_method`.
    """
    is_large = isinstance(settings, IicSettings) and not settings.widths
    n_images = max(PROBE_IMAGES_LARGE if is_large else PROBE_IMAGES, 2 * n_clusters)
    probed = replace(settings, repeats=1) if isinstance(settings, IicSettings) else settings
    generator = torch_generator(seed, "probe")
    shape = (n_images, 3, settings.side, settings.side)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    began = time.perf_counter()
    built = build_method(
        method, pixels, n_clusters=n_clusters, settings=probed, seed=seed, device=device, pretrained=pretrained
    )
    bank_seconds = time.perf_counter() - began
    most, seconds = 0, []
    for phase in built.phases:
        began = time.perf_counter()
        built.begin(phase)
        built.module.train()
        most = max(most, _most_kept(built, phase, generator))
        built.clusters()
        seconds.append(time.perf_counter() - began)
    tensors = [*built.module.parameters(), *built.module.buffers()]
    return Probe(
        n_images=n_images,
        bank_seconds=bank_seconds,
        epoch_seconds=tuple(seconds),
        step_bytes=most,
        step_images=min(settings.batch, n_images),
        state_bytes=sum(tensor.nbytes for tensor in tensors),
        feature_bytes=built.feature_bytes // n_images,
    )


def planned(method: str, found: Probe, settings: DeepSettings, *, n_images: int) -> DeepPlan:
    """Say what training will take on so many images; seconds grow with images and epochs.

    Parameters
    ----------
    method
        Its name, for messages.
    found
        From `probe` with the same settings.
    settings
        Of the method.
    n_images
        Images to train on.
    """
    pairs = settings.repeats if isinstance(settings, IicSettings) else 1
    epochs = sum(phase.epochs * seconds for phase, seconds in zip(settings.phases, found.epoch_seconds, strict=True))
    seconds = (found.bank_seconds + pairs * epochs) * n_images / found.n_images
    step = found.step_bytes * pairs * min(settings.batch, n_images) // max(1, found.step_images)
    memory = MemoryPlan(
        stage=f"train {method}",
        parts={
            "pictures": n_images * 3 * settings.side**2,
            "features of varied views": 2 * n_images * found.feature_bytes,
            "a training step": _WORKSPACE * step,
            "weights and what the optimiser remembers": 8 * found.state_bytes,
            "all pairs of images": 16 * n_images**2,
            "the rest": _FIXED,
        },
        knob="benchmark fewer images, or leave --as-published out",
    )
    return DeepPlan(seconds, memory)


def _most_kept(built: DeepMethod, phase: Any, generator: torch.Generator) -> int:
    """Run the steps of an epoch with their gradients, without learning; gives the most bytes that one of them kept."""
    kept: dict[int, int] = {}
    most = 0

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for loss in built.steps(phase, generator):
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
            most = max(most, sum(kept.values()))
            kept.clear()
    return most
