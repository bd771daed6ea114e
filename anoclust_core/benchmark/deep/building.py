"""A method from its name: its network, its views, its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from anoclust_core.arrays import told
from anoclust_core.benchmark.deep.gatcluster import GatCluster
from anoclust_core.benchmark.deep.iic import Iic
from anoclust_core.benchmark.deep.networks import (
    SMALLEST_SIDE,
    ConvNet,
    PooledBackbone,
    PooledConvNet,
    random_backbone,
    sobel_edges,
)
from anoclust_core.benchmark.deep.scan import Scan
from anoclust_core.benchmark.deep.settings import (
    GATCLUSTER,
    IIC,
    PUBLISHED_BACKBONE,
    SCAN,
    SPICE,
    DeepSettings,
    GatSettings,
    IicSettings,
    SpiceSettings,
)
from anoclust_core.benchmark.deep.sources import FeatureBank, Pictures, fill_bank
from anoclust_core.benchmark.deep.spice import Spice
from anoclust_core.benchmark.deep.training import DeepMethod
from anoclust_core.benchmark.deep.views import COLOURED, CONTRASTED, CROPPED, STRONG, TURNED, WEAK
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.training import torch_generator

TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {IIC: "IIC", GATCLUSTER: "GATCluster", SCAN: "SCAN", SPICE: "SPICE"}
)
"""Names in the papers' tables by the names that are asked for."""

SMALL_FEATURES: Final = 64
"""Features an image by IIC's small network."""

ATTENDED_CHANNELS: Final = 10
"""Channels of the map that GATCluster attends to, as published."""

_MIDDLE, _SPREAD = 0.5, 0.25


class Pretrained:
    """A network with ImageNet weights, and how its pictures are normalised.

    Parameters
    ----------
    model
        A timm model.
    mean, std
        Of values in [0, 1], by channel.
    """

    def __init__(self, model: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.network = PooledBackbone(model)
        self._mean, self._std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))

    def prepare(self, images: Tensor) -> Tensor:
        """Normalise pictures in [0, 1]."""
        prepared = (images - self._mean.to(images.device)) / self._std.to(images.device)
        return prepared.contiguous(memory_format=torch.channels_last)


def needs_pretrained(method: str) -> bool:
    """Whether a method starts from ImageNet weights."""
    return method in (SCAN, SPICE)


def build_method(
    method: str,
    pixels: Tensor,
    *,
    n_clusters: int,
    settings: DeepSettings,
    seed: int,
    device: str = "cpu",
    pretrained: Pretrained | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DeepMethod:
    """Make a method ready for `training.train_deep`; SCAN and SPICE compute the features of all views here.

    Parameters
    ----------
    method
        A key of `TITLES`.
    pixels
        Shape ``(n_images, 3, side, side)``, uint8, ``side`` as the settings say; more images than clusters.
    n_clusters
        Clusters to find, from 2.
    settings
        Of the method.
    seed
        Of weights and views.
    device
        Torch device.
    pretrained
        For SCAN and SPICE.
    progress
        Is given images whose views are computed, and all.

    Raises
    ------
    ArrayContractError
        If the pixels are of another kind or size, or there are too few images.
    ConfigError
        If there are fewer than two clusters, or pictures are too small for the network.
    """
    _check(method, pixels, n_clusters, settings)
    weights, views = torch_generator(seed, f"{method} weights"), torch_generator(seed, f"{method} views")
    if isinstance(settings, IicSettings):
        source = Pictures(pixels, CROPPED, COLOURED, sobel_edges, device)
        network, dim = _iic_network(settings, weights)
        iic = Iic(source, network, dim=dim, n_clusters=n_clusters, settings=settings, random=weights)
        return _placed(iic, device)
    if isinstance(settings, GatSettings):
        source = Pictures(pixels, WEAK, TURNED, _grey, device)
        network = ConvNet(1, settings.widths, ATTENDED_CHANNELS, random=weights).to(device)
        gatcluster = GatCluster(source, network, n_clusters=n_clusters, settings=settings, random=weights)
        return _placed(gatcluster, device)
    if pretrained is None:
        raise ConfigError(f"{TITLES[method]} starts from ImageNet weights; none were given")
    network = pretrained.network.to(device).to(memory_format=torch.channels_last)

    def bank(weak: Pictures) -> FeatureBank:
        return fill_bank(network, weak, n_views=settings.n_views, generator=views, progress=progress)

    if isinstance(settings, SpiceSettings):
        found = bank(Pictures(pixels, WEAK, STRONG, pretrained.prepare, device))
        return _placed(Spice(found, n_clusters=n_clusters, settings=settings, random=weights), device)
    source = Pictures(pixels, CONTRASTED, STRONG, pretrained.prepare, device)
    tuned = (Pictures(pixels, WEAK, STRONG, pretrained.prepare, device), network) if settings.tunes_network else None
    scan = Scan(bank(source), n_clusters=n_clusters, settings=settings, random=weights, tuned=tuned)
    return _placed(scan, device)


def _iic_network(settings: IicSettings, random: torch.Generator) -> tuple[nn.Module, int]:
    """Network on edges, and the length of its features."""
    if settings.widths:
        return PooledConvNet(2, settings.widths, SMALL_FEATURES, random=random), SMALL_FEATURES
    network = random_backbone(PUBLISHED_BACKBONE, 2, random=random)
    return network, int(network.num_features)  # type: ignore[arg-type]  # timm's own, untyped


def _grey(images: Tensor) -> Tensor:
    """Brightness alone, as [GAT20] sees ImageNet."""
    return (images.mean(dim=1, keepdim=True) - _MIDDLE) / _SPREAD


def _placed(method: DeepMethod, device: str) -> DeepMethod:
    method.module.to(device)
    return method


def _check(method: str, pixels: Tensor, n_clusters: int, settings: DeepSettings) -> None:
    if n_clusters < 2:
        raise ConfigError(f"{TITLES[method]} finds from 2 clusters on; found {n_clusters}")
    expected = (3, settings.side, settings.side)
    is_stack = isinstance(pixels, Tensor) and pixels.ndim == 4 and pixels.dtype == torch.uint8
    if not is_stack or tuple(pixels.shape[1:]) != expected or len(pixels) <= n_clusters:
        raise ArrayContractError(
            f"{TITLES[method]} needs more than {n_clusters} pictures of shape {expected}, uint8; found {told(pixels)}"
        )
    if getattr(settings, "widths", ()) and settings.side < SMALLEST_SIDE:
        raise ConfigError(f"the small network takes pictures from {SMALLEST_SIDE} px on; found {settings.side}")
