"""The benchmark's part for deep clustering: one method on one category, and what all of them will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

from anoclust_core.benchmark.deep.settings import VERSIONS, n_epochs, network_named, settings_of
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.evaluation.protocols import Protocol, n_classes
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.records import DatasetManifest, unique_contents
from flows.benchmark.request import DEEP_EXPERIMENTS, BackboneJob, measure_key
from flows.decoding import kept_spec
from tasks.benchmark.deep import measure_deep, plan_training, train
from tasks.compute.dask_jobs import memory_budget
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import StageRunner
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import stage_key
from tasks.stores.training import TrainingStore


def measure_method(
    run: CategoryRun, images: DatasetManifest, manifest: str, method: str, *, as_published: bool, protocol: Protocol
) -> list[Measurement]:
    """Train a method on the images of a category and score its last and its best epoch.

    A training is found by its images, number of clusters and settings: two protocols that agree on these share it.

    Parameters
    ----------
    run
        What every stage is given.
    images, manifest
        Images, and the path of their manifest.
    method
        One of `request.DEEP_METHODS`.
    as_published
        Whether it is trained as its paper does it.
    protocol
        Decides the number of clusters and which images count.
    """
    run_stage = StageRunner(run)
    labels = [image.label for image in images.clustered]
    key = _training_key(run, images, method, as_published=as_published, protocol=protocol)
    folder = run.layout.folder("training", run.category, key)
    trained = run_stage(
        train,
        key=key,
        detail=f"{method}, {n_epochs(settings_of(method, as_published=as_published).phases)} epochs",
        is_complete=TrainingStore(folder).is_complete,
        manifest=manifest,
        folder=str(folder),
        method=method,
        as_published=as_published,
        n_clusters=n_classes(protocol, labels),
    )
    return run_stage(
        measure_deep,
        key=measure_key(f"deep {method}", trained=key, labels=labels, protocol=protocol.name),
        detail=method,
        is_complete=True,
        manifest=manifest,
        trained=trained,
        method=method,
        protocol=protocol,
    )


def described(job: BackboneJob) -> str:
    """Say how the deep methods of a job are trained; nothing where there are none."""
    methods = [DEEP_EXPERIMENTS[name] for name in job.experiments if name in DEEP_EXPERIMENTS]
    parts = []
    for method in methods:
        settings = settings_of(method, as_published=job.as_published)
        network = network_named(method, job.config.embed.backbone, as_published=job.as_published)
        epochs = " + ".join(str(phase.epochs) for phase in settings.phases)
        parts.append(f"{method}: {network}, {settings.side} px, {epochs} epochs")
    size = "the papers' settings" if job.as_published else "the small default size"
    return f"Trained here in {size}; {'; '.join(parts)}." if parts else ""


def check_plans(
    layout: StoreLayout,
    jobs: Iterable[tuple[BackboneJob, Protocol, Mapping[str, DatasetManifest]]],
    say: Callable[[str], None],
) -> None:
    """Say what every training that is still to be done will take, after timing a few of its steps.

    Parameters
    ----------
    layout
        The store.
    jobs
        What is to be trained: job, protocol and images by category.
    say
        Is given lines for people.

    Raises
    ------
    ResourceError
        If one of them needs more memory than it may use.
    """
    total, seen = 0.0, set()
    for job, protocol, manifests in jobs:
        for method in (DEEP_EXPERIMENTS[name] for name in job.experiments if name in DEEP_EXPERIMENTS):
            for category, images in manifests.items():
                spec = kept_spec(layout, category, job.spec, job.config)
                run = CategoryRun(layout, category, job.config, spec, memory_budget(job.config.memory))
                key = _training_key(run, images, method, as_published=job.as_published, protocol=protocol)
                if key in seen or TrainingStore(layout.folder("training", category, key)).is_complete:
                    continue
                seen.add(key)
                total += _plan(run, images, method, as_published=job.as_published, protocol=protocol, say=say)
    if total:
        say(f"Deep clustering in all: about {_minutes(total)}.")


def _plan(
    run: CategoryRun,
    images: DatasetManifest,
    method: str,
    *,
    as_published: bool,
    protocol: Protocol,
    say: Callable[[str], None],
) -> float:
    """Plan one training and say it; gives its seconds."""
    n_images = len(unique_contents(images.clustered)[0])
    n_clusters = n_classes(protocol, [image.label for image in images.clustered])
    plan = plan_training(run, method, as_published=as_published, n_clusters=n_clusters, n_images=n_images)
    settings = settings_of(method, as_published=as_published)
    network = network_named(method, run.config.embed.backbone, as_published=as_published)
    say(
        f"{run.category}: {method} on {n_images:,} images of {settings.side} px, {network}, "
        f"{n_epochs(settings.phases)} epochs: about {_minutes(plan.seconds)}, {readable_bytes(plan.memory.total)}."
    )
    plan.memory.check(run.memory_budget)
    return plan.seconds


def _training_key(
    run: CategoryRun, images: DatasetManifest, method: str, *, as_published: bool, protocol: Protocol
) -> str:
    version = {"version": VERSIONS[method]} if method in VERSIONS else {}
    return stage_key(
        "train",
        method=method,
        **version,
        settings=asdict(settings_of(method, as_published=as_published)),
        images=sorted({image.sha256 for image in images.clustered}),
        spec=run.spec.identity,
        n_clusters=n_classes(protocol, [image.label for image in images.clustered]),
        seed=run.config.seed,
    )


def _minutes(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
