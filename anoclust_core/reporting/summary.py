"""What the report says about each cluster: its colour, size, scores and majority label, from the entries alone."""

from __future__ import annotations

import colorsys
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anoclust_core.reporting.record import ImageEntry

# Mid-tones: each stands out by at least 3:1 from the white and from the dark page.
_FIRST_COLOURS = (
    "#3b7dd8", "#d9741a", "#2c9a5b", "#9b5de5", "#d94848",
    "#1b95a3", "#d14f96", "#a0714f", "#7f8f14", "#6f7d95",
)  # fmt: skip
_UNKNOWN_COLOUR = "#8d96a5"
_GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class ClusterSummary:
    """One cluster as the report shows it.

    Attributes
    ----------
    number, colour
        The cluster's number in the record, and its ``#rrggbb`` in every figure.
    entries
        Its images, the most typical (nearest to the mean descriptor) first.
    share
        Part of all clustered images, in [0, 1].
    score_range
        Minimum, lower quartile, median, upper quartile and maximum of the finite anomaly scores, in embedding units;
        all NaN where no score is finite.
    n_labelled
        Images that carry a label.
    majority_label, purity
        The commonest label and its part of the labelled images; None without labels.
    """

    number: int
    colour: str
    entries: tuple[ImageEntry, ...]
    share: float
    score_range: tuple[float, float, float, float, float]
    n_labelled: int
    majority_label: str | None
    purity: float | None

    @property
    def median_score(self) -> float:
        """Median anomaly score, in embedding units; NaN where no score is finite."""
        return self.score_range[2]


def cluster_colour(number: int) -> str:
    """Colour of a cluster, ``#rrggbb``, the same in every figure and on the page.

    Ten chosen colours, then hues a golden angle apart in two lightnesses. Colour alone does not identify one of fifty
    clusters, so figures print the number as well.
    """
    if number < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[number]
    hue = (number * _GOLDEN_RATIO) % 1.0
    rgb = colorsys.hls_to_rgb(hue, 0.40 if number % 2 else 0.52, 0.55)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)


def identity_colour(identity: str) -> str:
    """Colour of a lasting cluster by its identity, such as ``c7``; grey for anything else, such as unknown images.

    Examples
    --------
    >>> identity_colour("c1"), identity_colour("unknown")
    ('#3b7dd8', '#8d96a5')
    """
    number = identity[1:]
    return cluster_colour(int(number) - 1) if identity.startswith("c") and number.isdecimal() else _UNKNOWN_COLOUR


def summarise_clusters(images: Sequence[ImageEntry]) -> tuple[ClusterSummary, ...]:
    """Summaries of all clusters, the one with the highest median anomaly score first.

    Parameters
    ----------
    images
        Every clustered image, in any order.

    Returns
    -------
    clusters
        One summary per cluster number that occurs. Clusters without a finite score come last; ties go by number.
    """
    members: dict[int, list[ImageEntry]] = {}
    for entry in images:
        members.setdefault(entry.cluster, []).append(entry)
    summaries = (_summarise(number, entries, len(images)) for number, entries in members.items())
    return tuple(sorted(summaries, key=lambda cluster: (_last_if_not_finite(-cluster.median_score), cluster.number)))


def score_bounds(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Minimum, quartiles and maximum of the finite values; five NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return (math.nan,) * 5
    low, lower, median, upper, high = np.quantile(finite, (0.0, 0.25, 0.5, 0.75, 1.0)).tolist()
    return low, lower, median, upper, high


def _summarise(number: int, entries: list[ImageEntry], n_images: int) -> ClusterSummary:
    labels = Counter(entry.label for entry in entries if entry.label is not None)
    majority = min(labels, key=lambda label: (-labels[label], label), default=None)
    return ClusterSummary(
        number=number,
        colour=cluster_colour(number),
        entries=tuple(sorted(entries, key=lambda entry: (_last_if_not_finite(entry.distance), entry.path))),
        share=len(entries) / n_images,
        score_range=score_bounds([entry.anomaly_score for entry in entries]),
        n_labelled=labels.total(),
        majority_label=majority,
        purity=None if majority is None else labels[majority] / labels.total(),
    )


def _last_if_not_finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
