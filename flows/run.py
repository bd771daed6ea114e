"""Run every category of a data set: decide from keys, then one flow call for each that has something to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError, StoreError
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from flows.plan import plan_run
from tasks import telemetry
from tasks.stores import runs
from tasks.stores.cards import embedding_spec
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.listing import check_enough, list_datasets
from tasks.stores.manifests import save_manifest


@dataclass(frozen=True)
class CategoryOutcome:
    """What became of one category.

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
    error
        Why it failed.
    """

    category: str
    run: Path | None = None
    is_new: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    work: dict[str, int] = field(default_factory=dict)
    error: AnoclustError | None = None


def run_data(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    listener: Callable[[str, str, int, int], None] | None = None,
    debug: bool = False,
) -> Iterator[CategoryOutcome]:
    """Cluster the categories of a data set one after the other; one that fails does not keep the others from running.

    Parameters
    ----------
    data
        Folder or manifest, see `list_datasets`.
    store
        Folder that everything is kept in.
    config
        What is asked for.
    categories
        Names to run; all by default.
    listener
        Hears of progress: category, stage, done, total.
    debug
        Let Prefect write its log to the console.

    Yields
    ------
    outcome
        One a category, as soon as it is there.

    Raises
    ------
    AnoclustError
        If the data or the settings are of no use for any category.
    """
    layout = StoreLayout(store.absolute())
    hashing = (lambda done, total: listener("", "list", done, total)) if listener else None
    manifests = list_datasets(data, config, categories=categories, exclude=store, progress=hashing)
    spec = embedding_spec(layout, config)
    for manifest in manifests:
        heard = _for_category(listener, manifest.category)
        with telemetry.recording(heard) as notes:
            try:
                run, is_new = _run_category(manifest, layout, config, spec, debug)
                summary = runs.read_summary(run)
            except AnoclustError as error:
                yield CategoryOutcome(manifest.category, error=error)
                continue
            except OSError as error:
                failed = StoreError(
                    f"{layout.root}: {error}; check that it can be written and is not full, then run again"
                )
                failed.__cause__ = error
                yield CategoryOutcome(manifest.category, error=failed)
                continue
        seconds = summary["seconds"]["total"] if is_new else 0.0
        yield CategoryOutcome(manifest.category, run, is_new, summary, seconds, dict(notes.work))


def _run_category(
    manifest: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec, debug: bool
) -> tuple[Path, bool]:
    """Folder of the run of these images, and whether it had to be made."""
    check_enough(manifest)
    finished = _finished_run(manifest, layout, config, spec)
    if finished is not None:
        runs.point_latest(finished.parent, finished.name)
        return finished, False
    path = save_manifest(layout, manifest)
    with telemetry.timed("imports"):
        _prepare_prefect(debug)
        from flows.cluster import cluster_category
    with _without_heartbeat():
        run = cluster_category(manifest.category, str(path), str(layout.root), config, spec)
    return Path(run), True


def _finished_run(
    manifest: DatasetManifest, layout: StoreLayout, config: RunConfig, spec: EmbeddingSpec
) -> Path | None:
    """Find the run that has already been made of the very same things.

    Images that turned out undecodable are known by their content, so the key can be made without decoding any.
    """
    segments = EmbeddingSegments(layout.embeddings(manifest.category, plan_run(manifest, config, spec).embedding))
    settled = manifest.without(segments.unreadable())
    if len(settled.clustered) < 2 or bool(manifest.normals) != bool(settled.normals):
        return None
    return runs.find_run(layout.runs(manifest.category), plan_run(settled, config, spec).run)


def _for_category(listener: Callable[[str, str, int, int], None] | None, category: str) -> telemetry.Listener | None:
    if listener is None:
        return None
    return lambda stage, done, total: listener(category, stage, done, total)


def _prepare_prefect(debug: bool) -> None:
    """Set what Prefect reads when it is imported; what the user has set stands.

    Nothing is sent out, and errors reach the user as this program's own messages.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _without_heartbeat() -> AbstractContextManager[Any]:
    """Without a server nobody watches the heartbeat, whose thread holds up the end of every flow for a second."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_API_URL.value():
        return nullcontext()
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
