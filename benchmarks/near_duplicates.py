"""Near-duplicates of a data set: how many, whose label they share, and what it changes to count them once.

The images of one category are compared as runs do it; what is measured is fitted again on random 90 % subsets, the
near-duplicates looked for within each, once for each choice of what counts once: nothing (``keep``), rarity alone, the
merge tree and its number of clusters alone, or everything (``count-once``).

    anoclust prepare mtd FOLDER --train-list FOLDER/train_filenames.txt --out mtd.csv
    python -m benchmarks.near_duplicates --data mtd.csv --work FOLDER --subsets 20
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.bags import descriptors
from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.refit import BLIND, GIVEN_TAU, NORMALS, Setting, Subset, fitted
from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.benchmark.scoring import scores_of
from anoclust_core.clustering.cut import suggest_cut
from anoclust_core.clustering.linkage import cut_tree, linkage_tree, suggest_n_clusters
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.clustering.units import first_of_each, join_lone_units, unit_means, units_of
from anoclust_core.config import RECIPE_SIDES, RunConfig
from anoclust_core.config.setting import nest
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.pairwise.near_duplicates import ALONE, closest_images, near_duplicate_groups
from anoclust_core.records import unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto_switches import AUTO
from anoclust_core.weighting.weights import soft_weights, temperature, uniform_weights
from benchmarks.covers import compare

SEED: Final = 0

KEEP: Final = "keep"
CHOICES: Final = {
    KEEP: frozenset[str](),
    "once for rarity": frozenset({"rarity"}),
    "once for the tree": frozenset({"tree"}),
    "count-once": frozenset({"rarity", "learning", "tree"}),
}
"""What counts once: rarity, all that is learnt and smoothed, the tree and the number of clusters."""

SHOWN: Final = ("nmi", "ari", "nmi*", "nmi at own number", "ari at own number", "clusters", "error of the number")
"""Scores at the number of classes, of all images and of the defects; the same at the number that the recipe finds."""


def load(data: Path, store: Path) -> CategoryArrays:
    """Run recipe auto over the images of the only category, blind and against its normals, and read what was stored."""
    from flows.run import run_data
    from tasks.compute.level_pooling import levels_of, pool_levels
    from tasks.networks.backbone_spec import embedding_spec
    from tasks.stores.embeddings import LevelSegments
    from tasks.stores.layout import StoreLayout
    from tasks.stores.manifests import load_manifest
    from tasks.stores.nearest import NearestSlabs
    from tasks.stores.runs import parts_of

    blind = compare(data, store, RECIPE_SIDES["auto"], "all").arrays
    config = RunConfig.model_validate(nest({"data.settle_seconds": 0}))
    (outcome,) = run_data(data, store, config)
    if outcome.error is not None or outcome.run is None:
        raise SystemExit(str(outcome.error))
    layout, keys, category = StoreLayout(store), outcome.summary["keys"], outcome.category
    images = load_manifest(parts_of(layout, outcome.summary).manifest)
    if not images.normals:
        return blind
    contents = [image.sha256 for image in images.clustered]
    known = unique_contents(images.normals)[0]
    slabs = NearestSlabs(layout.folder("nearest", category, keys["distances"]))
    folders = [layout.folder("embeddings", category, keys[name]) for name in ("embedding", "deeper")]
    spec = embedding_spec(layout, config)
    levels = levels_of(spec, LevelSegments.of(*folders).levels, AUTO.n_levels)
    pooled = pool_levels(levels, known, uniform_weights(len(known), spec.n_patches)[:, None]).levels
    return replace(
        blind,
        to_normals=np.concatenate([part for _, part in slabs.read(contents, known)]),
        normal_means=tuple(level.whole for level in pooled),
    )


def distances_of(category: CategoryArrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and largest distance of the patches of every image to every other image."""
    rows = [row.astype(np.float32) for row in category.nearest]
    return np.stack([row.mean(axis=1) for row in rows]), np.stack([row.max(axis=1) for row in rows])


def described(subset: Subset, units: NDArray[np.int64], once: frozenset[str], recipe: str) -> NDArray[np.floating[Any]]:
    """Descriptors of a subset, near-duplicates counting once where that is asked for."""
    rows = first_of_each(units) if "learning" in once else np.arange(len(units))
    by_unit = subset.setting == BLIND and "rarity" in once
    if recipe == "sohn":
        rarity = subset.trimmed_once(units, 1.0) if by_unit else subset.expectation
        return descriptors(subset.bags, soft_weights(rarity, tau=temperature(GIVEN_TAU, rarity[rows])))
    scores = subset.trimmed_once(units, AUTO.share)[..., None] if by_unit else None
    found = fitted(subset, subset.n_true, scores=scores, rows=rows).unsmoothed
    return smoothed(found, among=found[rows], own=units) if "learning" in once else smoothed(found)


