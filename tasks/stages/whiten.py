"""Recipe auto, stage 3: scores and weights of patches, and whitened descriptors of several feature levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prefect import task
from threadpoolctl import threadpool_limits

from anoclust_core.clustering.knee import split_index
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.memory.clusters import whiten_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.records import (
    ArrayHandle,
    BagWeights,
    DatasetManifest,
    EmbeddingSpec,
    NearestDistances,
    unique_contents,
)
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto import DescriptorModel, FittedDescriptors, fit_descriptors
from anoclust_core.weighting.auto_scoring import N_SCORES, Scoring, fit_scoring, scoring_details, scoring_from
from anoclust_core.weighting.auto_switches import AUTO, FIXED_CAMERA, Switches
from anoclust_core.weighting.parts import decided
from anoclust_core.weighting.places import Places, usual_scores
from anoclust_core.weighting.regions import least_outside
from anoclust_core.weighting.weights import uniform_weights
from anoclust_core.weighting.whitening import Moments
from tasks.compute.counting import Counting
from tasks.compute.level_pooling import (
    Level,
    bags_at_once,
    levels_of,
    pool_levels,
    scores_of_contents,
    usual_patches,
    weights_of_scores,
)
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stages.weigh import first_rows, given_scores, measured_against
from tasks.stores import arrays
from tasks.stores.embeddings import LevelSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs
from tasks.stores.regions import regions_of
from tasks.stores.stage_keys import VIEW_RARITY

_USUAL_SCORES: Final = "usual_scores"
_USUAL_PATCHES: Final = ("usual_patches", "usual_deeper")
"""Arrays of a model of frames of a fixed camera: `Places`, the patches level by level."""


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

    Near-duplicates count as one image in all that is learnt where ``nearest`` says so. The model is all
    that the descriptors of later images need, besides their own bags: nights describe with it.
    """
    spec = run.spec
    images = load_manifest(Path(manifest))
    counting = Counting.of(images.clustered, nearest.once if nearest else "")
    contents, counts = counting.contents, counting.counts
    whitening_memory(
        spec,
        n_contents=len(contents),
        n_reference=nearest.shape[1] if nearest else 0,
        has_normals=nearest is not None and nearest.reference.role == "normal",
    ).check(run.memory_budget)
    regions = regions_of(run.layout, images.images, spec)
    inside = regions[0].inside(contents) if regions[0] else None
    inside_counted = None if inside is None else np.repeat(inside, counting.times, axis=0)
    levels = levels_of(spec, LevelSegments.of(*embeddings).levels, AUTO.n_levels, regions)
    places = None
    if nearest is None:
        scores = given_scores(images, run)[first_rows(counts)][..., None]
    else:
        measure = measured_against(nearest, images, counting)
        scores = scores_of_contents(
            NearestSlabs(Path(nearest.uri)),
            contents,
            measure.contents,
            measure.counts,
            role=nearest.reference.role,
            switches=AUTO,
            own=measure.own,
        )
        if spec.aligned_within is not None:
            usual = usual_scores(np.repeat(scores, counting.times, axis=0), inside_counted)
            places = Places(usual, usual_patches(levels, contents, counting.times))
            scores -= usual
    switches = AUTO if places is None else FIXED_CAMERA
    scoring = fit_scoring(np.repeat(scores, counting.times, axis=0), tau=run.config.weigh.tau, inside=inside_counted)
    rarity = scoring.summed(scores)
    del scores
    if inside is not None:
        rarity = least_outside(rarity, inside)
    of_views: dict[str, NDArray[np.float32]] = {}
    if run.config.group.by == "part":  # what is learnt from here on is learnt from one view of each part
        of_views[VIEW_RARITY] = np.repeat(rarity, counts, axis=0).astype(np.float32)
        images = decided(images, of_views[VIEW_RARITY].max(axis=1))
        counting = Counting.of(images.clustered, "")
        rows = np.searchsorted(contents, counting.contents)
        contents, counts = counting.contents, counting.counts
        rarity, inside = rarity[rows], None if inside is None else inside[rows]
    weights = weights_of_scores(run.config.weigh, scoring, rarity, inside)
    found = _fitted(
        levels,
        images,
        counting,
        weights,
        has_normals=nearest is not None and nearest.reference.role == "normal",
        n_clusters=n_clusters,
        seed=run.config.seed,
        places=places,
        switches=switches,
    )
    arrays.write_arrays(
        Path(model),
        {
            **found.model.arrays,
            "plain": np.repeat(found.plain, counts, axis=0),
            "unsmoothed": np.repeat(found.unsmoothed, counts, axis=0),
            **_place_arrays(places),
        },
        {**found.model.details, "scoring": scoring_details(scoring), "stability": list(found.stability)},
    )
    stored = {
        "rarity": np.repeat(rarity, counts, axis=0).astype(np.float32),
        "weights": np.repeat(weights.mean(axis=1), counts, axis=0).astype(np.float32),
        "descriptors": np.repeat(
            _smoothed(found.unsmoothed, counting) if switches.smooths else found.unsmoothed, counts, axis=0
        ),
        **of_views,
    }
    with threadpool_limits(1):
        index = split_index(found.unsmoothed[counting.rows], generator=generator(run.config.seed, "split"))
    arrays.write_arrays(Path(folder), stored, {"tau": scoring.taus[0], "split_index": index})
    shapes = {name: values.shape for name, values in stored.items()}
    once = nearest.once if nearest else ""
    return BagWeights(ArrayHandle(uri=folder, key=key, shapes=shapes), tau=scoring.taus[0], once=once)


