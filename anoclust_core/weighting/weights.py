"""Weights that pool an image around some of its patches: the rare ones, those of a mask, or all alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, checked_grid, checked_sequence
from anoclust_core.config.setting import parse_tau
from anoclust_core.errors import ArrayContractError, ConfigError

Weights: TypeAlias = NDArray[np.float64]
"""Shape ``(n_images, n_patches)``, patches of a grid row by row; every row sums to 1."""

Maps: TypeAlias = Sequence[NDArray[Any]]
"""Of each image an array, shape ``(height, width)`` of any size, finite: the whole image as it was before it was
squashed."""


def temperature(tau: str, rarity: NDArray[np.floating[Any]]) -> float:
    """Temperature in embedding units.

    Parameters
    ----------
    tau
        ``0.02`` (embedding units) or ``0.3sd`` (times the standard deviation of all rarity scores).
    rarity
        Shape ``(n_images, n_patches)``, finite: all images of the run.

    Returns
    -------
    tau
        > 0. Where all scores are equal their spread is 0 and every temperature gives uniform weights; then 1.

    Raises
    ------
    ConfigError
        If ``tau`` is not a positive number, with or without ``sd``.
    ArrayContractError
        If a score is not finite, or the scores are so large that their spread is not.
    """
    rarity = checked_array("rarity", rarity, "(n_images, n_patches)")
    value, relative = parse_tau(tau)
    if not np.isfinite(rarity).all():
        raise ArrayContractError("rarity must be finite; found NaN or infinity")
    if not relative:
        return value
    if rarity.size == 0:
        return 1.0
    with np.errstate(over="ignore"):
        spread = float(np.std(rarity, dtype=np.float64))
    if not np.isfinite(value * spread):
        raise ArrayContractError(f"rarity of up to {np.abs(rarity).max():.3g} has no finite spread; scale it down")
    return value * spread if value * spread > 0 else 1.0


def uniform_weights(n_images: int, n_patches: int) -> Weights:
    r"""Give all patches the same weight: the baseline *average* of [SOHN23] sec. 4.1.

    .. math:: \alpha^i_m = 1 / M

    Parameters
    ----------
    n_images, n_patches
        At least 0 and 1.

    Raises
    ------
    ConfigError
        If a number is too small.
    """
    if n_images < 0 or n_patches < 1:
        raise ConfigError(f"weights need images with at least 1 patch; found {n_images} images, {n_patches} patches")
    return np.full((n_images, n_patches), 1 / n_patches)


def soft_weights(rarity: NDArray[np.floating[Any]], *, tau: float) -> Weights:
    r"""Attention of each image on its rare patches, [SOHN23] eq. (5) and (6).

    .. math:: \alpha^i_m = \exp(s^i_m / \tau) / \sum_{m'} \exp(s^i_{m'} / \tau)

    The row maximum is subtracted first: a small ``tau`` sharpens and never overflows.

    Parameters
    ----------
    rarity
        Shape ``(n_images, n_patches)``, finite, in embedding units (unit-norm patches: [0, 2]).
    tau
        Temperature > 0, same unit as ``rarity``. Towards 0 one patch takes all; large, all count alike.

    Returns
    -------
    weights
        Shape ``(n_images, n_patches)``, float64; every row sums to 1.

    Raises
    ------
    ArrayContractError
        If ``rarity`` is not two-dimensional, has no patches or is not finite.
    ConfigError
        If ``tau`` is not a positive finite number.
    """
    return _softmax(_check_rarity(rarity), tau)


def hard_weights(rarity: NDArray[np.floating[Any]], *, top_k: int) -> Weights:
    r"""Equal weights for the k rarest patches of each image, none for the others, [SOHN23] eq. (8).

    .. math:: \alpha^i_m = \frac{1}{k} \mathbf{1} \{ m \in I_k \}

    Of patches that are equally rare the first ones are taken, so there are always exactly k.

    Parameters
    ----------
    rarity
        Shape ``(n_images, n_patches)``, finite.
    top_k
        From 1 to ``n_patches``; all patches give `uniform_weights`.

    Raises
    ------
    ArrayContractError
        As `soft_weights`.
    ConfigError
        If there are no k patches.
    """
    return _is_top(_check_rarity(rarity), top_k) / top_k


def hybrid_weights(rarity: NDArray[np.floating[Any]], *, tau: float, top_k: int) -> Weights:
    r"""Soft weights on the k rarest patches of each image, none for the others, [SOHN23] eq. (9).

    .. math:: \alpha^i_m \propto \exp(s^i_m / \tau) \text{ for } m \in I_k, \text{ 0 otherwise}

    Of patches that are equally rare the first ones are taken, as in `hard_weights`.

    Parameters
    ----------
    rarity
        Shape ``(n_images, n_patches)``, finite, in embedding units.
    tau
        Temperature > 0, same unit as ``rarity``; large, this is `hard_weights`.
    top_k
        From 1 to ``n_patches``; with all patches this is `soft_weights`, to the last digit.

    Raises
    ------
    ArrayContractError
        As `soft_weights`.
    ConfigError
        If ``tau`` is not a positive finite number or there are no k patches.
    """
    scores = _check_rarity(rarity)
    return _softmax(np.where(_is_top(scores, top_k), scores, -np.inf), tau)


def mask_weights(masks: Maps, grid: tuple[int, int]) -> Weights:
    """Weights from ground-truth masks: the oracle of [SOHN23] sec. 4.3 and Table 1, as if localisation were perfect.

    The paper resizes "the ground-truth binary segmentation masks with 1 for anomalous and 0 for normal pixels into the
    same spatial dimension of patch embeddings" and scales the values to a sum of 1. How it resizes is not said; here a
    patch counts by the part of its area that is anomalous, so that no speck falls between grid points. What becomes of
    an image without any anomalous pixel, as every good one, is not said either; here all its patches count alike.

    Parameters
    ----------
    masks
        0 for normal pixels, any other finite value for anomalous ones.
    grid
        Height and width of the patch grid.

    Raises
    ------
    ArrayContractError, ConfigError
        As `map_scores`.
    """
    masks = checked_sequence("masks", masks)
    areas = map_scores([_check_map(mask) != 0 for mask in masks], grid)
    areas[areas.sum(axis=1) == 0] = 1
    weights: NDArray[np.float64] = areas / areas.sum(axis=1, keepdims=True)
    return weights


def map_scores(maps: Maps, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Scores of patches from anomaly maps that another program made: the mean of a map over each patch's area.

    They can stand wherever rarity does. Pixels across a border count by the part that lies inside, and a map may be
    coarser than the grid.

    Parameters
    ----------
    maps
        Larger where more anomalous.
    grid
        Height and width of the patch grid.

    Returns
    -------
    scores
        Shape ``(n_images, height * width)``, float64, in the unit of the maps, patches row by row.

    Raises
    ------
    ArrayContractError
        If a map is not two-dimensional, is empty or not finite.
    ConfigError
        If the grid has no patches.
    """
    maps = checked_sequence("maps", maps)
    height, width = checked_grid("the patch grid", grid)
    if height < 1 or width < 1:
        raise ConfigError(f"a patch grid has at least 1 x 1 patches; found {height} x {width}")
    scores = np.empty((len(maps), height * width))
    for at, values in enumerate(maps):
        checked = _check_map(values).astype(np.float64)
        rows, columns = area_shares(checked.shape[0], height), area_shares(checked.shape[1], width)
        scores[at] = (rows @ checked @ columns.T).ravel()
    return scores


