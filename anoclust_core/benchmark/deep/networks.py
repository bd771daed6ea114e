"""What is trained: small convolutional networks, heads that cluster, and the Gaussian attention of GATCluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from anoclust_core.arrays import checked_grid, checked_tensor, told
from anoclust_core.embedding.architectures import timm
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.training import linear

ATTENTION_SHARPNESS: Final = 0.05
"""Lambda of [GAT20] equation (9): variance of the attention at a width of 1, in sides of the feature map."""

CONVOLUTIONS_A_BLOCK: Final = 3
SMALLEST_SIDE: Final = 112
"""Pixels: below it nothing is left of a picture behind three blocks and the last two convolutions."""

_SOBEL: Final = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class ConvNet(nn.Module):
    """Small network of [GAT20] for ImageNet-10, from random weights.

    Blocks of three 3 x 3 convolutions without padding and a maximum over 2 x 2 between them; then two more of 3 x 3 and
    a last one of 1 x 1. Batch normalisation and ReLU follow each. Published: widths 64, 128, 256; 128 px give 6 x 6
    cells.

    Parameters
    ----------
    channels, widths, out
        Channels of the input, of each block, and of the feature map.
    random
        Draws the initial weights.
    """

    def __init__(self, channels: int, widths: Sequence[int], out: int, *, random: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for width in widths:
            for _ in range(CONVOLUTIONS_A_BLOCK):
                layers += _convolution(before, width, 3, random)
                before = width
            layers.append(nn.MaxPool2d(2))
        for width, side in ((before, 3), (before, 3), (out, 1)):
            layers += _convolution(before, width, side, random)
            before = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Shape ``(n, channels, height, width)`` to the feature map ``(n, out, rows, columns)``."""
        found: Tensor = self.layers(images)
        return found


class PooledConvNet(nn.Module):
    """`ConvNet` with the mean of its feature map: one vector an image.

    Parameters
    ----------
    channels, widths, out, random
        As `ConvNet` has them.
    """

    def __init__(self, channels: int, widths: Sequence[int], out: int, *, random: torch.Generator) -> None:
        super().__init__()
        self.features = ConvNet(channels, widths, out, random=random)

    def forward(self, images: Tensor) -> Tensor:
        """Shape ``(n, channels, height, width)`` to ``(n, out)``."""
        found: Tensor = self.features(images).mean(dim=(2, 3))
        return found


def random_backbone(timm_model: str, channels: int, *, random: torch.Generator) -> nn.Module:
    """Architecture of timm with random weights and pooled features, without touching the global generator.

    Raises
    ------
    ConfigError
        If timm has no such model, or it cannot take that many channels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 62, (), generator=random)))
        try:
            model: nn.Module = timm.create_model(timm_model, pretrained=False, num_classes=0, in_chans=channels)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"timm cannot build {timm_model!r} for {channels} channels: {error}") from error
    return model


class PooledBackbone(nn.Module):
    """A timm model with its own pooling in front of the classifier: one vector an image.

    Parameters
    ----------
    model
        With ``forward_features`` and ``forward_head``, as `anoclust_core.embedding.backbones.build_extractor` holds it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Shape ``(n, 3, height, width)`` to ``(n, dim)``."""
        model: Any = self.model
        found: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
        return found


class ClusterHeads(nn.Module):
    """Several heads side by side that cluster the same features, each from weights of its own.

    Parameters
    ----------
    dim, n_clusters, n_heads
        Length of the features, clusters of each head, and heads.
    hidden
        Width of a layer with ReLU in between; None for a single linear layer.
    random
        Draws the initial weights.
    """

    def __init__(
        self, dim: int, n_clusters: int, n_heads: int, *, hidden: int | None = None, random: torch.Generator
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(linear(dim, hidden, random), nn.ReLU(), linear(hidden, n_clusters, random))
            if hidden
            else linear(dim, n_clusters, random)
            for _ in range(n_heads)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Shape ``(n, dim)`` to logits ``(n_heads, n, n_clusters)``."""
        return torch.stack([head(features) for head in self.heads])


