"""Clustering straight into K clusters: k-means, Gaussian mixture, spectral.

Random starts depend on the order of the rows. So images are put into an order of their own before anything is drawn:
permuting the images permutes the labels, the same seed given. Everything runs on one thread, because scikit-learn and
BLAS sum in an order that depends on the number of threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.csgraph import laplacian
from threadpoolctl import threadpool_limits

from anoclust_core.clustering.checks import check_n_clusters, checked_descriptors, checked_distances
from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.order import by_centrality, by_content
from anoclust_core.errors import ConfigError

K_MEANS_STARTS: Final = 10
"""Random starts of k-means; the one with the smallest sum of squares counts."""

MIXTURE_STARTS: Final = 1
"""Random starts of the Gaussian mixture, scikit-learn's default and so the papers'."""

COVARIANCE_RIDGE: Final = 5e-3
"""Added to every variance of a Gaussian mixture, as a share of the features' mean variance.

scikit-learn adds 1e-6 whatever the unit. That is this share where unit-norm patches of 512 features pool to a mean
variance of 2e-4.
"""

MIN_COVARIANCE_RIDGE: Final = 1e-9
"""Below it, rounding can leave a covariance of many features without an inverse."""

MIN_AFFINITY: Final = 1e-10
"""Keeps every image's degree, which eigenvectors are divided by, far above rounding; too small to move a cluster."""


def k_means(
    descriptors: NDArray[np.floating[Any]],
    *,
    n_clusters: int,
    generator: np.random.Generator,
    n_starts: int = K_MEANS_STARTS,
) -> NDArray[np.int64]:
    """Least squares around cluster means: Lloyd's iterations from k-means++ starts, [SOHN23] sec. 4.3, Table 2.

    Iterated until nothing changes: every image is in the cluster whose mean is nearest.
    Permuting the images permutes the labels, for the same state of ``generator``.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two rows.
    n_clusters
        From 1 to ``n_images``.
    generator
        Draws the starts.
    n_starts
        Random starts, at least 1; the best counts.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64; numbered by decreasing size, ties by the first image. Equal descriptors are in one
        cluster, so there are fewer clusters than asked for where there are fewer descriptors that differ by more than
        rounding.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional, not finite, has fewer than two rows or overflows when squared.
    ConfigError
        If there cannot be so many clusters, or ``n_starts`` is not positive.
    """
    from sklearn.cluster import KMeans  # a second with all of scikit-learn, only for those who come here

    _check_starts(n_starts)

    def fit(values: NDArray[np.float64], k: int) -> NDArray[np.int32]:
        model = KMeans(n_clusters=k, n_init=n_starts, tol=0, random_state=_seed(generator))
        return np.asarray(model.fit_predict(values), dtype=np.int32)

    return _fitted_in_content_order(descriptors, n_clusters, fit)


def gaussian_mixture(
    descriptors: NDArray[np.floating[Any]],
    *,
    n_clusters: int,
    generator: np.random.Generator,
    n_starts: int = MIXTURE_STARTS,
    ridge: float = COVARIANCE_RIDGE,
) -> NDArray[np.int64]:
    """Most likely component of a Gaussian mixture with full covariances, [SOHN23] sec. 4.3, Table 2.

    Expectation maximisation from a k-means start. With fewer images than dimensions a covariance has no inverse of its
    own; ``ridge`` gives it one, and the result then follows the k-means start closely.
    Permuting the images permutes the labels, for the same state of ``generator``.

    Parameters
    ----------
    descriptors, n_clusters, generator
        As in `k_means`; descriptors are finite.
    n_starts
        Random starts, at least 1; the most likely mixture counts.
    ridge
        At least 1e-9: added to every variance, as a share of the features' mean variance, so that the unit does not
        matter.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64; numbered by decreasing size, ties by the first image. A component that is no
        image's most likely one makes no cluster, so there may be fewer than asked for.

    Raises
    ------
    ArrayContractError
        As `k_means`.
    ConfigError
        If there cannot be so many clusters, ``n_starts`` is not positive, or ``ridge`` is too small.
    """
    from sklearn.mixture import GaussianMixture  # as above

    _check_starts(n_starts)
    if not (np.isfinite(ridge) and ridge >= MIN_COVARIANCE_RIDGE):
        raise ConfigError(
            f"expected a ridge of at least {MIN_COVARIANCE_RIDGE}, found {ridge}; {COVARIANCE_RIDGE} is a good one"
        )

    def fit(values: NDArray[np.float64], k: int) -> NDArray[np.int64]:
        model = GaussianMixture(
            n_components=k,
            covariance_type="full",
            reg_covar=ridge * float(values.var(axis=0).mean()),
            n_init=n_starts,
            random_state=_seed(generator),
        )
        return np.asarray(model.fit_predict(values), dtype=np.int64)

    return _fitted_in_content_order(descriptors, n_clusters, fit)


