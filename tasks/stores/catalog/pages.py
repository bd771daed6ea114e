"""Nights that only their pages in the store tell of: those of before there was a journal.

Pages tell what was counted and which clusters there were, with their names. Manifests tell of images; the snapshot that
the nights go on from, with its tree and descriptors, where these belong. Nothing tells of decisions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from anoclust_core.errors import StoreError
from anoclust_core.matching.assigning import assign, member_confidence, member_distances
from anoclust_core.matching.identities import fresh_ids, id_order
from anoclust_core.matching.prototypes import Prototypes, fit_prototypes
from anoclust_core.records import DatasetManifest, ImageRecord
from anoclust_core.weighting.parts import deciding_rows
from tasks.stores import arrays
from tasks.stores.catalog import clusters, images, nights
from tasks.stores.catalog.facts import NightFact, assignment_facts
from tasks.stores.catalog.identity import nights_of_store
from tasks.stores.catalog.schema import Cluster, Night, Run, Snapshot
from tasks.stores.files import read_json, safe_name, without_digest
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.arrivals import NightRules
from tasks.stores.nights.measured import arrays_since, read_measured
from tasks.stores.nights.snapshots import pinned
from tasks.stores.stage_keys import VIEW_RARITY
from tasks.stores.upkeep import inventory

_UNREADABLE: Final = (StoreError, OSError, ValueError, KeyError, TypeError)


def complete(layout: StoreLayout, session: Session, rules: NightRules) -> tuple[int, list[str]]:
    """Give a catalog the nights that it lacks, within one transaction.

    Returns
    -------
    n_nights, lacks
        How many, and what of them could not be given back, in words.
    """
    known = {(safe_name(of), night.isoformat()) for of, night in session.execute(select(Night.category, Night.night))}
    missing = sorted(nights_of_store(layout) - known)
    lacks: list[str] = []
    for folder, found in groupby(missing, key=lambda night: night[0]):
        lacks += _Category(layout, session, folder, [date.fromisoformat(night) for _, night in found], rules).complete()
    return len(missing), lacks


class _Category:
    """What the store has of one category besides the catalog."""

    def __init__(
        self, layout: StoreLayout, session: Session, folder: str, missing: Sequence[date], rules: NightRules
    ) -> None:
        self._layout, self._session, self._folder, self._missing, self._rules = layout, session, folder, missing, rules
        self._lacks: list[str] = []
        every = sorted(date.fromisoformat(night) for of, night in nights_of_store(layout) if of == folder)
        read = {night: self._read_summary(night) for night in every}
        self._summaries = {night: summary for night, summary in read.items() if summary is not None}
        named = next((summary["category"] for summary in self._summaries.values()), None)
        self._category = str(named) if named is not None else unquote(folder)

    def complete(self) -> list[str]:
        """Write it into the catalog; gives what it lacks."""
        pin = self._read_pin()
        self._put_nights(str(pin["key"]) if pin else "", date.fromisoformat(pin["night"]) if pin else None)
        self._put_clusters()
        self._put_images(pin)
        self._lacks.append("notes, merges, splits and other decisions of these nights, but for names on the last page")
        return [f"{self._category}: {what}" for what in self._lacks]

    def _read_summary(self, night: date) -> dict[str, Any] | None:
        try:
            found = without_digest(read_json(self._layout.root / "nights" / self._folder / str(night) / "summary.json"))
            _ = found["category"], found["counters"], found["clusters"], found["created_at"]
        except _UNREADABLE:
            return None
        return found

    def _read_pin(self) -> dict[str, Any] | None:
        try:
            return pinned(self._layout, self._layout.root / "nights" / self._folder)
        except StoreError:
            return None

    def _put_nights(self, key: str, clustered: date | None) -> None:
        for night in self._missing:
            summary = self._summaries.get(night)
            if summary is None:
                self._lacks.append(f"what was counted on {night}: its summary cannot be read")
            moment = _moment(summary, night)
            counters = summary["counters"] if summary else {}
            of = key if clustered is not None and night >= clustered else ""
            nights.put_night(self._session, NightFact(self._category, night, "done", of, moment, moment, counters))

    def _put_clusters(self) -> None:
        """Every identity that a page names, so that none is given again; those that the last does not show are gone."""
        there = clusters.identities(self._session, self._category)
        last = max(self._summaries, default=None)
        told = {one["cluster"]: (one, night) for night, found in self._summaries.items() for one in found["clusters"]}
        for name in sorted(told.keys() - there, key=id_order):
            one, night = told[name]
            clusters.add(
                self._session,
                self._category,
                name,
                state=one["state"] if night == last else "retired",
                born=date.fromisoformat(one["born"]),
                run=None,
            )
            if night == last and one["name"]:
                row = self._session.get(Cluster, (self._category, name))
                assert row is not None  # noqa: S101 - for the type checker
                row.name = one["name"]
        self._session.flush()

    def _put_images(self, pin: Mapping[str, Any] | None) -> None:
        """Images of the snapshot in their clusters, and those that came since in the nearest one."""
        records = self._records()
        since = arrays_since(self._layout, self._category)
        try:
            if pin is None:
                raise StoreError("it names no snapshot")
            manifest = load_manifest(self._layout.root / pin["manifest"])
            of_snapshot = [image.sha256 for image in manifest.clustered]
            records |= {image.sha256: image for image in manifest.compared}
            labels = arrays.read(self._layout.folder("trees", self._category, pin["keys"]["group"]), "labels")
            measured = read_measured(self._layout, self._category, pin["keys"])
            weights = self._layout.folder("weights", self._category, pin["keys"]["weigh"])
            by = self._views(manifest, weights, records)
        except _UNREADABLE:
            self._lacks.append("which images were in which cluster: the last re-clustering is gone from the store")
            self._record(records, [])
            return
        self._record(records, [*(image.sha256 for image in manifest.compared), *since], by)
        pooled, height = measured.descriptors, measured.height
        ids = self._identities_of([int(label) for label in labels], date.fromisoformat(pin["night"]))
        prototypes = fit_prototypes(pooled, ids, merge_height=height)
        if self._session.get(Snapshot, (self._category, pin["key"])) is None:
            distances = member_distances(pooled, ids, prototypes)
            choosing = pooled if measured.choosing is None else measured.choosing
            sure = member_confidence(choosing, ids, fit_prototypes(choosing, ids, merge_height=height))
            self._put_snapshot(pin, height, len(of_snapshot))
            self._put_assignments(Run(snapshot=pin["key"]), of_snapshot, ids, distances, sure)
        self._put_since(prototypes, since, set(of_snapshot))

    def _records(self) -> dict[str, ImageRecord]:
        """Images of all manifests."""
        found: dict[str, ImageRecord] = {}
        n_bad = 0
        for path in inventory.manifests(self._layout, self._folder):
            try:
                found |= {image.sha256: image for image in load_manifest(path).compared}
            except _UNREADABLE:
                n_bad += 1
        if n_bad:
            self._lacks.append(f"images of {n_bad} manifests that cannot be read")
        return found

    def _views(self, manifest: DatasetManifest, weights: Path, records: Mapping[str, ImageRecord]) -> dict[str, str]:
        """Views of parts that another view stands for, and that view: the rarest, as the arrays say; none by image."""
        if not manifest.views:
            return {}
        found = {
            content: rarity.max()
            for content, rarity in arrays_since(self._layout, self._category, "rarity").items()
            if content in records
        }
        highest = arrays.read(weights, VIEW_RARITY).max(axis=1)
        found |= {image.sha256: score for image, score in zip(manifest.compared, highest, strict=True)}
        contents = sorted(found)
        parts = [records[content].part for content in contents]
        rows = deciding_rows(np.array([found[content] for content in contents]), parts).tolist()
        stands = {parts[row]: contents[row] for row in rows if parts[row] is not None}
        by = {content: stands.get(part, content) for content, part in zip(contents, parts, strict=True)}
        return {content: deciding for content, deciding in by.items() if content != deciding}

    def _record(
        self, records: Mapping[str, ImageRecord], contents: Sequence[str], by: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        known = images.known_images(self._session, self._category, contents)
        facts = [
            replace(self._rules.fact(records[content]), decided_by=by.get(content))
            for content in contents
            if content in records.keys() - known.keys()
        ]
        images.record_images(self._session, self._category, facts, now=datetime.now(UTC))

    def _identities_of(self, labels: Sequence[int], night: date) -> list[str]:
        """Lasting cluster of every image of the snapshot: the one that had as many images on the page of its night."""
        page = self._summaries.get(night, {"clusters": []})
        sizes = Counter(labels)
        open_names = {one["cluster"]: int(one["n_images"]) for one in page["clusters"] if one["state"] == "confirmed"}
        names: dict[int, str] = {}
        for label, size in sizes.items():
            same = [name for name, n_images in open_names.items() if n_images == size]
            if len(same) == 1 and list(sizes.values()).count(size) == 1:
                names[label] = same[0]
        rest = sorted(sizes.keys() - names.keys(), key=lambda label: (-sizes[label], label))
        left = sorted(open_names.keys() - set(names.values()), key=lambda name: (-open_names[name], id_order(name)))
        new = fresh_ids(clusters.identities(self._session, self._category), max(0, len(rest) - len(left)))
        for label, name in zip(rest, [*left, *new], strict=False):
            names[label] = name
            clusters.add(self._session, self._category, name, state="confirmed", born=night, run=None)
        if rest:
            guessed = ", ".join(sorted((names[label] for label in rest), key=id_order))
            self._lacks.append(f"which cluster is which for certain: {guessed} were told by their sizes alone")
        return [names[label] for label in labels]

    def _put_snapshot(self, pin: Mapping[str, Any], height: float, n_images: int) -> None:
        details = {name: value for name, value in pin.items() if name != "key"}
        night = date.fromisoformat(pin["night"])
        self._session.add(
            Snapshot(
                category=self._category,
                key=pin["key"],
                made_at=_moment(self._summaries.get(night), night),
                n_images=n_images,
                merge_height=height,
                details={**details, "reason": "given back"},
            )
        )
        self._session.flush()

    def _put_since(self, prototypes: Prototypes, since: Mapping[str, NDArray[Any]], of_snapshot: set[str]) -> None:
        placed = {fact.content for fact in images.current_assignments(self._session, self._category)}
        known = images.known_images(self._session, self._category, list(since))
        aside = images.views(self._session, self._category)
        waiting = sorted(known.keys() - placed - of_snapshot - aside.keys())
        night = self._missing[-1]
        query = select(Run).where(Run.category == self._category, Run.night == night)
        if waiting and self._session.scalars(query).first() is None:
            found = assign(np.stack([since[content] for content in waiting]), prototypes)
            self._put_assignments(Run(night=night), waiting, found.ids, found.distances, found.confidence)
            n_unknown = sum(name is None for name in found.ids)
            self._lacks.append(
                f"where {len(waiting):,} images were put since the last re-clustering: they are in the nearest cluster "
                f"now, {n_unknown:,} of them unknown"
            )

    def _put_assignments(
        self,
        run: Run,
        contents: Sequence[str],
        ids: Sequence[str | None],
        distances: Sequence[float] | NDArray[Any],
        sure: Sequence[float] | NDArray[Any],
    ) -> None:
        run.category = self._category
        self._session.add(run)
        self._session.flush()
        nights.put_assignments(self._session, run, assignment_facts(contents, ids, distances, sure))


def _moment(summary: Mapping[str, Any] | None, night: date) -> datetime:
    """When a page was written; of a night without one, its day."""
    if summary is not None:
        return datetime.fromisoformat(summary["created_at"]).astimezone(UTC)
    return datetime(night.year, night.month, night.day, tzinfo=UTC)
