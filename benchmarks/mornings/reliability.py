"""How often a night was right about where a new image belongs, from records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from anoclust_core.matching.births import MIN_BIRTH
from benchmarks.mornings.records import UNKNOWN, Record
from benchmarks.mornings.scoring import most


class Judgement(NamedTuple):
    """A new image that a night gave to a cluster.

    Attributes
    ----------
    confidence
        Of the night.
    stays
        Whether the next re-clustering leaves it in that cluster.
    of_kind
        Whether it is of the class that more than half of the cluster's images were of; where the cluster was born in
        the night, of the images that it was born of.
    """

    confidence: float
    stays: bool
    of_kind: bool


def judgements(record: Record) -> Iterator[Judgement]:
    """Judge every image that some night gave to a cluster, but those after the last re-clustering."""
    files = record.files()
    waiting: list[tuple[str, str, float, bool]] = []
    labels: dict[str, list[str]] = defaultdict(list)
    for night, after in record.partitions():
        born: dict[str, list[str]] = defaultdict(list)
        for path, (cluster, _) in night.assigned.items():
            if cluster not in labels:
                born[cluster].append(files[path].label)
        labels |= born
        for path, (cluster, confidence) in night.assigned.items():
            waiting.append((path, cluster, confidence, most(labels[cluster]) == files[path].label))
        if night.reclustered:
            yield from (Judgement(sure, after.get(path) == cluster, kind) for path, cluster, sure, kind in waiting)
            waiting = []
        labels.clear()
        for path, cluster in after.items():
            if cluster != UNKNOWN:
                labels[cluster].append(files[path].label)


def unknown(record: Record) -> tuple[int, int]:
    """Images of classes of which three were known that nights left unknown, and all images of such classes.

    Nights that gave no image to a cluster, such as the first one, do not count.
    """
    n_unknown = n_images = 0
    seen: Counter[str] = Counter()
    for night in record.nights:
        fresh = [file for file in night.files if not file.is_copy]
        if night.assigned:
            of_known = [file for file in fresh if seen[file.label] >= MIN_BIRTH]
            n_images += len(of_known)
            n_unknown += sum(file.path not in night.assigned for file in of_known)
        seen.update(file.label for file in fresh)
    return n_unknown, n_images


def plot_reliability(judged: Sequence[Judgement], path: Path, *, title: str, n_bins: int = 10) -> None:
    """Draw how often nights were right against how sure they were; a point is a tenth of the images."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="right as often as it says")
    bins = np.array_split(sorted(judged), n_bins)
    said = [np.mean(part[:, 0]) for part in bins]
    axes.plot(said, [np.mean(part[:, 1]) for part in bins], marker="o", label="left there by the next re-clustering")
    axes.plot(said, [np.mean(part[:, 2]) for part in bins], marker="s", label="of the cluster's kind")
    axes.set(xlabel="confidence of new images", ylabel="share that was right", xlim=(0.4, 1.01), ylim=(0.4, 1.01))
    axes.set_title(title)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
