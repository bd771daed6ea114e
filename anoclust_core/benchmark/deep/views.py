"""Varied views of pictures: cropped, turned, mirrored, in other colours, with a hole; by a generator that is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from anoclust_core.arrays import checked_tensor

_ASPECTS: Final = (3 / 4, 4 / 3)
_LUMA: Final = (0.299, 0.587, 0.114)

_TO_YIQ: Final = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
"""Brightness and two hues of red, green and blue: hues are turned in this plane."""


@dataclass(frozen=True)
class Views:
    """How far pictures are varied.

    Attributes
    ----------
    area
        Smallest share of the picture that is left of it; 1 leaves all.
    turn
        Largest angle in degrees, to both sides.
    mirror
        Whether half of the pictures are mirrored left to right.
    brightness, contrast, saturation
        Largest change of the factor 1.
    hue
        Largest turn of the hue, in turns.
    share
        Of the pictures whose colours are changed.
    grey
        Share of the pictures that lose their colours.
    hole
        Largest side of a hole, in sides of the picture.
    """

    area: float = 1.0
    turn: float = 0.0
    mirror: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    share: float = 1.0
    grey: float = 0.0
    hole: float = 0.0


CROPPED: Final = Views(area=0.4)
"""The plainer of IIC's two views: [IIC19] crops it only."""

WEAK: Final = Views(area=0.6, mirror=True)
"""Cropped and mirrored, as weak views are in [SCAN20] and [SPICE22]."""

COLOURED: Final = Views(area=0.4, mirror=True, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.125)
"""The other view of [IIC19]: its published colour jitter."""

CONTRASTED: Final = Views(
    area=0.2, mirror=True, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, share=0.8, grey=0.2
)
"""Views of SimCLR, which [SCAN20] takes for neighbours on ImageNet."""

STRONG: Final = Views(area=0.5, turn=30, mirror=True, brightness=0.6, contrast=0.6, saturation=0.6, hue=0.1, hole=0.33)
"""Strong views of [SCAN20] and [SPICE22]: what RandAugment draws four of, all together and milder, and one hole."""

TURNED: Final = Views(area=0.6, turn=20, mirror=True, brightness=0.3, contrast=0.3, saturation=0.3)
"""Views of [GAT20]: random affine maps and colour jitter."""


def varied(images: Tensor, views: Views, *, generator: torch.Generator) -> Tensor:
    """Draw one varied view of each picture.

    Parameters
    ----------
    images
        Shape ``(n_images, 3, height, width)``, in [0, 1].
    views
        How far they are varied.
    generator
        Of torch, on the CPU: the same draws on every device.

    Returns
    -------
    views
        Same shape, in [0, 1].

    Raises
    ------
    ArrayContractError
        If it is no such tensor.
    """
    images = checked_tensor("images", images, "(n_images, 3, height, width)")
    images = _holed(_recoloured(_moved(images, views, generator), views, generator), views, generator)
    return images.clamp(0, 1)


def _moved(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """Cropped, turned and mirrored in one go; what lies outside is mirrored at the rim."""
    n_images = len(images)
    area = _between(views.area, 1, n_images, generator)
    aspect = torch.exp(_between(math.log(_ASPECTS[0]), math.log(_ASPECTS[1]), n_images, generator))
    aspect = aspect if views.area < 1 else torch.ones_like(aspect)
    across, down = (area * aspect).sqrt().clamp_max(1), (area / aspect).sqrt().clamp_max(1)
    angle = _between(-views.turn, views.turn, n_images, generator) * (math.pi / 180)
    sign = torch.where(torch.rand(n_images, generator=generator) < 0.5, -1.0, 1.0) if views.mirror else 1.0
    places = torch.rand(2, n_images, generator=generator) * 2 - 1
    matrix = torch.stack(
        [
            torch.stack([sign * across * angle.cos(), -down * angle.sin(), places[0] * (1 - across)], dim=1),
            torch.stack([sign * across * angle.sin(), down * angle.cos(), places[1] * (1 - down)], dim=1),
        ],
        dim=1,
    ).to(images.device, images.dtype)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _recoloured(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    n_images = len(images)
    factors = {}
    is_changed = torch.rand(n_images, generator=generator) < views.share
    for name, far in (("b", views.brightness), ("c", views.contrast), ("s", views.saturation)):
        drawn = _between(1 - far, 1 + far, n_images, generator)
        factors[name] = _shaped(torch.where(is_changed, drawn, 1.0), images)
    turn = torch.where(is_changed, _between(-views.hue, views.hue, n_images, generator), 0.0) * (2 * math.pi)
    loses_colours = _shaped((torch.rand(n_images, generator=generator) < views.grey).float(), images)
    images = images * factors["b"]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factors["c"]
    if views.hue:
        images = _turned_hues(images, turn.to(images.device, images.dtype))
    luma = torch.tensor(_LUMA, device=images.device, dtype=images.dtype).reshape(1, 3, 1, 1)
    grey = (images * luma).sum(dim=1, keepdim=True)
    return grey + (images - grey) * factors["s"] * (1 - loses_colours)


def _turned_hues(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the plane of hues of each picture by an angle; brightness stays."""
    to_yiq = torch.tensor(_TO_YIQ, device=images.device, dtype=images.dtype)
    cos, sin = turn.cos(), turn.sin()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).reshape(-1, 3, 3)
    matrices = torch.linalg.inv(to_yiq) @ rotation @ to_yiq
    return torch.einsum("nij,njhw->nihw", matrices, images)


def _holed(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """Put a grey square of random size somewhere on each picture."""
    if not views.hole:
        return images
    n_images, _, height, width = images.shape
    half = _between(0, views.hole / 2, n_images, generator)
    centres = torch.rand(2, n_images, generator=generator)
    is_in = [
        ((torch.arange(side)[None, :] + 0.5) / side - centre[:, None]).abs() < half[:, None]
        for side, centre in ((height, centres[0]), (width, centres[1]))
    ]
    hole = (is_in[0][:, None, :, None] & is_in[1][:, None, None, :]).to(images.device)
    return torch.where(hole, 0.5, images)


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _shaped(values: Tensor, images: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1).to(images.device, images.dtype)
