"""Feature levels of different resolution: weights of a fine grid brought to a coarser one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, checked_grid
from anoclust_core.errors import ArrayContractError, ConfigError


def spread_weights(
    weights: NDArray[np.floating[Any]], fine: tuple[int, int], coarse: tuple[int, int]
) -> NDArray[np.float64]:
    r"""Weights for the patches of a coarse grid that pool as those of the fine one would.

    Pooling a coarse level with weights of a fine grid means to enlarge its map bilinearly, :math:`z_p = \sum_q B_{pq}
    z_q`, and to sum. The same sum needs no enlarged map:

    .. math:: \sum_p \alpha_p z_p = \sum_q \Big( \sum_p B_{pq}\, \alpha_p \Big) z_q

    Parameters
    ----------
    weights
        Shape ``(..., n_patches)`` of the fine grid, patches row by row.
    fine, coarse
        Height and width of both grids; the coarse one has no more rows and columns than the fine one.

    Returns
    -------
    weights
        Shape ``(..., n_coarse_patches)``, float64, with the same sums.

    Raises
    ------
    ArrayContractError
        If the last axis is not that of the fine grid.
    ConfigError
        If a grid has no patches, or the coarse one is finer.
    """
    weights = checked_array("weights", weights, "(..., n_patches)")
    fine, coarse = checked_grid("the fine grid", fine), checked_grid("the coarse grid", coarse)
    if min(*fine, *coarse) < 1 or any(few > many for few, many in zip(coarse, fine, strict=True)):
        raise ConfigError(f"weights are spread from a fine to a coarser grid; found {fine} and {coarse}")
    if weights.shape[-1] != fine[0] * fine[1]:
        raise ArrayContractError(f"a grid of {fine} has {fine[0] * fine[1]} weights; found shape {weights.shape}")
    if fine == coarse:
        return np.asarray(weights, np.float64)
    rows, columns = (_enlargement(few, many) for few, many in zip(coarse, fine, strict=True))
    maps = np.asarray(weights, np.float64).reshape(*weights.shape[:-1], *fine)
    spread: NDArray[np.float64] = rows.T @ maps @ columns
    return spread.reshape(*weights.shape[:-1], coarse[0] * coarse[1])


def _enlargement(n_few: int, n_many: int) -> NDArray[np.float64]:
    """Matrix ``(n_many, n_few)`` that enlarges along one axis bilinearly, as torch does without aligned corners."""
    centres = np.clip((np.arange(n_many) + 0.5) * n_few / n_many - 0.5, 0, n_few - 1)
    left = np.minimum(centres.astype(int), max(n_few - 2, 0))
    matrix = np.zeros((n_many, n_few))
    matrix[np.arange(n_many), left] = 1 - (centres - left)
    if n_few > 1:
        matrix[np.arange(n_many), left + 1] = centres - left
    return matrix
