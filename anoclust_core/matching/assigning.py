"""New images and the clusters of a snapshot: each goes to the nearest one that takes it, or is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from anoclust_core.arrays import LABELS, WHOLE, checked_array, checked_sequence
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.confidence import confidence
from anoclust_core.matching.identities import owner_of
from anoclust_core.matching.prototypes import Prototypes, check_dim

_TINY: Final = 1e-12


@dataclass(frozen=True)
class Assignments:
    """Where new images belong.

    Attributes
    ----------
    ids
        Cluster of each image, None where it is unknown.
    nearest
        Nearest cluster of each image, of unknown ones too.
    distances
        Shape ``(n_images,)``, float64 >= 0, in descriptor units: the height at which Ward's tree would merge the image
        with its cluster, or with the nearest one where it is unknown.
    confidence
        Shape ``(n_images,)``, float64 in [0, 1]: of a cluster, how often such an image stays in it when everything is
        re-clustered, see `anoclust_core.matching.confidence`; of an unknown image, see `assign`.
    """

    ids: tuple[str | None, ...]
    nearest: tuple[str, ...]
    distances: NDArray[np.float64]
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """The nearest cluster of each image, whatever its radius, and the confidence in it, shape ``(n_images,)``."""

    ids: tuple[str, ...]
    confidence: NDArray[np.float64]


def choose(
    descriptors: NDArray[np.floating[Any]], prototypes: Prototypes, *, merged_into: Mapping[str, str] | None = None
) -> Choice:
    """Find the nearest cluster of each image.

    Parameters
    ----------
    descriptors, prototypes, merged_into
        As for `assign`.

    Raises
    ------
    ArrayContractError, ConfigError
        As `assign`.
    """
    heights = _heights(_rows(descriptors, prototypes), prototypes)
    nearest = heights.argmin(axis=1)
    margins = _margins(heights, nearest, _owners(prototypes, merged_into))
    return Choice(tuple(prototypes.ids[at] for at in nearest.tolist()), confidence(margins, slope=prototypes.slope))


def choose_by_scores(
    scores: NDArray[np.floating[Any]],
    ids: Sequence[str | None],
    *,
    slope: float,
    merged_into: Mapping[str, str] | None = None,
) -> Choice:
    """Take the cluster with the largest score for each image, as a head that was learnt gives them.

    Parameters
    ----------
    scores
        Shape ``(n_images, n_scores)``, finite.
    ids
        Cluster that each score stands for; None where that is gone. Several may stand for one.
    slope
        Log odds per unit of the lead over the next cluster, as of `anoclust_core.clustering.learning.head.Head`.
    merged_into
        As for `assign`.

    Raises
    ------
    ArrayContractError
        If there is not one identity for each score, none is there, or a score is not finite.
    ConfigError
        If the merges lead back to where they began.
    """
    values = _checked_scores(scores)
    given = checked_sequence("ids", ids, LABELS)
    there = [at for at, name in enumerate(given) if name is not None]
    if values.shape[1] != len(given) or not there:
        raise ArrayContractError(f"expected an identity for each score, found {len(given)} for {values.shape}")
    names = [str(given[at]) for at in there]
    owners, own = np.unique([owner_of(name, merged_into or {}) for name in names], return_inverse=True)
    best = np.stack([values[:, there][:, own == owner].max(axis=1) for owner in range(len(owners))], axis=1)
    chosen = values[:, there].argmax(axis=1) if len(values) else np.zeros(0, np.int64)
    margins = leads(best, own[chosen])
    return Choice(tuple(names[at] for at in chosen.tolist()), confidence(margins, slope=slope))


def leads(scores: NDArray[np.floating[Any]], chosen: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """By how much the chosen cluster's score is above the next one's; negative where it is below.

    Parameters
    ----------
    scores
        Shape ``(n_images, n_clusters)``, finite.
    chosen
        Shape ``(n_images,)``: a cluster for each.

    Returns
    -------
    leads
        Shape ``(n_images,)``, float64; infinite where there is no other cluster.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or a score is not finite.
    """
    values = _checked_scores(scores)
    given = checked_array("chosen", chosen, "(n_images,)", kinds=WHOLE)
    if len(given) != len(values) or (len(given) and not 0 <= given.min() <= given.max() < values.shape[1]):
        raise ArrayContractError(
            f"expected one of {values.shape[1]} clusters for each of {len(values)} rows, found {len(given)}"
        )
    rows = np.arange(len(values))
    own = values[rows, given]
    values[rows, given] = -np.inf
    return np.asarray(own - values.max(axis=1, initial=-np.inf))


def assign(
    descriptors: NDArray[np.floating[Any]],
    prototypes: Prototypes,
    *,
    merged_into: Mapping[str, str] | None = None,
    choice: Choice | None = None,
) -> Assignments:
    r"""Give each new image to the nearest cluster among those whose radius it lies in.

    The distance is Ward's height :math:`h`, see `anoclust_core.matching.prototypes`. An image outside of every radius
    is unknown. The confidence in a cluster is `anoclust_core.matching.confidence.confidence` of its margin
    :math:`\log(h_\text{rival} / h)`. The confidence that an image is unknown is :math:`1 - r^2 / h^2` for the nearest
    cluster: 0 at its radius, towards 1 far away.

    Every image is looked at by itself: any batch gives the same result to the last bit.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite; no row is fine.
    prototypes
        The snapshot's clusters.
    merged_into
        Clusters that a person merged into another one: parts of one cluster are no rivals of each other.
    choice
        Cluster of each image, chosen by other descriptors: it takes the image if that lies in its radius, or else the
        image is unknown. By default the nearest one whose radius holds it.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional or not finite, or of another length than the prototypes; or a choice
        is none of the clusters.
    ConfigError
        If the merges lead back to where they began.
    """
    values = _rows(descriptors, prototypes)
    owners = _owners(prototypes, merged_into)
    heights = _heights(values, prototypes)
    nearest = heights.argmin(axis=1)
    holds = heights <= prototypes.radii
    if choice is not None:
        nearest = _positions(choice.ids, prototypes, len(values))
        holds &= np.arange(len(prototypes.ids)) == nearest[:, None]
    known: NDArray[np.bool_] = np.asarray(holds.any(axis=1))
    chosen = np.where(known, np.where(holds, heights, np.inf).argmin(axis=1), nearest)
    distances = heights[np.arange(len(values)), chosen]
    beyond = 1 - np.square(np.minimum(prototypes.radii[chosen] / np.maximum(distances, _TINY), 1.0))
    sure = (
        confidence(_margins(heights, chosen, owners), slope=prototypes.slope) if choice is None else choice.confidence
    )
    return Assignments(
        ids=tuple(
            prototypes.ids[at] if is_known else None
            for at, is_known in zip(chosen.tolist(), known.tolist(), strict=True)
        ),
        nearest=tuple(prototypes.ids[at] for at in nearest.tolist()),
        distances=distances,
        confidence=np.where(known, sure, beyond),
    )


def member_distances(
    descriptors: NDArray[np.floating[Any]], ids: Sequence[str], prototypes: Prototypes
) -> NDArray[np.float64]:
    """Distance of each image to the cluster that it is in, as in `Assignments`.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite.
    ids
        Cluster of each image, one of the prototypes'.
    prototypes
        Clusters.

    Returns
    -------
    distances
        Shape ``(n_images,)``, float64.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional or not finite, or of another length than the prototypes.
    """
    heights, chosen = _of_members(descriptors, ids, prototypes)
    return np.asarray(heights[np.arange(len(heights)), chosen], dtype=np.float64)


def member_confidence(
    descriptors: NDArray[np.floating[Any]], ids: Sequence[str], prototypes: Prototypes
) -> NDArray[np.float64]:
    """Confidence of each image in the cluster that it is in, by the margin it has when it is taken out of that.

    Parameters
    ----------
    descriptors, ids, prototypes
        As for `member_distances`; descriptors that clusters are chosen by.

    Returns
    -------
    confidence
        Shape ``(n_images,)``, float64; of a cluster of one, 0.5: nothing is known of it.

    Raises
    ------
    ArrayContractError
        As `member_distances`.
    """
    heights, chosen = _of_members(descriptors, ids, prototypes)
    rows, sizes = np.arange(len(heights)), prototypes.sizes[chosen]
    heights[rows, chosen] *= np.sqrt((sizes + 1) / np.maximum(sizes - 1, 1))  # to the mean of the others
    sure = confidence(_margins(heights, chosen, np.array(prototypes.ids)), slope=prototypes.slope)
    return np.asarray(np.where(sizes > 1, sure, 0.5), dtype=np.float64)


def _of_members(
    descriptors: NDArray[np.floating[Any]], ids: Sequence[str], prototypes: Prototypes
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    ids = checked_sequence("ids", ids, (str,))
    values = checked_descriptors(descriptors, min_rows=1)
    check_dim(values, prototypes)
    return _heights(values, prototypes), _positions(ids, prototypes, len(values))


def _checked_scores(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    values = checked_array("scores", scores, "(n_images, n_clusters)").astype(np.float64)
    if not np.isfinite(values).all():
        raise ArrayContractError("expected finite scores, found NaN or infinity")
    return values


def _rows(descriptors: NDArray[np.floating[Any]], prototypes: Prototypes) -> NDArray[np.float64]:
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    values = checked_descriptors(descriptors, min_rows=0) if len(descriptors) else np.zeros((0, descriptors.shape[-1]))
    check_dim(values, prototypes)
    return values


def _owners(prototypes: Prototypes, merged_into: Mapping[str, str] | None) -> NDArray[np.str_]:
    """Cluster that each prototype is part of."""
    return np.array([owner_of(name, merged_into or {}) for name in prototypes.ids])


def _positions(ids: Sequence[str], prototypes: Prototypes, n_images: int) -> NDArray[np.int64]:
    """Position of each image's cluster among the prototypes."""
    position = {name: at for at, name in enumerate(prototypes.ids)}
    unknown = [name for name in ids if name not in position]
    if unknown or len(ids) != n_images:
        raise ArrayContractError(
            f"expected one of the snapshot's clusters for each of {n_images} descriptors, found {len(ids)} ids"
            + (f", among them {unknown[0]!r}" if unknown else "")
        )
    return np.array([position[name] for name in ids], dtype=np.int64)


def _heights(values: NDArray[np.float64], prototypes: Prototypes) -> NDArray[np.float64]:
    """Height at which Ward's tree would merge each image with each cluster."""
    factors = np.sqrt(2 * prototypes.sizes / (prototypes.sizes + 1))
    return np.asarray(cdist(values, prototypes.means) * factors, dtype=np.float64)


def _margins(heights: NDArray[np.float64], chosen: NDArray[np.int64], owners: NDArray[np.str_]) -> NDArray[np.float64]:
    """Logarithm of how many times farther the nearest other cluster is; infinite where there is no other."""
    own = heights[np.arange(len(heights)), chosen]
    rivals = np.where(owners[chosen][:, None] == owners, np.inf, heights).min(axis=1, initial=np.inf)
    return np.asarray(np.log(np.maximum(rivals, _TINY)) - np.log(np.maximum(own, _TINY)), dtype=np.float64)
