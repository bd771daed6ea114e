"""Agreement of clusters with labels: NMI, ARI, matched F1, purity and its curve over all numbers of clusters.

Names and the order of images never matter. How well scores find anomalies is measured in `ranking`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from anoclust_core.arrays import check_share, checked_array, checked_sequence
from anoclust_core.clustering.checks import check_linkage
from anoclust_core.errors import ArrayContractError, ConfigError

Names: TypeAlias = Sequence[str | int] | NDArray[np.integer[Any]] | NDArray[np.str_]
"""One string or integer per image, the name of its class or cluster: of at least one image, and of the same images, in
the same order, as the names that they are compared with. Anything else is an `ArrayContractError`."""

F1Average: TypeAlias = Literal["weighted", "micro"]


@dataclass(frozen=True)
class Scores:
    """Agreement of clusters with labels, each in [0, 1] except ``ari`` in [-0.5, 1]."""

    nmi: float
    ari: float
    f1_weighted: float
    f1_micro: float


def normalized_mutual_information(labels: Names, clusters: Names) -> float:
    r"""Mutual information over the arithmetic mean of the two entropies, [SOHN23] sec. 4.

    .. math:: 2\, I(L; C) / (H(L) + H(C))

    Returns
    -------
    nmi
        In [0, 1]; 1 for equal partitions, a single class in a single cluster included.
    """
    return _nmi(_contingency(*_checked_codes(labels, clusters)))


def adjusted_rand_index(labels: Names, clusters: Names) -> float:
    """Share of image pairs on which both partitions agree, adjusted for chance, [SOHN23] sec. 4.

    Returns
    -------
    ari
        In [-0.5, 1]; 1 for equal partitions, 0 expected of a random one.
    """
    return _ari(_contingency(*_checked_codes(labels, clusters)))


def matched_f1(labels: Names, clusters: Names, *, average: F1Average) -> float:
    r"""F1 after the one-to-one matching of clusters to classes that keeps the most images, [SOHN23] sec. 4.

    With :math:`n_{lc}` images of class *l* in the matched cluster *c*, :math:`n_l` and :math:`n_c` their sizes:

    .. math::
        F_\text{micro} = \sum n_{lc} / N, \qquad F_\text{weighted} = \sum \frac{n_l}{N} \frac{2 n_{lc}}{n_l + n_c}

    A cluster left over, with no class to match, matches nothing: all its images are errors.
    Several matchings can keep the same number of images and differ in weighted F1; the highest weighted F1 among them
    counts, so the score never depends on how classes and clusters are named or ordered.

    Parameters
    ----------
    labels, clusters
        See `Names`; any number of clusters.
    average
        ``weighted``: per-class F1, averaged by class size. ``micro``: matched images over images.

    Returns
    -------
    f1
        In [0, 1].

    Raises
    ------
    ConfigError
        If ``average`` is unknown.
    """
    if average not in get_args(F1Average):
        raise ConfigError(f"expected an F1 average of {get_args(F1Average)}, found {average!r}; use one of these")
    weighted, micro = _matched_f1s(_contingency(*_checked_codes(labels, clusters)))
    return weighted if average == "weighted" else micro


def purity(labels: Names, clusters: Names) -> float:
    """Share of images that belong to the largest class of their cluster, [SOHN23] sec. 4.4.

    Returns
    -------
    purity
        In (0, 1]; it is 1 for one cluster per image, so compare it at equal numbers of clusters only.
    """
    contingency = _contingency(*_checked_codes(labels, clusters))
    return int(contingency.max(axis=0).sum()) / int(contingency.sum())


def purity_curve(labels: Sequence[str | int | None], linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Purity of every cut of a tree, from one cluster to one cluster per image, [SOHN23] sec. 4.4 and Fig. 4.

    The merges are walked once, in time n_images x n_classes; cutting the tree n_images times gives the same numbers.
    For a method without a tree the curve is ``[purity(labels, clusters) for clusters in partitions]``.

    Parameters
    ----------
    labels
        One string or integer per image of the tree; None for an image that was clustered but is not evaluated: it
        counts in no majority, though a cluster of such images alone still counts as a cluster.
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout, merges in order.

    Returns
    -------
    curve
        Shape ``(n_images,)``, float64 in (0, 1], never decreasing: the purity of k clusters, k = 1 ... n_images, as
        the share of evaluated images in the majority class of their cluster. Ends at 1.

    Raises
    ------
    ArrayContractError
        If ``linkage`` is no tree, there is not one label per image of it, no image is evaluated, or a label is neither
        a string nor an integer.
    """
    labels = checked_sequence("labels", labels, (str, int, np.integer, type(None)))
    check_linkage(linkage)
    n_images = len(linkage) + 1
    if len(labels) != n_images:
        raise ArrayContractError(
            f"expected one label per image of the tree, found {len(labels)} labels for {n_images} images; "
            "pass None for an image that is not evaluated"
        )
    evaluated = np.array([label is not None for label in labels])
    codes = _codes([label for label in labels if label is not None], "labels")
    counts = np.zeros((n_images + len(linkage), codes.max() + 1), dtype=np.int64)
    counts[np.flatnonzero(evaluated), codes] = 1
    majorities = np.empty(n_images, dtype=np.int64)
    majorities[-1] = len(codes)
    for merge, (left, right) in enumerate(linkage[:, :2].astype(np.int64).tolist()):
        both = counts[left] + counts[right]
        counts[n_images + merge] = both
        lost = counts[left].max() + counts[right].max() - both.max()
        majorities[n_images - 2 - merge] = majorities[n_images - 1 - merge] - lost
    return majorities / len(codes)


