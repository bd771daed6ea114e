"""How well anomaly scores rank anomalies above the rest: AUROC of images and pixels, and PRO.

Pixels are many: of all values only those of anomalous pixels are kept, the rest is counted between them, a block of
images at a time. That is exact, ties included, and needs memory in the anomalous pixels alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anoclust_core.arrays import check_share, checked_array
from anoclust_core.errors import ArrayContractError

MAX_FALSE_POSITIVE_RATE: Final = 0.3
"""Where the PRO curve ends in the published tables."""

_EIGHT_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.int8)

_BLOCK_PIXELS: Final = 1 << 22
"""Pixels counted together: 16 MiB of float32. Each block is searched for every anomalous score, so few are faster."""


def image_auroc(scores: NDArray[np.floating[Any]], is_anomalous: NDArray[np.bool_]) -> float:
    """Chance that an anomalous image scores higher than a normal one, AUROC_i of [ARDELEAN24] Table 2.

    Ties count half. The papers' score of an image is the largest value of its anomaly map.

    Parameters
    ----------
    scores
        Shape ``(n_images,)``, finite, any unit.
    is_anomalous
        Shape ``(n_images,)``, bool; both kinds must occur.

    Returns
    -------
    auroc
        In [0, 1]; 0.5 for scores that say nothing.

    Raises
    ------
    ArrayContractError
        If the shapes differ or are not one-dimensional, a score is not finite, or all images are of one kind.
    """
    _check(scores, is_anomalous, ndim=1, what="images")
    return _area(_counted(scores[is_anomalous], None, [scores[~is_anomalous]]), max_rate=1.0)


def pixel_auroc(maps: NDArray[np.floating[Any]], masks: NDArray[np.bool_]) -> float:
    """Chance that an anomalous pixel scores higher than a normal one of any image, AUROC_p of [ARDELEAN24] Table 2.

    Ties count half. Memory beside the input: about 60 bytes per anomalous pixel, one per pixel, and a block of images.

    Parameters
    ----------
    maps
        Shape ``(n_images, height, width)``, finite, any unit: the anomaly maps.
    masks
        Same shape, bool: the anomalous pixels; both kinds must occur, images without any are fine.

    Returns
    -------
    auroc
        In [0, 1]; 0.5 for maps that say nothing.

    Raises
    ------
    ArrayContractError
        If the shapes differ or are not three-dimensional, a value is not finite, or all pixels are of one kind.
    """
    _check(maps, masks, ndim=3, what="pixels")
    return _area(_counted(maps[masks], None, _normal_pixels(maps, masks)), max_rate=1.0)


def per_region_overlap(
    maps: NDArray[np.floating[Any]],
    masks: NDArray[np.bool_],
    *,
    max_false_positive_rate: float = MAX_FALSE_POSITIVE_RATE,
) -> float:
    r"""PRO: area under the mean overlap with anomalous regions, up to a false positive rate, [ARDELEAN24] Table 2.

    A region C is a connected component of an image's mask, diagonal neighbours connected. A threshold t finds the
    pixels P_t of all images that score at least t; then, with all normal pixels G of all images,

    .. math::
        \text{PRO}(t) = \operatorname{mean}_C \frac{|P_t \cap C|}{|C|}, \qquad
        \text{FPR}(t) = \frac{|P_t \cap G|}{|G|}, \qquad
        \frac{1}{r} \int_0^r \text{PRO} \; d\,\text{FPR}

    with r the largest rate. The curve runs from (0, 0) through the points of all distinct scores, straight in between,
    also where it is cut at r: the definition of the evaluation code of MVTec AD (Bergmann et al., IJCV 2021). Every
    region counts the same, whatever its size, and every distinct score is a threshold: nothing is binned.

    Parameters
    ----------
    maps, masks
        As in `pixel_auroc`; maps are finite.
    max_false_positive_rate
        r, in (0, 1].

    Returns
    -------
    pro
        In [0, 1]; r / 2 for maps that say nothing.

    Raises
    ------
    ArrayContractError
        As `pixel_auroc`.
    ConfigError
        If ``max_false_positive_rate`` is not in (0, 1].
    """
    check_share("a false positive rate", max_false_positive_rate, usual=MAX_FALSE_POSITIVE_RATE)
    _check(maps, masks, ndim=3, what="pixels")
    counted = _counted(maps[masks], _shares_of_regions(masks), _normal_pixels(maps, masks))
    return _area(counted, max_rate=max_false_positive_rate)


@dataclass(frozen=True)
class _Counted:
    """Anomalous weight and normal pixels by score, from the highest score down.

    ``weights[j]`` is the weight of the anomalous pixels with the j-th highest of their distinct scores; ``tied[j]``
    normal pixels have that score too, and ``above[j]`` one between it and the next higher; ``above[-1]`` score below
    all anomalous pixels.
    """

    weights: NDArray[np.float64]
    tied: NDArray[np.int64]
    above: NDArray[np.int64]


def _counted(
    anomalous: NDArray[np.floating[Any]],
    weights: NDArray[np.float64] | None,
    normal_blocks: Iterable[NDArray[np.floating[Any]]],
) -> _Counted:
    """Sort the anomalous scores, count the normal ones between them; assumes checked input, weight 1 each if None."""
    levels, codes = np.unique(anomalous, return_inverse=True)
    sums = np.bincount(codes.reshape(-1), weights=weights, minlength=len(levels)).astype(np.float64)
    below, up_to, n_normal = np.zeros_like(levels, np.int64), np.zeros_like(levels, np.int64), 0
    for block in normal_blocks:
        normal = np.sort(block)
        below += np.searchsorted(normal, levels, side="left")
        up_to += np.searchsorted(normal, levels, side="right")
        n_normal += len(normal)
    between = np.append(below, n_normal) - np.insert(up_to, 0, 0)
    return _Counted(weights=sums[::-1], tied=(up_to - below)[::-1], above=between[::-1])


def _area(counted: _Counted, *, max_rate: float) -> float:
    """Area under anomalous weight over normal share up to ``max_rate``, over that of a perfect ranking.

    From the highest score down the curve is flat over ``above``, then rises straight over ``tied``.
    """
    n_levels = len(counted.weights)
    widths = np.empty(2 * n_levels + 1)
    widths[::2], widths[1::2] = counted.above, counted.tied
    reached = np.concatenate(([0.0], np.cumsum(counted.weights)))
    starts, rises = np.empty_like(widths), np.zeros_like(widths)
    starts[::2], starts[1::2], rises[1::2] = reached, reached[:-1], counted.weights
    ends = np.cumsum(widths)
    limit = max_rate * ends[-1]
    used = np.clip(limit - (ends - widths), 0, widths)
    means = starts + rises * np.divide(used, 2 * widths, out=np.zeros_like(widths), where=widths > 0)
    return min(1.0, float((used * means).sum()) / float(limit * reached[-1]))


def _shares_of_regions(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per anomalous pixel, in the order of ``maps[masks]``, one over the size of its region."""
    shares = []
    for mask in masks:
        regions, _ = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
        shares.append((1 / np.maximum(1, np.bincount(regions.ravel())))[regions[mask]])
    return np.concatenate(shares)


