"""One night of one category under Prefect: its flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from prefect import Task, flow, tags
from prefect.context import FlowRunContext, TagsContext
from prefect.utilities.annotations import quote

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest, Reference, by_reason
from flows.cluster import cluster_category
from flows.nights.request import NightRequest
from flows.plan import plan_run
from flows.prefect_server.around import kept_if_complete
from flows.regions import without_misfits
from flows.run import finished_run
from flows.stages import EmbeddedImages, compare_images, embed_any
from tasks import telemetry
from tasks.compute.dask_jobs import memory_budget
from tasks.images.folders import one_line
from tasks.night.adopt import Adopted, adopt
from tasks.night.alike import alike_notes
from tasks.night.assign import Assigned, assign_images, register_images
from tasks.night.gather import outside_notes
from tasks.night.look import look_at
from tasks.night.notify import notify
from tasks.night.place import Place
from tasks.night.prepare import prepare
from tasks.night.report import write_night_report
from tasks.night.watch import watch
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import StageRunner
from tasks.stores import runs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest, save_manifest
from tasks.stores.nights.arrivals import everything
from tasks.stores.nights.comparison import compared_with
from tasks.stores.nights.reclustering import assignable, due
from tasks.stores.nights.snapshots import Snapshot, read_snapshot
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import detected_key, embedding_keys, pair_key, settings_key

Result = TypeVar("Result")

MIN_BAD: Final = 5
"""Unusable files below which their share of a night says nothing."""


_LEFT_OUT: Final = (
    "{:,} images were not clustered again: this recipe needs features of them that were never made, and their files "
    "are gone; they keep their cluster"
)


def call_night(asked: NightRequest) -> dict[str, Any]:
    """Run the flow of one night of one category, tagged with its name; within a run, as a part of that one.

    So there is one run a night on the dashboard, and not a run in a run in a run.
    """
    night: Callable[[NightRequest], dict[str, Any]] = category_night.fn if FlowRunContext.get() else category_night
    with tags("night", asked.category):
        return kept_if_complete("night", f"{asked.category}: the night {asked.night}", lambda: night(asked))


@flow(name="night", flow_run_name="{asked.category} {asked.night} ({asked.n_new} new)")
def category_night(asked: NightRequest) -> dict[str, Any]:
    """One night of one category; the category is held by the caller.

    1. **embed** and **pair**: new images only, and these with the snapshot's reference only; **detect** in place of
       pair, where patches are weighted by a detector.
    2. **assign**: to the lasting clusters, or unknown; similar unknown images start a new cluster.
    3. **re-cluster** everything where that is due, and **adopt** the result: its clusters keep their identities.
    4. **look** and **watch**: the pictures as such, growth and drift against the past; the night is recorded as done.
    5. **report** and **notify**.
    6. **prepare** pictures and map for the review page.

    Parameters
    ----------
    asked
        What is asked for.

    Returns
    -------
    done
        ``counters`` of this call, ``reclustered``, ``changes`` of clusters, ``notes``, ``told`` events.
    """
    # the run has tags, its tasks have none: with any, each would wait for the server to look for limits of that name
    with telemetry.flow_started(), TagsContext(current_tags=set()):
        layout, config = StoreLayout(Path(asked.store)), asked.config
        run_stage = StageRunner(CategoryRun(layout, asked.category, config, asked.spec, memory_budget(config.memory)))
        catalog = asked.catalog.get_secret_value() if asked.catalog else layout.catalog
        place = Place(run_stage.run, catalog, asked.night, datetime.now(UTC))
        given = load_manifest(Path(asked.manifest))
        is_new = bool(given.clustered or given.quarantine)

        assigned, why = Assigned(0, 0, 0, 0, 0), asked.due
        if is_new:
            assigned = _take_up(run_stage, place, given)
            why = _due(place, requested=asked.recluster)

        adopted = Adopted()
        left_out: list[str] = []
        if why:
            run_folder, reference, left_out = _cluster_from_scratch(place, given)
            adopted = _run_task(
                adopt,
                place,
                why,
                run_folder=run_folder,
                settings_key=_settings_key(place),
                reference=reference,
                reason=why,
            )

        measured: dict[str, float] = {"seen": asked.n_seen}
        if is_new:
            looks: dict[str, float] = _run_task(look_at, place, f"{len(given.clustered)} new", given=given)
            measured |= looks
        if why or is_new:  # else only what is told of the night is written again
            measured["reclustered"] = 1 if why else 0
        latest = _snapshot(place)
        measured["pair_products"] = telemetry.current().work["pair_products"]
        watched = _run_task(
            watch,
            place,
            "growth and drift",
            measured=measured,
            key=latest.key if latest else "",
            weights=assigned.weights,
        )
        _run_task(
            write_night_report,
            place,
            f"{assigned.n_new} new",
            given=given,
            watched=watched,
            weights=assigned.weights,
            reclustered=why,
            changes=adopted.changes,
        )
        done: dict[str, Any] = {
            "counters": _counters(place, assigned, adopted.news, given),
            "reclustered": why,
            "changes": adopted.changes,
            "notes": [
                *left_out,
                *outside_notes(place, given),
                *alike_notes(assigned.weights, given),
            ],
            "told": [],
        }
        telemetry.finished("night", done)  # what cannot be told now is told by the next night
        told = _run_task(notify, place, "events")
        if why or is_new:
            _run_task(prepare, place, "pictures and map", given=given, is_reclustered=bool(why))
        return {**done, "told": told}


def _take_up(run_stage: StageRunner, place: Place, given: DatasetManifest) -> Assigned:
    """Embed what is new, give it to the clusters of the snapshot if that can be, and record it."""
    run = place.run
    with Catalog.open(place.catalog, store=run.layout) as catalog:
        snapshot = assignable(run.layout, catalog, run.category, run.config, settings_key=_settings_key(place))
    compared = compared_with(
        place.layout, place.catalog, given, snapshot, place.night, by_part=run.config.group.by == "part"
    )
    embedded = embed_any(run_stage, compared, str(save_manifest(place.layout, compared)))
    _check_share(given, embedded, place.run.config)
    if snapshot is None or not embedded.images.clustered:
        return _run_task(
            register_images, place, "unknown until all are clustered", given=given, settled=embedded.images
        )
    nearest = None
    if snapshot.reference is not None:
        keys, against = embedding_keys(embedded.images, place.run.spec), Reference("normal")
        nearest = compare_images(
            run_stage,
            embedded,
            against,
            key=pair_key(keys, embedded.images, against),
            distances=keys.distances,
            both_ways=snapshot.reference.role == "cluster",
        )
    return _run_task(
        assign_images,
        place,
        f"{len(given.clustered)} new",
        given=given,
        settled=embedded.images,
        embeddings=(embedded.embeddings, embedded.deeper),
        nearest=nearest,
        snapshot=snapshot,
    )


def _check_share(given: DatasetManifest, embedded: EmbeddedImages, config: RunConfig) -> None:
    """Refuse a night most of whose files are bad: something is wrong with the camera, the disk or the copying.

    Raises
    ------
    DatasetError
        If so; nothing of the night is recorded.
    """
    usable = {image.sha256 for image in embedded.images.images}
    later = {entry.path for entry in embedded.images.deferred}
    bad = [image for image in given.clustered if image.sha256 not in usable and image.path not in later]
    n_bad, n_files = len(bad) + len(given.quarantine), len(given.clustered) + len(given.quarantine)
    if n_bad >= MIN_BAD and n_bad > config.data.max_bad_share * n_files:
        commonest = by_reason(embedded.images.quarantine)[0].sentence(one_line)
        raise DatasetError(
            f"{n_bad} of the {n_files} new files of category {given.category} cannot be used, the limit is "
            f"{config.data.max_bad_share:.0%} ({commonest}); repair or remove them, or raise --max-bad-share; nothing "
            "from this night was recorded"
        )


def _cluster_from_scratch(place: Place, given: DatasetManifest) -> tuple[str, Reference | None, list[str]]:
    """Run over every image that the catalog has. A finished run is taken.

    Gives the run's folder, its reference, and what is to be told of images that it could not take.
    """
    layout, spec = place.layout, place.run.spec
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        latest = catalog.latest_snapshot(place.category)
        normals = {image.sha256: image for image in given.normals}
        if latest is not None:
            normals = {**_normals_of(layout, read_snapshot(latest)), **normals}
        images = everything(catalog, place.category, until=place.night, normals=list(normals.values()))
        n_known = len(catalog.standing(place.category).known)
    images, misfits = without_misfits(layout, images, spec)
    plain = _at_least_known(place.run.config.for_runs, images, n_known)
    if plain.recipe == "blind":
        images = images.blind()
    done = finished_run(images, layout, plain, spec)
    run = (
        str(done)
        if done
        else cluster_category.fn(place.category, str(save_manifest(layout, images)), str(layout.root), plain, spec)
    )
    settled = load_manifest(parts_of(layout, runs.read_summary(Path(run))).manifest)
    left_out = [misfits] if misfits else []
    if settled.deferred:
        left_out.append(_LEFT_OUT.format(len(settled.deferred)))
    return run, plan_run(settled, plain, spec).reference, left_out


def _at_least_known(config: RunConfig, images: DatasetManifest, n_known: int) -> RunConfig:
    """Settings by which the suggested number of clusters starts from those that people know.

    Recipe auto begins at one height of the tree, but does not stay there: a lower bound would only keep pieces apart.
    """
    is_suggested = config.group.number is None and (
        config.group.bounds is not None or any(image.label is None for image in images.clustered)
    )
    low, high = config.group.bounds or (1, len(images.clustered))
    is_free = config.recipe == "auto" and config.group.bounds is None
    if not is_suggested or is_free or n_known <= low:
        return config
    low = min(n_known, high)
    return config.model_copy(update={"group": config.group.model_copy(update={"n_clusters": f"{low}:{high}"})})


def _normals_of(layout: StoreLayout, snapshot: Snapshot) -> dict[str, Any]:
    """Normals of a snapshot by content; their files may be gone."""
    try:
        return {image.sha256: image for image in load_manifest(layout.root / snapshot.manifest).normals}
    except OSError:
        return {}


def _due(place: Place, *, requested: bool) -> str | None:
    run = place.run
    with Catalog.open(place.catalog, store=run.layout) as catalog:
        return due(
            run.layout,
            catalog,
            run.category,
            place.night,
            run.config,
            settings_key=_settings_key(place),
            detected=detected_key(place.run.spec),
            requested=requested,
        )


def _settings_key(place: Place) -> str:
    return settings_key(place.run.config, place.run.spec)


def _snapshot(place: Place) -> Snapshot | None:
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        latest = catalog.latest_snapshot(place.category)
    return read_snapshot(latest) if latest else None


def _counters(place: Place, assigned: Assigned, news: Sequence[str], given: DatasetManifest) -> dict[str, int]:
    """What this call did; where everything was re-clustered, that says where the new images are."""
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        fresh = [
            fact.cluster for fact in catalog.assignments(place.category, [image.sha256 for image in given.clustered])
        ]
    return {
        "new": assigned.n_new,
        "assigned": sum(cluster is not None for cluster in fresh),
        "unknown": sum(cluster is None for cluster in fresh),
        "new_clusters": assigned.n_born + len(news),
        "pair_products": telemetry.current().work["pair_products"],
        "quarantined": assigned.n_quarantined,
    }


def _run_task(task: Task[..., Result], place: Place, detail: str, /, **work: Any) -> Result:
    """Run a task of the night under a name that a person can read; Prefect need not look into what it works on."""
    name = f"{task.name} {place.category} {place.night} ({detail})".replace("{", "{{").replace("}", "}}")
    named = task.with_options(task_run_name=name)
    result: Result = named(place=place, **{what: quote(value) for what, value in work.items()})
    return result
