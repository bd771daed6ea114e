"""Recipe auto part by part, beside the published methods, on the same random subsets of one category.

Everything is fitted inside a subset: rarity, whitenings, residual, smoothing and tree. A label chooses nothing but the
best temperature of the rows that say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.bags import descriptors
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.refit import BLIND, GIVEN_TAU, SETTINGS, Setting, Subset, fitted
from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.benchmark.scoring import Measurement, scores_of
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.methods import CLUSTERINGS
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.errors import ConfigError
from anoclust_core.evaluation.partitions import adjusted_rand_index
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto_switches import AUTO
from anoclust_core.weighting.weights import soft_weights, temperature, uniform_weights

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

RECIPES: Final = "recipes"
"""Experiment that measures the recipes on all images, beside deep clustering."""

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
        mean adjusted Rand index between the partition of a subset and that of all images.

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
    measure = Setting(category, setting)
    found: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants}
    draws = random_subsets(category.n_images, generator=generator(seed, "subsets"), n_subsets=n_subsets)
    whole = Subset(measure, np.arange(category.n_images), protocol, seed)
    of_all = {variant: _scored(whole, _described(whole, *variant))["clusters"] for variant in variants}
    for at, images in enumerate(draws):
        subset = Subset(measure, images, protocol, seed)
        for variant in variants if at < FEW_SUBSETS else [(row, GIVEN_TAU) for row in MAIN]:
            scores = _scored(subset, _described(subset, *variant))
            alike = adjusted_rand_index(of_all[variant][images].tolist(), scores.pop("clusters").tolist())
            found[variant].append({**scores, "stability": alike})
    beside = found[SOHN, GIVEN_TAU]
    measured = []
    for row in rows:
        tried = [found[variant][: None if row in MAIN else FEW_SUBSETS] for variant in _variants(row)]
        best = max(tried, key=lambda one: float(np.mean([scores["nmi"] for scores in one])))
        measured.append(_measurement(row, setting, best, beside[: len(best)]))
    return measured


def recipes(category: CategoryArrays, *, protocol: Protocol, seed: int) -> list[Measurement]:
    """Recipe auto and the published method on all images of a category, blind, under Ward.

    Parameters
    ----------
    category
        With a deeper level.
    protocol
        Decides the number of clusters and which images count.
    seed
        Of recipe auto.
    """
    whole = Subset(Setting(category, BLIND), np.arange(category.n_images), protocol, seed)
    rows = []
    for row in (WHOLE, SOHN):
        tree = linkage_tree(_described(whole, row, GIVEN_TAU), method="ward")
        full, defects = scores_of(protocol, whole.labels, cut_tree(tree, n_clusters=whole.n_true))
        rows.append(Measurement(row, CLUSTERINGS["ward"].title, scores=full, defect_only=defects))
    return rows


def _variants(row: str) -> list[Variant]:
    """What a row is the best of: several temperatures for an oracle, otherwise one."""
    if row.endswith(ORACLE):
        return [(row.removesuffix(ORACLE), tau) for tau in TAUS]
    return [(row, GIVEN_TAU)]


def _described(subset: Subset, row: str, tau: str) -> NDArray[np.floating[Any]]:
    """Descriptors of a subset, as a row of the table makes them."""
    if row == AVERAGE:
        return descriptors(subset.bags, uniform_weights(*subset.bags.shape[:2]))
    if row == SOHN:
        rarity = subset.expectation
        return descriptors(subset.bags, soft_weights(rarity, tau=temperature(tau, rarity)))
    switches = PARTS.get(row, AUTO)
    found = fitted(subset, subset.n_true, switches=switches, tau=tau).unsmoothed
    return smoothed(found) if switches.smooths else found


def _scored(subset: Subset, described: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Scores of descriptors of a subset, and the partition."""
    tree = linkage_tree(described, method="ward")
    clusters = cut_tree(tree, n_clusters=subset.n_true)
    full, defects = (scores_of(subset.protocol, subset.labels, clusters)[at] for at in (0, 1))
    return {
        **full,
        **{f"{name}_defects": value for name, value in defects.items()},
        "clusters": clusters,
    }


def _measurement(
    row: str, setting: str, found: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]]
) -> Measurement:
    names = list(found[0])
    means = {name: mean_and_standard_error(np.array([one[name] for one in found], float)) for name in names}
    differences = np.array([one["nmi"] - other["nmi"] for one, other in zip(found, beside, strict=True)])
    low, high = np.percentile(differences, [2.5, 97.5])
    mean, error = mean_and_standard_error(differences)
    beyond = {
        "difference": mean,
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
        errors={name: means[name][1] for name in plain} | {"difference": error},
        defect_only={name.removesuffix("_defects"): means[name][0] for name in names if name.endswith("_defects")},
    )