def _normal_pixels(maps: NDArray[np.floating[Any]], masks: NDArray[np.bool_]) -> Iterator[NDArray[np.floating[Any]]]:
    step = max(1, _BLOCK_PIXELS // (maps.shape[1] * maps.shape[2]))
    for start in range(0, len(maps), step):
        yield maps[start : start + step][~masks[start : start + step]]


def _check(values: NDArray[np.floating[Any]], is_anomalous: NDArray[np.bool_], *, ndim: int, what: str) -> None:
    shape = "(n_images,)" if ndim == 1 else "(n_images, height, width)"
    values = checked_array("scores", values, shape, lists=False)
    is_anomalous = checked_array("labels", is_anomalous, shape, lists=False)
    if values.ndim != ndim or values.shape != is_anomalous.shape or not np.issubdtype(values.dtype, np.floating):
        raise ArrayContractError(
            f"expected floating scores of {ndim} dimensions and as many labels, found {values.dtype} of shape "
            f"{values.shape} and labels of shape {is_anomalous.shape}; bring both to the same images and size"
        )
    if is_anomalous.dtype != np.bool_:
        raise ArrayContractError(
            f"expected labels of type bool, True for anomalous, found {is_anomalous.dtype}; compare a mask with 0"
        )
    if not np.isfinite(values).all():
        raise ArrayContractError(f"expected finite scores, found NaN or infinity; leave these {what} out")
    n_anomalous = int(is_anomalous.sum())
    if n_anomalous in (0, is_anomalous.size):
        raise ArrayContractError(
            f"expected normal and anomalous {what}, found {n_anomalous} anomalous of {is_anomalous.size}; "
            "leave the score out where there is only one kind"
        )
