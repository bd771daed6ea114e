"""Rows of deep clustering: the last epoch, and the one that the labels would choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, WHOLE, checked_array, checked_sequence
from anoclust_core.benchmark.scoring import Measurement, scores_of
from anoclust_core.errors import ArrayContractError
from anoclust_core.evaluation.protocols import Protocol

LAST: Final = "last epoch"
BEST: Final = "best epoch by labels (oracle)"
"""What the rows of deep clustering say in place of a clustering: which epoch they are of."""


def deep_rows(
    clusters: NDArray[np.integer],
    labels: Sequence[str | None],
    *,
    method: str,
    protocol: Protocol,
    extra: Mapping[str, float],
) -> list[Measurement]:
    """Score the clusters of the last epoch, and of the most accurate epoch, which takes labels to know.

    [SOHN23], appendix C.1, prints both, the second one "chosen by the test set accuracy": the share of images in the
    cluster that is matched to their class, which is micro F1.

    Parameters
    ----------
    clusters
        Shape ``(n_epochs, n_images)``, whole numbers: clusters after each epoch.
    labels
        One per image.
    method
        Its name in the tables.
    protocol
        Decides which images count.
    extra
        Numbers that stand beside the scores.

    Returns
    -------
    rows
        Two: `LAST` and `BEST`, with the ``epoch`` of each, from 1.

    Raises
    ------
    ArrayContractError
        If the shapes do not match, or there is no epoch.
    """
    clusters = checked_array("clusters", clusters, "(n_epochs, n_images)", kinds=WHOLE, least=1)
    labels = checked_sequence("labels", labels, LABELS)
    if clusters.shape[1] != len(labels):
        raise ArrayContractError(f"expected a label for each of {clusters.shape[1]} images; found {len(labels)} labels")
    scored = [scores_of(protocol, labels, of_epoch) for of_epoch in clusters]
    best = max(range(len(scored)), key=lambda epoch: scored[epoch][0].get("f1_micro", 0.0))
    return [
        Measurement(
            method,
            which,
            scores={**scored[epoch][0], **extra, "epoch": float(epoch + 1)},
            defect_only=scored[epoch][1],
        )
        for which, epoch in ((LAST, len(scored) - 1), (BEST, best))
    ]
