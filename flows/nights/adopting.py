"""A plain run becomes the start of a category's nights: the next night goes on from its clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import id_order
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from flows.decoding import settled_spec
from flows.exclusive import category_held
from flows.plan import RunPlan, plan_run
from tasks.networks.backbone_spec import embedding_spec
from tasks.night.lasting import assigned, first_rows, lasting_clusters
from tasks.stores import arrays, runs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact, SnapshotFact
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.arrivals import NightRules
from tasks.stores.nights.capture_check import check_capture
from tasks.stores.nights.measured import read_measured
from tasks.stores.nights.snapshots import Snapshot, pin, yardstick
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import embedding_keys, settings_key

_NOT_COMPARED = frozenset({"evaluate"})
"""Stages that nights do not go on from."""


@dataclass(frozen=True)
class AdoptedRun:
    """What nights start from now.

    Attributes
    ----------
    run
        Name of the run.
    night
        Night of its last images.
    n_images
        Its images, each content once.
    clusters
        Identities of its clusters.
    decision
        Number of the decision.
    notes
        What a person must know of how it was told when images were taken.
    """

    run: str
    night: date
    n_images: int
    clusters: tuple[str, ...]
    decision: int
    notes: tuple[str, ...]


def adopt_run(layout: StoreLayout, category: str, run: str, config: RunConfig, *, who: str) -> AdoptedRun:
    """Let the clusters of a finished run be the first clusters of a category's nights.

    Parameters
    ----------
    layout, category
        Where.
    run
        Name of the run in ``STORE/runs/CATEGORY``, its beginning, or ``latest``.
    config
        Settings as `anoclust nightly` would have them. The number of clusters may be another one than the run's.
    who
        Who decides.

    Raises
    ------
    ConfigError
        If there is no such run, it was made with other settings, or the category has nights already.
    CaptureError
        If no image says when it was taken in the way that was asked for.
    BusyError
        If a run of the category goes on.
    StoreError
        If what the run is made of is damaged or gone.
    """
    folder = _run_folder(layout, category, run)
    summary = runs.read_summary(folder)
    parts = parts_of(layout, summary)
    own = _settings(config.of(category), summary)
    where = own.night.catalog or layout.catalog
    with category_held(layout, category, wait_seconds=own.wait_seconds):
        images = load_manifest(parts.manifest)
        spec = settled_spec(layout, images, embedding_spec(layout, own), own)
        plan = _same_settings(images, own, spec, summary)
        facts, notes = _facts(images, NightRules.of(own.night))
        measured = read_measured(layout, category, parts.keys)
        snapshot = Snapshot(
            key=parts.keys["group"],
            night=max(fact.night for fact in facts),
            settings_key=settings_key(own, spec),
            run=folder.name,
            keys=parts.keys,
            manifest=parts.manifest.relative_to(layout.root).as_posix(),
            reference=plan.reference,
            tau=float(summary["tau"]),
            merge_height=measured.height,
            n_usable=len(facts),
            recipe=own.recipe,
            yardstick=yardstick(images, embedding_keys(images, spec).embedding, None),
        )
        rows = first_rows([image.sha256 for image in images.clustered])
        contents = [images.clustered[row].sha256 for row in rows]
        labels = arrays.read(parts.tree, "labels")[rows].astype(np.int64)
        measured = measured.of(rows)
        with Catalog.open(where, store=layout) as catalog:
            found = catalog.standing(category)
            lasting = lasting_clusters(found, contents, labels, measured.chosen_by)
            decision = catalog.adopt(
                SnapshotFact(
                    category=category,
                    key=snapshot.key,
                    made_at=datetime.now(UTC),
                    n_images=len(contents),
                    merge_height=measured.height,
                    details={**snapshot.details, "reason": f"{who} adopted run {folder.name}"},
                ),
                match=lasting.match,
                assignments=assigned(contents, lasting.ids, measured),
                new=facts,
                who=who,
            )
            pin(layout, category, snapshot)
    clusters = tuple(sorted(lasting.match.clusters("born"), key=id_order))
    return AdoptedRun(folder.name, snapshot.night, len(contents), clusters, decision, tuple(notes))


def _run_folder(layout: StoreLayout, category: str, run: str) -> Path:
    """Folder of the run that a person names.

    Raises
    ------
    ConfigError
        If there is none, or more than one.
    """
    found = runs.list_runs(layout.runs(category))
    if run == "latest" and found:
        named = runs.latest_run(layout.runs(category))
        return next((folder for folder in found if folder.name == named), found[0])
    matches = [folder for folder in found if run and folder.name.startswith(run)]
    if len(matches) == 1:
        return matches[0]
    there = f"it has {', '.join(folder.name for folder in found[:3])}" if found else "it has none"
    raise ConfigError(
        f"{len(matches)} runs of {category} in {layout.root} are named {run!r}; {there}; `anoclust show` lists all runs"
    )


def _settings(config: RunConfig, summary: Mapping[str, Any]) -> RunConfig:
    """Settings that nights go on with: the run's recipe, where none is asked for."""
    recipe = summary["recipe"]
    return config if "recipe" in config.model_fields_set else config.model_copy(update={"recipe": recipe})


def _same_settings(
    images: DatasetManifest, config: RunConfig, spec: EmbeddingSpec, summary: Mapping[str, Any]
) -> RunPlan:
    """What a run with these settings would be; the number of clusters apart, it has to be the run.

    Raises
    ------
    ConfigError
        If it is not: the first night would cluster everything again, and not go on from the run.
    """
    number = summary["config"]["group"]["n_clusters"]
    as_run = config.for_runs.model_copy(update={"group": config.group.model_copy(update={"n_clusters": number})})
    plan = plan_run(images, as_run, spec)
    others = sorted(
        stage
        for stage in (plan.told.keys() | summary["keys"].keys()) - _NOT_COMPARED
        if plan.told.get(stage) != summary["keys"].get(stage)
    )
    if others:
        raise ConfigError(
            f"run {summary['run_id']} of {images.category} was made with other settings than `anoclust nightly` has "
            f"now (they differ in {', '.join(others)}), so that nights could not go on from it; give the settings of "
            "the run, which its summary.json has in `config`, in anoclust.toml or as variables, or make a run with the "
            "settings of the nights"
        )
    return plan


def _facts(images: DatasetManifest, rules: NightRules) -> tuple[list[ImageFact], list[str]]:
    """What the catalog keeps of the images, each content once, and what is told of when they were taken."""
    by_content = {image.sha256: image for image in reversed(images.clustered)}
    captured = {content: rules.captured(image) for content, image in by_content.items()}
    told_by = [(by_content[content].path, found.rule) for content, found in captured.items()]
    notes = check_capture(images.category, told_by, rules.rules, known=())
    return [rules.fact(image, captured=captured[content]) for content, image in sorted(by_content.items())], notes
