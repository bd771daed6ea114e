"""The benchmark's part for [SOHN23]: every pair of images compared once, then experiments that read what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from anoclust_core.benchmark.columns import select_taus
from anoclust_core.benchmark.experiments import Conditions
from anoclust_core.benchmark.published import SEMI, WEIGHTED
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.keys import content_key
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference
from anoclust_core.weighting.reference import choose_reference
from flows.benchmark.deep import measure_method
from flows.benchmark.request import (
    ABLATION_NAMES,
    DEEP_EXPERIMENTS,
    EXPERIMENT_OF_FIGURE,
    PICTURED,
    RECIPES,
    BackboneJob,
    BenchmarkRequest,
    measure_key,
)
from flows.decoding import kept_spec
from flows.stages import compare_images, embed_images
from tasks import telemetry
from tasks.benchmark.page import draw_pictures
from tasks.benchmark.sohn import StoredCategory, load_category, measure
from tasks.benchmark.whole_images import holistic
from tasks.compute.dask_jobs import memory_budget
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import StageRunner
from tasks.stores import arrays
from tasks.stores.files import sha256_file
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import STAGES, embedding_keys

MeasuredRows: TypeAlias = dict[str, dict[str, list[Measurement]]]
"""Measurements by category, then by experiment."""

Taus: TypeAlias = dict[str, tuple[str, str, str]]
"""By category the temperatures, blind and with normals, and how they came about."""


@dataclass(frozen=True)
class Prepared:
    """One category whose embeddings and distances are there."""

    run: CategoryRun
    images: DatasetManifest
    stored: StoredCategory


@dataclass(frozen=True)
class Measured:
    """What one backbone, the job, gave: rows of its experiments, what these were measured on, temperatures and why."""

    job: BackboneJob
    results: MeasuredRows
    taus: Taus
    prepared: Mapping[str, Prepared]


def measure_pairwise(
    layout: StoreLayout, manifests: Mapping[str, str], job: BackboneJob, request: BenchmarkRequest
) -> Measured:
    """Embed and compare the images of all categories with one backbone, and run its experiments."""
    memory = memory_budget(job.config.memory)

    def prepared_with(spec: EmbeddingSpec) -> dict[str, Prepared]:
        found = {}
        for category, manifest in manifests.items():
            run = CategoryRun(layout, category, job.config, kept_spec(layout, category, spec, job.config), memory)
            found[category] = _prepare(run, manifest)
        return found

    prepared = prepared_with(job.spec)
    other = {"holistic": prepared_with(job.last)} if job.last else {}
    if job.levels:
        other |= dict.fromkeys((*ABLATION_NAMES, RECIPES), prepared_with(job.levels))
    results, taus = _measure_all(job, request, prepared, other)
    return Measured(job, results, taus, prepared)


def draw(request: BenchmarkRequest, prepared: Mapping[str, Prepared], taus: Taus) -> dict[str, bytes]:
    """Draw the figures that are made of pictures, by file name."""
    pictured = [number for number in request.of_sohn[1] if EXPERIMENT_OF_FIGURE[number] in PICTURED]
    drawn: dict[str, bytes] = {}
    for category, found in prepared.items() if pictured else ():
        arrays_of = load_category(found.run, found.stored)
        tau, tau_normals, _ = taus[category]
        clustered, spec = found.images.clustered, found.run.spec
        drawn |= draw_pictures(arrays_of, clustered, pictured, tau=tau, tau_normals=tau_normals, spec=spec)
    return drawn


def _prepare(run: CategoryRun, manifest: str) -> Prepared:
    """Embed and compare the images of a category as a run does; blind, and against the normals where there are any."""
    run_stage, config, spec = StageRunner(run), run.config, run.spec
    embedded = embed_images(run_stage, manifest)
    images = embedded.images
    # every subset and every Hausdorff distance follows from all pairs: a benchmark takes no random reference
    blind = choose_reference(
        images.blind(), size=len(images.clustered), budget=config.pair.store_budget, n_patches=spec.n_patches, seed=0
    )
    distances = embedding_keys(images, spec).distances
    found = {}
    for reference in (blind, Reference("normal")) if images.normals else (blind,):
        parts = {"plan": distances, "data": images.dataset_hash, "to": reference.role}
        found[reference.role] = compare_images(
            run_stage,
            embedded,
            reference,
            key=content_key("benchmark pair", parts),
            distances=distances,
            with_means=reference.role == "cluster",
        )
    stored = StoredCategory(
        embedded.manifest, embedded.embeddings, found["cluster"], found.get("normal"), deeper=embedded.deeper
    )
    return Prepared(run, images, stored)


def _measure_all(
    job: BackboneJob,
    request: BenchmarkRequest,
    prepared: dict[str, Prepared],
    other: Mapping[str, dict[str, Prepared]],
) -> tuple[MeasuredRows, Taus]:
    """Run the experiments; gives their rows, and by category the temperatures and how they came about.

    ``other`` has what is measured instead of ``prepared``, by experiment.
    """
    default = job.config.weigh.tau
    results: MeasuredRows = {category: {} for category in prepared}
    taus = dict.fromkeys(prepared, (default, default, f"{default}, not selected"))
    listener, total = telemetry.current().listener, len(job.experiments) * len(prepared)
    if listener:
        listener("", "experiments", 0, total)
    for experiment in sorted(job.experiments, key=lambda name: name != "temperatures"):
        for category, found in prepared.items():
            source = other[experiment][category] if experiment in other else found
            if experiment in DEEP_EXPERIMENTS:
                rows = measure_method(
                    found.run,
                    found.images,
                    found.stored.manifest,
                    DEEP_EXPERIMENTS[experiment],
                    as_published=job.as_published,
                    protocol=protocol_named(request.protocol),
                )
            else:
                rows = _measure(experiment, source, request, taus[category])
            results[category][experiment] = rows
            if listener:
                listener("", "experiments", sum(map(len, results.values())), total)
        if experiment == "temperatures":
            protocol = protocol_named(request.protocol)
            blind, semi = (select_taus(results, method, protocol, default) for method in (WEIGHTED, SEMI))
            taus = {
                category: (
                    blind[category][0],
                    semi[category][0],
                    f"{blind[category][0]} blind, {semi[category][0]} with normals, "
                    + ("chosen on the other categories" if blind[category][1] else "not selected"),
                )
                for category in prepared
            }
    return results, taus


def _measure(
    experiment: str, found: Prepared, request: BenchmarkRequest, taus: tuple[str, str, str]
) -> list[Measurement]:
    run, stored, clustered = found.run, found.stored, found.images.clustered
    run_stage = StageRunner(run)
    if experiment == "holistic":
        key = content_key("holistic", {"pair": stored.nearest.key, "spec": run.spec.weights})
        folder = run.layout.folder("holistic", run.category, key)
        whole = run_stage(
            holistic,
            key=key,
            detail=f"{len(clustered)} images",
            is_complete=arrays.is_complete(folder),
            manifest=stored.manifest,
            folder=str(folder),
        )
        stored = replace(stored, holistic=whole.uri)
    tau, tau_normals = ("", "") if experiment == "temperatures" else taus[:2]
    key = experiment_key(experiment, found, request, (tau, tau_normals))
    return run_stage(
        measure,
        key=key,
        detail=experiment,
        is_complete=True,
        experiment=experiment,
        stored=stored,
        conditions=Conditions(
            protocol=protocol_named(request.protocol),
            tau=taus[0],
            tau_normals=taus[1],
            seed=run.config.seed,
            n_subsets=request.n_subsets,
            methods=request.classical,
        ),
    )


def experiment_key(experiment: str, found: Prepared, request: BenchmarkRequest, taus: tuple[str, str]) -> str:
    """Key of the rows of an experiment; ``taus`` are empty where it needs none."""
    run, stored, clustered = found.run, found.stored, found.images.clustered
    in_levels = {"whiten": STAGES["whiten"].version, "deeper": embedding_keys(found.images, run.spec).deeper}
    return measure_key(
        experiment,
        nearest=stored.nearest.key,
        normals=stored.normals.key if stored.normals else None,
        labels=[image.label for image in clustered],
        masks=[sha256_file(Path(image.mask)) if image.mask else None for image in clustered],
        protocol=request.protocol,
        taus=list(taus) if taus[0] else None,
        seed=run.config.seed,
        n_subsets=request.n_subsets,
        methods=sorted(request.classical),
        **(in_levels if experiment in (*ABLATION_NAMES, RECIPES) else {}),
    )