def spectral(
    distances: NDArray[np.floating[Any]],
    *,
    n_clusters: int,
    generator: np.random.Generator,
    sigma: float | None = None,
) -> NDArray[np.int64]:
    r"""Spectral clustering of the affinities of given distances, [SOHN23] sec. 4.3, Table 2.

    .. math:: a_{ij} = \max\big(\exp(-d_{ij}^2 / (2 \sigma^2)), 10^{-10}\big)

    The ``n_clusters`` first eigenvectors of the graph's random-walk Laplacian are clustered by k-means, as in
    scikit-learn. The eigenvectors are exact, and the least affinity keeps the graph in one piece: groups without any
    other affinity to each other come apart, and an image far from all others does no harm. Where ``sigma`` leaves no
    image a neighbour all affinities are equal, and the clusters are arbitrary, though repeatable.
    The paper prints no sigma; scikit-learn's default for descriptors, gamma = 1, is ``sigma=0.5**0.5``.

    Permuting the images permutes the labels, for the same state of ``generator``, unless two different images have
    equal sums of distances. Time grows with the cube of the images, memory is about 40 bytes x n_images^2.

    Parameters
    ----------
    distances
        Shape ``(n_images, n_images)``, finite, >= 0, exactly symmetric, zero diagonal; at least two images.
    n_clusters, generator
        As in `k_means`.
    sigma
        > 0, in the distances' unit; by default the median of all distances above 0, which makes the unit irrelevant.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64; numbered by decreasing size, ties by the first image. There are fewer clusters
        than asked for where there are fewer distinct images, by their distances to all others.

    Raises
    ------
    ArrayContractError
        If ``distances`` is anything else, or so large that squares overflow.
    ConfigError
        If there cannot be so many clusters, or ``sigma`` is not positive.
    """
    values = checked_distances(distances)
    check_n_clusters(n_clusters, len(values))
    if sigma is not None and not (np.isfinite(sigma) and sigma > 0):
        raise ConfigError(f"expected a positive sigma, found {sigma}; leave it out to use the median distance")
    n_parts = min(n_clusters, len(np.unique(values, axis=0)))
    if n_parts == 1:
        return np.zeros(len(values), dtype=np.int64)
    scale = float(np.median(values[values > 0])) if sigma is None else sigma
    order = by_centrality(values)
    with np.errstate(over="ignore", under="ignore"):  # far beyond sigma the affinity is 0
        affinities = np.maximum(np.exp(-np.square(values[np.ix_(order, order)] / scale) / 2), MIN_AFFINITY)
    with threadpool_limits(limits=1):
        normalized, root_degrees = laplacian(affinities, normed=True, return_diag=True)
        _, vectors = eigh(normalized, subset_by_index=(0, n_parts - 1), overwrite_a=True)
    embedding = np.empty_like(vectors)
    embedding[order] = vectors / root_degrees[:, None]
    return k_means(embedding, n_clusters=n_parts, generator=generator)


def _fitted_in_content_order(
    descriptors: NDArray[np.floating[Any]],
    n_clusters: int,
    fit: Callable[[NDArray[np.float64], int], NDArray[np.integer[Any]]],
) -> NDArray[np.int64]:
    """Labels of ``fit(rows, number of clusters)``, which sees sorted rows, centred and scaled into [-1, 1]."""
    from sklearn.exceptions import ConvergenceWarning

    values = checked_descriptors(descriptors)
    check_n_clusters(n_clusters, len(values))
    order = by_content(values)
    rows = values[order]
    k = min(n_clusters, 1 + int((rows[1:] != rows[:-1]).any(axis=1).sum()))
    if k == 1:
        return np.zeros(len(values), dtype=np.int64)
    rows -= rows.mean(axis=0)
    rows /= np.abs(rows).max()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # fewer clusters than asked for, or the best mixture of an iteration that was cut off, is still an answer
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = fit(rows, k)
    labels = np.empty(len(values), dtype=np.int64)
    labels[order] = fitted
    return numbered_by_size(labels)


def _seed(generator: np.random.Generator) -> int:
    """Draw a seed for scikit-learn, which takes no generator."""
    return int(generator.integers(2**32))


def _check_starts(n_starts: int) -> None:
    if n_starts < 1:
        raise ConfigError(f"expected at least one random start, found {n_starts}; {K_MEANS_STARTS} is a good number")
