"""Recipe auto part by part, beside the published methods, on the same random subsets of one category.

Everything is fitted inside a subset: rarity, whitenings, residual, smoothing and tree. A label chooses nothing but the
best temperature of the rows that say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import descriptors
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.benchmark.scoring import Measurement, scores_of
from anoclust_core.clustering.knee import suggest_by_knee
from anoclust_core.clustering.linkage import cut_tree, linkage_tree, suggest_n_clusters
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.errors import ConfigError
from anoclust_core.evaluation.partitions import adjusted_rand_index
from anoclust_core.evaluation.protocols import Protocol, n_classes
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto import (
    AUTO,
    PooledLevel,
    Switches,
    fit_descriptors,
    fit_scoring,
    scores_against_normals,
)
from anoclust_core.weighting.levels import spread_weights
from anoclust_core.weighting.rarity import expected_rarity, rarity_against_normals, trimmed_rarity
from anoclust_core.weighting.weights import soft_weights, temperature, uniform_weights
from anoclust_core.weighting.whitening import Moments

BLIND: Final = "blind"
NORMALS: Final = "normals"
NO_SIBLINGS: Final = "normals without siblings"
SETTINGS: Final = (BLIND, NORMALS, NO_SIBLINGS)
"""What rarity is measured against. Siblings are the normals that are most similar to an image as a whole, such as other
exposures of the same tile."""

N_SIBLINGS: Final = 8
"""Normals of each image that are left out with its siblings."""

TAUS: Final = ("0.1sd", "0.2sd", "0.3sd", "0.5sd", "0.75sd")
"""Temperatures that the rows of the best one choose from, by the labels."""

FEW_SUBSETS: Final = 10
"""Subsets of the rows that turn a part off."""

SOHN: Final = "sohn"
WHOLE: Final = "auto"

PARTS: Final = MappingProxyType(
    {
        "one level": replace(AUTO, n_levels=1),
        "one temperature": replace(AUTO, n_taus=1),
        "rarity against all": replace(AUTO, share=1.0),
        "nearest normal only": replace(AUTO, mixes_normals=False),
        "no whitening": replace(AUTO, whitens=False),
        "no average patch": replace(AUTO, whole_share=0.0),
        "no smoothing": replace(AUTO, smooths=False),
        "no residual": replace(AUTO, residuals=(0.0,)),
        "always half a residual": replace(AUTO, residuals=(0.5,)),
    }
)
"""Recipe auto with one part turned off or changed."""

ROWS: Final = (WHOLE, SOHN, "average", f"{SOHN}, best temperature", f"{WHOLE}, best temperature", *PARTS)
"""Rows of the table: the recipe, the published method, the plain average, oracles, and the recipe in parts."""

ABLATIONS: Final = MappingProxyType({f"auto: {setting}: {row}": (row, setting) for setting in SETTINGS for row in ROWS})
"""Rows and settings by the name of the experiment that measures one of them."""

Described = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
"""Descriptors of some images of a category, by their rows."""


def ablate(
    category: CategoryArrays, row: str, setting: str, *, protocol: Protocol, seed: int, n_subsets: int
) -> list[Measurement]:
    """Measure one row of the table in one setting, paired with recipe sohn on the same subsets.

    Parameters
    ----------
    category
        With a deeper level, and with normals for the settings that need them.
    row, setting
        Of `ROWS` and `SETTINGS`.
    protocol
        Decides the number of clusters and which images count.
    seed
        Of the subsets and of recipe auto.
    n_subsets
        Random 90 % subsets of the main rows; those in parts take ``FEW_SUBSETS`` of them at most.

    Returns
    -------
    rows
        One, or none where the setting does not apply. Beside the scores: ``difference`` is the NMI less that of sohn,
        with ``low`` and ``high`` the 2.5 % and 97.5 % percentiles over the subsets; ``stability`` the mean adjusted
        Rand index between the partitions of two subsets; ``n_clusters`` and ``ratio`` the numbers that the knee and the
        largest step suggest, ``n_true`` that of the classes, and ``ari_knee``, ``nmi_knee``, ``ari_ratio`` the scores
        of these cuts.

    Raises
    ------
    ConfigError
        If there is no such row or setting.
    """
    if row not in ROWS or setting not in SETTINGS:
        raise ConfigError(f"expected a row of {', '.join(ROWS)} and a setting of {', '.join(SETTINGS)}")
    if (setting != BLIND and category.normal_means is None) or (row == "nearest normal only" and setting == BLIND):
        return []
    subsets = random_subsets(
        category.n_images, generator=generator(seed, "subsets"), n_subsets=min(n_subsets, _limit(row))
    )
    measure = _Setting(category, setting, protocol, seed)
    if row.endswith("best temperature"):
        own = SOHN if row.startswith(SOHN) else WHOLE
        tried = [_scored(measure, _row(measure, own, tau), subsets) for tau in TAUS]
        found = max(tried, key=lambda one: float(np.mean([scores["nmi"] for scores in one])))
    else:
        found = _scored(measure, _row(measure, row, TAUS[2]), subsets)
    beside = found if row == SOHN else _scored(measure, _row(measure, SOHN, TAUS[2]), subsets)
    return [_measurement(row, setting, found, beside)]


def _limit(row: str) -> int:
    return FEW_SUBSETS if row in PARTS or row.endswith("best temperature") else 10**6


class _Setting:
    """A category in one setting, with what does not depend on the subset."""

    def __init__(self, category: CategoryArrays, setting: str, protocol: Protocol, seed: int) -> None:
        self.category, self.setting, self.protocol, self.seed = category, setting, protocol, seed
        self.to_normals = category.to_normals
        self._three: dict[float, NDArray[np.float64]] = {}
        if setting == NO_SIBLINGS:
            assert category.normal_means is not None and self.to_normals is not None  # noqa: S101 - checked
            self.to_normals = self.to_normals[np.arange(category.n_images)[:, None], self._kept_normals()]

    def _kept_normals(self) -> NDArray[np.int64]:
        """Normals of every image but its siblings, ``(n_images, n_normals - N_SIBLINGS)``."""
        assert self.category.normal_means is not None  # noqa: S101 - checked by the caller
        own, normals = self.category.bags.mean(axis=1), self.category.normal_means[0]
        distances = ((own[:, None] - normals[None]) ** 2).sum(axis=2)
        n_left_out = min(N_SIBLINGS, distances.shape[1] - 1)
        return np.sort(np.argsort(distances, axis=1, kind="stable")[:, n_left_out:], axis=1)

    def expectation(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rarity of [SOHN23] eq. (5) or (6)."""
        if self.setting != BLIND:
            assert self.to_normals is not None  # noqa: S101 - checked by the caller
            return rarity_against_normals(self.to_normals[rows])
        return expected_rarity(self.category.nearest[np.ix_(rows, rows)], np.ones(len(rows), np.int64))

    def scores(self, rows: NDArray[np.int64], switches: Switches) -> NDArray[np.float64]:
        """Scores of recipe auto, ``(n_rows, n_patches, n_scores)``; against normals they are those of any subset."""
        if self.setting == BLIND:
            nearest = self.category.nearest[np.ix_(rows, rows)]
            return trimmed_rarity(nearest, np.ones(len(rows), np.int64), share=switches.share)[..., None]
        if switches.share not in self._three:
            assert self.to_normals is not None  # noqa: S101 - checked by the caller
            ones = np.ones(self.to_normals.shape[1], np.int64)
            self._three[switches.share] = scores_against_normals(self.to_normals, ones, share=switches.share)
        scores = self._three[switches.share][rows]
        return scores if switches.mixes_normals else scores[..., :1]


