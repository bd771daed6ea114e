"""Cells of feature maps, one example each: scaled to [0, 1], and sampled from many images."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.checks import FeatureStack, check_count, check_feature_map, check_stack
from anoclust_core.seeding import generator

SAMPLE: Final = 1 << 18
"""Cells that are sampled from all images together: enough that each is drawn about ten times in 1,290 training steps,
and 84 MiB of 168 features."""

_RANGE_EPSILON: Final = 1e-8


def channel_ranges(features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest value of each channel of one image, and the width of its range with 1e-8 added.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite.

    Returns
    -------
    lowest, widths
        Each shape ``(dim,)``, float32, in the unit of the features; widths > 0.

    Raises
    ------
    ArrayContractError
        If the features are not three-dimensional, empty or not finite, or a range is too wide for float32.
    """
    return _ranges(_table(check_feature_map(features)))


def scale_channels(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""Scale each channel of one image to [0, 1] over its cells, [ARDELEAN24] sec. 3.3.

    .. math:: (F_c - \min F_c) / (\max F_c - \min F_c + 10^{-8})

    Before the VAE, before the projection head, and before feature correspondence analysis of plain features; a residual
    stays as it is.

    Parameters
    ----------
    features
        As in `channel_ranges`, finite.

    Returns
    -------
    scaled
        Same shape, float32, in [0, 1]; 0 where a channel is constant. Features that lie cell by cell in memory, as the
        store has them, lie so afterwards.

    Raises
    ------
    ArrayContractError
        As `channel_ranges`.
    """
    checked = check_feature_map(features)
    return _scaled(_table(checked)).T.reshape(checked.shape)


def scaled_cells(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Cells of one image as a table, scaled as by `scale_channels`.

    Parameters
    ----------
    features
        As in `scale_channels`.

    Returns
    -------
    cells
        Shape ``(height * width, dim)``, row by row of the map, float32, in [0, 1], contiguous.

    Raises
    ------
    ArrayContractError
        As `channel_ranges`.
    """
    return np.ascontiguousarray(_scaled(_table(check_feature_map(features))))


def cells_an_image(n_images: int, n_cells: int, *, at_most: int = SAMPLE) -> int:
    """Cells that a sample takes of each image, the same number of each and at least one.

    Examples
    --------
    >>> cells_an_image(1344, 4096), cells_an_image(20, 4096), cells_an_image(1_000_000, 4096)
    (195, 4096, 1)
    """
    return min(n_cells, max(1, at_most // n_images))


def sample_image(features: NDArray[np.floating[Any]], *, image: int, count: int, seed: int) -> NDArray[np.float16]:
    """Draw some cells of one image, each at most once; which ones depends on the seed and the image's number alone.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite, in any unit.
    image
        Number of the image in its set.
    count
        From 1 to ``height * width``.
    seed
        Of the draw.

    Returns
    -------
    cells
        Shape ``(count, dim)``, float16, in [0, 1]: scaled over the whole image as by `scale_channels`. Features lie in
        half precision in the store, so nothing is lost.

    Raises
    ------
    ArrayContractError
        As `channel_ranges`, or if the image has fewer cells.
    ConfigError
        If ``count`` is less than 1.
    """
    cells = scaled_cells(features)
    if check_count(count, "the number of cells") > len(cells):
        raise ArrayContractError(f"expected at least {count} cells to draw from, found {len(cells)}")
    if count < len(cells):
        chosen = generator(seed, f"cells of image {image}").choice(len(cells), count, replace=False, shuffle=False)
        cells = cells[np.sort(chosen)]
    return cells.astype(np.float16)


def sample_cells(features: FeatureStack, *, seed: int, at_most: int = SAMPLE) -> NDArray[np.float16]:
    """Draw the same number of cells of every image, for `vae.train_vae`.

    Parameters
    ----------
    features
        Shape ``(n_images, dim, height, width)``, finite, in any unit. One image is read at a time.
    seed
        Of all draws.
    at_most
        Cells of all images together; there is at least one of each.

    Returns
    -------
    cells
        Shape ``(n, dim)``, float16, image by image, each as by `sample_image`.

    Raises
    ------
    ArrayContractError
        If the features are not four-dimensional, empty or not finite.
    ConfigError
        If ``at_most`` is less than 1.
    """
    n_images, dim, height, width = check_stack(features)
    count = cells_an_image(n_images, height * width, at_most=check_count(at_most, "the number of cells"))
    cells = np.empty((n_images, count, dim), np.float16)
    for image in range(n_images):
        cells[image] = sample_image(features[image], image=image, count=count, seed=seed)
    return cells.reshape(-1, dim)


def _table(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cells of a feature map, ``(height * width, dim)``, where they lie."""
    return features.reshape(len(features), -1).T


def _ranges(cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`channel_ranges` of the cells of an image."""
    lowest = cells.min(axis=0)
    with np.errstate(over="ignore"):
        widths = cells.max(axis=0) - lowest + np.float32(_RANGE_EPSILON)
    if not np.isfinite(widths).all():
        raise ArrayContractError("the range of a channel is too wide for float32; scale the features down")
    return lowest, widths


def _scaled(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cells of an image, each feature scaled to [0, 1]; in the order in which they lie."""
    lowest, widths = _ranges(cells)
    scaled: NDArray[np.float32] = (cells - lowest) / widths
    return scaled
