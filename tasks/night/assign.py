"""A night's new images: weighed against the snapshot's reference, given to its clusters, recorded in the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.keys import content_key
from anoclust_core.matching.assigning import Assignments, assign
from anoclust_core.matching.births import NOT_BORN, births
from anoclust_core.matching.drift import median_and_error
from anoclust_core.matching.identities import fresh_ids, id_order
from anoclust_core.matching.prototypes import Prototypes, extended, fit_prototypes
from anoclust_core.records import DatasetManifest, NearestDistances
from tasks.compute.rarity_pooling import rarity_of_contents
from tasks.night.describe import NewDescriptors, describe_new
from tasks.night.notify import cluster_notice, quarantine_notice
from tasks.night.place import UNTRACKED, Place
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, NoticeFact, Standing, assignment_facts
from tasks.stores.nearest import NearestSlabs
from tasks.stores.nights.arrivals import NightRules
from tasks.stores.nights.measured import read_measured
from tasks.stores.nights.snapshots import Snapshot, members, snapshot_reference

_EVIDENCE: Final = 24
"""Images of a new cluster that its evidence names."""


@dataclass(frozen=True)
class Assigned:
    """What became of a night's new images.

    Attributes
    ----------
    n_new, n_assigned, n_unknown, n_born, n_quarantined
        New images that could be used, those of them with a cluster and without, clusters born, files that could not be
        used.
    rarity
        Median over the new images of each one's largest rarity against the yardstick, in embedding units, and the
        standard error of that; None where there are none or it was not measured.
    weights
        Folder of their rarity and weights, or None.
    """

    n_new: int
    n_assigned: int
    n_unknown: int
    n_born: int
    n_quarantined: int
    rarity: tuple[float, float] | None = None
    weights: str | None = None


@task(name="assign", **UNTRACKED)
def assign_images(
    *,
    place: Place,
    given: DatasetManifest,
    settled: DatasetManifest,
    embeddings: tuple[str, str],
    nearest: NearestDistances,
    snapshot: Snapshot,
) -> Assigned:
    """Give new images to the clusters of the snapshot and those born since; what is far from all is unknown.

    Similar unknown images, those of earlier nights too, start a provisional cluster.

    Parameters
    ----------
    place
        Where.
    given, settled
        What is new, and everything that was compared, what could not be decoded set aside.
    embeddings, nearest
        Folders of the images' embeddings on both levels, and distances from them to the snapshot's reference.
    snapshot
        What the last re-clustering left.
    """
    was = members(place.layout, snapshot)
    if snapshot.reference is None:
        raise AssertionError("a snapshot without a reference is re-clustered every night")
    contents = [image.sha256 for image in settled.clustered]
    against = snapshot_reference(was, snapshot.reference)
    new = describe_new(place, snapshot, against, contents, embeddings=embeddings, nearest=nearest)
    descriptors = new.descriptors
    measured = read_measured(place.layout, place.category, snapshot.keys)
    rows = {content: at for at, content in enumerate(contents)}
    fresh = [image.sha256 for image in given.clustered if image.sha256 in rows]
    level = _level(NearestSlabs(Path(nearest.uri)), fresh, snapshot)
    with Catalog.open(place.catalog, store=place.layout) as catalog:

        def assigned_to(found: Standing) -> Assigned:
            """Assign to the clusters as they stand, and record it where they still do."""
            into, gone, where = found.merged_into, found.retired, found.assigned
            kept_rows, ids = _in_clusters(was, where, gone)
            since = {at: str(where[c]) for c, at in rows.items() if where.get(c) not in {None, *gone, *ids}}

            def prototypes_of(old: NDArray[np.float32], new: NDArray[np.float32], height: float) -> Prototypes:
                found = fit_prototypes(old[kept_rows], ids, merge_height=height)
                return extended(found, new[list(since)], list(since.values())) if since else found

            prototypes = prototypes_of(measured.descriptors, descriptors, snapshot.merge_height)
            at_fresh = [rows[content] for content in fresh]
            choices = None
            if measured.choosing is not None and new.choosing is not None:
                choosing = prototypes_of(measured.choosing, new.choosing, 0.0)
                choices = assign(new.choosing[at_fresh], choosing).nearest
            best = assign(descriptors[at_fresh], prototypes, merged_into=into, choices=choices)
            placed = _by_content(fresh, best.ids, best)
            unknown = sorted(
                {content for content, fact in placed.items() if fact.cluster is None}
                | {content for content in contents if content in where and where[content] is None}
            )
            born = _born(unknown, descriptors[[rows[content] for content in unknown]], prototypes)
            names = fresh_ids(found.identities, len(born))
            evidence: dict[str, dict[str, object]] = {}
            for name, group in zip(names, born, strict=True):
                grown = extended(prototypes, descriptors[[rows[c] for c in group]], [name] * len(group))
                now = assign(descriptors[[rows[c] for c in group]], grown)
                placed |= _by_content(group, [name] * len(group), now)
                evidence[name] = {"n_images": len(group), "images": list(group[:_EVIDENCE]), "snapshot": snapshot.key}
            kept = _keep_arrays(place, snapshot, contents, new) if fresh else None
            assigned = Assigned(
                n_new=len(fresh),
                n_assigned=sum(placed[content].cluster is not None for content in fresh),
                n_unknown=sum(placed[content].cluster is None for content in fresh),
                n_born=len(born),
                n_quarantined=0,
                rarity=level,
                weights=kept,
            )
            told = [
                cluster_notice(place.category, name, len(group), place.night, place.report)
                for name, group in zip(names, born, strict=True)
            ]
            work = _Worked(given, settled, assigned, snapshot.key, placed, evidence, told)
            return _record(place, catalog, found, work)

        return catalog.recording(place.category, assigned_to)


def _level(slabs: NearestSlabs, contents: Sequence[str], snapshot: Snapshot) -> tuple[float, float] | None:
    """How rare the new images are against the yardstick: median of the rarest patch of each, and its standard error."""
    yardstick = snapshot.yardstick
    if yardstick is None or not contents:
        return None
    counts = [1] * len(yardstick.contents)
    highest = rarity_of_contents(slabs, contents, yardstick.contents, counts, yardstick.role).max(axis=1)
    return median_and_error(highest)


@task(name="register", **UNTRACKED)
def register_images(*, place: Place, given: DatasetManifest, settled: DatasetManifest) -> Assigned:
    """Record new images as unknown: they get their clusters once everything is re-clustered."""
    usable = {image.sha256 for image in settled.clustered}
    fresh = [image.sha256 for image in given.clustered if image.sha256 in usable]
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        placed = {content: AssignmentFact(content, None, 0.0, 0.0) for content in fresh}
        work = _Worked(given, settled, Assigned(len(fresh), 0, len(fresh), 0, 0), "", placed)
        return catalog.recording(place.category, lambda found: _record(place, catalog, found, work))


def _in_clusters(was: DatasetManifest, where: Mapping[str, str | None], gone: Set[str]) -> tuple[list[int], list[str]]:
    """Rows and clusters of the snapshot's images, as they and people have placed them since."""
    ids = [where.get(image.sha256) for image in was.clustered]
    rows = [at for at, name in enumerate(ids) if name is not None and name not in gone]
    return rows, [str(ids[at]) for at in rows]


