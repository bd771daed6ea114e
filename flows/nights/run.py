"""Every night of every category: decide from listing and catalog, then one flow call where there is something to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError
from anoclust_core.matching.night_dates import night_of
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from flows.decoding import settled_spec
from flows.exclusive import category_held, disk_error, repairing
from flows.nights.request import NightRequest
from flows.plan import used_images
from flows.prefect_server.around import importing, with_prefect
from tasks import telemetry
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import NightFact
from tasks.stores.catalog.identity import is_begun
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.files import read_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest
from tasks.stores.nights.arrivals import NightRules, Tonight, survey
from tasks.stores.nights.folders import spoiled_files
from tasks.stores.nights.reclustering import due
from tasks.stores.nights.snapshots import keep_pinned, read_snapshot
from tasks.stores.stage_keys import embedding_keys, settings_key
from tasks.stores.upkeep.inventory import NIGHT_REPORT, NIGHT_SUMMARY

_SEEN: Final = "seen"
"""Counter that only nights have whose flow was run."""


@dataclass(frozen=True)
class NightOutcome:
    """Outcome of one night of one category.

    Attributes
    ----------
    category, night
        Which one.
    is_new
        False where nothing had to be done.
    counters
        ``seen``, ``new``, ``assigned``, ``unknown``, ``new_clusters``, ``pair_products``, ``quarantined``, ``deferred``
        of this call.
    reclustered
        Why everything was re-clustered, or None.
    report
        The night's report, where it has one.
    seconds, work
        What this call took and really computed.
    repairs
        What was damaged and rebuilt.
    error
        Why it failed.
    quarantine
        Path and reason of every file of the night that cannot be used, where the night was new.
    notes
        What is to be told of how the images were found and chosen; of several nights the first one has it.
    line
        What there is to do, in one line, where the night has a report.
    """

    category: str
    night: date
    is_new: bool = False
    counters: Mapping[str, int] = field(default_factory=dict)
    reclustered: str | None = None
    report: Path | None = None
    seconds: float = 0.0
    work: Mapping[str, int] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    error: AnoclustError | None = None
    quarantine: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    line: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "category": self.category,
            "night": self.night.isoformat(),
            "is_new": self.is_new,
            **self.counters,
            "reclustered": self.reclustered,
            "report": str(self.report) if self.report else None,
            "seconds": self.seconds,
            "work": dict(self.work),
            "line": self.line,
            "repairs": list(self.repairs),
            "notes": list(self.notes),
            "error": str(self.error) if self.error else None,
            "exit_code": self.error.exit_code if self.error else 0,
        }


@dataclass(frozen=True)
class _Asked:
    """What is asked for, the same for every category."""

    layout: StoreLayout
    config: RunConfig
    spec: EmbeddingSpec
    catalog: Path | str = field(repr=False)  # a URL may hold a password
    rules: NightRules
    only_until: bool
    recluster: bool
    debug: bool


def run_nights(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    as_of: date | None = None,
    recluster: bool = False,
    listener: telemetry.Listener | None = None,
    debug: bool = False,
) -> Iterator[NightOutcome]:
    """Process what is new in every category; one that fails does not stop the others.

    Parameters
    ----------
    data
        Folder or manifest, see `list_datasets`. A category may have no file left: what was seen stays known.
    store, config, listener, debug
        As in `flows.run.run_data`.
    categories
        Names; by default all that have files, or had some.
    as_of
        The night; what was taken later is not seen yet. By default it is tonight, and everything there is is seen.
    recluster
        Re-cluster everything, whether or not it is due.

    Yields
    ------
    outcome
        One per category, as soon as it is there.

    Raises
    ------
    AnoclustError
        As `flows.run.run_data`.
    """
    yield from run_many_nights(
        data,
        store,
        config,
        categories=categories,
        nights=[as_of],
        recluster=recluster,
        listener=listener,
        debug=debug,
    )


def run_many_nights(
    data: Path,
    store: Path,
    config: RunConfig,
    *,
    categories: Sequence[str] = (),
    nights: Sequence[date | None] = (None,),
    recluster: bool = False,
    listener: telemetry.Listener | None = None,
    debug: bool = False,
) -> Iterator[NightOutcome]:
    """Process several nights of every category, in the order given; the files are examined once.

    A category whose night fails goes no further: the nights after it would be assigned to other clusters.

    Parameters
    ----------
    nights
        Of each category; None is tonight with everything there is.
    data, store, config, categories, recluster, listener, debug
        As in `run_nights`.

    Yields
    ------
    outcome
        One per category and night.

    Raises
    ------
    AnoclustError
        As `run_nights`.
    """
    layout = StoreLayout(store.absolute())
    catalog = config.night.catalog or layout.catalog
    rules = NightRules.of(config.night)
    known = _known_categories(layout, catalog)
    listed = {
        manifest.category: used_images(manifest, config)
        for manifest in list_datasets(
            data,
            config,
            categories=categories,
            exclude=store,
            known=known,
            known_hashes=layout.known_hashes,
            waits=lambda manifest: not manifest.clustered,
            listener=listener,
        )
    }
    wanted = categories or sorted({*listed, *known})
    spec = embedding_spec(layout, config)
    tonight = night_of(datetime.now(UTC), timezone=rules.timezone, day_starts=rules.day_starts)
    for category in wanted:
        for position, night in enumerate(nights):
            asked = _Asked(layout, config, spec, catalog, rules, night is not None, recluster, debug)
            files = listed.get(category, DatasetManifest(category, ()))
            outcome = _guarded(files, night or tonight, asked, listener)
            yield outcome if position else replace(outcome, notes=(*files.notes, *outcome.notes))
            if outcome.error is not None:
                break


def _known_categories(layout: StoreLayout, catalog: Path | str) -> list[str]:
    """Categories that there have been nights of; none where there is no catalog yet."""
    if not is_begun(layout, catalog):
        return []
    with Catalog.open(catalog, store=layout) as opened:
        return opened.categories()


def _guarded(listed: DatasetManifest, night: date, asked: _Asked, listener: telemetry.Listener | None) -> NightOutcome:
    """Outcome of a night, be it that it failed."""
    category = listed.category
    with telemetry.recording(listener) as notes:
        started = notes.started
        try:
            with category_held(asked.layout, category, wait_seconds=asked.config.wait_seconds):
                started = notes.started
                counters, done = repairing(asked.layout, lambda: _one_night(listed, night, asked))
            told: dict[str, Any] = {"quarantine": ()}
            if done:
                told = read_json(asked.layout.night(category, night) / NIGHT_SUMMARY)
        except AnoclustError as error:
            return NightOutcome(category, night, error=error)
        except OSError as error:
            return NightOutcome(category, night, error=disk_error(asked.layout, error))
    report = asked.layout.night(category, night) / NIGHT_REPORT
    return NightOutcome(
        category,
        night,
        is_new=done is not None,
        counters=counters,
        reclustered=done["reclustered"] if done else None,
        report=report if report.is_file() else None,
        seconds=round(datetime.now(UTC).timestamp() - started, 1) if done else 0.0,
        work=dict(notes.work),
        repairs=tuple(notes.notes),
        quarantine=tuple((entry["path"], entry["reason"]) for entry in told["quarantine"]),
        line=told.get("line"),
        notes=tuple(done.get("notes", ())) if done else (),
    )


def _by_own_recipe(asked: _Asked, category: str) -> _Asked:
    """Settings of a category's nights: their recipe is that of the last clustering, unless one is asked for."""
    if "recipe" in asked.config.model_fields_set or not is_begun(asked.layout, asked.catalog):
        return asked
    with Catalog.open(asked.catalog, store=asked.layout) as catalog:
        latest = catalog.latest_snapshot(category)
    recipe = read_snapshot(latest).recipe if latest is not None else asked.config.recipe
    if recipe == asked.config.recipe:
        return asked
    config = asked.config.model_copy(update={"recipe": recipe})
    return replace(asked, config=config, spec=embedding_spec(asked.layout, config))


