"""What a method is given of the images: plain and varied inputs of its network, by their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from anoclust_core.arrays import checked_tensor, told
from anoclust_core.benchmark.deep.views import Views, varied
from anoclust_core.errors import ArrayContractError, TrainingError

INPUTS_AT_ONCE: Final = 32
"""Inputs that go through a network at a time where nothing is learnt."""


class Source(Protocol):
    """Inputs of a network, on its device."""

    @property
    def n_images(self) -> int:
        """Number of images."""

    def plain(self, rows: Tensor) -> Tensor:
        """Inputs of some images as they are."""

    def weak(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The same, varied a little; every call draws anew."""

    def strong(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The same, varied a lot."""


@dataclass(frozen=True)
class Pictures:
    """Pictures, varied anew every time.

    Attributes
    ----------
    pixels
        Shape ``(n_images, 3, height, width)``, uint8, on the CPU.
    weak_views, strong_views
        How far they are varied.
    prepare
        From pictures in [0, 1] to the network's input.
    device
        Where the network is.
    """

    pixels: Tensor
    weak_views: Views
    strong_views: Views
    prepare: Callable[[Tensor], Tensor]
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check the pixels.

        Raises
        ------
        ArrayContractError
            If they are no such tensor.
        """
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            raise ArrayContractError(
                f"pictures must be uint8 of shape (n_images, 3, height, width); found {told(self.pixels)}"
            )

    @property
    def n_images(self) -> int:
        """Number of pictures."""
        return len(self.pixels)

    def plain(self, rows: Tensor) -> Tensor:
        """Pictures as they are."""
        return self.prepare(self._images(rows))

    def weak(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures varied a little."""
        return self.prepare(varied(self._images(rows), self.weak_views, generator=generator))

    def strong(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures varied a lot."""
        return self.prepare(varied(self._images(rows), self.strong_views, generator=generator))

    def _images(self, rows: Tensor) -> Tensor:
        return self.pixels[rows.cpu()].to(self.device).float() / 255


@dataclass(frozen=True)
class FeatureBank:
    """Features of a fixed network, of so many views of each image that were drawn once.

    Attributes
    ----------
    features
        Shape ``(n_images, dim)``, of the plain images.
    weak_features, strong_features
        Shape ``(n_images, n_views, dim)``.
    """

    features: Tensor
    weak_features: Tensor
    strong_features: Tensor

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.features)

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return self.features.nbytes + self.weak_features.nbytes + self.strong_features.nbytes

    def plain(self, rows: Tensor) -> Tensor:
        """Features of the plain images."""
        return self.features[rows]

    def weak(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Features of one weak view each."""
        return _drawn(self.weak_features, rows, generator)

    def strong(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Features of one strong view each."""
        return _drawn(self.strong_features, rows, generator)


def fill_bank(
    network: nn.Module,
    source: Source,
    *,
    n_views: int,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureBank:
    """Send every image and so many views of each through a fixed network.

    Parameters
    ----------
    network
        From inputs to ``(n, dim)``; it is put in evaluation mode.
    source
        Images, on the network's device.
    n_views
        Weak views an image, and as many strong ones, >= 1.
    generator
        Of torch, on the CPU; draws the views.
    progress
        Is given the images done, and all.

    Returns
    -------
    bank
        On the network's device; features as the network gives them.

    Raises
    ------
    TrainingError
        If the network gives NaN or infinity.
    """
    network.eval()
    plain, weak, strong = [], [], []
    with torch.inference_mode():
        for rows in in_turn(source.n_images):
            plain.append(network(source.plain(rows)))
            weak.append(torch.stack([network(source.weak(rows, generator)) for _ in range(n_views)], dim=1))
            strong.append(torch.stack([network(source.strong(rows, generator)) for _ in range(n_views)], dim=1))
            if progress is not None:
                progress(int(rows[-1]) + 1, source.n_images)
    found = [torch.cat(parts).clone() for parts in (plain, weak, strong)]
    if not all(bool(part.isfinite().all()) for part in found):
        raise TrainingError("the network's features are NaN or infinite: check the backbone's weights")
    return FeatureBank(*found)


def in_turn(n_images: int) -> Iterator[Tensor]:
    """Rows of all images in their order, a few at a time."""
    return iter(torch.split(torch.arange(n_images), INPUTS_AT_ONCE))


def in_batches(n_images: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of all images in random order, in batches of almost equal size, at most ``size`` each, never one alone."""
    order = torch.randperm(n_images, generator=generator)
    return iter(order.tensor_split(max(1, min(-(-n_images // size), n_images // 2))))


def predicted(network: Callable[[Tensor], Tensor], source: Source) -> Tensor:
    """What a network says of all plain images, a few at a time; without gradients.

    Parameters
    ----------
    network
        From inputs of ``n`` images to a tensor of shape ``(..., n, n_clusters)``.
    source
        The images.

    Returns
    -------
    said
        Shape ``(..., n_images, n_clusters)``.
    """
    with torch.no_grad():
        return torch.cat([network(source.plain(rows)) for rows in in_turn(source.n_images)], dim=-2)


def _drawn(features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    checked_tensor("features", features, "(n_images, n_views, dim)")
    views = torch.randint(features.shape[1], rows.shape, generator=generator)
    return features[rows, views.to(features.device)]
