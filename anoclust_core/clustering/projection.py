"""A map of images: two numbers for each, so that images that are alike lie side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from anoclust_core.arrays import checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.seeding import generator

MOST_FITTED: Final = 3000
"""Images whose places are worked out together; of more, so many are drawn, and the others are put beside them."""

MOST_COMPONENTS: Final = 50
"""Principal components that the map is made from: more take longer, and look the same."""

FEWEST_FITTED: Final = 5
"""Images below which their first two principal components are the map."""

PERPLEXITY: Final = 30.0
"""About how many neighbours an image keeps; a third of the images, where that is fewer."""

STEPS: Final = 500
"""Of t-SNE: a thousand look the same."""

BESIDE: Final = 5
"""Known images that a new one is put between."""

_AT_A_TIME: Final = 1024


def project(descriptors: NDArray[np.floating[Any]], *, seed: int) -> NDArray[np.float32]:
    """Place images on a map by t-SNE (van der Maaten & Hinton, 2008), as scikit-learn makes it.

    Neighbours on the map are alike. Distances between far groups, and how large groups look, say nothing. Of more than
    ``MOST_FITTED`` images, so many are drawn and fitted, and the others are placed by `place_beside`.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one row.
    seed
        Of what is drawn. The same descriptors in the same order and the same seed give the same map on one machine.

    Returns
    -------
    positions
        Shape ``(n_images, 2)``, float32, in [-1, 1].

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, finite and filled.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    fitted = np.arange(len(values))
    if len(values) > MOST_FITTED:
        fitted = np.sort(generator(seed, "projection").permutation(len(values))[:MOST_FITTED])
    positions = _fitted(values[fitted], seed)
    if len(fitted) == len(values):
        return positions
    everything = place_beside(values, known=values[fitted], positions=positions)
    everything[fitted] = positions
    return everything


def place_beside(
    descriptors: NDArray[np.floating[Any]],
    *,
    known: NDArray[np.floating[Any]],
    positions: NDArray[np.floating[Any]],
) -> NDArray[np.float32]:
    """Place images on a map that is there: between the ``BESIDE`` known images nearest to each; no known one moves.

    Nearer ones count more, by one over the squared distance.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least one row.
    known
        Shape ``(n_known, dim)``, finite, at least one row: of the images on the map.
    positions
        Shape ``(n_known, 2)``, finite: where these are.

    Returns
    -------
    positions
        Shape ``(n_images, 2)``, float32.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or something is not finite.
    """
    values = checked_descriptors(descriptors, min_rows=1)
    there = checked_descriptors(known, min_rows=1)
    where = checked_array("positions", positions, "(n_known, 2)").astype(np.float64)
    if where.shape != (len(there), 2) or values.shape[1] != there.shape[1] or not np.isfinite(where).all():
        raise ArrayContractError(
            f"expected descriptors of {there.shape[1]} numbers and {len(there)} finite positions of two numbers, found "
            f"{values.shape[1]} numbers and positions of shape {where.shape}"
        )
    squares = np.einsum("nd,nd->n", there, there)
    found = [_between(part, there, squares, where) for part in _parts(values)]
    return np.concatenate(found).astype(np.float32)


def _fitted(values: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """Positions of a few thousand images at most."""
    centred = values - values.mean(axis=0)
    if not centred.any():
        return np.zeros((len(values), 2), np.float32)
    if len(values) < FEWEST_FITTED:
        components = PCA(min(2, *centred.shape), svd_solver="full").fit_transform(centred)
        positions = np.zeros((len(values), 2))
        positions[:, : components.shape[1]] = components
    else:
        n_components = min(MOST_COMPONENTS, *centred.shape)
        components = PCA(n_components, random_state=seed).fit_transform(centred)
        perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
        start = "pca" if n_components > 1 else "random"
        with threadpool_limits(limits=1):  # so few images are no work for two threads: they would wait for each other
            positions = TSNE(
                perplexity=perplexity, init=start, max_iter=STEPS, random_state=seed, n_jobs=1
            ).fit_transform(components)
    positions = positions - (positions.max(axis=0) + positions.min(axis=0)) / 2
    return np.asarray(positions / max(np.abs(positions).max(), np.finfo(np.float32).tiny), dtype=np.float32)


def _parts(values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(values), _AT_A_TIME):
        yield values[start : start + _AT_A_TIME]


def _between(
    values: NDArray[np.float64], known: NDArray[np.float64], squares: NDArray[np.float64], where: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means of the positions of the nearest known images, by their nearness."""
    distances = np.maximum(np.einsum("nd,nd->n", values, values)[:, None] + squares - 2 * (values @ known.T), 0)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :BESIDE]
    chosen = np.take_along_axis(distances, nearest, axis=1)
    weights = 1 / np.maximum(chosen, 1e-9 * max(float(squares.max()), 1e-9))  # a copy lies on its original
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkd->nd", weights, where[nearest]))