def purity_auc(curve: NDArray[np.floating[Any]]) -> float:
    """Area under the purity curve over the number of images, mAUC of [SOHN23] sec. 4.4, Table 3.

    Parameters
    ----------
    curve
        Shape ``(n_images,)``, in [0, 1]: the purity of k clusters, k = 1 ... n_images, from `purity_curve`.

    Returns
    -------
    mauc
        Mean of the curve, in [0, 1].

    Raises
    ------
    ArrayContractError
        If ``curve`` is not one-dimensional, empty or not within [0, 1].
    """
    return min(1.0, math.fsum(_checked_curve(curve)) / len(curve))


def reduction_at_purity(curve: NDArray[np.floating[Any]], *, purity: float) -> float:
    r"""Share of labelling saved by naming clusters instead of images, at a given purity, R@P of [SOHN23] sec. 4.4.

    .. math:: 1 - \min \{k : \text{purity}(k) \ge P\} / N

    Parameters
    ----------
    curve
        As in `purity_auc`.
    purity
        P, in (0, 1].

    Returns
    -------
    reduction
        In [0, 1); 0 where it takes one cluster per image, or the curve does not get there.

    Raises
    ------
    ArrayContractError
        As `purity_auc`.
    ConfigError
        If ``purity`` is not in (0, 1].
    """
    check_share("a purity", purity, usual=0.95)
    reached = _checked_curve(curve) >= purity
    n_images = len(curve)
    n_clusters = int(np.argmax(reached)) + 1 if reached.any() else n_images
    return (n_images - n_clusters) / n_images


def score_partition(labels: Names, clusters: Names) -> Scores:
    """Every score that the protocols report, for one partition.

    Returns
    -------
    scores
        NMI, ARI and both averages of the matched F1; never NaN.
    """
    label_codes, cluster_codes = _checked_codes(labels, clusters)
    contingency = _contingency(label_codes, cluster_codes)
    weighted, micro = _matched_f1s(contingency)
    return Scores(
        nmi=_nmi(contingency),
        ari=_ari(contingency),
        f1_weighted=weighted,
        f1_micro=micro,
    )


