"""Recipe auto and the published method on some images of a category, everything fitted again on these alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.clustering.units import first_of_each
from anoclust_core.evaluation.protocols import Protocol, n_classes
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto import FittedDescriptors, PooledLevel, fit_descriptors
from anoclust_core.weighting.auto_scoring import fit_scoring, scores_against_normals
from anoclust_core.weighting.auto_switches import AUTO, Switches
from anoclust_core.weighting.levels import spread_weights
from anoclust_core.weighting.rarity import trimmed_rarity
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
"""First temperature, the recipes' own."""


class Setting:
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


class Subset:
    """Some images of a category in one setting, with what several rows share."""

    def __init__(self, measure: Setting, images: NDArray[np.int64], protocol: Protocol, seed: int) -> None:
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
            self._rarity[share] = self.trimmed_once(np.arange(len(self.images)), share)
        return self._rarity[share]

    def trimmed_once(self, units: NDArray[np.int64], share: float) -> NDArray[np.float64]:
        """Rarity among the images, each unit of near-duplicates counting as one image, by the first of it."""
        nearest = self._nearest[:, first_of_each(units)]
        nearest[np.arange(len(units)), units] = 0  # an image is its own unit's, whichever stands for that
        return trimmed_rarity(nearest, np.ones(nearest.shape[1], np.int64), share=share)


def fitted(
    subset: Subset,
    n_clusters: int | None,
    *,
    switches: Switches = AUTO,
    tau: str = GIVEN_TAU,
    scores: NDArray[np.float64] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> FittedDescriptors:
    """Descriptors of recipe auto, learnt from the images of a subset alone.

    ``n_clusters`` is the number that the stability of a residual is judged at, None the knee; ``scores`` take the place
    of the subset's own; only the images of ``rows`` are learnt from.
    """
    category = subset.category
    scores = subset.scores(switches) if scores is None else scores
    rows = np.arange(len(subset.images)) if rows is None else rows
    scoring = fit_scoring(scores[rows], tau=tau, n_taus=switches.n_taus)
    weights = scoring.weights(scoring.summed(scores))
    levels, patches, normals = [], [], []
    for at, (bags, grid) in enumerate(_levels(category)[: switches.n_levels]):
        own = np.asarray(bags[subset.images], np.float32)
        spread = spread_weights(weights, category.grid, grid).astype(np.float32)
        levels.append(PooledLevel(np.matmul(spread, own).astype(np.float64), own.mean(axis=1, dtype=np.float64)))
        patches.append(_moments(own[rows].reshape(-1, own.shape[2])))
        if subset.setting != BLIND and category.normal_means is not None:
            normals.append(_moments(category.normal_means[at]))
    found = fit_descriptors(
        [level.of(rows) for level in levels],
        patches=patches,
        normals=normals or None,
        n_clusters=n_clusters,
        generator=generator(subset.seed, "stability"),
        switches=switches,
    )
    return replace(found, unsmoothed=found.model.descriptors(levels), plain=levels[0].plain)


def _moments(vectors: NDArray[np.floating[Any]]) -> Moments:
    seen = Moments(vectors.shape[1])
    seen.add(vectors)
    return seen


def _levels(category: CategoryArrays) -> list[tuple[NDArray[np.floating[Any]], tuple[int, int]]]:
    deeper = [(category.deeper, category.deeper_grid)] if category.deeper is not None else []
    return [(category.bags, category.grid), *deeper]
