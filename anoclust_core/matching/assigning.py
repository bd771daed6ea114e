"""New images and the clusters of a snapshot: each goes to the nearest one that takes it, or is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.identities import owner_of
from anoclust_core.matching.prototypes import Prototypes, check_dim


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
        Shape ``(n_images,)``, float64 in [0, 1]: see `assign`.
    """

    ids: tuple[str | None, ...]
    nearest: tuple[str, ...]
    distances: NDArray[np.float64]
    confidence: NDArray[np.float64]


def assign(
    descriptors: NDArray[np.floating[Any]],
    prototypes: Prototypes,
    *,
    merged_into: Mapping[str, str] | None = None,
    choices: Sequence[str] | None = None,
) -> Assignments:
    r"""Give each new image to the nearest cluster among those whose radius it lies in.

    The distance is Ward's height :math:`h`, see `anoclust_core.matching.prototypes`. An image outside of every radius
    is unknown. The confidence in a cluster :math:`k` is the smaller of two numbers,

    .. math::
        \text{fit} = \frac{r_k - h_k}{r_k - m_k}, \qquad \text{margin} = 1 - \frac{h_k^2}{h_\text{rival}^2}

    each kept in [0, 1]: the image is no farther than a typical member (1) or just within the radius (0), and no other
    cluster is anywhere near (1) or one is as near (0). The confidence that an image is unknown is :math:`1 - r^2 / h^2`
    for the nearest cluster: 0 at its radius, towards 1 far away.

    Every image is looked at by itself: any batch gives the same result to the last bit.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite; no row is fine.
    prototypes
        The snapshot's clusters.
    merged_into
        Clusters that a person merged into another one: parts of one cluster are no rivals of each other.
    choices
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
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    values = checked_descriptors(descriptors, min_rows=0) if len(descriptors) else np.zeros((0, descriptors.shape[-1]))
    check_dim(values, prototypes)
    owners = np.array([owner_of(name, merged_into or {}) for name in prototypes.ids])
    heights = _heights(values, prototypes)
    nearest = heights.argmin(axis=1)
    holds = heights <= prototypes.radii
    if choices is not None:
        nearest = _positions(choices, prototypes, len(values))
        holds &= np.arange(len(prototypes.ids)) == nearest[:, None]
    known: NDArray[np.bool_] = np.asarray(holds.any(axis=1))
    chosen = np.where(known, np.where(holds, heights, np.inf).argmin(axis=1), nearest)
    distances = heights[np.arange(len(values)), chosen]
    beyond = 1 - np.square(_share(prototypes.radii[chosen], distances))
    return Assignments(
        ids=tuple(
            prototypes.ids[at] if is_known else None
            for at, is_known in zip(chosen.tolist(), known.tolist(), strict=True)
        ),
        nearest=tuple(prototypes.ids[at] for at in nearest.tolist()),
        distances=distances,
        confidence=np.where(known, _confidence(heights, chosen, owners, prototypes), beyond),
    )


def memberships(
    descriptors: NDArray[np.floating[Any]], ids: Sequence[str], prototypes: Prototypes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each image to the cluster that it is in, and the confidence in that, as in `assign`.

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
    distances, confidence
        Shape ``(n_images,)``, float64.

    Raises
    ------
    ArrayContractError
        If ``descriptors`` is not two-dimensional or not finite, or of another length than the prototypes.
    """
    ids = checked_sequence("ids", ids, (str,))
    values = checked_descriptors(descriptors, min_rows=1)
    check_dim(values, prototypes)
    heights = _heights(values, prototypes)
    chosen = _positions(ids, prototypes, len(values))
    owners = np.array(prototypes.ids)
    return heights[np.arange(len(values)), chosen], _confidence(heights, chosen, owners, prototypes)


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


def _confidence(
    heights: NDArray[np.float64], chosen: NDArray[np.int64], owners: NDArray[np.str_], prototypes: Prototypes
) -> NDArray[np.float64]:
    distances = heights[np.arange(len(heights)), chosen]
    radii, typical = prototypes.radii[chosen], prototypes.typical[chosen]
    rivals = np.where(owners[chosen][:, None] == owners, np.inf, heights).min(axis=1, initial=np.inf)
    fit = _share(radii - distances, radii - typical)
    return np.asarray(np.minimum(fit, 1 - np.square(_share(distances, rivals))), dtype=np.float64)


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of the whole in [0, 1]; 1 where there is no whole and the part is not negative."""
    divided = np.divide(part, whole, out=np.where(part >= 0, 1.0, 0.0), where=whole > 0)
    return np.clip(divided, 0.0, 1.0)