def _checked_curve(curve: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    curve = checked_array("curve", curve, "(n_numbers_of_clusters,)", lists=False)
    if curve.ndim != 1 or len(curve) == 0 or not ((curve >= 0) & (curve <= 1)).all():
        raise ArrayContractError(
            f"expected a curve of purities in [0, 1], one per number of clusters, found shape {curve.shape}"
            + (f" from {curve.min():.3g} to {curve.max():.3g}" if curve.size else "")
            + "; pass what purity_curve returned"
        )
    return curve


def _checked_codes(labels: Names, clusters: Names) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    label_codes, cluster_codes = _codes(labels, "labels"), _codes(clusters, "clusters")
    if len(label_codes) != len(cluster_codes):
        raise ArrayContractError(
            f"expected one cluster per label, found {len(label_codes)} labels and {len(cluster_codes)} clusters; "
            "pass both for the same images, in the same order"
        )
    return label_codes, cluster_codes


def _codes(names: Names, what: str) -> NDArray[np.int64]:
    """Numbers 0, 1, ... for the names, by first appearance."""
    names = checked_sequence(what, names, (str, int, np.integer))
    values = names.tolist() if isinstance(names, np.ndarray) else names
    if len(values) == 0:
        raise ArrayContractError(f"expected at least one image, found no {what}; leave the score out instead")
    numbers: dict[str | int | np.integer[Any], int] = {}
    for value in values:
        if not isinstance(value, str | int | np.integer):
            raise ArrayContractError(
                f"expected {what} to be one string or integer per image, found {value!r}; drop unlabelled images first"
            )
        numbers.setdefault(value, len(numbers))
    return np.array([numbers[value] for value in values], dtype=np.int64)


def _nmi(contingency: NDArray[np.int64]) -> float:
    """From counts; scikit-learn's takes a second to import, and every run imports this."""
    of_labels, of_clusters = contingency.sum(axis=1), contingency.sum(axis=0)
    entropies = _entropy(of_labels) + _entropy(of_clusters)
    if not entropies:  # a single class in a single cluster
        return 1.0
    shared = entropies - _entropy(contingency.ravel())
    return min(1.0, max(0.0, 2 * shared / entropies))  # rounding may put it outside


def _entropy(counts: NDArray[np.int64]) -> float:
    """Entropy of a partition from the sizes of its parts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return -math.fsum((shares * np.log(shares)).tolist())


def _ari(contingency: NDArray[np.int64]) -> float:
    """From counts of pairs as whole numbers; scikit-learn's spends most of its time on checks made before."""
    together, of_labels, of_clusters, pairs = (
        sum(count * (count - 1) // 2 for count in counts.ravel().tolist())
        for counts in (contingency, contingency.sum(axis=1), contingency.sum(axis=0), contingency.sum())
    )
    above = 2 * (together * pairs - of_labels * of_clusters)
    below = (of_labels + of_clusters) * pairs - 2 * of_labels * of_clusters
    return above / below if below else 1.0


def _contingency(label_codes: NDArray[np.int64], cluster_codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images per class (row) and cluster (column); assumes codes without gaps."""
    counts = np.zeros((label_codes.max() + 1, cluster_codes.max() + 1), dtype=np.int64)
    np.add.at(counts, (label_codes, cluster_codes), 1)
    return counts


def _matched_f1s(contingency: NDArray[np.int64]) -> tuple[float, float]:
    """Weighted and micro F1 of the matching that keeps the most images, then has the highest weighted F1.

    Both are sums over matched cells, so one assignment serves both: the counts are integers and the weighted F1 of a
    whole matching is at most 1, hence half of it never outweighs one image. Rounding leaves ties in weighted F1 below
    1e-8 undecided at a million images.
    """
    n_images = int(contingency.sum())
    class_sizes = contingency.sum(axis=1, keepdims=True)
    cluster_sizes = contingency.sum(axis=0, keepdims=True)
    weighted_cells = (class_sizes / n_images) * (2 * contingency / (class_sizes + cluster_sizes))
    matched = linear_sum_assignment(contingency + weighted_cells / 2, maximize=True)
    weighted = min(1.0, math.fsum(weighted_cells[matched]))
    return weighted, int(contingency[matched].sum()) / n_images
