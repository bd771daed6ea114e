"""One night under Prefect: the flow of a category, and the one over all of them that deployments call."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from prefect import Task, flow, get_run_logger, tags
from prefect.context import TagsContext
from pydantic import SecretStr

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest, EmbeddingSpec, Reference, by_reason
from flows.cluster import cluster_category
from flows.plan import embedding_keys, pair_key, plan_run, settings_key
from flows.prefect_server.around import kept_if_complete
from flows.run import finished_run
from flows.stages import EmbeddedImages, compare_images, embed_any
from tasks import telemetry
from tasks.compute.dask_jobs import memory_budget
from tasks.images.folders import one_line
from tasks.night.adopt import adopt
from tasks.night.assign import Assigned, assign_images, register_images
from tasks.night.notify import notify
from tasks.night.place import Place
from tasks.night.report import write_night_report
from tasks.night.watch import watch
from tasks.stages.runner import StageRunner
from tasks.stores import runs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest, save_manifest
from tasks.stores.nights.arrivals import everything
from tasks.stores.nights.comparison import compared_with
from tasks.stores.nights.reclustering import Due, due
from tasks.stores.nights.snapshots import Frozen, frozen
from tasks.stores.runs import parts_of

Result = TypeVar("Result")

MIN_BAD: Final = 5
"""Unusable files below which their share of a night says nothing."""


def _log_waiting(category: str, stage: str, done: int, total: int) -> None:  # noqa: ARG001 - a listener's
    """Say in the log of the run that a night waits for files."""
    if stage == "settle" and done == 0:
        get_run_logger().info("files were changed just now; waiting %d s until no more changes come", total)


def call_night(
    *,
    category: str,
    night: date,
    n_new: int,
    n_seen: int,
    manifest: str,
    store: str,
    catalog: SecretStr | None,
    config: RunConfig,
    spec: EmbeddingSpec,
    recluster: bool,
) -> dict[str, Any]:
    """Run the flow of one night of one category, tagged with its name."""
    with tags("night", category):
        return kept_if_complete(
            "night",
            f"{category}: the night {night}",
            lambda: category_night(
                category, night.isoformat(), n_new, n_seen, manifest, store, catalog, config, spec, recluster
            ),
        )


@flow(name="night", flow_run_name="{category} {night} ({n_new} new)")
def category_night(
    category: str,
    night: str,
    n_new: int,
    n_seen: int,
    manifest: str,
    store: str,
    catalog: SecretStr | None,
    config: RunConfig,
    spec: EmbeddingSpec,
    recluster: bool,
) -> dict[str, Any]:
    """One night of one category; the category is held by the caller.

    1. **embed** and **pair**: new images only, and these with the snapshot's reference only.
    2. **assign**: to the lasting clusters, or unknown; similar unknown images start a new cluster.
    3. **re-cluster** everything where that is due, and **adopt** the result: its clusters keep their identities.
    4. **watch**: growth and drift against the past; the night is recorded as done.
    5. **report** and **notify**.

    Parameters
    ----------
    category, night
        Which one.
    n_new, n_seen
        Images that are new, and files that were looked at.
    manifest
        Path of the manifest of what is new, and of the known normals.
    store
        Folder of the store.
    catalog
        URL of the catalog; None is the file in the store.
    config, spec
        What is asked for, and the backbone that it resolves to.
    recluster
        Whether a person wants everything re-clustered.

    Returns
    -------
    done
        ``counters`` of this call, ``reclustered``, ``changes`` of clusters, ``told`` events.
    """
    # the run has tags, its tasks have none: with any, each would wait for the server to look for limits of that name
    with telemetry.flow_started(), TagsContext(current_tags=set()):
        layout = StoreLayout(Path(store))
        where = catalog.get_secret_value() if catalog else layout.catalog
        place = Place(layout, where, category, date.fromisoformat(night))
        began = datetime.now(UTC)
        run_stage = StageRunner(category, layout.results)
        memory = memory_budget(config.memory)
        settings = settings_key(config, spec)
        given = load_manifest(Path(manifest))

        why = _due(place, config, settings=settings, requested=recluster, n_new=n_new)
        assigned = Assigned(0, 0, 0, 0, 0)
        if given.clustered or given.quarantine:
            snapshot = _snapshot(place) if why is None or why.can_assign else None
            assigned = _take_up(run_stage, place, given, manifest, snapshot, config, spec, memory, began)
        why = why or _due(place, config, settings=settings, requested=recluster)

        changes: dict[str, list[str]] = {}
        if why:
            run, reference = _cluster_from_scratch(place, given, config, spec)
            changes = _run_task(
                adopt,
                place,
                why.reason,
                place=place,
                run=run,
                settings=settings,
                reference=reference,
                reason=why.reason,
            )

        measured: dict[str, float] = {"seen": n_seen}
        if why or given.clustered or given.quarantine:  # else only what is told of the night is written again
            measured["reclustered"] = 1 if why else 0
        latest = _snapshot(place)
        measured["pair_products"] = telemetry.current().work["pair_products"]
        watched = _run_task(
            watch,
            place,
            "growth and drift",
            place=place,
            measured=measured,
            key=latest.key if latest else "",
            began=began,
        )
        _run_task(
            write_night_report,
            place,
            f"{assigned.n_new} new",
            place=place,
            given=manifest,
            watched=watched,
            weights=assigned.weights,
            spec=spec,
            reclustered=why.reason if why else None,
            changes=changes,
        )
        done: dict[str, Any] = {
            "counters": _counters(place, assigned, changes, given),
            "reclustered": why.reason if why else None,
            "changes": changes,
            "told": [],
        }
        telemetry.finished("night", done)  # what cannot be told now is told by the next night
        return {**done, "told": _run_task(notify, place, "events", layout=layout, catalog=where, category=category)}


def _take_up(
    run_stage: StageRunner,
    place: Place,
    given: DatasetManifest,
    manifest: str,
    snapshot: Frozen | None,
    config: RunConfig,
    spec: EmbeddingSpec,
    memory: int,
    began: datetime,
) -> Assigned:
    """Embed what is new, give it to the clusters of the snapshot if there is one, and record it."""
    layout = place.layout
    compared = compared_with(place.layout, place.catalog, given, snapshot, place.night)
    embedded = embed_any(run_stage, layout, str(save_manifest(layout, compared)), config, spec, memory)
    _check_share(given, embedded, config)
    if snapshot is None or not embedded.images.clustered:
        return _run_task(
            register_images,
            place,
            "unknown until all are clustered",
            place=place,
            new=manifest,
            settled=embedded.manifest,
            config=config,
            began=began,
        )
    keys = embedding_keys(embedded.images, spec)
    against = Reference("normal")
    nearest = compare_images(
        run_stage,
        layout,
        embedded,
        against,
        config,
        spec,
        memory,
        key=pair_key(keys, embedded.images, against),
        distances=keys.distances,
        both_ways=snapshot.reference is not None and snapshot.reference.role == "cluster",
    )
    return _run_task(
        assign_images,
        place,
        f"{len(given.clustered)} new",
        place=place,
        new=manifest,
        settled=embedded.manifest,
        embeddings=embedded.embeddings,
        nearest=nearest,
        snapshot=snapshot,
        config=config,
        began=began,
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


def _cluster_from_scratch(
    place: Place, given: DatasetManifest, config: RunConfig, spec: EmbeddingSpec
) -> tuple[str, Reference | None]:
    """Run over every image that the catalog has; gives the run's folder and its reference. A finished run is taken."""
    layout = place.layout
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        latest = catalog.latest_snapshot(place.category)
        normals = {image.sha256: image for image in given.normals}
        if latest is not None:
            normals = {**_normals_of(layout, frozen(latest)), **normals}
        images = everything(catalog, place.category, until=place.night, normals=list(normals.values()))
    plain = config.for_runs
    if plain.method == "blind":
        images = images.blind()
    done = finished_run(images, layout, plain, spec)
    run = (
        str(done)
        if done
        else cluster_category(place.category, str(save_manifest(layout, images)), str(layout.root), plain, spec)
    )
    settled = load_manifest(parts_of(layout, runs.read_summary(Path(run))).manifest)
    return run, plan_run(settled, plain, spec).reference


