"""The experiments of [SOHN23] on one category: every row of its tables and every point of its curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.benchmark.ablation import ABLATIONS, RECIPES, ablate, recipes
from anoclust_core.benchmark.geometry import (
    HAUSDORFF_VARIANTS,
    HOLISTIC,
    CategoryArrays,
    Geometry,
    baseline,
    hausdorff,
    main_methods,
    pooled,
    rarity_of,
    subset_rarities,
    top_weighted,
    weighted,
)
from anoclust_core.benchmark.localization import localization_scores, pixel_scores
from anoclust_core.benchmark.numbers import NUMBERS, ONLY_GOOD, numbers_of_clusters, only_good
from anoclust_core.benchmark.published import AVERAGE, MASK, MAX_HAUSDORFF, SEMI, WEIGHTED
from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.benchmark.scoring import Measurement, cluster, score, scores_of, trivial
from anoclust_core.clustering.linkage import linkage_from_distances, linkage_tree
from anoclust_core.clustering.methods import CLUSTERINGS
from anoclust_core.evaluation.partitions import purity_auc, purity_curve, reduction_at_purity
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.evaluation.ranking import image_auroc
from anoclust_core.seeding import generator
from anoclust_core.weighting.rarity import rarity_against_normals
from anoclust_core.weighting.reference import draw
from anoclust_core.weighting.weights import soft_weights, temperature

TAUS: Final = ("0.1sd", "0.2sd", "0.3sd", "0.5sd", "0.75sd")
"""Temperatures that model selection chooses from."""

TAU_CURVE: Final = ("0.02sd", "0.05sd", *TAUS, "1sd", "2sd", "5sd", "20sd")
TOP_KS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
NORMAL_SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PURITIES: Final = (0.9, 0.95, 0.99)
BASELINE_ROWS: Final = ("max", "GeM", "SPoC", "bag of words")

METHODS: Final = MappingProxyType(
    {
        "average": AVERAGE,
        "max-hausdorff": MAX_HAUSDORFF,
        "weighted": WEIGHTED,
        "normals": SEMI,
        "masks": MASK,
        **{name.lower().replace(" ", "-"): name for name in BASELINE_ROWS},
        "holistic": HOLISTIC,
    }
)
"""From a short name of a method to its name in the papers' tables."""


@dataclass(frozen=True)
class Conditions:
    """Under which everything is measured.

    Attributes
    ----------
    protocol
        Decides which images count.
    tau, tau_normals
        Temperature of the rows that do not vary it, blind and with normals.
    seed
        Of subsets, starts and codebooks.
    n_subsets
        Random 90 % subsets for error bars.
    methods
        Those that tables of methods compare, by their names in `METHODS`; all where empty.
    """

    protocol: Protocol
    tau: str
    tau_normals: str
    seed: int
    n_subsets: int
    methods: Sequence[str] = ()

    def wants(self, method: str) -> bool:
        """Whether a method is to be measured, by its name in the papers' tables."""
        return not self.methods or method in [METHODS[name] for name in self.methods]


Experiment = Callable[[CategoryArrays, Conditions], list[Measurement]]


