"""Clusters against labels as the report shows them: the table, and what the scores are worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anoclust_core.reporting.record import ImageEntry, Scores

SCORE_NAMES = {"nmi": "NMI", "ari": "ARI", "f1_weighted": "F1 weighted", "f1_micro": "F1 micro"}


@dataclass(frozen=True)
class ContingencyRow:
    """Images of one label (None: without a label) in each cluster; ``counts`` in the order asked for."""

    label: str | None
    counts: tuple[int, ...]
    total: int


def contingency(images: Sequence[ImageEntry], clusters: Sequence[int]) -> tuple[ContingencyRow, ...]:
    """Count the images of every label in every cluster.

    Parameters
    ----------
    images
        Every clustered image.
    clusters
        Numbers of the clusters in the order of the columns.

    Returns
    -------
    rows
        One per label in alphabetical order; images without a label, if any, come last.
    """
    counts = Counter((entry.label, entry.cluster) for entry in images)
    labels = sorted({entry.label for entry in images}, key=lambda label: (label is None, label or ""))
    rows = ((label, tuple(counts[label, cluster] for cluster in clusters)) for label in labels)
    return tuple(ContingencyRow(label=label, counts=row, total=sum(row)) for label, row in rows)


def trust_sentence(scores: Scores | None, trivial: Mapping[str, Scores]) -> str | None:
    """Say on which scores the clusters do not beat a trivial partition; None without something to compare.

    A trivial partition that is the labels themselves cannot be beaten and is left out: good against defect, where the
    defects are of one kind.
    """
    compared = {name: other for name, other in trivial.items() if not math.isclose(other.ari, 1)}
    if scores is None or not compared:
        return None
    same = [name for name in trivial if name not in compared]
    left_out = "".join(f" Left out: {name}, which is the labels themselves." for name in same)
    beaten = []
    for field, shown in SCORE_NAMES.items():
        ours = getattr(scores, field)
        best, name = max((getattr(other, field), name) for name, other in compared.items())
        if ours <= best:
            beaten.append(f"{shown} ({name} reaches {best:.3f}, the clusters {ours:.3f})")
    if not beaten:
        return f"On all four scores the clusters agree with the labels better than every trivial partition.{left_out}"
    return f"Read with care: a trivial partition does at least as well on {', '.join(beaten)}.{left_out}"