def map_weights(maps: Maps, grid: tuple[int, int], *, tau: str) -> Weights:
    """Attention of each image on what another program's anomaly map marks: `soft_weights` of `map_scores`.

    Parameters
    ----------
    maps
        Larger where more anomalous, finite: all images of the run.
    grid
        As in `map_scores`.
    tau
        As in `temperature`: ``0.02`` in the unit of the maps, or ``0.3sd`` in standard deviations of all patches'
        scores, after resizing, which does not depend on the unit.

    Raises
    ------
    ArrayContractError
        As `map_scores`.
    ConfigError
        If the grid has no patches or ``tau`` is not a positive number, with or without ``sd``.
    """
    scores = map_scores(maps, grid)
    return soft_weights(scores, tau=temperature(tau, scores))


def _check_rarity(rarity: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    rarity = checked_array("rarity", rarity, "(n_images, n_patches)")
    scores = np.asarray(rarity, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0 or not np.isfinite(scores).all():
        raise ArrayContractError(f"rarity must be finite with shape (n_images, n_patches); found shape {scores.shape}")
    return scores


def _check_map(values: NDArray[Any]) -> NDArray[Any]:
    values = checked_array("a map", values, "(height, width)", least=1)
    found = np.asarray(values)
    if found.ndim != 2 or found.size == 0 or not np.isfinite(found).all():
        raise ArrayContractError(f"a map must be finite with shape (height, width); found shape {found.shape}")
    return found


def _softmax(scores: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """Softmax of each row of ``scores / tau``; minus infinity gives 0."""
    if not (np.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a positive number; found {tau}")
    with np.errstate(over="ignore", under="ignore"):
        # a temperature near the smallest float makes the quotient -inf, whose exponential is the 0 that is meant
        exponentials = np.exp((scores - scores.max(axis=1, keepdims=True)) / tau)
    weights: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return weights


def _is_top(scores: NDArray[np.float64], top_k: int) -> NDArray[np.bool_]:
    """Whether a patch is one of the k rarest of its image; a stable sort puts equal ones in their own order."""
    n_patches = scores.shape[1]
    if not 1 <= top_k <= n_patches:
        raise ConfigError(f"top_k must be 1 to {n_patches}, the patches of an image; found {top_k}")
    is_top = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(is_top, np.argsort(-scores, axis=1, kind="stable")[:, :top_k], True, axis=1)
    return is_top


def area_shares(n_pixels: int, n_cells: int) -> NDArray[np.float64]:
    """Part of each cell that each pixel covers along one axis.

    Parameters
    ----------
    n_pixels, n_cells
        Along the axis, at least 1.

    Returns
    -------
    shares
        Shape ``(n_cells, n_pixels)``, float64; every row sums to 1.
    """
    cells, pixels = np.linspace(0, n_pixels, n_cells + 1), np.arange(n_pixels + 1)
    overlap = np.minimum(cells[1:, None], pixels[1:]) - np.maximum(cells[:-1, None], pixels[:-1])
    covered: NDArray[np.float64] = np.maximum(overlap, 0)
    shares: NDArray[np.float64] = covered / covered.sum(axis=1, keepdims=True)
    return shares
