"""What recipe blind has learnt of a set of images, at rest: nights describe new images by it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch

from anoclust_core.errors import DamagedError
from anoclust_core.localization.contrastive import load_head
from anoclust_core.localization.localizer import Localizer
from anoclust_core.localization.training import TrainingState
from anoclust_core.localization.vae import load_vae
from anoclust_core.localization.variants import VARIANTS, BlindVariant
from tasks.stores import arrays
from tasks.stores.training import STATE, by_name, in_a_row

_FIELD: Final = "field"
_VAE, _HEAD = "vae/", "head/"


def write_localizer(folder: Path, localizer: Localizer, *, variant: BlindVariant) -> None:
    """Write a localizer into a folder of its own: its weights and flat field as one array, and what they mean."""
    tensors = {_FIELD: localizer.field}
    for prefix, network in ((_VAE, localizer.vae), (_HEAD, localizer.head)):
        if network is not None:
            weights = network.named_parameters()
            tensors |= {f"{prefix}model/{name}": weight.detach().cpu().numpy() for name, weight in weights}
    flat, shapes = in_a_row(tensors)
    told = {"variant": variant.name, "border": localizer.border, "tau": localizer.tau, "threshold": localizer.threshold}
    arrays.write_arrays(folder, {STATE: flat}, {"tensors": shapes, **told})


def read_localizer(folder: Path, *, device: str) -> Localizer:
    """Read what `write_localizer` wrote.

    Raises
    ------
    DamagedError
        If it is gone or damaged.
    """
    told = arrays.describe(folder)
    if told is None:
        raise DamagedError(f"{folder} is gone, and new images cannot be described without it", folder)
    tensors = by_name(arrays.read(folder, STATE), told["tensors"])
    vae, head = (_state(tensors, prefix) for prefix in (_VAE, _HEAD))
    return Localizer(
        vae=load_vae(vae, variant=VARIANTS[told["variant"]], device=device) if vae else None,
        head=load_head(head, device=device) if head else None,
        field=tensors[_FIELD],
        border=told["border"],
        tau=told["tau"],
        threshold=told["threshold"],
    )


def _state(tensors: dict[str, np.ndarray], prefix: str) -> TrainingState | None:
    """Weights of one network; None where there are none."""
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return TrainingState(0, {name: torch.from_numpy(np.array(value)) for name, value in own.items()}) if own else None
