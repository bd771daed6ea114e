"""From raw anomaly maps to finished ones, and to one descriptor per image."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.blur import blur_matrix
from anoclust_core.localization.checks import check_feature_map, check_map, check_maps
from anoclust_core.weighting.weights import soft_weights

TAU: Final = 0.002
"""Temperature of a descriptor's weights, in the unit of the anomaly maps, as published."""

PROGRAM_BORDER: Final = 5 / 64
"""Part of a side that the published program sets to zero at each edge: 29 % of the area."""

MIN_FLAT_FIELD: Final = 10
"""Images from which on what they have in common is told from what one of them has."""

_MAP_BLUR: Final = (5, 1.0)
_FEATURE_BLUR: Final = (7, 2.0)
"""Cells of the window, and standard deviation in cells."""


def flat_field(maps: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""What is usual at each place of an image, beyond what is usual anywhere: not in the paper.

    .. math:: \operatorname{med}_j A_j^{xy} - \operatorname{med}_{x'y'} \operatorname{med}_j A_j^{x'y'}

    A network pads images, so cells near the edges differ from the others in every image, and would draw all weight to
    the corners. What the images have in common is no anomaly of one of them: it is taken away from every map, and edges
    need not be hidden. On 1,344 magnetic tiles the image AUROC is 0.762 as it is, 0.826 with the published border
    hidden and the pixel AUROC down from 0.733 to 0.634, and 0.824 and 0.739 by this.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite. Where there are fewer than `MIN_FLAT_FIELD` images nothing is
        usual: half of them may be anomalous at one place.

    Returns
    -------
    field
        Shape ``(height, width)``, float32, in the unit of the maps, for `finish_maps`.

    Raises
    ------
    ArrayContractError
        If the maps are not three-dimensional, not finite or empty.
    """
    checked = check_maps(maps)
    if len(checked) < MIN_FLAT_FIELD:
        return np.zeros(checked.shape[1:], np.float32)
    usual = np.median(checked, axis=0)
    field: NDArray[np.float32] = (usual - np.median(usual)).astype(np.float32)
    return field


def finish_maps(
    maps: NDArray[np.floating[Any]], *, border: float = 0.0, field: NDArray[np.floating[Any]] | None = None
) -> NDArray[np.float32]:
    """Smooth anomaly maps, [ARDELEAN24] sec. 3.3, and hide their border if wanted.

    Blurred with a Gaussian of 5 x 5 cells and sigma 1, reflected at the edges. Then the border is set to 0. The paper
    discards it "as the anomaly scores are not reliable near the edges"; but a defect there is then never found, and its
    cells count as normal ones in all that follows. So nothing is hidden unless asked for.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite, sides of at least 3: as in `fca.anomaly_maps`.
    border
        Part of each side, in [0, 0.5), that is hidden at each of the four edges, rounded to whole cells;
        `PROGRAM_BORDER` is the published program's.
    field
        Taken away from every map first: from `flat_field`, of these maps or of those that later ones are compared with.

    Returns
    -------
    maps
        Same shape, float32, in the same unit.

    Raises
    ------
    ArrayContractError
        As `flat_field`, if the maps are smaller than 3 x 3, or if the field is of another size.
    ConfigError
        As `border_cells`.
    """
    checked = check_maps(maps)
    _, height, width = checked.shape
    if field is not None:
        usual = check_map(field)
        if usual.shape != (height, width):
            raise ArrayContractError(f"expected a flat field of {height} x {width} cells, found {usual.shape}")
        checked = checked - usual
    rows, columns = border_cells(height, border), border_cells(width, border)
    size, sigma = _MAP_BLUR
    down, across = blur_matrix(height, size=size, sigma=sigma), blur_matrix(width, size=size, sigma=sigma)
    finished = np.zeros(checked.shape, np.float32)
    shown = np.s_[rows : height - rows, columns : width - columns]
    for image, one in enumerate(checked):
        finished[image][shown] = (down @ one.astype(np.float64) @ across.T)[shown]
    return finished


def border_cells(side: int, border: float) -> int:
    """Cells that a border hides at each end of a side.

    Raises
    ------
    ConfigError
        If the border is not in [0, 0.5), or is so wide that no cell is left.
    """
    if not 0 <= border < 0.5:
        raise ConfigError(f"a border is a part of the side in [0, 0.5); found {border}")
    cells = round(border * side)
    if 2 * cells >= side:
        raise ConfigError(f"a border of {border} hides all {side} cells of a side; choose a narrower one")
    return cells


def descriptor(
    features: NDArray[np.floating[Any]], anomaly_map: NDArray[np.floating[Any]], *, tau: float = TAU
) -> NDArray[np.float32]:
    r"""Pool one image's features around its anomalies, [ARDELEAN24] eq. (2).

    .. math:: D = \sum_{xy} \big( (G * F)^{xy} - \operatorname{mean}_{x'y'} (G * F)^{x'y'} \big) w^{xy}, \qquad
        w^{xy} = e^{A^{xy} / \tau} / \sum_{x'y'} e^{A^{x'y'} / \tau}

    with G a Gaussian of 7 x 7 cells and sigma 2, reflected at the edges. All of it is linear in the features, so the
    transposed blur is applied to the weights, one map, and not to every channel.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite, sides of at least 4: the plain ones, or those behind a projection head.
    anomaly_map
        Shape ``(height, width)``, finite: from `finish_maps`.
    tau
        Temperature > 0, in the unit of the map.

    Returns
    -------
    descriptor
        Shape ``(dim,)``, float32, summed in float64, in the unit of the features; no unit norm. 0 where the map is flat
        and the blur keeps means.

    Raises
    ------
    ArrayContractError
        If a shape or value is not as above, or the sizes differ.
    ConfigError
        If ``tau`` is not a positive finite number.
    """
    values, scores = check_feature_map(features), check_map(anomaly_map)
    dim, height, width = values.shape
    if scores.shape != (height, width):
        raise ArrayContractError(f"an anomaly map needs a value per cell; found {scores.shape} for {values.shape}")
    weights = soft_weights(scores.reshape(1, -1), tau=tau).reshape(height, width)
    size, sigma = _FEATURE_BLUR
    down, across = blur_matrix(height, size=size, sigma=sigma), blur_matrix(width, size=size, sigma=sigma)
    pull = down.T @ (weights - weights.mean()) @ across
    pooled: NDArray[np.float64] = values.reshape(dim, -1).astype(np.float64) @ pull.ravel()
    with np.errstate(over="ignore"):
        finished = pooled.astype(np.float32)
    if not np.isfinite(finished).all():
        raise ArrayContractError("the features are so large that their descriptor is not finite; scale them down")
    return finished
