"""What the methods take for truth in place of labels: all of it follows from what a network says itself."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from anoclust_core.arrays import checked_tensor, told
from anoclust_core.errors import ArrayContractError, ConfigError

_SMALLEST: Final = 1e-8

SMALLEST_SHARE: Final = 0.1
"""Of the mean size: a cluster below it makes k-means' relations no truth, [GAT20] as published."""

K_MEANS_STARTS: Final = 20
"""Random starts of k-means, as published."""


def balanced_scores(probabilities: Tensor) -> Tensor:
    r"""Labels in which every cluster counts alike, [GAT20] sec. 3.3: each column is divided by its sum, then each row.

    .. math:: t_{ic} = \frac{p_{ic} / \sum_j p_{jc}}{\sum_{c'} p_{ic'} / \sum_j p_{jc'}}

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.

    Returns
    -------
    targets
        Same shape, rows sum to 1.

    Raises
    ------
    ArrayContractError
        If it is no such tensor.
    """
    probabilities = checked_tensor("probabilities", probabilities, "(n_images, n_clusters)")
    return _rows_to_one(probabilities / probabilities.sum(dim=0).clamp_min(_SMALLEST))


def sharpened_scores(probabilities: Tensor) -> Tensor:
    r"""Labels that are surer of themselves, [GAT20] sec. 3.4.

    .. math:: t_{ic} = \frac{p_{ic}^2 / \sum_j p_{jc}}{\sum_{c'} p_{ic'}^2 / \sum_j p_{jc'}}

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.

    Returns
    -------
    targets
        Same shape, rows sum to 1.

    Raises
    ------
    ArrayContractError
        If it is no such tensor.
    """
    probabilities = checked_tensor("probabilities", probabilities, "(n_images, n_clusters)")
    return _rows_to_one(probabilities.square() / probabilities.sum(dim=0).clamp_min(_SMALLEST))


def relations(probabilities: Tensor, *, generator: torch.Generator) -> Tensor:
    """Which images belong together, [GAT20] sec. 3.3: those that k-means puts together, by their sharpened labels.

    As long as k-means finds a cluster with less than a tenth of the mean size, images belong to themselves only.

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.
    generator
        Of torch, on the CPU; seeds the starts of k-means.

    Returns
    -------
    relations
        Shape ``(n_images, n_images)``, as ``probabilities``: 1 or 0, symmetric, 1 on the diagonal.

    Raises
    ------
    ArrayContractError
        If it is no such tensor, not finite, or has fewer images than clusters.
    """
    sharpened = sharpened_scores(probabilities)
    n_images, n_clusters = sharpened.shape
    if n_images < n_clusters or not bool(sharpened.isfinite().all()):
        raise ArrayContractError(
            f"k-means needs finite labels of at least {n_clusters} images; found {told(probabilities)}"
        )
    start = int(torch.randint(1 << 31, (), generator=generator))
    values = sharpened.detach().cpu().numpy().astype(np.float64)
    n_distinct = len(np.unique(values, axis=0))
    alone = torch.eye(n_images, dtype=sharpened.dtype, device=sharpened.device)
    if n_distinct < n_clusters:
        return alone
    labels = KMeans(n_clusters, n_init=K_MEANS_STARTS, random_state=start).fit_predict(values)
    if np.bincount(labels, minlength=n_clusters).min() < SMALLEST_SHARE * n_images / n_clusters:
        return alone
    together = torch.from_numpy(labels[:, None] == labels[None, :])
    return together.to(sharpened.device, sharpened.dtype)


def nearest_neighbours(features: Tensor, *, count: int) -> Tensor:
    """Nearest other images by the cosine of their features, [SCAN20] sec. 2.1.

    Parameters
    ----------
    features
        Shape ``(n_images, dim)``, finite.
    count
        Neighbours an image, >= 1; of fewer other images, all of them.

    Returns
    -------
    neighbours
        Shape ``(n_images, count)``, int64: rows of ``features``, the nearest first, never the image itself.

    Raises
    ------
    ArrayContractError
        If it is no such tensor of at least two images, or not finite.
    ConfigError
        If ``count`` is below 1.
    """
    similar = _cosines(features)
    if len(similar) < 2:
        raise ArrayContractError(f"neighbours need at least 2 images; found {told(features)}")
    if count < 1:
        raise ConfigError(f"at least one neighbour is needed; found {count}")
    similar.fill_diagonal_(-torch.inf)
    return similar.topk(min(count, len(similar) - 1), dim=1).indices


