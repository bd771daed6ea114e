"""A linear head: what tells the clusters apart, learnt from a partition, for the images of it and those that come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import TRUTHS, WHOLE, checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.assigning import leads
from anoclust_core.matching.confidence import fit_slope

SURE: Final = 20.0
"""Images that a label counts as in the fit: it is known, what was assigned is not."""

_ROWS_AT_ONCE: Final = 1024
_MOST_ASKED: Final = 4000
"""Images that the confidence is fitted by at most: of more, evenly spaced ones."""


@dataclass(frozen=True)
class Head:
    r"""Scores of clusters, linear in the descriptor: :math:`f(x) = B^\top (x - c) + 1 / K`.

    Attributes
    ----------
    centre
        Shape ``(dim,)``, float64: the mean :math:`c` of the clusters' weighted means.
    matrix
        Shape ``(dim, n_clusters)``, float64: :math:`B`.
    slope
        Log odds that the cluster with the largest score is the right one, per unit of its lead over the next.
    """

    centre: NDArray[np.float64]
    matrix: NDArray[np.float64]
    slope: float

    def scores(self, descriptors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Score of every cluster for each row, ``(n_images, n_clusters)``; about 1 where it is right, else about 0.

        Raises
        ------
        ArrayContractError
            If the descriptors are not two-dimensional and finite, or of another length.
        """
        values = checked_descriptors(descriptors, min_rows=0) if len(descriptors) else np.zeros((0, len(self.centre)))
        if values.shape[1] != len(self.centre):
            raise ArrayContractError(f"expected descriptors of length {len(self.centre)}, found {values.shape}")
        return np.asarray((values - self.centre) @ self.matrix + 1 / self.matrix.shape[1])

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """As arrays at rest."""
        return {"head_centre": self.centre, "head_matrix": self.matrix, "head_slope": np.array([self.slope])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.floating[Any]]]) -> Head:
        """Read what `arrays` has written."""
        centre, matrix, slope = (np.asarray(arrays[name], np.float64) for name in cls.names())
        return cls(centre, matrix, float(slope[0]))

    @staticmethod
    def names() -> tuple[str, str, str]:
        """Names of the arrays at rest."""
        return "head_centre", "head_matrix", "head_slope"


def fit_head(
    descriptors: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, is_sure: NDArray[np.bool_]
) -> Head:
    r"""Fit scores to a partition by weighted ridge regression on its clusters as 0 and 1.

    .. math:: B = (\Sigma + \lambda I)^{-1} \sum_i w_i (x_i - c) (y_i - \tfrac{1}{K})^\top, \quad
        \Sigma = \sum_i w_i (x_i - c)(x_i - c)^\top, \quad w_i = \frac{v_i}{K \sum_{j \in c(i)} v_j}, \quad
        \lambda = \operatorname{tr}(\Sigma) / n

    with :math:`y_i` the cluster of image :math:`i` as a row of 0 and 1, :math:`v_i` of ``SURE`` for labels and 1 for
    others, and the mean :math:`c` of the clusters' weighted means; every cluster counts alike. How sure a lead over the
    next score is comes from scores of each image that was left out, :math:`(f_i - h_i y_i) / (1 - h_i)` with its
    leverage :math:`h_i`, by `anoclust_core.matching.confidence.fit_slope`.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.
    labels
        Shape ``(n_images,)``: cluster of each image, from 0 without gaps.
    is_sure
        Shape ``(n_images,)``: whether a person said so.

    Raises
    ------
    ArrayContractError
        If the arrays do not fit each other, or the labels have gaps.
    """
    values = checked_descriptors(descriptors)
    given = checked_array("labels", labels, "(n_images,)", kinds=WHOLE)
    sure = checked_array("is_sure", is_sure, "(n_images,)", kinds=TRUTHS)
    sizes = np.bincount(given[given >= 0]) if len(given) else np.zeros(0)
    if not len(given) == len(sure) == len(values) or (given < 0).any() or not sizes.all():
        raise ArrayContractError(
            f"expected a label from 0 without gaps, and whether it is sure, for each of {len(values)} descriptors, "
            f"found {len(given)} and {len(sure)}"
        )
    n_images, n_clusters = len(values), len(sizes)
    weights = np.where(sure, SURE, 1.0)
    weights /= n_clusters * np.bincount(given, weights)[given]
    centre, roots = weights @ values, np.sqrt(weights)
    wanted = (np.eye(n_clusters) - 1 / n_clusters)[given] * roots[:, None]
    inner, across = _products(values, centre, roots, wanted)
    ridge = np.trace(inner) / n_images or 1.0
    inverse = np.linalg.inv(inner + ridge * np.eye(len(inner)))
    asked = np.unique(np.linspace(0, n_images - 1, min(n_images, _MOST_ASKED)).astype(int))
    if across is None:
        rows = (values - centre) * roots[:, None]
        matrix = rows.T @ (inverse @ wanted)
        leverage = np.einsum("ij,ji->i", inner[asked], inverse[:, asked])
    else:
        matrix = inverse @ across
        rows = (values[asked] - centre) * roots[asked, None]
        leverage = np.einsum("ij,ij->i", rows @ inverse, rows)
    plain = Head(centre, matrix, 0.0)
    own = np.eye(n_clusters)[given[asked]]
    left_out = (plain.scores(values[asked]) - leverage[:, None] * own) / np.maximum(1 - leverage, 1e-9)[:, None]
    return Head(centre, matrix, fit_slope(leads(left_out, given[asked])))


def _products(
    values: NDArray[np.float64], centre: NDArray[np.float64], roots: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Products of the weighted columns with each other and with the targets; of rows alone where these are fewer."""
    if len(values) <= values.shape[1]:
        rows = (values - centre) * roots[:, None]
        return rows @ rows.T, None
    inner = np.zeros((values.shape[1], values.shape[1]))
    across = np.zeros((values.shape[1], wanted.shape[1]))
    for start in range(0, len(values), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        rows = (values[block] - centre) * roots[block, None]
        inner += rows.T @ rows
        across += rows.T @ wanted[block]
    return inner, across
