"""How well the number of clusters is found without labels, with all classes and with some of them left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, checked_sequence
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.refit import BLIND, NORMALS, Setting, Subset, fitted
from anoclust_core.benchmark.resampling import SUBSET_SHARE
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.clustering.knee import CERTAIN_FROM, split_index, suggest_by_knee
from anoclust_core.clustering.linkage import cut_tree, linkage_tree, suggest_n_clusters
from anoclust_core.clustering.neighbours import follow_neighbours, shared_neighbours
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.evaluation.partitions import adjusted_rand_index, normalized_mutual_information
from anoclust_core.evaluation.protocols import Protocol, n_classes
from anoclust_core.records import GOOD
from anoclust_core.seeding import generator

NUMBERS: Final = MappingProxyType({f"numbers: {setting}": setting for setting in (BLIND, NORMALS)})
"""Settings by the name of the experiment that measures the numbers of clusters in it."""

ONLY_GOOD: Final = "numbers: only good"

N_DRAWS: Final = 20
"""Draws of classes for every number of them."""

CONSTANTS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12)
"""Numbers that stand beside the rules, each the same for all images."""

SIZES: Final = (20, 40, 80, 160, 320, 640)
GOOD_DRAWS: Final = 8
"""Sizes of sets of good images, and sets of each size; all good images are one more."""

Described = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
"""Descriptors of some images, by their rows."""


def numbers_of_clusters(category: CategoryArrays, setting: str, *, protocol: Protocol, seed: int) -> list[Measurement]:
    """Compare recipe auto's own cut of its trees with the largest step and with constants; see `measure_numbers`.

    None where the category has no normals and the setting needs them.
    """
    if setting != BLIND and category.normal_means is None:
        return []
    measure = Setting(category, setting)

    def described(images: NDArray[np.int64]) -> NDArray[np.float32]:
        return smoothed(fitted(Subset(measure, images, protocol, seed), None).unsmoothed)

    return measure_numbers(described, category.labels, setting, protocol=protocol, seed=seed)


def measure_numbers(
    described: Described, labels: Sequence[str | None], setting: str, *, protocol: Protocol, seed: int
) -> list[Measurement]:
    """Score the cuts that need no label, on all images and on draws of their classes.

    Parameters
    ----------
    described
        Gives the descriptors of some images.
    labels
        One an image.
    setting
        What the rows say of themselves.
    protocol, seed
        Which labels count; seed of the draws.

    Returns
    -------
    rows
        The first of all images, then one for every number of classes kept, 2 to all; with all kept, a draw leaves out a
        tenth of the images. Scores are means over the draws: ``n_true``, ``auto`` and ``ratio`` are numbers of
        clusters, ``error_auto`` and ``error_ratio`` their absolute errors, ``twos`` the share of draws in which
        ``auto`` is 2; ``nmi_true``, ``nmi_auto``, ``nmi_ratio``, ``ari_true``, ``ari_auto``, ``ari_ratio`` the scores
        at these cuts, and ``ari_5`` and the like those of constants, ``error_5`` their errors.
    """
    labels = checked_sequence("labels", labels, LABELS)
    rows = []
    for kept, draws in _draws(labels, protocol, seed):
        found = [_of_tree(described(images), [labels[at] for at in images], protocol) for images in draws]
        scores = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        rows.append(Measurement(kept, "ward", setting, scores={**scores, "n_draws": float(len(found))}))
    return rows


def _draws(
    labels: Sequence[str | None], protocol: Protocol, seed: int
) -> Iterator[tuple[str, list[NDArray[np.int64]]]]:
    classes = sorted({label for label in labels if label is not None and protocol.scores_label(label)})
    scored = np.array([label in classes for label in labels])
    yield "all", [np.flatnonzero(scored)]
    draws = generator(seed, "classes")
    for n_kept in range(2, len(classes) + 1):
        found = []
        for _ in range(N_DRAWS):
            kept = set(draws.choice(classes, size=n_kept, replace=False).tolist())
            images = np.flatnonzero([label in kept for label in labels])
            if n_kept == len(classes):
                images = np.sort(draws.choice(images, size=round(SUBSET_SHARE * len(images)), replace=False))
            found.append(images)
        yield str(n_kept), found


def _of_tree(
    descriptors: NDArray[np.floating[Any]], labels: Sequence[str | None], protocol: Protocol
) -> dict[str, float]:
    tree = linkage_tree(descriptors, method="ward")
    n_true = n_classes(protocol, labels)
    at_knee = cut_tree(tree, n_clusters=suggest_by_knee(tree).n_clusters)
    own = follow_neighbours(tree, at_knee, shared_neighbours(descriptors))
    ratio = suggest_n_clusters(tree).n_clusters
    cuts = {"true": n_true, "ratio": ratio} | {str(number): number for number in CONSTANTS}
    clusters = {name: cut_tree(tree, n_clusters=min(number, len(labels))) for name, number in cuts.items()}
    numbers = cuts | {"auto": int(own.max()) + 1}
    found: dict[str, float] = {
        "n_true": n_true, "auto": numbers["auto"], "ratio": ratio, "twos": numbers["auto"] == 2 < n_true,
    }  # fmt: skip
    scored = [at for at, label in enumerate(labels) if protocol.scores_label(label)]
    names = [str(labels[at]) for at in scored]
    for name, of_images in (clusters | {"auto": own}).items():
        given = of_images[scored].tolist()
        found |= {f"error_{name}": abs(numbers[name] - n_true), f"ari_{name}": adjusted_rand_index(names, given)}
        if name in ("true", "auto", "ratio"):
            found[f"nmi_{name}"] = normalized_mutual_information(names, given)
    return found


def only_good(category: CategoryArrays, *, protocol: Protocol, seed: int) -> list[Measurement]:
    """Share of sets of good images of which recipe auto says that their structure is uncertain, blind.

    Returns
    -------
    rows
        One for every size, with ``uncertain``, the mean ``index`` of `split_index` where there is one, ``n_images`` and
        ``n_draws``; none for fewer than the smallest size of good images.
    """
    good = np.flatnonzero([label == GOOD for label in category.labels])
    measure, draws = Setting(category, BLIND), generator(seed, "good")
    sizes = [size for size in SIZES if size < len(good)]
    sizes += [len(good)] if len(good) >= SIZES[0] else []
    rows = []
    for size in sizes:
        indices = []
        for at in range(GOOD_DRAWS if size < len(good) else 1):
            images = np.sort(draws.choice(good, size=size, replace=False))
            found = fitted(Subset(measure, images, protocol, seed), None).unsmoothed
            indices.append(split_index(found, generator=generator(seed, f"split {at}")))
        known = [index for index in indices if index is not None]
        uncertain = np.mean([index is None or index < CERTAIN_FROM for index in indices])
        scores = {"uncertain": float(uncertain), "n_images": float(size), "n_draws": float(len(indices))}
        rows.append(
            Measurement(
                "auto", "ward", "only good", scores=scores | ({"index": float(np.mean(known))} if known else {})
            )
        )
    return rows