def prototype_labels(features: Tensor, probabilities: Tensor, *, share: float) -> tuple[Tensor, Tensor]:
    """Pseudo labels by prototypes, [SPICE22] sec. III-B.

    The prototype of a cluster is the mean feature of the images that are surest of it: ``share`` of the mean size of a
    cluster. As many images as the mean size, those most similar to the prototype, get its label; an image may get
    several, or none.

    Parameters
    ----------
    features
        Shape ``(n_images, dim)``, finite; similar is what has a large cosine.
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.
    share
        Above 0, up to 1; published: 0.5.

    Returns
    -------
    rows, labels
        Each shape ``(n_clusters * size,)``, int64: images, and the clusters that they are given.

    Raises
    ------
    ArrayContractError
        If the tensors have other shapes, are not finite, or there are fewer images than clusters.
    ConfigError
        If the share is out of its range.
    """
    features, probabilities = _both(features, probabilities)
    if not 0 < share <= 1:
        raise ConfigError(f"the share of a prototype must be above 0 and up to 1; found {share}")
    n_images, n_clusters = probabilities.shape
    size = n_images // n_clusters
    surest = probabilities.argsort(dim=0, descending=True)[: max(1, int(share * size))]
    unit = functional.normalize(features, dim=1)
    prototypes = functional.normalize(unit[surest].mean(dim=0), dim=1)
    rows = (prototypes @ unit.T).argsort(dim=1, descending=True)[:, :size]
    labels = torch.arange(n_clusters, device=rows.device)[:, None].expand_as(rows)
    return rows.flatten(), labels.flatten()


def reliable_labels(features: Tensor, probabilities: Tensor, *, count: int, share: float) -> Tensor:
    """Labels that an image's neighbours agree with, [SPICE22] sec. III-C.

    Parameters
    ----------
    features
        Shape ``(n_images, dim)``, finite; near is what has a large cosine.
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.
    count
        Neighbours that are asked, >= 1; of fewer other images, all of them.
    share
        Above 0, up to 1: neighbours with the image's own label from which on it is reliable; published: 0.95.

    Returns
    -------
    labels
        Shape ``(n_images,)``, int64: the cluster of a reliable image, -1 of another.

    Raises
    ------
    ArrayContractError
        If the tensors have other shapes, are not finite, or there are fewer images than clusters.
    ConfigError
        If the share or the count is out of its range.
    """
    features, probabilities = _both(features, probabilities)
    if not 0 < share <= 1:
        raise ConfigError(f"the share of agreeing neighbours must be above 0 and up to 1; found {share}")
    labels = probabilities.argmax(dim=1)
    near = nearest_neighbours(features, count=count)
    agreeing = (labels[near] == labels[:, None]).double().mean(dim=1)
    return torch.where(agreeing >= share, labels, -1)


def _both(features: object, probabilities: object) -> tuple[Tensor, Tensor]:
    """Features and probabilities of the same images, more than there are clusters."""
    known = checked_tensor("features", features, "(n_images, dim)")
    said = checked_tensor("probabilities", probabilities, "(n_images, n_clusters)")
    if len(known) != len(said) or len(said) < max(2, said.shape[1]):
        raise ArrayContractError(
            f"features and probabilities must be of the same images, at least as many as clusters; found {told(known)} "
            f"and {told(said)}"
        )
    _check_finite(known)
    return known, said


def _cosines(features: object) -> Tensor:
    """Cosines of all pairs."""
    known = checked_tensor("features", features, "(n_images, dim)")
    _check_finite(known)
    unit = functional.normalize(known.detach(), dim=1)
    return unit @ unit.T


def _check_finite(features: Tensor) -> None:
    if not bool(features.isfinite().all()):
        raise ArrayContractError(f"features must be finite; found NaN or infinity in {told(features)}")


def _rows_to_one(values: Tensor) -> Tensor:
    return values / values.sum(dim=1, keepdim=True).clamp_min(_SMALLEST)
