"""Recipe auto, stage 3: scores and weights of patches, and whitened descriptors of several feature levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task
from threadpoolctl import threadpool_limits

from anoclust_core.clustering.knee import stability
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.memory import whiten_plan
from anoclust_core.records import ArrayHandle, BagWeights, DatasetManifest, NearestDistances, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto import (
    AUTO,
    DescriptorModel,
    PooledLevel,
    Scoring,
    Switches,
    fit_scoring,
    scoring_details,
    scoring_from,
    unchanged,
)
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.whitening import Moments, Whitening
from tasks.compute.level_pooling import Level, levels_of, pool_levels, scores_of_contents, weights_of_scores
from tasks.compute.rarity_pooling import BAGS_AT_ONCE
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stages.weigh import given_scores
from tasks.stores import arrays
from tasks.stores.embeddings import LevelSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs


@task(name="whiten", **STAGE)
def whiten(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    embeddings: tuple[str, str],
    nearest: NearestDistances | None,
    folder: str,
    model: str,
    n_clusters: int | None,
) -> BagWeights:
    """Score, weigh, whiten and smooth; arrays as those of stage `weigh`, and the model in the folder ``model``.

    The model is all that the descriptors of later images need, besides their own bags: nights describe with it.
    """
    spec = run.spec
    images = load_manifest(Path(manifest))
    contents, counts = unique_contents(images.clustered)
    whiten_plan(
        n_contents=len(contents),
        n_reference=nearest.shape[1] if nearest else 0,
        n_patches=spec.n_patches,
        dims=[level.dim for level in spec.levels],
        bags=BAGS_AT_ONCE,
    ).check(run.memory_budget)
    levels = levels_of(spec, LevelSegments.of(*embeddings).levels, AUTO.n_levels)
    if nearest is None:
        scores = given_scores(images, run.config.weigh, spec)[_first_rows(counts)][..., None]
    else:
        references, reference_counts = reference_contents(nearest.reference, images)
        scores = scores_of_contents(
            NearestSlabs(Path(nearest.uri)),
            contents,
            references,
            reference_counts,
            role=nearest.reference.role,
            switches=AUTO,
        )
    scoring = fit_scoring(np.repeat(scores, counts, axis=0), tau=run.config.weigh.tau)
    rarity = scoring.summed(scores)
    weights = weights_of_scores(run.config.weigh, scoring, rarity)
    normals = images if nearest is not None and nearest.reference.role == "normal" else None
    found = fit_descriptors(
        levels, contents, counts, weights, normals=normals, n_clusters=n_clusters, seed=run.config.seed, switches=AUTO
    )
    arrays.write_arrays(
        Path(model),
        {**found.model.arrays, "unsmoothed": found.unsmoothed},
        {**found.model.details, "scoring": scoring_details(scoring), "stability": list(found.stability)},
    )
    stored = {
        "rarity": np.repeat(rarity, counts, axis=0).astype(np.float32),
        "weights": np.repeat(weights.mean(axis=1), counts, axis=0).astype(np.float32),
        "descriptors": np.repeat(smoothed(found.unsmoothed), counts, axis=0),
    }
    arrays.write_arrays(Path(folder), stored, {"tau": scoring.taus[0]})
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=scoring.taus[0])


@dataclass(frozen=True)
class FittedDescriptors:
    """Descriptors of distinct contents before smoothing, what made them, and the stability of each residual tried."""

    unsmoothed: NDArray[np.float32]
    model: DescriptorModel
    stability: tuple[float, ...] = ()


def fit_descriptors(
    levels: Sequence[Level],
    contents: Sequence[str],
    counts: Sequence[int],
    weights: NDArray[np.float64],
    *,
    normals: DatasetManifest | None,
    n_clusters: int | None,
    seed: int,
    switches: Switches,
) -> FittedDescriptors:
    """Learn whitenings and residual from images, and describe them.

    Parameters
    ----------
    levels
        From `levels_of`.
    contents, counts
        Distinct content hashes, and images of each.
    weights
        Shape ``(n_contents, n_taus, n_patches)``.
    normals
        The images, where known normals say what a usual image looks like as a whole; None without.
    n_clusters
        Number that stability is judged at; None is the knee.
    seed
        Of the random parts that stability is judged by.
    switches
        Parts of the recipe that are on.
    """
    pooled = pool_levels(levels, contents, weights, counts=counts)
    patches = [_whitening(seen, switches) for seen in pooled.moments]
    images = patches
    if normals is not None:
        known, times = unique_contents(normals.normals)
        uniform = np.full((len(known), 1, weights.shape[2]), 1 / weights.shape[2])
        images = []
        for level in pool_levels(levels, known, uniform).levels:
            seen = Moments(level.whole.shape[1])
            for vector, count in zip(level.whole, times, strict=True):
                seen.add(vector[None], times=count)
            images.append(_whitening(seen, switches))
    tried: list[FittedDescriptors] = []
    judged: list[float] = []
    for residual in switches.residuals:
        model = DescriptorModel(tuple(patches), tuple(images), residual, switches.whole_share)
        tried.append(FittedDescriptors(model.descriptors(pooled.levels), model))
    if len(tried) > 1 and len(contents) > 2:
        with threadpool_limits(1):  # many small products: threads would wait for each other
            judged = [
                stability(one.unsmoothed, n_clusters=n_clusters, generator=generator(seed, "stability"))
                for one in tried
            ]
    best = int(np.argmax(judged)) if judged else 0
    return FittedDescriptors(tried[best].unsmoothed, tried[best].model, tuple(judged))


def described(
    levels: Sequence[PooledLevel], model: DescriptorModel, unsmoothed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Descriptors of images that came after those which the model was learnt from; ``unsmoothed`` are the latters'."""
    return smoothed(model.descriptors(levels), among=unsmoothed)


def read_model(folder: Path) -> tuple[DescriptorModel, Scoring, NDArray[np.float32]]:
    """Model, scoring and descriptors before smoothing, as stage `whiten` has written them.

    Raises
    ------
    StoreError
        If they are gone or damaged.
    """
    details = arrays.describe(folder) or {}
    kept = {name: arrays.read(folder, name) for name in ("means", "matrices")}
    model = DescriptorModel.from_arrays(kept, details)
    return model, scoring_from(details["scoring"]), arrays.read(folder, "unsmoothed")


def _whitening(seen: Moments, switches: Switches) -> Whitening:
    found = seen.whitening()
    return found if switches.whitens else unchanged(len(found.mean))


def _first_rows(counts: Sequence[int]) -> NDArray[np.int64]:
    """Row of the first image of each content, among all clustered images."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
