"""Every public function of the library that takes arrays, with arguments that it takes."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import anoclust_core
from anoclust_core.benchmark.deep.settings import SMALL
from anoclust_core.benchmark.deep.views import Views
from anoclust_core.benchmark.geometry import CategoryArrays, Geometry
from anoclust_core.clustering.distances import pair_statistics
from anoclust_core.clustering.learning.partition import Labelled
from anoclust_core.clustering.linkage import linkage_tree
from anoclust_core.clustering.neighbours import shared_neighbours
from anoclust_core.embedding.alignment import Alignment
from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.evaluation.protocols import ARDELEAN, SOHN
from anoclust_core.localization.contrastive import ProjectionHead, ranges_of_images
from anoclust_core.localization.relations import AnomalousCells, draw_cells
from anoclust_core.localization.vae import FeatureVae
from anoclust_core.matching.prototypes import fit_prototypes
from anoclust_core.pairwise.cpu import nearest_distances_within
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, Window
from anoclust_core.weighting.auto import PooledLevel
from anoclust_core.weighting.regions import Regions
from anoclust_core.weighting.whitening import Moments

ARRAYS: Final = ("NDArray", "ArrayLike", "Tensor", "Floats", "FloatArray", "FeatureStack")
"""Names that annotations have for arrays."""

SEQUENCES: Final = ("Sequence[int]", "Sequence[str]", "Sequence[str | None]")
"""Annotations of labels and counts, a value an image or night."""

NO_CONTRACT: Final = {
    "clustering.learning.keeping": "a step of `learn_partition`, which checks what it is given",
    "clustering.learning.rounds": "steps of `learn_partition`, which checks what they are given",
    "clustering.learning.seeded": "a step of `learn_partition`",
    "benchmark.cells": "texts of tables",
    "benchmark.columns": "names of columns",
    "benchmark.refit.fitted": "scores and rows come from a subset, whose arrays were checked",
    "benchmark.plots": "draws what was measured; its arrays stand in records",
    "memory.clusters": "sizes of images, for a prediction",
    "reporting.night": "draws counts of the catalog",
    "reporting.contingency": "counts the records of a report",
    "synthesis.shapes": "parts of defects, whose surfaces are checked where they are drawn",
    "pairwise.tiling.blocks": "cuts what `missing_squares` found",
}
"""Modules and functions whose sequences are no arrays, and why."""

RANDOM: Final = np.random.default_rng(0)


def _unit(*shape: int) -> Any:
    values = RANDOM.normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


BAGS = _unit(4, 4, 3)
WINDOW = Window((2, 2), 1)
VIEWS = DatasetManifest("board", tuple(ImageRecord(name, name, name, "cluster", part="p") for name in ("a", "b")))
WEIGHTS = np.full((4, 4), 0.25)
NEAREST = nearest_distances_within(BAGS)
RARITY = RANDOM.random((4, 4))
DESCRIPTORS = RANDOM.random((6, 3))
DISTANCES = np.linalg.norm(DESCRIPTORS[:, None] - DESCRIPTORS[None], axis=2)
DISTANCES = (DISTANCES + DISTANCES.T) / 2
TREE = linkage_tree(DESCRIPTORS, method="ward")
IDS = ["c1", "c1", "c1", "c2", "c2", "c2"]
PROTOTYPES = fit_prototypes(DESCRIPTORS, IDS, merge_height=1.0)
LABELS = ["good", "good", "hole", "hole"]
SIX_LABELS = [*LABELS, "scratch", "scratch"]
MASKS = np.zeros((4, 8, 8), np.bool_)
MASKS[2:, 2:5, 2:5] = True
MAPS = RANDOM.random((4, 8, 8)).astype(np.float32)
FEATURES = RANDOM.random((3, 8, 8)).astype(np.float32)
STACK = RANDOM.random((4, 3, 8, 8)).astype(np.float32)
TABLE = STACK[0].reshape(3, -1).T
OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
CELLS = AnomalousCells.of(MASKS.reshape(4, -1))
SURFACE = RANDOM.integers(0, 255, (200, 200)).astype(np.uint8)
PICTURES = RANDOM.random((4, 16, 16))
CATEGORY = CategoryArrays(
    "board", LABELS, BAGS, (2, 2), NEAREST, None, pair_statistics([(0, NEAREST)], n_images=4), masks=MASKS
)
INSIDE = np.array([[True, True, False, True], [True, False, False, False], [True, True, True, False], [True] * 4])
SAID = torch.eye(3).repeat(2, 1) * 0.7 + 0.1
SPEC = EmbeddingSpec("x", "x", "0", (2,), 8, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (2, 2), 3)


def rng() -> np.random.Generator:
    """Give a generator that no other call has drawn from."""
    return np.random.default_rng(0)


def moments(vectors: Any) -> Moments:
    """Count vectors."""
    seen = Moments(vectors.shape[1])
    seen.add(vectors)
    return seen


def torch_rng() -> torch.Generator:
    """Give one of torch."""
    return torch.Generator().manual_seed(0)


def _images(_: torch.Tensor) -> torch.Tensor:
    return torch.ones(2, 4, 3)


RANDOM_MANY = np.random.default_rng(1).random((30, 3))
IMAGES = RANDOM.random((2, 3, 8, 8)).astype(np.float32)
CLUSTERED = {"n_clusters": 2, "generator": rng()}
COUNTS = {"nearest": NEAREST, "counts": np.ones(4, np.int64), "is_reference": np.ones(4, np.bool_)}

LABELLED: Final = Labelled(
    np.maximum(np.arange(len(DESCRIPTORS)) - 2, -1), np.zeros((len(DESCRIPTORS), len(DESCRIPTORS) - 2), np.bool_)
)
"""A group for each descriptor but two."""

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "embedding.alignment.align": {"pictures": PICTURES},
    "embedding.alignment.laid_together": {
        "pictures": PICTURES,
        "found": Alignment(0.0, 0.0, np.zeros((4, 2)), np.ones(4, np.bool_)),
    },
    "embedding.near_duplicates.near_duplicates": {"pictures": PICTURES},
    "embedding.backbones.largest_difference": {"found": torch.ones(2, 3, 4), "expected": torch.ones(2, 3, 4)},
    "embedding.deep_images.choose_range": {"kind": "uint12", "samples": [RARITY, RARITY]},
    "embedding.deep_images.outside_range": {"values": RARITY, "deep": DeepRange("float32", 0.0, 1.0, 2)},
    "embedding.deep_images.to_bytes": {"values": RARITY, "deep": DeepRange("float32", 0.0, 1.0, 2)},
    "embedding.deep_images.turned": {"values": RARITY, "orientation": 6},
    "embedding.deep_images.widened_range": {"kept": DeepRange("uint12", 0.0, 1.0, 2), "samples": [RARITY, RARITY]},
    "bags.normalize_patches": {"bags": BAGS},
    "bags.check_bags": {"bags": BAGS},
    "bags.descriptors": {"bags": BAGS, "weights": WEIGHTS},
    "benchmark.blind.score_descriptors": {
        "descriptors": DESCRIPTORS,
        "labels": SIX_LABELS,
        "method": "x",
        "setting": "",
        "clusterings": ["ward"],
        "seed": 0,
        "extra": {},
    },
    "benchmark.geometry.pooled": {"bags": BAGS, "weights": WEIGHTS[None]},
    "benchmark.geometry.weighted": {"category": CATEGORY, "rarity": RARITY, "taus": ["0.1"]},
    "benchmark.geometry.top_weighted": {"category": CATEGORY, "rarity": RARITY, "top_ks": [1], "tau": None},
    "benchmark.geometry.enlarged": {"maps": MAPS, "side": 16},
    "benchmark.geometry.subset_rarities": {"category": CATEGORY, "subsets": np.array([[0, 1], [1, 2]])},
    "benchmark.localization.localization_scores": {
        "maps": MAPS,
        "labels": LABELS,
        "masks": MASKS,
        "protocol": ARDELEAN,
    },
    "benchmark.localization.pixel_scores": {"maps": MAPS, "masks": MASKS},
    "benchmark.scoring.score": {
        "geometry": Geometry(descriptors=DESCRIPTORS),
        "labels": SIX_LABELS,
        "protocol": SOHN,
        "seed": 0,
        "method": "x",
        "clustering": "ward",
    },
    "benchmark.scoring.cluster": {
        "geometry": Geometry(descriptors=DESCRIPTORS),
        "clustering": "ward",
        "labels": SIX_LABELS,
        "protocol": SOHN,
        "seed": 0,
    },
    "benchmark.scoring.scores_of": {"protocol": SOHN, "labels": LABELS, "clusters": np.array([0, 0, 1, 1])},
    "benchmark.scoring.trivial": {"labels": LABELS, "protocol": SOHN},
    **{
        f"benchmark.deep.losses.{name}": {one: SAID, other: SAID}
        for name, one, other in (
            ("mutual_information_loss", "first", "second"),
            ("invariance_loss", "probabilities", "targets"),
            ("attention_loss", "probabilities", "targets"),
            ("consistency_loss", "probabilities", "neighbours"),
        )
    },
    "benchmark.deep.losses.negative_entropy": {"probabilities": SAID},
    "benchmark.deep.losses.relation_loss": {"probabilities": SAID, "relations": torch.eye(6)},
    "benchmark.deep.losses.confident_cross_entropy": {
        "logits": SAID,
        "probabilities": SAID,
        "threshold": 0.5,
        "balanced": True,
    },
    "benchmark.deep.losses.double_softmax_loss": {"logits": SAID, "labels": torch.arange(6) % 3},
    "benchmark.deep.targets.balanced_scores": {"probabilities": SAID},
    "benchmark.deep.targets.sharpened_scores": {"probabilities": SAID},
    "benchmark.deep.targets.relations": {"probabilities": SAID, "generator": torch_rng()},
    "benchmark.deep.targets.nearest_neighbours": {"features": SAID, "count": 2},
    "benchmark.deep.targets.prototype_labels": {"features": SAID, "probabilities": SAID, "share": 0.5},
    "benchmark.deep.targets.reliable_labels": {"features": SAID, "probabilities": SAID, "count": 2, "share": 0.5},
    "benchmark.deep.networks.gaussian_attention": {"places": SAID, "grid": (2, 2)},
    "benchmark.deep.networks.sobel_edges": {"images": torch.ones(2, 3, 8, 8)},
    "benchmark.deep.networks.rows_columns": {"features": torch.ones(2, 3, 8, 8)},
    "benchmark.deep.views.varied": {"images": torch.ones(2, 3, 8, 8), "views": Views(), "generator": torch_rng()},
    "benchmark.deep.building.build_method": {
        "method": "iic",
        "pixels": torch.zeros(4, 3, 112, 112, dtype=torch.uint8),
        "n_clusters": 2,
        "settings": SMALL["iic"],
        "seed": 0,
    },
    "benchmark.deep_rows.deep_rows": {
        "clusters": np.array([[0, 0, 1, 1]]),
        "labels": LABELS,
        "method": "x",
        "protocol": SOHN,
        "extra": {},
    },
    "clustering.checks.checked_descriptors": {"descriptors": DESCRIPTORS},
    "clustering.checks.checked_distances": {"distances": DISTANCES},
    "clustering.checks.check_cut": {"linkage": TREE, "n_clusters": 2},
    "clustering.checks.check_linkage": {"linkage": TREE},
    "clustering.labels.numbered_by_size": {"labels": np.array([3, 3, 1])},
    "clustering.labels.distances_to_cluster_means": {
        "descriptors": DESCRIPTORS,
        "labels": np.array([0, 0, 0, 1, 1, 1]),
    },
    "clustering.linkage.linkage_tree": {"descriptors": DESCRIPTORS, "method": "ward"},
    "clustering.linkage.linkage_from_distances": {"distances": DISTANCES, "method": "average"},
    "clustering.linkage.cut_tree": {"linkage": TREE, "n_clusters": 2},
    "clustering.checks.check_bounds": {"linkage": TREE, "lowest": 1, "highest": 2},
    "clustering.knee.suggest_by_knee": {"linkage": TREE},
    "clustering.knee.split_index": {"descriptors": RANDOM_MANY, "generator": rng()},
    "clustering.knee.stability": {"descriptors": DESCRIPTORS, "n_clusters": 2, "generator": rng()},
    "clustering.linkage.suggest_n_clusters": {"linkage": TREE},
    "clustering.neighbours.shared_neighbours": {"descriptors": DESCRIPTORS},
    "clustering.neighbours.follow_neighbours": {
        "linkage": TREE,
        "labels": np.zeros(len(TREE) + 1, np.int64),
        "links": shared_neighbours(DESCRIPTORS),
    },
    "clustering.smoothing.smoothed": {
        "descriptors": DESCRIPTORS,
        "among": DESCRIPTORS,
        "own": np.arange(len(DESCRIPTORS)),
    },
    "clustering.few_groups.few_groups": {"linkage": TREE, "n_groups": 3},
    "clustering.learning.head.fit_head": {
        "descriptors": DESCRIPTORS,
        "labels": np.arange(len(DESCRIPTORS)) % 2,
        "is_sure": np.arange(len(DESCRIPTORS)) < 2,
    },
    "clustering.learning.partition.learning_space": {"descriptors": DESCRIPTORS, "smoothed": DESCRIPTORS},
    "clustering.learning.partition.contradicts": {
        "labels": np.arange(len(DESCRIPTORS)) % 2,
        "labelled": LABELLED,
    },
    "clustering.learning.partition.learn_partition": {
        "values": DESCRIPTORS,
        "linkage": TREE,
        "labelled": LABELLED,
        "n_clusters": 2,
        "plain": np.arange(len(DESCRIPTORS)) % 2,
    },
    "clustering.learning.asking.telling_images": {
        "linkage": TREE,
        "descriptors": DESCRIPTORS,
        "n_clusters": 2,
        "n_each": 2,
    },
    "clustering.projection.project": {"descriptors": DESCRIPTORS, "seed": 0},
    "clustering.projection.place_beside": {
        "descriptors": DESCRIPTORS,
        "known": DESCRIPTORS,
        "positions": DESCRIPTORS[:, :2],
    },
    "clustering.units.units_of": {"groups": np.arange(len(DESCRIPTORS))},
    "clustering.units.first_of_each": {"units": np.arange(len(DESCRIPTORS))},
    "clustering.units.unit_means": {"descriptors": DESCRIPTORS, "units": np.arange(len(DESCRIPTORS))},
    "clustering.units.join_lone_units": {
        "labels": np.zeros(len(DESCRIPTORS), np.int64),
        "units": np.arange(len(DESCRIPTORS)),
        "leaves": DESCRIPTORS,
    },
    "clustering.units.tree_of_images": {"linkage": TREE, "units": np.arange(len(TREE) + 1)},
    "pairwise.near_duplicates.closest_images": {"means": np.ones((3, 3)), "largest": np.ones((3, 3))},
    "clustering.cut.suggest_cut": {"linkage": TREE, "descriptors": DESCRIPTORS},
    "weighting.auto_scoring.patch_scores": {**COUNTS, "role": "cluster"},
    "weighting.auto.pool_level": {
        "read": BAGS.__getitem__,
        "weights": WEIGHTS[:, None],
        "weights_grid": (2, 2),
        "grid": (2, 2),
        "counts": [1, 1, 1, 1],
        "inside": INSIDE,
    },
    "weighting.auto_scoring.scores_against_normals": {"nearest": NEAREST, "counts": np.ones(4, np.int64)},
    "weighting.auto.fit_descriptors": {
        "levels": [PooledLevel(BAGS[:, :2], BAGS[:, 0])],
        "patches": [moments(BAGS[:, 0])],
        "normals": [moments(BAGS[:, 1])],
        "n_clusters": 2,
        "generator": rng(),
    },
    "weighting.auto_scoring.fit_scoring": {"scores": RARITY[..., None], "tau": "0.3sd", "inside": INSIDE},
    "weighting.places.usual_scores": {"scores": RARITY[..., None], "inside": INSIDE},
    "weighting.covers.greedy_cover": {"bag": BAGS[0], "size": 2, "rng": np.random.default_rng(0)},
    "weighting.regions.checked_inside": {"inside": INSIDE, "shape": (4, 4)},
    "weighting.regions.filled": {"bags": BAGS, "inside": INSIDE, "grid": (2, 2)},
    "weighting.regions.least_outside": {"scores": RARITY, "inside": INSIDE},
    "weighting.regions.nearest_inside": {"inside": INSIDE[0], "grid": (2, 2)},
    "weighting.regions.patches_inside": {"mask": np.eye(8, dtype=np.bool_), "spec": SPEC},
    "weighting.regions.region_note": {"regions": Regions((2, 2), {"r": INSIDE[0]}, {"a": "r"}), "contents": ["a", "b"]},
    "weighting.regions.weights_inside": {"weights": WEIGHTS[:, None], "inside": INSIDE},
    "weighting.levels.spread_weights": {"weights": WEIGHTS, "fine": (2, 2), "coarse": (1, 1)},
    "weighting.whitening.unit_directions": {"vectors": DESCRIPTORS},
    "clustering.medoids.k_medoids": {"distances": DISTANCES, "n_clusters": 2},
    "clustering.methods.cluster_descriptors": {"descriptors": DESCRIPTORS, "method": "ward", **CLUSTERED},
    "clustering.methods.cluster_distances": {"distances": DISTANCES, "method": "ward", **CLUSTERED},
    "clustering.order.by_content": {"descriptors": DESCRIPTORS},
    "clustering.order.by_centrality": {"distances": DISTANCES},
    "clustering.partition.k_means": {"descriptors": DESCRIPTORS, **CLUSTERED},
    "clustering.partition.gaussian_mixture": {"descriptors": DESCRIPTORS, **CLUSTERED},
    "clustering.partition.spectral": {"distances": DISTANCES, **CLUSTERED},
    "clustering.rounds.ward_in_rounds": {"descriptors": DESCRIPTORS},
    "clustering.distances.weighted_average_distances": {"descriptors": DESCRIPTORS},
    "clustering.distances.weighted_average_distances_of_bags": {"bags": BAGS, "weights": WEIGHTS},
    "clustering.distances.pair_statistics": {
        "blocks": [(0, NEAREST)],
        "n_images": 4,
        "mean_distances": np.ones((4, 4)) - np.eye(4),
    },
    "embedding.extraction.prepare_image": {"pixels": np.zeros((9, 9, 3), np.uint8), "spec": SPEC, "out": None},
    "embedding.extraction.embed_images": {"extractor": _images, "images": IMAGES, "device": "cpu"},
    "embedding.extraction.embed_levels": {"extractor": _images, "images": IMAGES, "spec": SPEC, "device": "cpu"},
    "embedding.extraction.split_levels": {"bags": np.ones((2, 4, 3), np.float32), "spec": SPEC},
    "embedding.resizing.any_as_seen": {"values": MASKS[2], "shape": (8, 8), "box": (0, 8, 0, 8), "size": (4, 4)},
    "embedding.resizing.as_seen": {"values": RARITY, "shape": (8, 8), "box": (-4, 12, 0, 8), "size": (4, 4)},
    "embedding.resizing.over_frame": {"values": RARITY, "shape": (8, 8), "box": (2, 6, 2, 6)},
    "embedding.resizing.square_of": {
        "pixels": np.zeros((9, 9, 3), np.uint8),
        "box": (-3, 12, 0, 9),
        "side": 8,
        "interpolation": "bilinear",
    },
    "embedding.resizing.seen_values": {"values": RARITY, "shape": (8, 8), "box": (-4, 12, 0, 8), "grid": (2, 2)},
    "embedding.tiles.stitched": {"bags": np.ones((1, 4, 3), np.float32), "spec": SPEC},
    "embedding.extraction.embed_holistically": {"extractor": None, "images": IMAGES, "device": "cpu"},
    "evaluation.scores.evaluate": {"protocol": SOHN, "labels": LABELS, "clusters": [0, 0, 1, 1]},
    "pairwise.kernels.groups.checked_group": {"bags": BAGS},
    "pairwise.kernels.groups.with_room": {"bags": BAGS, "others": BAGS},
    "pairwise.kernels.integers.nearest_squares": {"bags": BAGS, "others": BAGS},
    "pairwise.kernels.integers.nearest_squares_within": {"bags": BAGS},
    "pairwise.kernels.single_precision.largest_products": {"bags": BAGS, "others": BAGS},
    "pairwise.kernels.single_precision.largest_products_within": {"bags": BAGS},
    "localization.cells.channel_ranges": {"features": FEATURES},
    "localization.cells.sample_cells": {"features": STACK, "seed": 0, "at_most": 8},
    "localization.cells.sample_image": {"features": FEATURES, "image": 0, "count": 2, "seed": 0},
    "localization.cells.scale_channels": {"features": FEATURES},
    "localization.cells.scaled_cells": {"features": FEATURES},
    "localization.checks.check_stack": {"features": STACK},
    "localization.checks.check_feature_map": {"features": FEATURES},
    "localization.checks.check_map": {"anomaly_map": MAPS[0]},
    "localization.checks.check_maps": {"maps": MAPS},
    "localization.contrastive.pair_loss": {"parts": tuple(torch.ones(2, 3) for _ in range(5))},
    "localization.contrastive.train_head": {
        "features": STACK,
        "is_anomalous": MASKS,
        "descriptors": DESCRIPTORS[:4],
        "seed": 0,
        "epochs": 1,
    },
    "localization.contrastive.ranges_of_images": {"features": STACK},
    "localization.contrastive.step_loss": {
        "head": ProjectionHead(3, 4, 2, random=torch_rng()),
        "features": STACK,
        "draw": draw_cells(2, neighbours=np.array([3]), counterparts=np.array([2, 3]), cells=CELLS, generator=rng()),
        "ranges": ranges_of_images(STACK),
    },
    "localization.contrastive.project": {"head": ProjectionHead(3, 4, 2, random=torch_rng()), "features": FEATURES},
    "localization.fca.anomaly_map": {"features": FEATURES, "tile": 3},
    "localization.fca.anomaly_maps": {"features": STACK, "tile": 3},
    "localization.fca.usual_values": {"features": FEATURES, "tile": 3},
    "localization.fca_torch.anomaly_map_on_device": {"features": torch.from_numpy(FEATURES), "tile": 3},
    "localization.localizer.raw_map": {"features": FEATURES, "vae": None},
    "localization.maps.flat_field": {"maps": MAPS},
    "localization.maps.finish_maps": {"maps": MAPS, "field": MAPS[0]},
    "localization.maps.descriptor": {"features": FEATURES, "anomaly_map": MAPS[0]},
    "localization.relations.by_distance": {"descriptors": DESCRIPTORS},
    "localization.relations.neighbours": {"others": OTHERS},
    "localization.relations.counterparts": {"others": OTHERS, "count": 1, "repeat": True, "generator": rng()},
    "localization.relations.draw_cells": {
        "image": 2,
        "neighbours": np.array([3]),
        "counterparts": np.array([2, 3]),
        "cells": CELLS,
        "generator": rng(),
    },
    "localization.thresholds.robust_threshold": {"maps": MAPS},
    "localization.thresholds.otsu_threshold": {"maps": MAPS},
    "localization.thresholds.kmeans_quantile_threshold": {
        "maps": MAPS,
        "descriptors": DESCRIPTORS[:4],
        "n_classes": 2,
        "generator": rng(),
    },
    "localization.vae.vae_loss": {
        "vae": FeatureVae(3, 2, latent_relu=False, random=torch_rng()),
        "cells": torch.ones(5, 3),
        "noise": torch.ones(5, 2),
    },
    "localization.vae.train_vae": {
        "cells": np.ones((9, 3), np.float32),
        "seed": 0,
        "steps": 1,
        "latent": 2,
        "batch": 2,
    },
    "localization.vae.residual_maps": {
        "vae": FeatureVae(3, 2, latent_relu=False, random=torch_rng()),
        "features": STACK,
    },
    "matching.assigning.assign": {"descriptors": DESCRIPTORS, "prototypes": PROTOTYPES},
    "matching.assigning.choose_by_scores": {"scores": RANDOM.normal(size=(4, 2)), "ids": ["c1", None], "slope": 1.0},
    "matching.assigning.leads": {"scores": RANDOM.normal(size=(4, 2)), "chosen": np.array([0, 1, 1, 0])},
    "matching.assigning.choose": {"descriptors": DESCRIPTORS, "prototypes": PROTOTYPES},
    "matching.assigning.member_confidence": {"descriptors": DESCRIPTORS, "ids": IDS, "prototypes": PROTOTYPES},
    "matching.assigning.member_distances": {"descriptors": DESCRIPTORS, "ids": IDS, "prototypes": PROTOTYPES},
    "matching.confidence.confidence": {"margins": np.array([0.1, 0.2]), "slope": 1.0},
    "matching.confidence.fit_slope": {"margins": np.array([0.1, 0.2, -0.1])},
    "matching.births.births": {"descriptors": DESCRIPTORS, "prototypes": PROTOTYPES},
    "matching.growth.grown_counts": {
        "counts": {"c1": [1, 2, 1]},
        "totals": [5, 5, 5],
        "usual": 0.1,
        "variations": {"c1": 0.01},
        "false_alarms": 0.01,
    },
    "matching.drift.level_shift": {
        "levels": [0.1, 0.2, 0.1, 0.3],
        "errors": [0.1, 0.1, 0.1, 0.1],
        "counts": [5, 5, 5, 5],
        "false_alarms": 0.01,
    },
    "matching.drift.median_and_error": {"values": RARITY[0]},
    "matching.growth.night_variations": {"counts": {"c1": [1, 2, 1]}, "totals": [5, 5, 5]},
    "matching.growth.volume_variance": {"totals": [5, 6, 5]},
    "matching.capture.look_of": {"pixels": np.arange(60, dtype=np.uint8).reshape(4, 5, 3)},
    "matching.capture.look_of_night": {
        "brightness": np.array([100.0, 110.0]),
        "sharpness": np.array([0.1, 0.2]),
        "small": np.arange(8.0).reshape(2, 4),
    },
    "benchmark.numbers.measure_numbers": {
        "described": lambda images: np.eye(4)[images],
        "labels": ["good", "hole", "good", "hole"],
        "setting": "blind",
        "protocol": SOHN,
        "seed": 0,
    },
    "matching.keeping.separation": {"own": DESCRIPTORS, "others": DESCRIPTORS},
    "matching.keeping.is_apart": {"own": DESCRIPTORS, "clusters": {"c1": DESCRIPTORS}},
    "matching.keeping.keep_apart": {
        "descriptors": DESCRIPTORS,
        "labels": np.zeros(len(DESCRIPTORS), np.int64),
        "lost": {"c1": [0, 1, 2]},
    },
    "matching.newcomers.find_newcomers": {
        "descriptors": np.concatenate([DESCRIPTORS, DESCRIPTORS + 1, DESCRIPTORS + 2]),
        "is_recent": np.arange(18) > 13,
        "clusters": np.zeros(18, dtype=int),
        "is_ordinary": np.ones(18, dtype=bool),
        "rarity": np.arange(18.0),
        "generator": np.random.default_rng(0),
    },
    "matching.newcomers.percentiles": {"rarity": np.arange(18.0), "is_ordinary": np.ones(18, dtype=bool)},
    "matching.news.came_late": {"own": np.arange(6) > 3, "when": np.arange(6)},
    "matching.news.news_of": {
        "descriptors": DESCRIPTORS,
        "ids": IDS,
        "nights": [date(2026, 1, 1)] * 6,
        "born": ["c2"],
        "is_ordinary": np.ones(6, dtype=bool),
        "rarity": RARITY[0].repeat(2)[:6],
    },
    "matching.prototypes.merge_height": {"linkage": TREE, "n_clusters": 2},
    "matching.prototypes.fit_prototypes": {"descriptors": DESCRIPTORS, "ids": IDS, "merge_height": 1.0},
    "matching.prototypes.extended": {
        "prototypes": PROTOTYPES,
        "descriptors": DESCRIPTORS,
        "ids": ["c3", "c3", "c3", "c4", "c4", "c4"],
    },
    "matching.prototypes.check_dim": {"descriptors": DESCRIPTORS, "prototypes": PROTOTYPES},
    **{
        f"evaluation.partitions.{name}": {"labels": LABELS, "clusters": np.array([0, 0, 1, 1])}
        for name in ("normalized_mutual_information", "adjusted_rand_index", "purity", "score_partition")
    },
    "evaluation.partitions.matched_f1": {"labels": LABELS, "clusters": [0, 0, 1, 1], "average": "weighted"},
    "evaluation.partitions.purity_curve": {"labels": SIX_LABELS, "linkage": TREE},
    "evaluation.partitions.purity_auc": {"curve": np.array([0.5, 1.0])},
    "evaluation.partitions.reduction_at_purity": {"curve": np.array([0.5, 1.0]), "purity": 0.95},
    **{
        f"pairwise.cpu.{name}": {"bags": BAGS, "others": BAGS}
        for name in ("mutual_nearest_distances", "mutual_nearest_and_mean_distances", "check_pair")
    },
    "pairwise.cpu.nearest_distances_within": {"bags": BAGS},
    "pairwise.cpu.nearest_and_mean_distances_within": {"bags": BAGS},
    "pairwise.cpu.nearest_distances": {"bags": BAGS, "references": BAGS},
    "pairwise.gpu.mutual_nearest_distances": {"bags": BAGS, "others": BAGS, "device": "cpu"},
    "pairwise.gpu.nearest_distances_within": {"bags": BAGS, "device": "cpu"},
    "pairwise.gpu.nearest_distances": {"bags": BAGS, "references": BAGS, "device": "cpu"},
    **{
        f"pairwise.aligned.{name}": {"bags": BAGS, "others": BAGS, "window": WINDOW}
        for name in ("mutual_nearest_distances", "mutual_nearest_and_mean_distances")
    },
    "pairwise.aligned.nearest_distances_within": {"bags": BAGS, "window": WINDOW},
    "pairwise.aligned.nearest_and_mean_distances_within": {"bags": BAGS, "window": WINDOW},
    "pairwise.aligned.nearest_distances": {"bags": BAGS, "references": BAGS, "window": WINDOW},
    "weighting.pooling.average_pool": {"bags": BAGS},
    "weighting.pooling.max_pool": {"bags": BAGS},
    "weighting.pooling.gem_pool": {"bags": BAGS},
    "weighting.pooling.spoc_pool": {"bags": BAGS, "grid": (2, 2)},
    "weighting.pooling.bag_of_words": {"bags": BAGS, "generator": rng(), "n_words": 2},
    "evaluation.protocols.n_classes": {"protocol": SOHN, "labels": LABELS},
    "evaluation.ranking.image_auroc": {"scores": np.arange(4.0), "is_anomalous": np.array([False, False, True, True])},
    "evaluation.ranking.pixel_auroc": {"maps": MAPS, "masks": MASKS},
    "evaluation.ranking.per_region_overlap": {"maps": MAPS, "masks": MASKS},
    "weighting.rarity.expected_rarity": COUNTS,
    "weighting.rarity.maximum_rarity": COUNTS,
    "weighting.rarity.minimum_rarity": COUNTS,
    "weighting.rarity.trimmed_rarity": {**COUNTS, "share": 0.5},
    "weighting.rarity.rarity_against_normals": {"nearest": NEAREST},
    "weighting.parts.deciding_rows": {"scores": np.array([0.2, 0.3, 0.1]), "parts": ["p", "p", None]},
    "weighting.parts.decided": {"images": VIEWS, "scores": np.array([0.2, 0.3])},
    "weighting.parts.label_of_part": {"labels": ["good", "hole", None]},
    "weighting.reference.draw": {"hashes": ["a", "b"], "size": 1, "seed": 0},
    "reporting.figures.rarity_scale": {"maps": list(MAPS)},
    "reporting.figures.rarity_overlay_png": {"rarity": MAPS[0], "vmin": 0.0, "vmax": 1.0},
    "reporting.figures.dendrogram_svg": {"linkage": TREE, "n_clusters": 2, "clusters": [0, 0, 0, 1, 1, 1]},
    "reporting.figures.descriptor_map_svg": {"descriptors": DESCRIPTORS, "clusters": [0, 0, 0, 1, 1, 1]},
    "benchmark.resampling.mean_and_standard_error": {"values": np.arange(3.0)},
    "synthesis.surfaces.draw_normal": {"photograph": SURFACE, "rng": rng(), "size": 128},
    "synthesis.surfaces.draw_defect": {"surface": SURFACE, "rng": rng(), "defect": "scratch"},
    "synthesis.surfaces.check_surface": {"surface": SURFACE},
    "synthesis.defects.draw_kind": {"surface": SURFACE, "rng": rng(), "kind": "dent"},
    "pairwise.tiling.missing_squares": {"covered": np.eye(4, dtype=np.bool_)},
    "pairwise.tiling.missing_rectangles": {"covered": np.zeros((2, 3), np.bool_)},
    "weighting.weights.temperature": {"tau": "0.3sd", "rarity": RARITY},
    "weighting.weights.soft_weights": {"rarity": RARITY, "tau": 0.1},
    "weighting.weights.hard_weights": {"rarity": RARITY, "top_k": 2},
    "weighting.weights.hybrid_weights": {"rarity": RARITY, "tau": 0.1, "top_k": 2},
    "weighting.weights.mask_weights": {"masks": list(MASKS), "grid": (2, 2)},
    "weighting.weights.map_scores": {"maps": list(MAPS), "grid": (2, 2)},
    "weighting.weights.map_weights": {"maps": list(MAPS), "grid": (2, 2), "tau": "0.1"},
}
"""Arguments that each function takes, by the function's name below ``anoclust_core``."""