def _row(measure: _Setting, row: str, tau: str) -> Described:
    """How a row of the table describes images."""
    category = measure.category
    if row == "average":
        return lambda rows: descriptors(category.bags[rows], uniform_weights(len(rows), category.bags.shape[1]))
    if row == SOHN:

        def published(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            rarity = measure.expectation(rows)
            return descriptors(category.bags[rows], soft_weights(rarity, tau=temperature(tau, rarity)))

        return published
    return partial(_auto, measure, PARTS.get(row, AUTO), tau)


def _auto(measure: _Setting, switches: Switches, tau: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Descriptors of recipe auto, learnt from these images alone."""
    category = measure.category
    scoring_of = measure.scores(rows, switches)
    scoring = fit_scoring(scoring_of, tau=tau, n_taus=switches.n_taus)
    weights = scoring.weights(scoring.summed(scoring_of))
    levels, patches, normals = [], [], []
    for at, (bags, grid) in enumerate(_levels(category)[: switches.n_levels]):
        own = np.asarray(bags[rows], np.float32)
        spread = spread_weights(weights, category.grid, grid).astype(np.float32)
        levels.append(PooledLevel(np.matmul(spread, own).astype(np.float64), own.mean(axis=1, dtype=np.float64)))
        seen = Moments(own.shape[2])
        seen.add(own.reshape(-1, own.shape[2]))
        patches.append(seen)
        if measure.setting != BLIND and category.normal_means is not None:
            usual = Moments(own.shape[2])
            usual.add(category.normal_means[at])
            normals.append(usual)
    found = fit_descriptors(
        levels,
        patches=patches,
        normals=normals or None,
        n_clusters=n_classes(measure.protocol, [category.labels[row] for row in rows]),
        generator=generator(measure.seed, "stability"),
        switches=switches,
    )
    return smoothed(found.unsmoothed) if switches.smooths else found.unsmoothed


def _levels(category: CategoryArrays) -> list[tuple[NDArray[np.floating[Any]], tuple[int, int]]]:
    deeper = [(category.deeper, category.deeper_grid)] if category.deeper is not None else []
    return [(category.bags, category.grid), *deeper]


def _scored(measure: _Setting, described: Described, subsets: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Scores of every subset, and its partition."""
    found = []
    for rows in subsets:
        labels = [measure.category.labels[row] for row in rows]
        n_true = n_classes(measure.protocol, labels)
        tree = linkage_tree(described(rows), method="ward")
        clusters = cut_tree(tree, n_clusters=n_true)
        full, defects = (scores_of(measure.protocol, labels, clusters)[at] for at in (0, 1))
        knee, ratio = suggest_by_knee(tree).n_clusters, suggest_n_clusters(tree).n_clusters
        by_knee, by_ratio = (
            scores_of(measure.protocol, labels, cut_tree(tree, n_clusters=number))[0] for number in (knee, ratio)
        )
        found.append(
            {
                **full,
                **{f"{name}_defects": value for name, value in defects.items()},
                "n_true": n_true,
                "n_clusters": knee,
                "ratio": ratio,
                "nmi_knee": by_knee["nmi"],
                "ari_knee": by_knee["ari"],
                "ari_ratio": by_ratio["ari"],
                "rows": rows,
                "clusters": clusters,
            }
        )
    return found


def _measurement(
    row: str, setting: str, found: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]]
) -> Measurement:
    names = [name for name in found[0] if name not in ("rows", "clusters")]
    means = {name: mean_and_standard_error(np.array([one[name] for one in found], float)) for name in names}
    differences = np.array([one["nmi"] - other["nmi"] for one, other in zip(found, beside, strict=True)])
    low, high = np.percentile(differences, [2.5, 97.5])
    beyond = {
        "difference": float(differences.mean()),
        "low": float(low),
        "high": float(high),
        "stability": _agreement(found),
        "n_subsets": float(len(found)),
    }
    plain = [name for name in names if not name.endswith("_defects")]
    return Measurement(
        method=row,
        clustering="ward",
        setting=setting,
        scores={name: means[name][0] for name in plain} | beyond,
        errors={name: means[name][1] for name in plain},
        defect_only={name.removesuffix("_defects"): means[name][0] for name in names if name.endswith("_defects")},
    )


def _agreement(found: Sequence[dict[str, Any]]) -> float:
    """Mean adjusted Rand index of the partitions of two subsets in a row, on the images that both have."""
    scores = []
    for one, other in combinations(found[:11], 2):
        _, first, second = np.intersect1d(one["rows"], other["rows"], return_indices=True)
        scores.append(adjusted_rand_index(one["clusters"][first].tolist(), other["clusters"][second].tolist()))
    return float(np.mean(scores))
