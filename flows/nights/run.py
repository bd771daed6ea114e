"""Every night of every category: decide from listing and catalog, then one flow call where there is something to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from anoclust_core.config import RunConfig
from anoclust_core.errors import AnoclustError
from anoclust_core.matching.night_dates import night_of
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from flows.decoding import first_spec, settled_spec
from flows.exclusive import category_held, disk_error, repairing
from flows.nights.outcome import NightOutcome, all_later, none_left, wait_note
from flows.nights.request import NightRequest
from flows.nights.status import known_categories
from flows.plan import used_images
from flows.prefect_server.around import importing, with_prefect
from flows.regions import AUTO, with_regions
from tasks import telemetry
from tasks.images.choosing import why_none
from tasks.images.listing import list_datasets
from tasks.images.manifests.part_names import check_parts
from tasks.networks.backbone_spec import embedding_spec
from tasks.networks.detectors import check_detector
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import NightFact
from tasks.stores.catalog.identity import is_begun
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.files import read_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest
from tasks.stores.nights.arrivals import NightRules, Tonight, survey
from tasks.stores.nights.folders import NIGHT_COUNTERS, spoiled_files
from tasks.stores.nights.reclustering import due
from tasks.stores.nights.snapshots import keep_pinned, read_snapshot
from tasks.stores.regions import regions_of
from tasks.stores.stage_keys import detected_key, embedding_keys, settings_key
from tasks.stores.upkeep.inventory import NIGHT_REPORT, NIGHT_SUMMARY

_CAME: Final = ("new", "quarantined")
"""Counters of files that came."""

_SEEN: Final = "seen"
"""Counter that only nights have whose flow was run."""

LIVE_DAYS: Final = 30
"""A category without a new image for longer than this has ended: its nights get no report, and nothing is missed."""


@dataclass(frozen=True)
class _Asked:
    """What is asked for; ``only_until`` and ``is_last`` differ between nights, the rest is the same for all."""

    data: Path
    layout: StoreLayout
    config: RunConfig
    spec: EmbeddingSpec
    catalog: Path | str = field(repr=False)  # a URL may hold a password
    rules: NightRules
    tonight: date
    only_until: bool
    is_last: bool
    recluster: bool
    debug: bool


@dataclass(frozen=True)
class _Worked:
    """What was found in a night and done about it.

    ``done`` is what the flow gave, or None where it did not run; ``is_quiet`` says that it had nothing to do but to
    write down that nothing came; ``last_came`` and ``nothing_came`` are those of `NightOutcome`.
    """

    found: Tonight
    counters: Mapping[str, int]
    done: Mapping[str, Any] | None
    is_quiet: bool
    is_empty: bool
    last_came: date | None
    nothing_came: str | None


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
    known = known_categories(layout, catalog)
    listed = {
        manifest.category: used_images(manifest, config.of(manifest.category))
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
    spec = first_spec(layout, config, debug=debug)
    tonight = night_of(datetime.now(UTC), timezone=rules.timezone, day_starts=rules.day_starts)
    for category in wanted:
        files = listed.get(category, DatasetManifest(category, ()))
        own = config.of(category)
        of_category = spec if own is config else embedding_spec(layout, own)
        told: list[str] = []
        for position, night in enumerate(nights):
            only_until, is_last = night is not None, position == len(nights) - 1
            asked = _Asked(
                data, layout, own, of_category, catalog, rules, tonight, only_until, is_last, recluster, debug
            )
            outcome = _guarded(files, night or tonight, asked, listener)
            notes = [note for note in (*files.notes, *outcome.notes) if note not in told]
            told += notes
            yield replace(outcome, notes=tuple(notes))
            if outcome.error is not None:
                break


def _guarded(listed: DatasetManifest, night: date, asked: _Asked, listener: telemetry.Listener | None) -> NightOutcome:
    """Outcome of a night, be it that it failed."""
    category = listed.category
    with telemetry.recording(listener) as notes:
        started = notes.started
        try:
            with category_held(asked.layout, category, wait_seconds=asked.config.wait_seconds):
                started = notes.started
                worked = repairing(asked.layout, lambda: _one_night(listed, night, asked))
            told: dict[str, Any] = {"quarantine": ()}
            if worked.done is not None:
                told = read_json(asked.layout.night(category, night) / NIGHT_SUMMARY)
        except AnoclustError as error:
            return NightOutcome(category, night, error=error)
        except OSError as error:
            return NightOutcome(category, night, error=disk_error(asked.layout, error))
    report = asked.layout.night(category, night) / NIGHT_REPORT
    done = worked.done or {}
    return NightOutcome(
        category,
        night,
        is_new=worked.done is not None and not worked.is_quiet,
        counters=worked.counters,
        reclustered=done.get("reclustered"),
        report=report if report.is_file() else None,
        seconds=round(datetime.now(UTC).timestamp() - started, 1) if done else 0.0,
        work=dict(notes.work),
        repairs=tuple(notes.notes),
        quarantine=tuple((entry["path"], entry["reason"]) for entry in told["quarantine"]),
        line=told.get("line"),
        notes=(*worked.found.told, *done.get("notes", ()), *_waiting(worked, asked), *_to_come(worked, asked)),
        is_empty=worked.is_empty,
        last_came=worked.last_came,
        nothing_came=worked.nothing_came,
        unit=asked.config.group.by,
    )


def _waiting(worked: _Worked, asked: _Asked) -> list[str]:
    """What is told of files of later nights: of several nights, by the last one."""
    found = worked.found
    if not asked.is_last or worked.nothing_came or found.first_later is None:
        return []
    return [wait_note(found.n_later, found.first_later)]


def _to_come(worked: _Worked, asked: _Asked) -> list[str]:
    """What is told of a night that has not come yet, where something was recorded for it: it may be a slip."""
    night = worked.found.night
    if not asked.is_last or worked.is_quiet or night <= asked.tonight + timedelta(days=1):
        return []
    note = f"The night {night} is yet to come; check the date that you asked for."
    waits = " Nights before it re-cluster only if you ask for it." if (worked.done or {}).get("reclustered") else ""
    return [note + waits]


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


def _last_region(asked: _Asked, category: str) -> str | None:
    """Region of the last clustering of a category that has no file now, and so no folder to look in for another."""
    if not is_begun(asked.layout, asked.catalog):
        return None
    with Catalog.open(asked.catalog, store=asked.layout) as catalog:
        latest = catalog.latest_snapshot(category)
    return read_snapshot(latest).region if latest is not None else None


def _one_night(listed: DatasetManifest, night: date, asked: _Asked) -> _Worked:
    """Find what is new in a night, and run its flow where there is something to do. The lock is held."""
    asked = _by_own_recipe(asked, listed.category)
    layout, config, category = asked.layout, asked.config, listed.category
    listed = used_images(listed, config)
    check_parts(listed, config)
    given = listed.images
    listed, spec = with_regions(layout, asked.data, listed, asked.spec, config)
    kept = {image.sha256 for image in listed.images}
    if not listed.images and config.data.roi == AUTO and spec.region is None:
        spec = replace(spec, region=_last_region(asked, category))
    spec = settled_spec(layout, listed, spec, config)
    regions_of(layout, listed.images, spec)  # before anything is embedded: whether patches remain
    check_detector(layout, listed, spec)
    asked = replace(asked, spec=spec)
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
            misfits=[image for image in given if image.sha256 not in kept],
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
                detected=detected_key(asked.spec),
                requested=asked.recluster,
            )
        is_told = not catalog.notices(category, only_unsent=True)
        is_quiet = found.is_empty and reason is None and not is_open and is_told
        is_empty = found.is_empty and not (before and any(before.counters.get(name) for name in _CAME))
        last_came = _last_came(catalog, category, night) if is_empty else None
        nothing_came = _why_nothing_came(found, asked, last_came) if is_empty else None
        worked = _Worked(found, _counted(found), None, is_quiet, is_empty, last_came, nothing_came)
        if is_quiet and (before is not None or last_came is None):
            if before is None:
                _conclude_empty(catalog, category, night)
            return worked
    done = _night_flow(found, asked, reason, notes=[f"No image came: {nothing_came}."] if nothing_came else [])
    return replace(worked, counters={**worked.counters, **done["counters"]}, done=done)


def _last_came(catalog: Catalog, category: str, night: date) -> date | None:
    """Last night of the past ones in which images came, or None where the category has ended or not begun."""
    past = catalog.nights(category, since=night - timedelta(days=LIVE_DAYS), until=night - timedelta(days=1))
    return next((fact.night for fact in reversed(past) if fact.counters.get("new")), None)


def _why_nothing_came(found: Tonight, asked: _Asked, last_came: date | None) -> str | None:
    """Why an empty night has not a single file to look at; None where it has some, or none is missed."""
    if found.n_seen:
        return None
    if found.first_later is not None:
        return all_later(found.n_later, found.first_later) if asked.is_last else None
    return None if last_came is None else none_left(why_none(asked.data, found.new.category), last_came)


def _has_lost_report(layout: StoreLayout, category: str, night: NightFact) -> bool:
    """Whether the flow of a night has written a report that is gone or damaged, be it that a kill came before it."""
    if _SEEN not in night.counters:
        return False  # nothing came: there is no report
    try:
        return bool(spoiled_files(layout.night(category, night.night)))
    except (FileNotFoundError, NotADirectoryError):
        return True


def _conclude_empty(catalog: Catalog, category: str, night: date) -> None:
    """Note that a night of a category that has not begun, or has ended, brought nothing; it gets no report."""
    now = datetime.now(UTC)
    snapshot = catalog.latest_snapshot(category)
    counters = dict.fromkeys((name for name in NIGHT_COUNTERS if name != _SEEN), 0)
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
        "later": found.n_later,
    }


def _night_flow(found: Tonight, asked: _Asked, reason: str | None, *, notes: Sequence[str]) -> dict[str, Any]:
    """Call the flow of a night; torch and Prefect are imported here and not before. Its report has the notes."""
    category = found.new.category
    given = DatasetManifest(
        category,
        (*found.new.images, *found.normals),
        quarantine=found.new.quarantine,
        notes=(*found.new.notes, *notes),
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
