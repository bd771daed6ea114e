"""Scores of one partition under a protocol, with the defect-only score and the trivial partitions beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, checked_sequence
from anoclust_core.errors import ArrayContractError
from anoclust_core.evaluation.partitions import Scores, score_partition
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.records import GOOD

ONE_CLUSTER: Final = "one cluster"
GOOD_AGAINST_DEFECT: Final = "good against defect"

MIN_SCORED_IMAGES: Final = 2
"""A single image has one partition only; a score of it would always be 1."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one partition under one protocol.

    Attributes
    ----------
    protocol
        Name of the protocol.
    full
        Over every evaluated image, ``good`` counted as a class; None with fewer than two of them.
    defect_only
        Over the evaluated images that are not ``good``, same clusters; None with fewer than two of them.
    trivial
        Over the images of ``full``: the scores of the partitions ``one cluster`` and ``good against defect``
        (perfect split, no types). Empty where ``full`` is None.
    n_evaluated, n_left_out
        Images that count, and images that do not (no label, or class ``combined``).
    """

    protocol: str
    full: Scores | None
    defect_only: Scores | None
    trivial: Mapping[str, Scores]
    n_evaluated: int
    n_left_out: int


def evaluate(
    protocol: Protocol, labels: Sequence[str | None], clusters: Sequence[int] | NDArray[np.integer[Any]]
) -> Evaluation:
    """Score a partition under a protocol, with the defect-only score and the trivial partitions beside it.

    Parameters
    ----------
    protocol
        Decides which labels count.
    labels
        One label per image, None for an unlabelled one, which no score counts.
    clusters
        Cluster of each image, same length and order as ``labels``.

    Returns
    -------
    evaluation
        Scores are None where fewer than two images can be scored; that is no error.

    Raises
    ------
    ArrayContractError
        If ``labels`` and ``clusters`` differ in length.
    """
    labels = checked_sequence("labels", labels, LABELS)
    clusters = checked_sequence("clusters", clusters, (int, np.integer))
    if len(labels) != len(clusters):
        raise ArrayContractError(
            f"expected one cluster per image, found {len(labels)} labels and {len(clusters)} clusters; "
            "pass both for the same images, in the same order"
        )
    scored = [
        (label, cluster)
        for label, cluster in zip(labels, clusters, strict=True)
        if label is not None and protocol.scores_label(label)
    ]
    full = _scores(scored)
    return Evaluation(
        protocol=protocol.name,
        full=full,
        defect_only=_scores([pair for pair in scored if pair[0] != GOOD]),
        trivial={} if full is None else _trivial_scores([label for label, _ in scored]),
        n_evaluated=len(scored),
        n_left_out=len(labels) - len(scored),
    )


def _scores(scored: Sequence[tuple[str, int]]) -> Scores | None:
    if len(scored) < MIN_SCORED_IMAGES:
        return None
    labels, clusters = zip(*scored, strict=True)
    return score_partition(labels, clusters)


def _trivial_scores(labels: Sequence[str]) -> dict[str, Scores]:
    return {
        ONE_CLUSTER: score_partition(labels, [0] * len(labels)),
        GOOD_AGAINST_DEFECT: score_partition(labels, [int(label == GOOD) for label in labels]),
    }