def whitening_memory(spec: EmbeddingSpec, *, n_contents: int, n_reference: int, has_normals: bool) -> MemoryPlan:
    """Predict the peak of the stage for so many distinct images, measured against so many."""
    return whiten_plan(
        n_contents=n_contents,
        n_reference=n_reference,
        n_patches=spec.n_patches,
        n_scores=N_SCORES if has_normals else 1,
        dims=[level.dim for level in spec.levels],
        n_pooled=max(min(bags_at_once(level), n_contents) * level.n_patches * level.dim for level in spec.levels),
    )


def _fitted(
    levels: Sequence[Level],
    images: DatasetManifest,
    counting: Counting,
    weights: NDArray[np.float64],
    *,
    has_normals: bool,
    n_clusters: int | None,
    seed: int,
    places: Places | None,
    switches: Switches,
) -> FittedDescriptors:
    """Pool the distinct contents of the images, learn from them and, with normals, from those, and describe them."""
    pooled = pool_levels(levels, counting.contents, weights, counts=counting.times, places=places)
    normals = None
    if has_normals:
        known, times = unique_contents(images.normals)
        uniform = uniform_weights(len(known), weights.shape[2])[:, None]
        whole = [level.whole for level in pool_levels(levels, known, uniform, places=places).levels]
        normals = [Moments.of(vectors, times) for vectors in whole]
    with threadpool_limits(1):  # many small products: threads would wait for each other
        found = fit_descriptors(
            [level.of(counting.rows) for level in pooled.levels],
            patches=pooled.moments,
            normals=normals,
            n_clusters=n_clusters,
            generator=generator(seed, "stability"),
            switches=switches,
        )
    if counting.units is None:
        return found
    return replace(found, unsmoothed=found.model.descriptors(pooled.levels), plain=pooled.levels[0].plain)


def _smoothed(unsmoothed: NDArray[np.float32], counting: Counting) -> NDArray[np.float32]:
    """Average descriptors with their neighbours, among which near-duplicates that count once are one."""
    if counting.units is None:
        return smoothed(unsmoothed)
    return smoothed(unsmoothed, among=unsmoothed[counting.rows], own=counting.units)


def _place_arrays(places: Places | None) -> dict[str, NDArray[np.float32]]:
    """What is usual at the places of aligned frames, as arrays at rest; none of other images."""
    if places is None:
        return {}
    return {_USUAL_SCORES: places.scores, **dict(zip(_USUAL_PATCHES, places.patches, strict=False))}


def read_model(folder: Path) -> tuple[DescriptorModel, Scoring, Places | None]:
    """Model, scoring and, of frames of a fixed camera, what is usual at their places, as stage `whiten` wrote them.

    Raises
    ------
    StoreError
        If they are gone or damaged.
    """
    details = arrays.describe(folder) or {}
    kept = {name: arrays.read(folder, name) for name in ("means", "matrices")}
    model = DescriptorModel.from_arrays(kept, details)
    places = None
    if "lengths" in details:
        patches = tuple(arrays.read(folder, name) for name in _USUAL_PATCHES[: len(model.patches)])
        places = Places(arrays.read(folder, _USUAL_SCORES), patches)
    return model, scoring_from(details["scoring"]), places
