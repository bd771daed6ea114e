"""One row of a table: images clustered by their descriptors or distances, and scored under a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, checked_sequence
from anoclust_core.benchmark.geometry import Geometry
from anoclust_core.clustering.methods import CLUSTERINGS, cluster_descriptors, cluster_distances
from anoclust_core.evaluation.protocols import Protocol, n_classes
from anoclust_core.evaluation.scores import evaluate
from anoclust_core.seeding import generator

TRIVIAL = "trivial"
"""What stands for the clustering of a partition that nothing was clustered for."""


@dataclass(frozen=True)
class Measurement:
    """One row of a table, or one point of a curve.

    Attributes
    ----------
    method
        How images become descriptors or distances.
    clustering
        Title of the clustering method.
    setting
        What was varied, in words; empty where nothing was.
    scores
        By name: ``nmi, ari, f1_weighted, f1_micro`` and whatever else the experiment measures.
    errors
        Standard errors of the scores, where they are means over subsets.
    defect_only
        The same scores without the good images.
    curve
        Purity at 1, 2, ... clusters, where the experiment draws it.
    """

    method: str
    clustering: str
    setting: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    defect_only: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[float] = ()


def score(
    geometry: Geometry,
    labels: Sequence[str | None],
    *,
    protocol: Protocol,
    seed: int,
    method: str,
    clustering: str,
    setting: str = "",
    extra: Mapping[str, float] | None = None,
) -> Measurement:
    """Cluster images into as many clusters as there are classes, and score the clusters.

    Parameters
    ----------
    geometry, labels
        One row per image.
    protocol
        Decides which images count.
    seed
        Of methods with random starts.
    method, setting
        What the row says of itself.
    clustering
        A name in `CLUSTERINGS`.
    extra
        Numbers that stand beside the scores.
    """
    clusters = cluster(geometry, clustering, labels, protocol=protocol, seed=seed)
    full, defects = scores_of(protocol, labels, clusters)
    title = CLUSTERINGS[clustering].title
    return Measurement(method, title, setting, scores={**full, **(extra or {})}, defect_only=defects)


def cluster(
    geometry: Geometry, clustering: str, labels: Sequence[str | None], *, protocol: Protocol, seed: int
) -> NDArray[np.int64]:
    """Cluster images into as many clusters as there are classes, shape ``(n_images,)``; see `score`."""
    labels = checked_sequence("labels", labels, LABELS)
    k = n_classes(protocol, labels)
    draws = generator(seed, clustering)
    if geometry.descriptors is not None:
        return cluster_descriptors(geometry.descriptors, method=clustering, n_clusters=k, generator=draws)
    assert geometry.distances is not None  # noqa: S101 - one of the two, for the type checker
    return cluster_distances(geometry.distances, method=clustering, n_clusters=k, generator=draws)


def scores_of(
    protocol: Protocol, labels: Sequence[str | None], clusters: NDArray[np.int64]
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores by name, of all images and of the defective ones alone; empty where there is nothing to score."""
    found = evaluate(protocol, labels, clusters)
    return dict(vars(found.full)) if found.full else {}, dict(vars(found.defect_only)) if found.defect_only else {}


def trivial(labels: Sequence[str | None], protocol: Protocol) -> list[Measurement]:
    """Rows of the two partitions that need no method: all in one cluster, and good against defect."""
    labels = checked_sequence("labels", labels, LABELS)
    found = evaluate(protocol, labels, [0] * len(labels))
    return [Measurement(name, TRIVIAL, scores=vars(scores)) for name, scores in found.trivial.items()]