def _normals_of(layout: StoreLayout, snapshot: Frozen) -> dict[str, Any]:
    """Normals of a snapshot by content; their files may be gone."""
    try:
        return {image.sha256: image for image in load_manifest(layout.root / snapshot.manifest).normals}
    except OSError:
        return {}


def _due(place: Place, config: RunConfig, *, settings: str, requested: bool, n_new: int = 0) -> Due | None:
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        return due(
            place.layout,
            catalog,
            place.category,
            place.night,
            config,
            settings=settings,
            n_new=n_new,
            requested=requested,
        )


def _snapshot(place: Place) -> Frozen | None:
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        latest = catalog.latest_snapshot(place.category)
    return frozen(latest) if latest else None


def _counters(
    place: Place, assigned: Assigned, changes: dict[str, list[str]], given: DatasetManifest
) -> dict[str, int]:
    """What this call did; where everything was re-clustered, that says where the new images are."""
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        fresh = [
            fact.cluster for fact in catalog.assignments(place.category, [image.sha256 for image in given.clustered])
        ]
    return {
        "new": assigned.n_new,
        "assigned": sum(cluster is not None for cluster in fresh),
        "unknown": sum(cluster is None for cluster in fresh),
        "new_clusters": assigned.n_born + len(changes.get("born", ())),
        "pair_products": telemetry.current().work["pair_products"],
        "quarantined": assigned.n_quarantined,
    }


def _run_task(task: Task[..., Result], at: Place, detail: str, /, **work: Any) -> Result:
    """Run a task under a name that a person can read."""
    name = f"{task.name} {at.category} {at.night} ({detail})".replace("{", "{{").replace("}", "}}")
    result: Result = task.with_options(task_run_name=name)(**work)
    return result
