"""Recipe auto part by part, beside the published methods, on the same random subsets of one category.

Everything is fitted inside a subset: rarity, whitenings, residual, smoothing and tree. A label chooses nothing but the
best temperature of the rows that say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
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
from anoclust_core.weighting.rarity import trimmed_rarity
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

GIVEN_TAU: Final = "0.3sd"
"""Temperature of all rows but those of the best one."""

TAUS: Final = ("0.1sd", "0.2sd", GIVEN_TAU, "0.5sd", "0.75sd")
"""Temperatures that the rows of the best one choose from, by the labels."""

FEW_SUBSETS: Final = 10
"""Subsets of all rows but the main ones."""

SOHN: Final = "sohn"
WHOLE: Final = "auto"
AVERAGE: Final = "average"
MAIN: Final = (WHOLE, SOHN, AVERAGE)
ORACLE: Final = ", best temperature"

PARTS: Final = MappingProxyType(
    {
        "one level": replace(AUTO, n_levels=1),
        "one temperature": replace(AUTO, n_taus=1),
        "rarity against all": replace(AUTO, share=1.0),
        "nearest normal only": replace(AUTO, mixes_normals=False),
        "no whitening": replace(AUTO, whitens=False),
        "no average patch": replace(AUTO, whole_share=0.0, whole_share_normals=0.0),
        "no smoothing": replace(AUTO, smooths=False),
        "no residual": replace(AUTO, residuals=(0.0,), residuals_normals=(0.0,)),
        "always half a residual": replace(AUTO, residuals=(0.5,)),
        "residual by stability": replace(AUTO, residuals_normals=AUTO.residuals),
    }
)
"""Recipe auto with one part turned off or changed."""

ONLY_BLIND: Final = frozenset({"always half a residual"})
ONLY_NORMALS: Final = frozenset({"nearest normal only", "residual by stability"})
"""Rows that differ from recipe auto in one of the settings only."""

ROWS: Final = (*MAIN, f"{SOHN}{ORACLE}", f"{WHOLE}{ORACLE}", *PARTS)
"""Rows of the table: the recipe, the published method, the plain average, oracles, and the recipe in parts."""

ABLATIONS: Final = MappingProxyType({f"auto: {setting}": setting for setting in SETTINGS})
"""Settings by the name of the experiment that measures all rows in it."""

Variant = tuple[str, str]
"""A row, and the temperature that it is measured at."""


def ablate(
    category: CategoryArrays, setting: str, *, protocol: Protocol, seed: int, n_subsets: int
) -> list[Measurement]:
    """Measure all rows of the table in one setting, paired with recipe sohn on the same subsets.

    Parameters
    ----------
    category
        With a deeper level, and with normals for the settings that need them.
    setting
        Of `SETTINGS`.
    protocol
        Decides the number of clusters and which images count.
    seed
        Of the subsets and of recipe auto.
    n_subsets
        Random 90 % subsets of the main rows; the others take ``FEW_SUBSETS`` of them at most.

    Returns
    -------
    rows
        In the order of `ROWS`; none where the setting does not apply. Beside the scores: ``difference`` is the NMI less
        that of sohn, with ``low`` and ``high`` the 2.5 % and 97.5 % percentiles over the subsets; ``stability`` the
        mean adjusted Rand index between the partition of a subset and that of all images; ``n_clusters`` and ``ratio``
        the numbers that the knee and the largest step suggest, ``n_true`` that of the classes, and ``ari_knee``,
        ``nmi_knee``, ``ari_ratio`` the scores of these cuts.

    Raises
    ------
    ConfigError
        If there is no such setting.
    """
    if setting not in SETTINGS:
        raise ConfigError(f"expected a setting of {', '.join(SETTINGS)}; found {setting!r}")
    if setting != BLIND and category.normal_means is None:
        return []
    rows = [row for row in ROWS if row not in (ONLY_NORMALS if setting == BLIND else ONLY_BLIND)]
    variants = {variant: None for row in rows for variant in _variants(row)}
    measure = _Setting(category, setting)
    found: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants}
    draws = random_subsets(category.n_images, generator=generator(seed, "subsets"), n_subsets=n_subsets)
    whole = _Subset(measure, np.arange(category.n_images), protocol, seed)
    of_all = {variant: whole.scored(_described(whole, *variant))["clusters"] for variant in variants}
    for at, images in enumerate(draws):
        subset = _Subset(measure, images, protocol, seed)
        for variant in variants if at < FEW_SUBSETS else [(row, GIVEN_TAU) for row in MAIN]:
            scores = subset.scored(_described(subset, *variant))
            alike = adjusted_rand_index(of_all[variant][images].tolist(), scores.pop("clusters").tolist())
            found[variant].append({**scores, "stability": alike})
    beside = found[SOHN, GIVEN_TAU]
    measured = []
    for row in rows:
        tried = [found[variant][: None if row in MAIN else FEW_SUBSETS] for variant in _variants(row)]
        best = max(tried, key=lambda one: float(np.mean([scores["nmi"] for scores in one])))
        measured.append(_measurement(row, setting, best, beside[: len(best)]))
    return measured


def _variants(row: str) -> list[Variant]:
    """What a row is the best of: several temperatures for an oracle, otherwise one."""
    if row.endswith(ORACLE):
        return [(row.removesuffix(ORACLE), tau) for tau in TAUS]
    return [(row, GIVEN_TAU)]


class _Setting:
    """A category in one setting, with what does not depend on the subset."""

    def __init__(self, category: CategoryArrays, setting: str) -> None:
        self.category, self.setting = category, setting
        self.to_normals = None if setting == BLIND else category.to_normals
        if setting == NO_SIBLINGS:
            assert self.to_normals is not None  # noqa: S101 - checked by the caller
            self.to_normals = self.to_normals[np.arange(category.n_images)[:, None], self._kept_normals()]

    def _kept_normals(self) -> NDArray[np.int64]:
        """Normals of every image but its siblings, ``(n_images, n_normals - N_SIBLINGS)``."""
        assert self.category.normal_means is not None  # noqa: S101 - checked by the caller
        own, normals = self.category.bags.mean(axis=1), self.category.normal_means[0]
        distances = ((own[:, None] - normals[None]) ** 2).sum(axis=2)
        n_left_out = min(N_SIBLINGS, distances.shape[1] - 1)
        return np.sort(np.argsort(distances, axis=1, kind="stable")[:, n_left_out:], axis=1)

    @cached_property
    def against_normals(self) -> NDArray[np.float64]:
        """Three scores against normals, ``(n_images, n_patches, 3)``: those of an image are the same in any subset."""
        assert self.to_normals is not None  # noqa: S101 - checked by the caller
        return scores_against_normals(self.to_normals, np.ones(self.to_normals.shape[1], np.int64))


class _Subset:
    """Some images of a category in one setting, with what several rows share."""

    def __init__(self, measure: _Setting, images: NDArray[np.int64], protocol: Protocol, seed: int) -> None:
        self.setting, self.category, self.images = measure.setting, measure.category, images
        self.protocol, self.seed, self._measure = protocol, seed, measure
        self.labels = [measure.category.labels[image] for image in images]
        self.n_true = n_classes(protocol, self.labels)
        self._rarity: dict[float, NDArray[np.float64]] = {}

    @cached_property
    def bags(self) -> NDArray[np.float32]:
        """Bags of the first level."""
        return np.asarray(self.category.bags[self.images], np.float32)

    @cached_property
    def _nearest(self) -> NDArray[np.floating[Any]]:
        return self.category.nearest[np.ix_(self.images, self.images)]

    @property
    def expectation(self) -> NDArray[np.float64]:
        """Rarity of [SOHN23] eq. (5) or (6)."""
        if self._measure.to_normals is None:
            return self._trimmed(1.0)
        return self._measure.against_normals[self.images, :, 0]

    def scores(self, switches: Switches) -> NDArray[np.float64]:
        """Scores of recipe auto, ``(n_images, n_patches, n_scores)``."""
        if self._measure.to_normals is None:
            return self._trimmed(switches.share)[..., None]
        scores = self._measure.against_normals[self.images]
        if switches.share != AUTO.share:
            own = self._measure.to_normals[self.images]
            scores = scores_against_normals(own, np.ones(own.shape[1], np.int64), share=switches.share)
        return scores if switches.mixes_normals else scores[..., :1]

    def _trimmed(self, share: float) -> NDArray[np.float64]:
        if share not in self._rarity:
            ones = np.ones(len(self.images), np.int64)
            self._rarity[share] = trimmed_rarity(self._nearest, ones, share=share)
        return self._rarity[share]

    def scored(self, described: NDArray[np.floating[Any]]) -> dict[str, Any]:
        """Scores of these descriptors, and the partition."""
        tree = linkage_tree(described, method="ward")
        clusters = cut_tree(tree, n_clusters=self.n_true)
        full, defects = (scores_of(self.protocol, self.labels, clusters)[at] for at in (0, 1))
        knee, ratio = suggest_by_knee(tree).n_clusters, suggest_n_clusters(tree).n_clusters
        by_knee, by_ratio = (
            scores_of(self.protocol, self.labels, cut_tree(tree, n_clusters=number))[0] for number in (knee, ratio)
        )
        return {
            **full,
            **{f"{name}_defects": value for name, value in defects.items()},
            "n_true": self.n_true,
            "n_clusters": knee,
            "ratio": ratio,
            "nmi_knee": by_knee["nmi"],
            "ari_knee": by_knee["ari"],
            "ari_ratio": by_ratio["ari"],
            "clusters": clusters,
        }


def _described(subset: _Subset, row: str, tau: str) -> NDArray[np.floating[Any]]:
    """Descriptors of a subset, as a row of the table makes them."""
    if row == AVERAGE:
        return descriptors(subset.bags, uniform_weights(*subset.bags.shape[:2]))
    if row == SOHN:
        rarity = subset.expectation
        return descriptors(subset.bags, soft_weights(rarity, tau=temperature(tau, rarity)))
    return _auto(subset, PARTS.get(row, AUTO), tau)


def _auto(subset: _Subset, switches: Switches, tau: str) -> NDArray[np.float32]:
    """Descriptors of recipe auto, learnt from these images alone."""
    category = subset.category
    scores = subset.scores(switches)
    scoring = fit_scoring(scores, tau=tau, n_taus=switches.n_taus)
    weights = scoring.weights(scoring.summed(scores))
    levels, patches, normals = [], [], []
    for at, (bags, grid) in enumerate(_levels(category)[: switches.n_levels]):
        own = np.asarray(bags[subset.images], np.float32)
        spread = spread_weights(weights, category.grid, grid).astype(np.float32)
        levels.append(PooledLevel(np.matmul(spread, own).astype(np.float64), own.mean(axis=1, dtype=np.float64)))
        patches.append(_moments(own.reshape(-1, own.shape[2])))
        if subset.setting != BLIND and category.normal_means is not None:
            normals.append(_moments(category.normal_means[at]))
    found = fit_descriptors(
        levels,
        patches=patches,
        normals=normals or None,
        n_clusters=subset.n_true,
        generator=generator(subset.seed, "stability"),
        switches=switches,
    )
    return smoothed(found.unsmoothed) if switches.smooths else found.unsmoothed


def _moments(vectors: NDArray[np.floating[Any]]) -> Moments:
    seen = Moments(vectors.shape[1])
    seen.add(vectors)
    return seen


def _levels(category: CategoryArrays) -> list[tuple[NDArray[np.floating[Any]], tuple[int, int]]]:
    deeper = [(category.deeper, category.deeper_grid)] if category.deeper is not None else []
    return [(category.bags, category.grid), *deeper]


def _measurement(
    row: str, setting: str, found: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]]
) -> Measurement:
    names = list(found[0])
    means = {name: mean_and_standard_error(np.array([one[name] for one in found], float)) for name in names}
    differences = np.array([one["nmi"] - other["nmi"] for one, other in zip(found, beside, strict=True)])
    low, high = np.percentile(differences, [2.5, 97.5])
    beyond = {
        "difference": float(differences.mean()),
        "low": float(low),
        "high": float(high),
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
