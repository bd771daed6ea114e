"""How much a score depends on which images there happen to be: random subsets, mean and standard error."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError

SUBSET_SHARE: Final = 0.9
N_SUBSETS: Final = 100
"""Of the supplement of [SOHN23], Tables 9 and 10."""


def random_subsets(
    n_images: int, *, generator: np.random.Generator, share: float = SUBSET_SHARE, n_subsets: int = N_SUBSETS
) -> NDArray[np.int64]:
    """Draw subsets of the images without replacement, the supplement of [SOHN23], Tables 9 and 10.

    The first subsets are the same however many are drawn.

    Parameters
    ----------
    n_images
        At least 1.
    generator
        Draws the subsets.
    share
        In (0, 1]: ``round(share * n_images)`` images a subset, at least one.
    n_subsets
        At least 1.

    Returns
    -------
    rows
        Shape ``(n_subsets, n_drawn)``, int64 in ``[0, n_images)``; every row ascending, without repetition.

    Raises
    ------
    ConfigError
        If a number is out of its range.
    """
    if n_images < 1 or n_subsets < 1 or not 0 < share <= 1:
        raise ConfigError(
            f"expected at least one image, at least one subset and a share above 0 and up to 1, found {n_images} "
            f"images, {n_subsets} subsets, share {share}; the papers use {N_SUBSETS} subsets of {SUBSET_SHARE}"
        )
    size = max(1, round(share * n_images))
    drawn = [generator.choice(n_images, size=size, replace=False, shuffle=False) for _ in range(n_subsets)]
    return np.sort(np.stack(drawn), axis=1).astype(np.int64, copy=False)


def mean_and_standard_error(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    r"""Mean of a score over subsets, and the standard error of that mean.

    .. math:: s / \sqrt{n}, \qquad s^2 = \sum_i (x_i - \bar x)^2 / (n - 1)

    Subsets of the same images overlap, so the error says how well the mean over *such subsets* is known, as in the
    tables of [SOHN23]. It gets as small as wanted with more subsets, and is no error of the score on new images.

    Parameters
    ----------
    values
        Shape ``(n_subsets,)``, finite, at least two.

    Returns
    -------
    mean, standard_error
        In the unit of ``values``; the error is >= 0.

    Raises
    ------
    ArrayContractError
        If ``values`` is not one-dimensional, has fewer than two elements or one that is not finite.

    Examples
    --------
    >>> mean_and_standard_error(np.array([0.25, 0.75]))
    (0.5, 0.25)
    """
    values = checked_array("values", values, "(n_subsets,)")
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ArrayContractError(
            f"expected at least two finite scores in one dimension, found shape {values.shape}; draw more subsets"
        )
    scores = values.astype(np.float64)
    return float(scores.mean()), float(scores.std(ddof=1)) / math.sqrt(len(scores))
