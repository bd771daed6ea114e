"""From which value of an anomaly map on a cell counts as anomalous."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from anoclust_core.arrays import checked_array
from anoclust_core.clustering.partition import k_means
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.checks import check_maps, check_positive

_MAD_TO_SIGMA: Final = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


def robust_threshold(maps: NDArray[np.floating[Any]], *, deviations: float | None = None) -> float:
    r"""Threshold from the bulk of all cells alone, without any label: the default.

    .. math:: t = \exp \big( \operatorname{med} \log A + k \cdot 1.4826 \operatorname{MAD} (\log A) \big)

    over the cells of all images whose value is positive. Most cells of most images are normal, and neither the median
    nor the median absolute deviation moves with the few that are not. Values of maps are means of absolute errors:
    positive and skewed to the right, so their logarithm is nearer to a normal distribution. k leaves one cell in each
    image above, were all of them normal: of 64 x 64 cells, 3.49. The rule follows the maps' unit and does not count the
    cells that a border has set to 0.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite: from `maps.finish_maps`.
    deviations
        k > 0, if not the usual one.

    Returns
    -------
    threshold
        In the unit of the maps, >= 0: cells above it are anomalous. Where no cell is positive it is 0 and none is.

    Raises
    ------
    ArrayContractError
        If the maps are not three-dimensional, empty or not finite.
    ConfigError
        If ``deviations`` is not a positive finite number.
    """
    checked = check_maps(maps)
    if deviations is not None:
        check_positive(deviations, "deviations")
    positive = checked[checked > 0]
    if positive.size == 0:
        return 0.0
    logs = np.log(positive.astype(np.float64))
    median = np.median(logs)
    spread = _MAD_TO_SIGMA * np.median(np.abs(logs - median))
    # a value in float32 beyond which nothing lies stands for any that is larger
    k = -ndtri(min(0.5, 1 / checked[0].size)) if deviations is None else deviations
    return float(np.exp(min(median + k * spread, np.log(np.finfo(np.float32).max))))


def otsu_threshold(maps: NDArray[np.floating[Any]]) -> float:
    """Threshold that splits the images' largest values in two, without any label: an alternative.

    Otsu's rule on the logarithms of the images' maxima: of all cuts between two of them the one with the largest
    variance between its sides; the threshold lies in its middle. It is for normal and defective images together: where
    there is one kind alone, some pass for the other.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite.

    Returns
    -------
    threshold
        In the unit of the maps, >= 0: cells above it are anomalous. The common maximum if all
        are equal, and then none is.

    Raises
    ------
    ArrayContractError
        If the maps are not three-dimensional, empty or not finite.
    """
    maxima = np.sort(check_maps(maps).max(axis=(1, 2)).astype(np.float64))
    logs = np.log(np.maximum(maxima, np.finfo(np.float32).tiny))
    if logs[0] == logs[-1]:
        return float(max(maxima[-1], 0))
    below = np.arange(1, len(logs))
    sums = np.cumsum(logs)[:-1]
    between = (sums * len(logs) - logs.sum() * below) ** 2 / (below * (len(logs) - below))
    between[logs[1:] == logs[:-1]] = -1  # equal ones stay together
    cut = int(between.argmax())
    return float(np.exp((logs[cut] + logs[cut + 1]) / 2))


def kmeans_quantile_threshold(
    maps: NDArray[np.floating[Any]],
    descriptors: NDArray[np.floating[Any]],
    *,
    n_classes: int,
    generator: np.random.Generator,
) -> float:
    """Threshold of the published program, [ARDELEAN24] supplement S4: for reproduction only.

    The descriptors are clustered by k-means into the true number of classes. The cluster whose images have the lowest
    maxima on average is taken for the good one, and its share of all images is the quantile of all maxima that becomes
    the threshold. The number of classes is a piece of the ground truth, so results are better than without it.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite.
    descriptors
        Shape ``(n_images, dim)``, finite.
    n_classes
        From 2 to ``n_images``, the good class among them.
    generator
        Draws the starts of k-means.

    Returns
    -------
    threshold
        In the unit of the maps: cells above it are anomalous.

    Raises
    ------
    ArrayContractError
        If a shape or value is not as above.
    ConfigError
        If there are fewer images than classes, or fewer than 2 classes.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    checked = check_maps(maps)
    if descriptors.ndim != 2 or len(descriptors) != len(checked) or not np.isfinite(descriptors).all():
        raise ArrayContractError(
            f"a finite descriptor per image is needed; found {descriptors.shape} for {checked.shape}"
        )
    if not 2 <= n_classes <= len(checked):
        raise ConfigError(f"the number of classes must be 2 to {len(checked)}, the images; found {n_classes}")
    maxima = checked.max(axis=(1, 2)).astype(np.float64)
    labels = k_means(descriptors, n_clusters=n_classes, generator=generator)
    means = [maxima[labels == label].mean() for label in range(labels.max() + 1)]
    return float(np.quantile(maxima, np.mean(labels == int(np.argmin(means)))))
