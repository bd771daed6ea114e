"""Settings that a run would take, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from anoclust_core.config import RunConfig
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.weighting.covers import cover_note
from anoclust_core.weighting.reference import reference_note
from flows.check.found import Taken
from flows.plan import RunPlan

if TYPE_CHECKING:
    from tasks.check.forecast import Trial


def taken_settings(
    config: RunConfig, spec: EmbeddingSpec, whole: DatasetManifest, plan: RunPlan, trial: Trial, aligned: str | None
) -> Iterator[Taken]:
    """Settings that a run would take, and why."""
    recipes = {
        "auto": "describes the rare patches of each image at two feature levels",
        "sohn": "as published: compares the patches of all images",
        "blind": "as published: an anomaly map from each image alone, and a contrastive head",
    }
    yield Taken("recipe", config.recipe, recipes[config.recipe])
    rows, columns = spec.grid
    what = f"every image becomes {rows} x {columns} patches of {spec.dim} numbers"
    yield Taken("image size", f"{spec.image_size}", what)
    if spec.resize != "squash":
        how = {"pad": "and mirrors the picture into what is missing", "crop": "and sees the middle of a picture only"}
        yield Taken("resize", spec.resize, f"keeps the proportions, {how[spec.resize]}")
    if config.data.range != "auto":
        yield Taken("range", config.data.range, "these values are black and white in pictures of more than 8 bits")
    if spec.tiles:
        yield Taken("tiles", f"{spec.tiles[0]}x{spec.tiles[1]}", "every frame is cut into so many rows and columns")
    if aligned:
        yield Taken("aligned", "false" if spec.aligned_within is None else "true", aligned)
    engine = "OpenVINO" if trial.network.is_converted else "torch"
    yield Taken("backbone", spec.backbone, f"computed by {engine} on {trial.device}")
    n_normals = len(whole.normals)
    if config.weigh.maps:
        yield Taken("weights", config.weigh.weights, "the maps say where to look; no images are compared")
    elif config.weigh.detector:
        yield Taken(
            "weights", config.weigh.weights, "the maps of this detector say where to look; no images are compared"
        )
    elif config.recipe == "blind":
        yield Taken("normals", "none", "recipe blind uses none")
    elif n_normals:
        yield Taken("normals", f"{n_normals:,}", "an image is rare where it differs from these known normals")
    else:
        yield Taken("normals", "none", "an image is rare where it differs from the other images")
    for note in reference_note(plan.reference, whole) if plan.reference else []:
        yield Taken("reference", f"{plan.reference.size:,}" if plan.reference and plan.reference.size else "", note)
    covered = cover_note(spec, config.pair.reference_patches) if plan.reference else None
    if covered:
        yield Taken("reference patches", f"{spec.cover.size:,}" if spec.cover else "all", covered)
    n_clusters = f"{plan.n_clusters:,}" if plan.n_clusters else config.group.n_clusters or "auto"
    yield Taken("clusters", str(n_clusters), plan.n_clusters_rule)
    n_labelled = sum(image.label is not None for image in whole.clustered)
    scored = f"agreement with the {n_labelled:,} labels is told" if n_labelled else "no labels: nothing to agree with"
    yield Taken("protocol", config.protocol, scored)
