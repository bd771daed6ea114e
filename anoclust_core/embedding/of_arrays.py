"""A network as one object: from images in memory to their feature levels, for programs of users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anoclust_core.arrays import checked_arrays
from anoclust_core.embedding.extraction import embed_levels, prepare_image
from anoclust_core.errors import ArrayContractError
from anoclust_core.records import EmbeddingSpec

BATCH_IMAGES: Final = 4
"""On a CPU a small batch fits the caches."""


class Backbone:
    """A network that embeds images in memory; `tasks.datasets.loading.load_backbone` gives one with its weights.

    It never changes, so that copies of it, such as scikit-learn's `clone` makes, are itself.

    Parameters
    ----------
    spec
        From `anoclust_core.embedding.backbones.describe`; whole images, without tiles.
    extractor
        From `anoclust_core.embedding.backbones.build_extractor`, already on ``device``.
    device
        Torch device.
    batch
        Images that the network is given at a time.
    """

    def __init__(
        self,
        spec: EmbeddingSpec,
        extractor: Callable[[Tensor], Tensor],
        *,
        device: str = "cpu",
        batch: int = BATCH_IMAGES,
    ) -> None:
        self.spec = spec
        self.device = device
        self.batch = batch
        self._extractor = extractor

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float16]]:
        """Embed images.

        Parameters
        ----------
        images
            Each of shape ``(height, width, 3)``, uint8, RGB, of any size; or one array of them.

        Returns
        -------
        levels
            Of each feature level its maps, shape ``(n_images, height, width, dim)``, unit norm per patch, in the half
            precision that runs keep.

        Raises
        ------
        ArrayContractError
            If there is no image, or one is not RGB bytes.
        """
        images = checked_arrays("images", images, "(height, width, 3)", least=1)
        if not images:
            raise ArrayContractError("expected at least one image, found none")
        side = self.spec.image_size
        parts = []
        for start in range(0, len(images), self.batch):
            together = images[start : start + self.batch]
            prepared = np.empty((len(together), 3, side, side), np.float32)
            for at, image in enumerate(together):
                prepare_image(image, self.spec, out=prepared[at])
            bags = embed_levels(self._extractor, prepared, self.spec, device=self.device)
            parts.append([of_level.astype(np.float16) for of_level in bags])
        together_again = (np.concatenate(of_level) for of_level in zip(*parts, strict=True))
        return [
            maps.reshape(len(images), *level.grid, level.dim)
            for maps, level in zip(together_again, self.spec.levels, strict=True)
        ]

    def __deepcopy__(self, memo: object) -> Backbone:
        """Itself."""
        return self

    def __repr__(self) -> str:
        """Name and size of the input, for the `repr` of an estimator."""
        return f"Backbone({self.spec.backbone!r}, image_size={self.spec.image_size})"