NEED_MORE: Final = {"embedding.extraction.embed_holistically"}
"""Functions whose examples do for their arrays only: the rest would be a network."""


def function(name: str) -> Callable[..., Any]:
    """Give the function of a name."""
    module, _, attribute = name.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"anoclust_core.{module}"), attribute)
    return found


def parameters() -> Iterator[tuple[str, str, str]]:
    """Function, parameter and annotation of everything public that takes an array or a sequence of labels."""
    root = Path(str(anoclust_core.__file__)).parent
    bodies = {path: ast.parse(path.read_text(encoding="utf-8")).body for path in sorted(root.rglob("*.py"))}
    aliases = {
        ast.unparse(node.target): ast.unparse(node.value)
        for body in bodies.values()
        for node in body
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.annotation) == "TypeAlias"
    }
    for path, body in bodies.items():
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        for node in body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or module == "arrays":
                continue
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                written = ast.unparse(argument.annotation) if argument.annotation else ""
                told = re.sub(r"\w+", lambda name: aliases.get(name[0], name[0]), written)
                is_array = any(name in told for name in ARRAYS) and "Mapping" not in told and "Callable" not in told
                if (is_array or told in SEQUENCES) and not {module, f"{module}.{node.name}"} & NO_CONTRACT.keys():
                    yield f"{module}.{node.name}", argument.arg, told
