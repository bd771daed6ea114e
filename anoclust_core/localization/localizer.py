"""All that a set of images has taught recipe blind: it describes later images as it described these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anoclust_core.localization.cells import scale_channels
from anoclust_core.localization.checks import check_feature_map
from anoclust_core.localization.contrastive import ProjectionHead, project
from anoclust_core.localization.fca import anomaly_map
from anoclust_core.localization.fca_torch import anomaly_map_on_device
from anoclust_core.localization.maps import descriptor, finish_maps
from anoclust_core.localization.vae import FeatureVae, residual_maps


def raw_map(features: NDArray[np.floating[Any]], vae: FeatureVae | None, *, device: str = "cpu") -> NDArray[np.float32]:
    """Anomaly map of one image, from what a VAE leaves of it or from the features themselves.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite, sides of at least 7 cells, in any unit: they are scaled.
    vae
        From `vae.load_vae`; None for the features themselves.
    device
        Torch device that the map is made on.

    Returns
    -------
    anomaly_map
        Shape ``(height, width)``, float32, >= 0, in parts of each channel's range, before `maps.finish_maps`.

    Raises
    ------
    ArrayContractError
        As `vae.residual_maps` and `fca.anomaly_map`.
    """
    checked = check_feature_map(features)
    left = residual_maps(vae, checked[None])[0] if vae is not None else scale_channels(checked)
    if device.startswith("cuda"):
        found: NDArray[np.float32] = anomaly_map_on_device(torch.from_numpy(left).to(device)).cpu().numpy()
        return found
    return anomaly_map(left)


@dataclass(frozen=True)
class Localizer:
    """What is learnt of a set of images, frozen: an image is described by it alone, whatever came with it.

    Attributes
    ----------
    vae, head
        None where there is none.
    field
        Shape ``(height, width)``, float32: what is usual at each place, `maps.flat_field`; 0 where nothing is.
    border
        Part of each side that is hidden.
    tau
        Temperature of the descriptors' weights, in the unit of the maps.
    threshold
        Value of a finished map above which the head's training took a cell for anomalous; None where there was none.
    """

    vae: FeatureVae | None
    head: ProjectionHead | None
    field: NDArray[np.float32]
    border: float
    tau: float
    threshold: float | None

    def describe(
        self, features: NDArray[np.floating[Any]], *, device: str = "cpu"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Finished anomaly map ``(height, width)`` and descriptor ``(dim,)`` of one image, both float32.

        Raises
        ------
        ArrayContractError
            As `raw_map`, or if the features are not of this localizer's size.
        """
        found = raw_map(features, self.vae, device=device)
        (finished,) = finish_maps(found[None], border=self.border, field=self.field)
        return finished, self.pooled(features, finished)

    def pooled(self, features: NDArray[np.floating[Any]], finished: NDArray[np.float32]) -> NDArray[np.float32]:
        """Descriptor ``(dim,)`` of one image around a finished map: of the head's features, if there is a head."""
        values = project(self.head, features) if self.head is not None else features
        return descriptor(values, finished, tau=self.tau)
