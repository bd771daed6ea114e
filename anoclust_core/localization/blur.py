"""Gaussian blur as matrices: maps are small, and a matrix shows its transpose, which `maps.descriptor` needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.checks import check_positive


def gaussian_window(size: int, sigma: float) -> NDArray[np.float64]:
    """Gaussian sampled at the middle of ``size`` cells, an odd number, and scaled to sum 1.

    Raises
    ------
    ConfigError
        If ``sigma`` is not a positive finite number.
    """
    offsets = (np.arange(size) - size // 2) / check_positive(sigma, "the sigma of a Gaussian")
    window = np.exp(-0.5 * offsets**2)
    scaled: NDArray[np.float64] = window / window.sum()
    return scaled


def blur_matrix(side: int, *, size: int, sigma: float) -> NDArray[np.float64]:
    """Matrix that blurs a line of ``side`` cells, its ends reflected about the outermost cells.

    Parameters
    ----------
    side
        Cells of the line, more than half the window.
    size
        Cells of the window, odd.
    sigma
        Standard deviation in cells.

    Returns
    -------
    matrix
        Shape ``(side, side)``, float64, rows sum to 1.

    Raises
    ------
    ArrayContractError
        If the line is too short to be reflected.
    ConfigError
        If ``sigma`` is not a positive finite number.
    """
    reach = size // 2
    if side <= reach:
        raise ArrayContractError(f"a blur over {size} cells needs sides of at least {reach + 1}; found {side}")
    matrix = np.zeros((side, side))
    source = np.pad(np.arange(side), reach, mode="reflect")
    for at, factor in enumerate(gaussian_window(size, sigma)):
        matrix[np.arange(side), source[at : at + side]] += factor
    return matrix