class AttentionHead(nn.Module):
    """Gaussian attention over a feature map, and two classifiers: of the whole map and of what is attended to.

    [GAT20] sec. 3.1: a 1x1 convolution makes what is clustered of the map; its mean, and its sum where it is attended
    to, are each classified by two layers. Another layer, on the map itself, gives centre and width of the attention.

    Parameters
    ----------
    dim, cells, n_clusters
        Channels of the map, its cells, and clusters.
    random
        Draws the initial weights.
    """

    def __init__(self, dim: int, cells: int, n_clusters: int, *, random: torch.Generator) -> None:
        super().__init__()
        self.place = linear(dim * cells, 3, random)
        self.clustered = nn.Sequential(*_convolution(dim, dim, 1, random))
        self.whole = _classifier(dim, n_clusters, random)
        self.attended = _classifier(dim, n_clusters, random)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(n, dim, rows, columns)`` to probabilities ``(n, n_clusters)`` of the whole and of the attended."""
        attention = gaussian_attention(self.place(features.flatten(1)).sigmoid(), rows_columns(features))
        clustered = self.clustered(features)
        whole = self.whole(clustered.mean(dim=(2, 3))).softmax(dim=1)
        attended = self.attended((clustered * attention[:, None]).sum(dim=(2, 3))).softmax(dim=1)
        return whole, attended


def gaussian_attention(places: Tensor, grid: tuple[int, int]) -> Tensor:
    r"""Attention that falls off around one place, [GAT20] equation (9) without correlation of the two axes.

    .. math:: a(u) = \exp \left( -\frac{\lVert u - \mu \rVert^2}{2 \lambda \delta} \right), \qquad \lambda = 0.05

    Parameters
    ----------
    places
        Shape ``(n_images, 3)``, in (0, 1): row and column of the centre, in sides of the map, and the width delta.
    grid
        Rows and columns of the map.

    Returns
    -------
    attention
        Shape ``(n_images, rows, columns)``, in [0, 1]; 1 at the centre.

    Raises
    ------
    ArrayContractError
        If the tensor has another shape.
    """
    places = checked_tensor("places", places, "(n_images, 3)")
    if places.shape[1] != 3:
        raise ArrayContractError(f"places must be a row, a column and a width an image; found {told(places)}")
    down, across = (
        torch.linspace(0, 1, side, device=places.device, dtype=places.dtype) for side in checked_grid("grid", grid)
    )
    row, column, width = (places[:, at, None, None] for at in range(3))
    distance = (down[None, :, None] - row).square() + (across[None, None, :] - column).square()
    return (-distance / (2 * ATTENTION_SHARPNESS * width.clamp_min(1e-4))).exp()


def sobel_edges(images: Tensor) -> Tensor:
    """Slopes of the brightness across and down, the input of [IIC19] for colour images: hues give nothing away.

    Parameters
    ----------
    images
        Shape ``(n_images, 3, height, width)``.

    Returns
    -------
    edges
        Shape ``(n_images, 2, height, width)``, in the unit of the images; 0 where they are flat.

    Raises
    ------
    ArrayContractError
        If it is no such tensor.
    """
    images = checked_tensor("images", images, "(n_images, 3, height, width)")
    grey = functional.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = torch.tensor(_SOBEL, device=images.device, dtype=images.dtype)
    return functional.conv2d(grey, torch.stack([across, across.T])[:, None])


def rows_columns(features: Tensor) -> tuple[int, int]:
    """Rows and columns of a feature map ``(n, dim, rows, columns)``."""
    features = checked_tensor("features", features, "(n_images, dim, rows, columns)")
    return features.shape[2], features.shape[3]


def _classifier(dim: int, n_clusters: int, random: torch.Generator) -> nn.Module:
    return nn.Sequential(linear(dim, dim, random), nn.ReLU(), linear(dim, n_clusters, random))


def _convolution(n_in: int, n_out: int, side: int, random: torch.Generator) -> list[nn.Module]:
    """Convolution without padding, batch normalisation and ReLU."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, n_in, n_out, side, bias=False)  # type: ignore[no-untyped-call]
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=random)
    return [layer, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