def _one_night(listed: DatasetManifest, night: date, asked: _Asked) -> tuple[dict[str, int], dict[str, Any] | None]:
    """Counters of a night, and what its flow gave, or None where there was nothing to do. The lock is held."""
    asked = _by_own_recipe(asked, listed.category)
    layout, config, category = asked.layout, asked.config, listed.category
    listed = used_images(listed, config)
    asked = replace(asked, spec=settled_spec(layout, listed, asked.spec, config))
    segments = EmbeddingSegments(layout.folder("embeddings", category, embedding_keys(listed, asked.spec).embedding))
    with Catalog.open(asked.catalog, store=layout) as catalog:
        catalog.check([category])
        found = survey(
            listed,
            catalog,
            night=night,
            only_until=asked.only_until,
            rules=asked.rules,
            unreadable=segments.unreadable,
        )
        if found.moved:
            catalog.record_images(category, found.moved)
        latest = catalog.latest_snapshot(category)
        if latest is not None:
            keep_pinned(layout, category, read_snapshot(latest))
        before = catalog.night(category, night)
        is_open = before is not None and (
            before.state != "done"
            or (latest is not None and before.key == latest.key and _has_lost_report(layout, category, before))
        )
        reason = None
        if found.is_empty:  # else the flow decides, once it has recorded what is new
            reason = due(
                layout,
                catalog,
                category,
                night,
                config,
                settings_key=settings_key(config, asked.spec),
                requested=asked.recluster,
            )
        is_told = not catalog.notices(category, only_unsent=True)
        if found.is_empty and reason is None and not is_open and is_told:
            if before is None:
                _conclude_empty(catalog, category, night)
            return _counted(found), None
    done = _night_flow(found, asked, reason)
    return _counted(found) | done["counters"], done


