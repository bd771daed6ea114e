"""The array contract: bags of unit-norm patch embeddings, ``(n_images, n_patches, dim)``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array, told
from anoclust_core.errors import ArrayContractError

UNIT_NORM_TOLERANCE: Final = 1e-3
"""Largest accepted deviation of a patch's L2 norm from 1; float16 storage stays below it."""


_PLAIN_SQUARES: Final = (1e-20, 1e30)
"""Between these, a patch's sum of squares has lost nothing in float32: neither it nor a term that counts has overflowed
or vanished."""

_ROUNDING: Final = 1e-6
"""Deviation of a norm that float32 itself brings about."""


def normalize_patches(bags: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Scale every patch to unit L2 norm.

    A patch without any activation has no direction; it becomes the constant unit vector, so that all such patches are
    alike.

    Parameters
    ----------
    bags
        Shape ``(..., dim)``, finite.

    Returns
    -------
    bags
        Same shape, float32, unit norm along the last axis.

    Raises
    ------
    ArrayContractError
        If a value is not finite.
    """
    bags = checked_array("bags", bags, "(..., dim)")
    if bags.shape[-1] == 0:
        raise ArrayContractError(f"expected patches of at least one value, found {told(bags)}")
    values = np.asarray(bags, dtype=np.float32)
    with np.errstate(all="ignore"):
        squares = np.einsum("...d,...d->...", values, values)
        scaled: NDArray[np.float32] = values / np.sqrt(squares)[..., None]
    is_plain = (squares > _PLAIN_SQUARES[0]) & (squares < _PLAIN_SQUARES[1])
    if not is_plain.all():
        scaled[~is_plain] = _normalize_odd(values[~is_plain])
    return scaled


def _normalize_odd(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same for patches, shape ``(n, dim)``, whose squares overflow or vanish, or that are not finite."""
    largest = np.abs(patches).max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise ArrayContractError("patch embeddings must be finite; found NaN or infinity: check the backbone's weights")
    scaled = patches / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(scaled, axis=-1, keepdims=True)
    direction = scaled / np.where(largest > 0, norms, 1)
    return np.where(largest > 0, direction, np.float32(patches.shape[-1] ** -0.5)).astype(np.float32, copy=False)


def check_bags(bags: NDArray[np.floating[Any]], *, name: str = "bags") -> NDArray[np.float32]:
    """Check the contract of bags; give them as contiguous float32 of unit norm to the last digit.

    Distances are computed from inner products, where a norm that is off by 1e-4, as after half precision, would pass
    for a distance of 0.01.

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, finite, unit L2 norm per patch.
    name
        What an error calls them.

    Raises
    ------
    ArrayContractError
        If the array is not three-dimensional, is empty along patches or features, or a patch is not of unit norm.
    """
    bags = checked_array(name, bags, "(n_images, n_patches, dim)")
    values = np.ascontiguousarray(bags, dtype=np.float32)
    if values.ndim != 3 or 0 in values.shape[1:]:
        raise ArrayContractError(f"{name} must have shape (n_images, n_patches, dim); found {values.shape}")
    norms = np.sqrt(np.einsum("imd,imd->im", values, values))
    worst = float(np.abs(norms - 1).max(initial=0)) if np.isfinite(norms).all() else float("nan")
    if not worst <= UNIT_NORM_TOLERANCE:
        raise ArrayContractError(
            f"every patch of {name} must have unit L2 norm; found one that is off by {worst:.3g}: "
            "use normalize_patches first"
        )
    return values if worst <= _ROUNDING else values / norms[..., None]


def descriptors(bags: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""Pool each image around its weighted patches, the inner sums of [SOHN23] eq. (1).

    .. math:: x_i = \sum_m \alpha^i_m z^i_m

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``.
    weights
        Shape ``(n_images, n_patches)``, rows sum to 1.

    Returns
    -------
    descriptors
        Shape ``(n_images, dim)``, float32, summed in float64; norm at most 1.

    Raises
    ------
    ArrayContractError
        If the shapes do not match.
    """
    bags = checked_array("bags", bags, "(n_images, n_patches, dim)")
    weights = checked_array("weights", weights, "(n_images, n_patches)")
    if bags.ndim != 3 or weights.shape != bags.shape[:2]:
        raise ArrayContractError(
            f"weights must have one row per bag and one value per patch; found {weights.shape} for bags {bags.shape}"
        )
    pooled: NDArray[np.float64] = np.matmul(weights[:, None, :].astype(np.float64), bags.astype(np.float64))[:, 0, :]
    return pooled.astype(np.float32)
