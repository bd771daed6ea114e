"""Run every category of a data set: decide from keys, then one flow call for each that has something to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError, BusyError, DamagedError, StoreError
from anoclust_core.records import DatasetManifest, EmbeddingSpec, unique_contents
from flows.decoding import decided_spec, first_spec, settled_spec
from flows.exclusive import category_held, disk_error, repairing
from flows.plan import RunPlan, plan_run, used_images
from flows.prefect_server.around import importing, kept_if_complete, with_prefect
from flows.regions import with_regions
from tasks import telemetry
from tasks.images.listing import check_enough, is_enough, list_datasets
from tasks.images.manifests.part_names import check_parts
from tasks.networks.backbone_spec import embedding_spec
from tasks.networks.detectors import check_detector
from tasks.stores import arrays, runs
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.manifests import save_manifest
from tasks.stores.regions import regions_of
from tasks.stores.stage_keys import embedding_keys
from tasks.stores.upkeep.recover import sweep


@dataclass(frozen=True)
class CategoryOutcome:
    """Outcome of one category.

    Attributes
    ----------
    category
        Name of the product.
    run
        Folder of the finished run, or None where it failed.
    is_new
        False where nothing had to be done and ``run`` is an earlier one.
    summary
        Content of the run's ``summary.json``.
    seconds, work
        What this call took and really computed; 0 where nothing had to be done.
    repairs
        What was damaged and rebuilt.
    error
        Why it failed.
    notes
        What is to be told of how the images were found and chosen.
    """

    category: str
    run: Path | None = None
    is_new: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    work: dict[str, int] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    error: AnoclustError | None = None
    notes: tuple[str, ...] = ()


def run_data(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    listener: telemetry.Listener | None = None,
    debug: bool = False,
) -> Iterator[CategoryOutcome]:
    """Cluster the categories of a data set one after the other; one that fails does not stop the others.

    Parameters
    ----------
    data
        Folder or manifest, see `list_datasets`.
    store
        Folder that everything is kept in.
    config
        What is asked for; a category may have its own settings.
    categories
        Names to run; all by default.
    listener
        Hears of progress: category, stage, done, total.
    debug
        Let Prefect write its log to the console.

    Yields
    ------
    outcome
        One per category, as soon as it is there.

    Raises
    ------
    AnoclustError
        If the data or the settings are of no use for any category.
    """
    layout = StoreLayout(store.absolute())
    manifests = list_datasets(
        data,
        config,
        categories=categories,
        exclude=store,
        known_hashes=layout.known_hashes,
        waits=lambda manifest: not _is_enough(manifest, config.of(manifest.category)),
        listener=listener,
    )
    spec = first_spec(layout, config, debug=debug)
    for listed in manifests:
        own = config.of(listed.category)
        manifest = used_images(listed, own)
        with telemetry.recording(listener) as notes:
            try:
                of_category = spec if own is config else embedding_spec(layout, own)
                run, is_new = _run_category(data, manifest, layout, own, of_category, debug)
                summary = runs.read_summary(run)
            except AnoclustError as error:
                yield CategoryOutcome(manifest.category, error=error)
                continue
            except OSError as error:
                yield CategoryOutcome(manifest.category, error=disk_error(layout, error))
                continue
        seconds = summary["seconds"]["total"] if is_new else 0.0
        yield CategoryOutcome(
            manifest.category,
            run,
            is_new,
            summary,
            seconds,
            dict(notes.work),
            repairs=tuple(notes.notes),
            notes=manifest.notes,
        )


def _is_enough(manifest: DatasetManifest, config: RunConfig) -> bool:
    return is_enough(used_images(manifest, config), max_bad_share=config.data.max_bad_share)


def _run_category(
    data: Path, listed: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec, debug: bool
) -> tuple[Path, bool]:
    """Folder of the run of these images, and whether it had to be made; no other run of the category goes on."""
    manifest, looked_at = with_regions(layout, data, listed, spec, config)
    check_enough(manifest, max_bad_share=config.data.max_bad_share)
    check_parts(manifest, config)
    with suppress(DamagedError):  # met again below, where it may be repaired
        decided = decided_spec(layout, manifest, looked_at, config)
        finished = finished_run(manifest, layout, config, decided) if decided else None
        if finished is not None:
            _name_latest(layout, manifest.category, finished)
            return finished, False
    with category_held(layout, manifest.category, wait_seconds=config.wait_seconds):
        return repairing(layout, lambda: _unguarded_run(data, listed, layout, config, spec, debug))


def _name_latest(layout: StoreLayout, category: str, run: Path) -> None:
    """Let ``latest.json`` name a finished run, and remove what a run that was killed over it left."""
    with suppress(StoreError):
        if runs.latest_run(run.parent) == run.name:
            return
    try:
        with category_lock(layout, category):
            sweep(layout, category)
            runs.point_latest(run.parent, run.name)
    except BusyError:
        runs.point_latest(run.parent, run.name)  # the other run will name its own when it is done


def _unguarded_run(
    data: Path, listed: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec, debug: bool
) -> tuple[Path, bool]:
    """Folder of the run, and whether it had to be made; the lock is held."""
    manifest, spec = with_regions(layout, data, listed, spec, config)  # a mask that was damaged is kept again
    spec = settled_spec(layout, manifest, spec, config)
    regions_of(layout, manifest.images, spec)  # before anything is embedded: whether patches remain
    check_detector(layout, manifest, spec)
    finished = finished_run(manifest, layout, config, spec)
    if finished is not None:  # the run that was waited for has made it
        runs.point_latest(finished.parent, finished.name)
        return finished, False
    path = save_manifest(layout, manifest)
    with ExitStack() as stack:
        with importing():
            stack.enter_context(with_prefect(debug))
            from flows.cluster import cluster_category
        run = kept_if_complete(
            "cluster",
            f"{manifest.category}: the run",
            lambda: cluster_category(manifest.category, str(path), str(layout.root), config.for_runs, spec),
        )
    return Path(run), True


def finished_run(manifest: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec) -> Path | None:
    """Find an earlier run with the same inputs and settings.

    One that had too little memory to look for near-duplicates is made again where there is enough now. Images that
    turned out undecodable are known by content and time, so the key can be made without decoding any.
    """
    segments = EmbeddingSegments(
        layout.folder("embeddings", manifest.category, embedding_keys(manifest, spec).embedding)
    )
    settled = manifest.without(segments.unreadable(manifest.images))
    check_enough(settled, max_bad_share=config.data.max_bad_share)
    plan = plan_run(settled, config, spec)
    found = runs.find_run(layout.runs(manifest.category), plan.run)
    return None if found is not None and _lacks_near_duplicates(settled, layout, config, spec, plan) else found


def _lacks_near_duplicates(
    settled: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec, plan: RunPlan
) -> bool:
    """Whether near-duplicates were not looked for in a finished run, and can be, or have to be, now."""
    reference, key = plan.reference or plan.among, plan.keys.get("near_duplicates")
    folder = layout.folder("near_duplicates", settled.category, key) if key else None
    if reference is None or folder is None:
        return False
    try:
        is_searched = (arrays.describe(folder) or {}).get("is_searched", True)
    except DamagedError:  # a finished run does not need it
        return False
    if is_searched:
        return False
    with importing():  # what a run that finds nothing to do never needs
        from tasks.compute.closest import has_all_pairs
        from tasks.compute.dask_jobs import memory_budget
        from tasks.stages.near_duplicates import is_settled
    return not is_settled(
        folder,
        spec,
        config,
        n_contents=len(unique_contents(settled.clustered)[0]),
        is_stored=has_all_pairs(reference),
        memory_budget=memory_budget(config.memory),
    )
