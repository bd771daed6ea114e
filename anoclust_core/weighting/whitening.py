r"""Whitening with shrinkage: what all patches vary in counts less, so that what few of them have in common shows.

With mean :math:`\mu` and covariance :math:`V \operatorname{diag}(\lambda) V^\top` of all patches,

.. math:: z(x) = \frac{W^\top (x - \mu)}{\lVert W^\top (x - \mu) \rVert}, \quad
          W = V \operatorname{diag}\big( (\lambda + \bar\lambda)^{-1/2} \big)

The mean :math:`\bar\lambda` of the variances is the shrinkage: without it, directions in which hardly any patch varies
would be blown up to noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError

MOST_FOR_MOMENTS: Final = 2000
"""Images whose patches a whitening is learnt from: of more, evenly spaced ones are taken."""


def learnt_from(n_images: int) -> NDArray[np.int64]:
    """Rows, ascending, of the images whose patches a whitening is learnt from, among so many distinct ones."""
    return np.linspace(0, n_images - 1, min(n_images, MOST_FOR_MOMENTS)).astype(np.int64)


@dataclass(frozen=True)
class Whitening:
    """A whitening.

    Attributes
    ----------
    mean
        Shape ``(dim,)``, float64.
    matrix
        Shape ``(dim, dim)``, float64: a vector times it is whitened.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def directions(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Whiten vectors and scale them to unit L2 norm.

        Parameters
        ----------
        vectors
            Shape ``(..., dim)``.

        Returns
        -------
        directions
            Same shape, float64; 0 where a vector is the mean.

        Raises
        ------
        ArrayContractError
            If the last axis is not ``dim``.
        """
        return unit_directions(self.whitened(vectors))

    def whitened(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Whiten vectors and leave their lengths: about 1 a dimension where a vector is like any other.

        Parameters
        ----------
        vectors
            Shape ``(..., dim)``.

        Returns
        -------
        whitened
            Same shape, float64.

        Raises
        ------
        ArrayContractError
            If the last axis is not ``dim``.
        """
        vectors = checked_array("vectors", vectors, "(..., dim)")
        if vectors.shape[-1] != len(self.mean):
            raise ArrayContractError(f"expected vectors of {len(self.mean)} values, found shape {vectors.shape}")
        found: NDArray[np.float64] = (vectors - self.mean) @ self.matrix
        return found


class Moments:
    """Mean and covariance of vectors that are looked at a few at a time.

    Parameters
    ----------
    dim
        Length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self._n = 0.0
        self._sum = np.zeros(dim)
        self._products = np.zeros((dim, dim))

    @classmethod
    def of(cls, vectors: NDArray[np.floating[Any]], counts: Sequence[int]) -> Moments:
        """Count vectors, shape ``(n, dim)``, each as many times as ``counts`` says.

        Raises
        ------
        ArrayContractError
            If there is not one count a vector.
        """
        vectors = checked_array("vectors", vectors, "(n, dim)")
        if len(counts) != len(vectors):
            raise ArrayContractError(f"expected {len(vectors)} counts, one a vector, found {len(counts)}")
        seen = cls(vectors.shape[1])
        for vector, count in zip(vectors, counts, strict=True):
            seen.add(vector[None], times=count)
        return seen

    def add(self, vectors: NDArray[np.floating[Any]], *, times: float = 1) -> None:
        """Count vectors, shape ``(n, dim)``, each so many times.

        Raises
        ------
        ArrayContractError
            If the shape is another one.
        """
        vectors = checked_array("vectors", vectors, "(n, dim)")
        if vectors.shape[1] != len(self._sum):
            raise ArrayContractError(f"expected vectors of {len(self._sum)} values, found shape {vectors.shape}")
        self._n += times * len(vectors)
        self._sum += times * vectors.sum(axis=0, dtype=np.float64)
        self._products += times * (vectors.T @ vectors)

    def whitening(self) -> Whitening:
        """Whitening of what was counted; where nothing varies, no direction is special.

        Raises
        ------
        ArrayContractError
            If nothing was counted, or something that is not finite.
        """
        if not self._n or not np.isfinite(self._products).all():
            raise ArrayContractError("whitening needs at least one vector, and finite ones")
        mean = self._sum / self._n
        variances, axes = np.linalg.eigh(self._products / self._n - np.outer(mean, mean))
        variances = variances.clip(min=0)
        shrinkage = variances.mean()
        if shrinkage <= np.finfo(np.float32).eps * (mean**2).mean():  # nothing but rounding
            return Whitening(mean, np.eye(len(mean)))
        return Whitening(mean, axes / np.sqrt(variances + shrinkage))


def unit_directions(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Scale vectors, shape ``(..., dim)``, to unit L2 norm, float64; one without length has no direction and stays 0.

    Raises
    ------
    ArrayContractError
        If they are no array of real numbers.
    """
    vectors = checked_array("vectors", vectors, "(..., dim)")
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.where(norms > np.finfo(np.float32).tiny, norms, 1)
    return scaled