def _by_content(
    contents: Sequence[str], clusters: Sequence[str | None], found: Assignments
) -> dict[str, AssignmentFact]:
    return {fact.content: fact for fact in assignment_facts(contents, clusters, found.distances, found.confidence)}


def _born(unknown: Sequence[str], pooled: NDArray[np.float32], prototypes: Prototypes) -> list[list[str]]:
    """Groups of unknown images that are new clusters, the largest first."""
    labels = births(pooled, prototypes)
    groups = range(int(labels.max(initial=NOT_BORN)) + 1)
    return [[unknown[at] for at in np.flatnonzero(labels == group).tolist()] for group in groups]


def _keep_arrays(
    place: Place,
    snapshot: Snapshot,
    contents: Sequence[str],
    new: NewDescriptors,
) -> str:
    """Keep what the report draws; gives the folder."""
    key = content_key("assign", {"snapshot": snapshot.key, "contents": list(contents)})
    folder = place.layout.folder("weights", place.category, key)
    stored = {
        "rarity": new.rarity.astype(np.float32),
        "weights": new.weights.astype(np.float32),
        "descriptors": new.descriptors,
    }
    arrays.write_arrays(folder, stored, {"tau": snapshot.tau, "contents": list(contents)})
    return str(folder)


@dataclass(frozen=True)
class _Worked:
    """What was worked out about new images: where they belong, the clusters born of them, what is told.

    ``given`` and ``settled`` are those of `assign_images`, ``key`` is the snapshot's, or empty without one.
    """

    given: DatasetManifest
    settled: DatasetManifest
    assigned: Assigned
    key: str
    placed: Mapping[str, AssignmentFact]
    born: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    told: Sequence[NoticeFact] = ()


def _record(place: Place, catalog: Catalog, found: Standing, work: _Worked) -> Assigned:
    """Record the night in one transaction, with what an earlier part of the same night recorded."""
    given, settled, born = work.given, work.settled, work.born
    rules = NightRules.of(place.run.config.night)
    usable = {image.sha256 for image in settled.images}
    reasons = {entry.path: entry.reason for entry in settled.quarantine}
    facts: list[ImageFact] = []
    for image in given.clustered:
        if image.sha256 in usable:
            facts.append(rules.fact(image))
        elif image.path in reasons:
            facts.append(rules.fact(image, quarantined=reasons[image.path]))
    facts += [rules.fact_without_bytes(entry, place.night) for entry in given.quarantine]
    bad = [fact for fact in facts if fact.quarantined is not None]
    known = catalog.known_images(place.category, [fact.content for fact in bad])
    newly_bad = [fact for fact in bad if fact.content not in known]
    before, born_before = catalog.night_record(place.category, place.night)
    assigned = replace(work.assigned, n_quarantined=len(newly_bad))
    earlier = catalog.night(place.category, place.night)
    counters: dict[str, float] = {
        "new": assigned.n_new,
        "assigned": assigned.n_assigned,
        "unknown": assigned.n_unknown,
        "new_clusters": assigned.n_born,
        "quarantined": len(newly_bad),
    }
    if earlier is not None:
        counters = {name: count + earlier.counters.get(name, 0) for name, count in counters.items()}
    if assigned.rarity is not None:
        counters["rarity"], counters["rarity_error"] = assigned.rarity
    everything = {fact.content: fact for fact in before} | dict(work.placed)
    catalog.record_night(
        NightFact(place.category, place.night, "begun", work.key, place.began, datetime.now(UTC), counters),
        new=facts,
        assignments=[everything[content] for content in sorted(everything)],
        born={name: (born_before | dict(born))[name] for name in sorted({*born_before, *born}, key=id_order)},
        tell=[
            *work.told,
            *([quarantine_notice(place.category, newly_bad, place.night, place.report)] if newly_bad else []),
        ],
        found=found,
    )
    return assigned
