"""Losses of the four methods, each a function of tensors that gives one number with gradients."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from anoclust_core.arrays import checked_tensor, told
from anoclust_core.errors import ArrayContractError, ConfigError

_SMALLEST: Final = 1e-8
"""Keeps logarithms finite."""

_SMALLEST_JOINT: Final = 2.2e-16
"""The same in [IIC19], as published: a larger one takes the gradient from clusters that are nearly empty, for ever."""


def mutual_information_loss(first: Tensor, second: Tensor) -> Tensor:
    r"""Mutual information of the clusters of two views, with a minus: [IIC19] equations (2) and (3).

    .. math::
        P = \tfrac 1 n \sum_i \Phi(x_i) \Phi(x'_i)^\top, \quad P \leftarrow (P + P^\top) / 2, \qquad
        -I = -\sum_{cc'} P_{cc'} \ln \frac{P_{cc'}}{P_c P_{c'}}

    Parameters
    ----------
    first, second
        Shape ``(n_images, n_clusters)``: probabilities of one view and of another of the same images, rows sum to 1.

    Returns
    -------
    loss
        A number in nats, from ``-ln(n_clusters)`` (every cluster alike, every pair agrees) to 0.

    Raises
    ------
    ArrayContractError
        If the two are no such tensors of one shape.
    """
    first, second = _pair("first", first, "second", second, "(n_images, n_clusters)")
    joint = first.T @ second / len(first)
    joint = (joint + joint.T) / 2
    joint = (joint / joint.sum()).clamp_min(_SMALLEST_JOINT)
    rows, columns = joint.sum(dim=1, keepdim=True), joint.sum(dim=0, keepdim=True)
    return -(joint * (joint.log() - rows.log() - columns.log())).sum()


def negative_entropy(probabilities: Tensor) -> Tensor:
    r"""Entropy of the mean probabilities, with a minus, so that no cluster stays empty.

    The entropy term of [GAT20] sec. 3.3 and the second term of [SCAN20] equation (2):

    .. math:: \sum_c \bar p_c \ln \bar p_c, \qquad \bar p_c = \tfrac 1 n \sum_i p_{ic}

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.

    Returns
    -------
    loss
        A number in nats, from ``-ln(n_clusters)`` (all clusters alike) to 0 (one cluster has all).

    Raises
    ------
    ArrayContractError
        If it is no such tensor.
    """
    mean = checked_tensor("probabilities", probabilities, "(n_images, n_clusters)").mean(dim=0).clamp_min(_SMALLEST)
    return (mean * mean.log()).sum()


def invariance_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    r"""Transformation invariance, [GAT20] sec. 3.3: a varied image has the label of the plain one.

    .. math:: -\tfrac 1 n \sum_i p_i \cdot t_i

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)`` of the varied images, rows sum to 1.
    targets
        Same shape, from `targets.balanced_scores` of the plain images; no gradient flows into them.

    Returns
    -------
    loss
        A number in [-1, 0].

    Raises
    ------
    ArrayContractError
        If the two are no such tensors of one shape.
    """
    probabilities, targets = _pair("probabilities", probabilities, "targets", targets, "(n_images, n_clusters)")
    return -(probabilities * targets.detach()).sum(dim=1).mean()


def relation_loss(probabilities: Tensor, relations: Tensor) -> Tensor:
    r"""Separability, [GAT20] sec. 3.3: images that are related have similar labels, others different ones.

    Mean over all pairs with ``j <= i`` of the binary cross entropy between the relation and the cosine of two labels:

    .. math:: -r_{ij} \ln s_{ij} - (1 - r_{ij}) \ln (1 - s_{ij}), \qquad s_{ij} = \hat p_i \cdot \hat p_j

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, rows sum to 1.
    relations
        Shape ``(n_images, n_images)``: 1 where two images belong together, 0 where not; from `targets.relations`.

    Returns
    -------
    loss
        A number >= 0.

    Raises
    ------
    ArrayContractError
        If a tensor has another shape.
    """
    probabilities = checked_tensor("probabilities", probabilities, "(n_images, n_clusters)")
    relations = checked_tensor("relations", relations, "(n_images, n_images)")
    n_images = len(probabilities)
    if relations.shape != (n_images, n_images):
        raise ArrayContractError(f"relations must have shape {(n_images, n_images)}; found {told(relations)}")
    unit = functional.normalize(probabilities, dim=1)
    rows, columns = torch.tril_indices(n_images, n_images, device=probabilities.device)
    similar = (unit @ unit.T)[rows, columns].clamp(0, 1)
    return _binary_cross_entropy(similar, relations[rows, columns])


def attention_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    r"""Attention mapping, [GAT20] sec. 3.4: what is attended to alone gives the label of the whole image.

    Mean over images and clusters of the binary cross entropy between labels of attended features and sharpened ones:

    .. math:: -t_{ic} \ln p_{ic} - (1 - t_{ic}) \ln (1 - p_{ic})

    Parameters
    ----------
    probabilities
        Shape ``(n_images, n_clusters)``, of the attended features, rows sum to 1.
    targets
        Same shape, from `targets.sharpened_scores` of the plain images; no gradient flows into them.

    Returns
    -------
    loss
        A number >= 0.

    Raises
    ------
    ArrayContractError
        If the two are no such tensors of one shape.
    """
    probabilities, targets = _pair("probabilities", probabilities, "targets", targets, "(n_images, n_clusters)")
    return _binary_cross_entropy(probabilities, targets.detach())


def consistency_loss(probabilities: Tensor, neighbours: Tensor) -> Tensor:
    r"""Semantic clustering, first term of [SCAN20] equation (2): neighbours have one cluster.

    .. math:: -\tfrac 1 n \sum_i \ln \left( \Phi(x_i) \cdot \Phi(k_i) \right)

    Parameters
    ----------
    probabilities, neighbours
        Shape ``(n_images, n_clusters)`` each, of images and of one neighbour each, rows sum to 1.

    Returns
    -------
    loss
        A number >= 0.

    Raises
    ------
    ArrayContractError
        If the two are no such tensors of one shape.
    """
    probabilities, neighbours = _pair(
        "probabilities", probabilities, "neighbours", neighbours, "(n_images, n_clusters)"
    )
    return -(probabilities * neighbours).sum(dim=1).clamp_min(_SMALLEST).log().mean()


def confident_cross_entropy(logits: Tensor, probabilities: Tensor, *, threshold: float, balanced: bool) -> Tensor:
    r"""Self-labelling, [SCAN20] sec. 2.3: what a plain image is sure of, its strongly varied view shall say too.

    .. math:: -\frac{\sum_{i: \max_c p_{ic} > \theta} w_{y_i} \ln \mathrm{softmax}(z_i)_{y_i}}
              {\sum_{i: \max_c p_{ic} > \theta} w_{y_i}}, \qquad y_i = \arg\max_c p_{ic}

    The semi-supervised step of [SPICE22] takes the same form, unbalanced.

    Parameters
    ----------
    logits
        Shape ``(n_images, n_clusters)``, of strongly varied views.
    probabilities
        Same shape, of plain or weakly varied ones, rows sum to 1; no gradient flows into them.
    threshold
        From which probability on an image is sure, in [0, 1).
    balanced
        Whether each cluster has weight ``w`` = 1 / its number of sure images, instead of 1 an image.

    Returns
    -------
    loss
        A number >= 0; 0 if no image is sure.

    Raises
    ------
    ArrayContractError
        If the two are no such tensors of one shape.
    ConfigError
        If the threshold is not in [0, 1).
    """
    logits, probabilities = _pair("logits", logits, "probabilities", probabilities, "(n_images, n_clusters)")
    if not 0 <= threshold < 1:
        raise ConfigError(f"the threshold of sure images must be at least 0 and below 1; found {threshold}")
    confidence, labels = probabilities.detach().max(dim=1)
    is_sure = confidence > threshold
    if not bool(is_sure.any()):
        return logits.sum() * 0
    weights = None
    if balanced:
        counts = torch.bincount(labels[is_sure], minlength=logits.shape[1])
        weights = 1 / counts.clamp_min(1).to(logits.dtype)
    return functional.cross_entropy(logits[is_sure], labels[is_sure], weight=weights)


def double_softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Cross entropy behind two softmax functions, [SPICE22] sec. III-B: pseudo labels are not believed to the end.

    .. math:: -\tfrac 1 n \sum_i \ln \mathrm{softmax}(p_i)_{y_i}, \qquad p_i = \mathrm{softmax}(z_i)

    The gradient fades where ``p`` comes near 1, so that wrong pseudo labels are not learnt by heart.

    Parameters
    ----------
    logits
        Shape ``(n_images, n_clusters)``.
    labels
        Shape ``(n_images,)``, whole numbers from 0.

    Returns
    -------
    loss
        A number > 0.

    Raises
    ------
    ArrayContractError
        If a tensor has another shape, or a label is no cluster.
    """
    logits = checked_tensor("logits", logits, "(n_images, n_clusters)")
    labels = checked_labels("labels", labels, logits.shape)
    return functional.cross_entropy(logits.softmax(dim=1), labels)


def checked_labels(name: str, labels: object, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """Tensor of cluster numbers, one for each row of an ``(n_images, n_clusters)`` shape.

    Raises
    ------
    ArrayContractError
        If it is none such.
    """
    fits = isinstance(labels, Tensor) and labels.shape == shape[:1] and labels.dtype == torch.int64
    if not fits or not bool(((labels >= 0) & (labels < shape[1])).all()):  # type: ignore[operator, attr-defined]
        raise ArrayContractError(
            f"expected {name} to be {shape[0]} whole numbers from 0 to {shape[1] - 1} (int64); found {told(labels)}"
        )
    return labels  # type: ignore[return-value]


def _pair(name: str, value: object, other_name: str, other: object, shape: str) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape."""
    first, second = checked_tensor(name, value, shape), checked_tensor(other_name, other, shape)
    if first.shape != second.shape or first.dtype != second.dtype:
        raise ArrayContractError(f"{other_name} must be as {name}, {told(first)}; found {told(second)}")
    return first, second


def _binary_cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross entropy; logarithms end at -100, as torch's own do."""
    return functional.binary_cross_entropy(probabilities.clamp(0, 1), targets)