def distances(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Tables 1 and 7: four distances and the oracle masks under Ward, with localisation, and the trivial partitions."""
    rows = [
        _measure(category, conditions, name, "ward", geometry, extra=_localisation(category, conditions, name))
        for name, geometry in _main_methods(category, conditions).items()
    ]
    return rows + trivial(category.labels, conditions.protocol)


def clusterings(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Tables 2 and 8: every clustering on max Hausdorff and on weighted average."""
    methods = _main_methods(category, conditions)
    return [
        _measure(category, conditions, name, clustering, methods[name])
        for name in (MAX_HAUSDORFF, WEIGHTED)
        if name in methods
        for clustering in _possible(methods[name])
    ]


def purity(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Table 3 and Figures 4 and 13: purity at every number of clusters, with soft, uniform and top-k weights."""
    rarity = rarity_of(category, "expectation")
    top_k = max(1, category.bags.shape[1] // 20)
    methods = {
        **_main_methods(category, conditions),
        f"top {top_k}": top_weighted(category, rarity, [top_k], None)[0],
    }
    scored = _scored_rows(category, conditions)
    labels = [category.labels[row] for row in scored]
    rows = []
    for name, geometry in methods.items():
        curve = purity_curve(labels, _tree(geometry.subset(scored)))
        reductions = {f"r_at_{p:g}": reduction_at_purity(curve, purity=p) for p in PURITIES}
        rows.append(Measurement(name, "Ward", scores={"mauc": purity_auc(curve), **reductions}, curve=curve.tolist()))
    return rows


def variants(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Table 5: the six Hausdorff distances, and rarity by expectation, maximum and minimum, under Ward."""
    found = [
        _measure(category, conditions, name, "ward", hausdorff(category, name), setting="Hausdorff distance")
        for name in HAUSDORFF_VARIANTS
        if name != "mean_mean" or category.statistics.mean_of_all is not None
    ]
    for kind in ("expectation", "maximum", "minimum"):
        geometry = weighted(category, rarity_of(category, kind), [conditions.tau])[0]
        found.append(_measure(category, conditions, kind, "ward", geometry, setting="unsupervised weights"))
    return found


def holistic(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Table 4, with the network's last layer: the whole image against its patches."""
    rows = []
    if category.holistic is not None and conditions.wants(HOLISTIC):
        rows.append(_measure(category, conditions, HOLISTIC, "ward", Geometry(descriptors=category.holistic)))
    methods = _main_methods(category, conditions)
    return rows + [
        _measure(category, conditions, name, "ward", methods[name])
        for name in (AVERAGE, MAX_HAUSDORFF, WEIGHTED, SEMI)
        if name in methods
    ]


def baselines(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Table 9: four distances and the pooling baselines under Ward, mean and standard error over subsets.

    Weights are computed again within every subset; the codebook of the bag of words is that of all images.
    """
    subsets = _subsets(category, conditions)
    kept = []
    for name, geometry in _main_methods(category, conditions).items():
        parts = _weighted_subsets(category, conditions, subsets) if name == WEIGHTED else _cut(geometry, subsets)
        kept.append(_measure_subsets(category, conditions, name, "ward", subsets, parts))
    draws = generator(conditions.seed, "bag of words")
    for name in filter(conditions.wants, BASELINE_ROWS):
        geometry = baseline(category, name, draws)
        kept.append(_measure_subsets(category, conditions, name, "ward", subsets, _cut(geometry, subsets)))
    return kept


def clustering_subsets(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Table 10: every clustering on two distances, mean and standard error over subsets."""
    subsets = _subsets(category, conditions)
    geometries = {
        MAX_HAUSDORFF: _cut(hausdorff(category, "max_min_max"), subsets),
        WEIGHTED: _weighted_subsets(category, conditions, subsets),
    }
    return [
        _measure_subsets(category, conditions, name, clustering, subsets, found)
        for name, found in geometries.items()
        if conditions.wants(name)
        for clustering in _possible(found[0])
    ]


def temperatures(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Figure 6 and model selection: weighted average over the temperature, blind and with normals."""
    rows = []
    for name, kind in ((WEIGHTED, "expectation"), (SEMI, "normals")):
        if kind == "normals" and category.to_normals is None:
            continue
        rarity = rarity_of(category, kind)  # type: ignore[arg-type]
        for tau, geometry in zip(TAU_CURVE, weighted(category, rarity, TAU_CURVE), strict=True):
            extra = {"tau": temperature(tau, rarity)}
            rows.append(_measure(category, conditions, name, "ward", geometry, setting=tau, extra=extra))
    return rows


def top_patches(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Figure 7: hard weights, and soft weights on the top k patches, over k."""
    rarity = rarity_of(category, "expectation")
    top_ks = [k for k in TOP_KS if k <= category.bags.shape[1]]
    rows = []
    for name, tau in (("hard", None), ("hybrid", conditions.tau)):
        for k, geometry in zip(top_ks, top_weighted(category, rarity, top_ks, tau), strict=True):
            rows.append(_measure(category, conditions, name, "ward", geometry, setting=f"k = {k}"))
    return rows


def shares_of_normals(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Figure 8: weighted average against a growing share of the normals; the blind one to compare."""
    blind = weighted(category, rarity_of(category, "expectation"), [conditions.tau])[0]
    rows = [_measure(category, conditions, WEIGHTED, "ward", blind)]
    if category.to_normals is None:
        return rows
    n_normals = category.to_normals.shape[1]
    numbers = [str(number) for number in range(n_normals)]
    for share in NORMAL_SHARES:
        n_used = max(1, round(share * n_normals))
        drawn = sorted(int(number) for number in draw(numbers, n_used, seed=conditions.seed))
        rarity = rarity_against_normals(category.to_normals[:, drawn])
        geometry = weighted(category, rarity, [conditions.tau_normals])[0]
        setting = f"{share:.0%}"
        extra = {"n_normals": float(n_used)}
        rows.append(_measure(category, conditions, SEMI, "ward", geometry, setting=setting, extra=extra))
    return rows


def localization(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """[ARDELEAN24] Table 2: rarity as an anomaly map, image by image from labels and pixel by pixel where masks are."""
    rarity = rarity_of(category, "expectation").reshape(-1, *category.grid)
    found = localization_scores(rarity, category.labels, category.masks, protocol=conditions.protocol)
    return [Measurement(WEIGHTED, "none", "rarity", scores=found)]


def _numbers(category: CategoryArrays, conditions: Conditions, *, setting: str) -> list[Measurement]:
    """Number of clusters by recipe auto, in one setting."""
    return numbers_of_clusters(category, setting, protocol=conditions.protocol, seed=conditions.seed)


def _only_good(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Whether recipe auto says of good images alone that their structure is uncertain."""
    return only_good(category, protocol=conditions.protocol, seed=conditions.seed)


def _ablation(category: CategoryArrays, conditions: Conditions, *, setting: str) -> list[Measurement]:
    """Recipe auto in parts, in one setting."""
    return ablate(category, setting, protocol=conditions.protocol, seed=conditions.seed, n_subsets=conditions.n_subsets)


def _recipes(category: CategoryArrays, conditions: Conditions) -> list[Measurement]:
    """Recipes auto and sohn on all images, beside deep clustering."""
    return recipes(category, protocol=conditions.protocol, seed=conditions.seed)


EXPERIMENTS: Final[Mapping[str, Experiment]] = MappingProxyType(
    {
        "distances": distances,
        "clusterings": clusterings,
        "purity": purity,
        "variants": variants,
        "holistic": holistic,
        "baselines": baselines,
        "clustering_subsets": clustering_subsets,
        "temperatures": temperatures,
        "top_patches": top_patches,
        "shares_of_normals": shares_of_normals,
        "localization": localization,
        **{name: partial(_ablation, setting=setting) for name, setting in ABLATIONS.items()},
        **{name: partial(_numbers, setting=setting) for name, setting in NUMBERS.items()},
        ONLY_GOOD: _only_good,
        RECIPES: _recipes,
    }
)
"""By the name that keys and files bear."""


def _main_methods(category: CategoryArrays, conditions: Conditions) -> dict[str, Geometry]:
    methods = main_methods(category, conditions.tau, conditions.tau_normals)
    return {name: geometry for name, geometry in methods.items() if conditions.wants(name)}


def _measure(
    category: CategoryArrays,
    conditions: Conditions,
    method: str,
    clustering: str,
    geometry: Geometry,
    *,
    setting: str = "",
    extra: Mapping[str, float] | None = None,
) -> Measurement:
    return score(
        geometry,
        category.labels,
        protocol=conditions.protocol,
        seed=conditions.seed,
        method=method,
        clustering=clustering,
        setting=setting,
        extra=extra,
    )


def _measure_subsets(
    category: CategoryArrays,
    conditions: Conditions,
    method: str,
    clustering: str,
    subsets: NDArray[np.int64],
    geometries: Sequence[Geometry],
) -> Measurement:
    """Mean and standard error of the scores over subsets."""
    collected: dict[str, list[float]] = {}
    collected_defects: dict[str, list[float]] = {}
    for rows, geometry in zip(subsets, geometries, strict=True):
        labels = [category.labels[row] for row in rows]
        clusters = cluster(geometry, clustering, labels, protocol=conditions.protocol, seed=conditions.seed)
        full, defects = scores_of(conditions.protocol, labels, clusters)
        for name, value in full.items():
            collected.setdefault(name, []).append(value)
        for name, value in defects.items():
            collected_defects.setdefault(name, []).append(value)
    means = {name: mean_and_standard_error(np.array(values)) for name, values in collected.items()}
    return Measurement(
        method,
        CLUSTERINGS[clustering].title,
        f"{len(subsets)} random 90 % subsets",
        scores={name: mean for name, (mean, _) in means.items()},
        errors={name: error for name, (_, error) in means.items()},
        defect_only={name: float(np.mean(values)) for name, values in collected_defects.items()},
    )


def _possible(geometry: Geometry) -> list[str]:
    """Clusterings that a geometry allows: those around centres need descriptors."""
    return [
        name
        for name, clustering in CLUSTERINGS.items()
        if geometry.descriptors is not None or clustering.from_distances is not None
    ]


def _tree(geometry: Geometry) -> NDArray[np.float64]:
    if geometry.descriptors is not None:
        return linkage_tree(geometry.descriptors, method="ward")
    assert geometry.distances is not None  # noqa: S101 - one of the two, for the type checker
    return linkage_from_distances(geometry.distances, method="ward")


def _scored_rows(category: CategoryArrays, conditions: Conditions) -> NDArray[np.int64]:
    return np.array([row for row, label in enumerate(category.labels) if conditions.protocol.scores_label(label)])


def _localisation(category: CategoryArrays, conditions: Conditions, method: str) -> dict[str, float]:
    """How well the weights find the defects, pixel by pixel of the network's input, where there are masks."""
    if category.masks is None or method not in (WEIGHTED, SEMI):
        return {}
    rarity = rarity_of(category, "expectation" if method == WEIGHTED else "normals")
    weights = soft_weights(
        rarity, tau=temperature(conditions.tau if method == WEIGHTED else conditions.tau_normals, rarity)
    )
    found = pixel_scores(weights.reshape(-1, *category.grid), category.masks)
    if not found:
        return {}
    # weights sum to 1 in every image, so that they do not tell one image's defect from another's clean surface
    raw = pixel_scores(rarity.reshape(-1, *category.grid), category.masks)
    found |= {f"{name}_of_rarity": value for name, value in raw.items()}
    is_defect = np.asarray(category.masks.any(axis=(1, 2)), dtype=np.bool_)
    if not is_defect.all():
        found["image_auroc"] = image_auroc(rarity.max(axis=1), is_defect)
    return found


def _subsets(category: CategoryArrays, conditions: Conditions) -> NDArray[np.int64]:
    return random_subsets(
        category.n_images, generator=generator(conditions.seed, "subsets"), n_subsets=conditions.n_subsets
    )


def _cut(geometry: Geometry, subsets: NDArray[np.int64]) -> list[Geometry]:
    return [geometry.subset(rows) for rows in subsets]


def _weighted_subsets(category: CategoryArrays, conditions: Conditions, subsets: NDArray[np.int64]) -> list[Geometry]:
    """Weighted average within every subset: its own rarity, its own temperature."""
    rarities = subset_rarities(category, subsets)
    found = []
    for rows, rarity in zip(subsets, rarities, strict=True):
        own = rarity[rows].astype(np.float64)
        weights = soft_weights(own, tau=temperature(conditions.tau, own))
        found.append(Geometry(descriptors=pooled(category.bags[rows], weights[None])[0]))
    return found