def scored(
    subset: Subset, given: NDArray[np.floating[Any]], units: NDArray[np.int64], recipe: str
) -> tuple[float, ...]:
    """Figures of `SHOWN` of descriptors whose tree is of units."""
    leaves = unit_means(given, units)
    tree = linkage_tree(leaves, method="ward")
    if recipe == "auto":
        _, own = suggest_cut(tree, leaves)
    else:
        own = cut_tree(tree, n_clusters=suggest_n_clusters(tree).n_clusters)
    own = join_lone_units(own, units, leaves)
    true, defects = scores_of(subset.protocol, subset.labels, cut_tree(tree, n_clusters=subset.n_true)[units])
    at_own, _ = scores_of(subset.protocol, subset.labels, own[units])
    number = int(own.max()) + 1
    found = true["nmi"], true["ari"], defects["nmi"], at_own["nmi"], at_own["ari"]
    return *found, float(number), float(abs(number - subset.n_true))


def measure(category: CategoryArrays, setting: str, recipe: str, n_subsets: int) -> dict[str, NDArray[np.float64]]:
    """Figures of every choice on the same subsets, ``(n_subsets, len(SHOWN))``."""
    protocol, whole = protocol_named("sohn"), Setting(category, setting)
    apart = distances_of(category)
    found: dict[str, list[tuple[float, ...]]] = {choice: [] for choice in CHOICES}
    for images in random_subsets(category.n_images, generator=generator(SEED, "subsets"), n_subsets=n_subsets):
        subset, square = Subset(whole, images, protocol, SEED), np.ix_(images, images)
        units = units_of(near_duplicate_groups(closest_images(*(values[square] for values in apart))))
        for choice, once in CHOICES.items():
            leaves = units if "tree" in once else np.arange(len(units))
            found[choice].append(scored(subset, described(subset, units, once, recipe), leaves, recipe))
    return {choice: np.array(values) for choice, values in found.items()}


def table(found: dict[str, NDArray[np.float64]]) -> str:
    """Rows of the table: mean of each figure, with the mean and standard error of its difference to ``keep``."""
    lines = [f"| | {' | '.join(SHOWN)} |", f"|{'---|' * (1 + len(SHOWN))}"]
    for choice, values in found.items():
        cells = []
        for at in range(len(SHOWN)):
            off, error = mean_and_standard_error(values[:, at] - found[KEEP][:, at])
            beside = "" if choice == KEEP else f" ({off:+.3f} ± {error:.3f})"
            cells.append(f"{values[:, at].mean():.3f}{beside}")
        lines.append(f"| {choice} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told(category: CategoryArrays) -> str:
    """How many near-duplicates there are, how large their groups are, and whose label they share."""
    groups = near_duplicate_groups(closest_images(*distances_of(category)))
    members = [np.flatnonzero(groups == group) for group in range(groups.max(initial=ALONE) + 1)]
    sizes = Counter(len(rows) for rows in members)
    shared = sum(len({category.labels[row] for row in rows}) == 1 for rows in members)
    by_label = Counter(str(category.labels[row]) for rows in members for row in rows)
    return (
        f"{category.name}: {sum(map(len, members))} of {len(groups)} images in {len(members)} groups; "
        f"{shared} groups of one label; groups by size {dict(sorted(sizes.items()))}; images by label "
        f"{dict(sorted(by_label.items()))}"
    )


def rarity_change(category: CategoryArrays) -> str:
    """What counting once does to the rarity among the images, of those that have near-duplicates and of the others."""
    subset = Subset(Setting(category, BLIND), np.arange(category.n_images), protocol_named("sohn"), SEED)
    groups = near_duplicate_groups(closest_images(*distances_of(category)))
    before, after = subset.scores(AUTO)[..., 0], subset.trimmed_once(units_of(groups), AUTO.share)
    ratio, is_in = after.max(axis=1) / before.max(axis=1) - 1, groups != ALONE
    return (
        f"rarity of the rarest patch, counted once: {np.median(ratio[is_in]):+.1%} of images in groups, "
        f"{np.median(ratio[~is_in]):+.1%} of the others (medians)"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print what was found, and a table for each recipe and setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images of one category, with labels")
    parser.add_argument("--work", type=Path, required=True, help="folder for the store")
    parser.add_argument("--subsets", type=int, default=20)
    parser.add_argument("--recipes", nargs="+", choices=("auto", "sohn"), default=["auto", "sohn"])
    asked = parser.parse_args(argv)
    category = load(asked.data, asked.work / "store")
    with threadpool_limits(1):
        print(told(category), rarity_change(category), sep="\n", flush=True)
        for recipe in asked.recipes:
            for setting in (BLIND,) if category.to_normals is None else (BLIND, NORMALS):
                found = measure(category, setting, recipe, asked.subsets)
                print(f"\n{recipe}, {setting}, {asked.subsets} subsets\n\n{table(found)}", flush=True)


if __name__ == "__main__":
    main()