def _has_lost_report(layout: StoreLayout, category: str, night: NightFact) -> bool:
    """Whether the flow of a night has written a report that is gone or damaged, be it that a kill came before it."""
    if _SEEN not in night.counters:
        return False  # nothing came: there is no report
    try:
        return bool(spoiled_files(layout.night(category, night.night)))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _conclude_empty(catalog: Catalog, category: str, night: date) -> None:
    """Note that a night brought nothing."""
    now = datetime.now(UTC)
    snapshot = catalog.latest_snapshot(category)
    counters = {"new": 0, "assigned": 0, "unknown": 0, "new_clusters": 0}
    catalog.conclude_night(NightFact(category, night, "done", snapshot.key if snapshot else "", now, now, counters))


def _counted(found: Tonight) -> dict[str, int]:
    return {
        "seen": found.n_seen,
        "new": 0,
        "assigned": 0,
        "unknown": 0,
        "new_clusters": 0,
        "pair_products": 0,
        "quarantined": 0,
        "deferred": len(found.new.deferred),
    }


def _night_flow(found: Tonight, asked: _Asked, reason: str | None) -> dict[str, Any]:
    """Call the flow of a night; torch and Prefect are imported here and not before."""
    category = found.new.category
    given = DatasetManifest(
        category,
        (*found.new.images, *found.normals),
        quarantine=found.new.quarantine,
        notes=found.new.notes,
        deferred=found.new.deferred,
    )
    path = save_manifest(asked.layout, given)
    without_catalog = asked.config.night.model_copy(update={"catalog": None})  # its URL is handed over as a secret
    with ExitStack() as stack:
        with importing():
            stack.enter_context(with_prefect(asked.debug))
            from flows.nights.flow import call_night
        return call_night(
            NightRequest(
                category=category,
                night=found.night,
                n_new=len(found.new.images),
                n_seen=found.n_seen,
                manifest=str(path),
                store=str(asked.layout.root),
                catalog=SecretStr(asked.catalog) if isinstance(asked.catalog, str) else None,
                config=asked.config.model_copy(update={"night": without_catalog}),
                spec=asked.spec,
                recluster=asked.recluster,
                due=reason,
            )
        )
