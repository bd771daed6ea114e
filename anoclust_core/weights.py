"""Rarity of patches, and the weights that pool an image around its rare patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.config import parse_tau
from anoclust_core.errors import ArrayContractError, ConfigError


def expected_rarity(
    nearest: NDArray[np.floating[Any]],
    counts: NDArray[np.integer[Any]],
    *,
    is_reference: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    r"""Mean distance of each patch to its nearest patch in the other images, the expectation in [SOHN23] eq. (5), (7).

    .. math:: s^i_m = \frac{1}{|Z \setminus \{i\}|} \sum_{j \in Z, j \neq i} \min_n \| z^i_m - z^j_n \|

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_contents, n_patches)``: nearest distances of some images to every distinct content of the
        reference Z, to the image's own with distance 0.
    counts
        Shape ``(n_contents,)``: how many images of the reference have each content.
    is_reference
        Shape ``(n_rows,)``: whether the image itself is in the reference; all are by default, as in eq. (5). With a
        random subset, eq. (7), some are not.

    Returns
    -------
    rarity
        Shape ``(n_rows, n_patches)``, float64, in embedding units. Summed in float64 in the order of the contents, so
        that the way the distances came about does not matter.

    Raises
    ------
    ArrayContractError
        If the shapes do not match or an image has no other one to be measured against.
    """
    n_images = int(counts.sum())
    own = np.ones(len(nearest), np.bool_) if is_reference is None else is_reference
    if nearest.ndim != 3 or counts.shape != (nearest.shape[1],):
        raise ArrayContractError(f"one count per reference content is needed; found {counts.shape} for {nearest.shape}")
    if own.shape != (len(nearest),):
        raise ArrayContractError(f"is_reference needs one value per image; found {own.shape} for {len(nearest)} images")
    if n_images < (2 if is_reference is None or own.any() else 1):
        raise ArrayContractError(f"rarity among the images needs at least 2 of them; found {n_images}")
    return (
        np.stack(
            [
                (counts.astype(np.float64) / (n_images - int(is_own))) @ row.astype(np.float64)
                for row, is_own in zip(nearest, own, strict=True)
            ]
        )
        if len(nearest)
        else np.zeros((0, nearest.shape[2]))
    )


def rarity_against_normals(nearest: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    r"""Distance of each patch to the nearest patch of any normal image, the minimum in [SOHN23] eq. (6).

    .. math:: s^i_m = \min_{z \in Z_{tr}} \| z^i_m - z \|

    Parameters
    ----------
    nearest
        Shape ``(n_rows, n_normals, n_patches)``, at least one normal.

    Returns
    -------
    rarity
        Shape ``(n_rows, n_patches)``, float64, in embedding units.

    Raises
    ------
    ArrayContractError
        If there is no normal image.
    """
    if nearest.ndim != 3 or nearest.shape[1] == 0:
        raise ArrayContractError(f"rarity against normals needs at least one normal image; found shape {nearest.shape}")
    rarity: NDArray[np.float64] = nearest.min(axis=1).astype(np.float64)
    return rarity


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
        If a score is not finite.
    """
    value, relative = parse_tau(tau)
    if not np.isfinite(rarity).all():
        raise ArrayContractError("rarity must be finite; found NaN or infinity")
    if not relative:
        return value
    spread = float(np.std(rarity, dtype=np.float64))
    return value * spread if value * spread > 0 else 1.0


def soft_weights(rarity: NDArray[np.floating[Any]], *, tau: float) -> NDArray[np.float64]:
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
    scores = np.asarray(rarity, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] == 0 or not np.isfinite(scores).all():
        raise ArrayContractError(f"rarity must be finite with shape (n_images, n_patches); found shape {scores.shape}")
    if not (np.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a positive number; found {tau}")
    with np.errstate(over="ignore", under="ignore"):
        # a temperature near the smallest float makes the quotient -inf, whose exponential is the 0 that is meant
        exponentials = np.exp((scores - scores.max(axis=1, keepdims=True)) / tau)
    weights: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return weights
