"""A night's new images: weighed against the snapshot's reference, given to its clusters, recorded in the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from prefect import task

from anoclust_core.keys import content_key
from anoclust_core.matching.assigning import Assignments, assign, choose
from anoclust_core.matching.drift import median_and_error
from anoclust_core.matching.identities import fresh_ids, id_order, owner_of
from anoclust_core.matching.prototypes import Prototypes, extended, fit_prototypes
from anoclust_core.records import DatasetManifest, EmbeddingSpec, NearestDistances
from anoclust_core.weighting.regions import Regions, least_outside
from tasks.compute.counting import Measure
from tasks.compute.detection import detected_scores
from tasks.compute.rarity_pooling import rarity_of_contents
from tasks.night.alike import alike_details, counts_once, night_alike
from tasks.night.births import Candidates, Described, born_of, members_of_born
from tasks.night.describe import Against, NewDescriptors, describe_new
from tasks.night.learning import read_head
from tasks.night.notify import cluster_notice, quarantine_notice
from tasks.night.place import UNTRACKED, Place
from tasks.night.severity import Said, ordinary_images
from tasks.night.views import changed_facts, decided_tonight, decided_unseen
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, NoticeFact, Standing, assignment_facts
from tasks.stores.nearest import NearestSlabs
from tasks.stores.nights.arrivals import NightRules
from tasks.stores.nights.folders import ONE_BY_ONE, RARITY_IMAGES, RARITY_SCALE
from tasks.stores.nights.measured import read_measured
from tasks.stores.nights.recent import recent_images
from tasks.stores.nights.reclustering import has_clusters
from tasks.stores.nights.snapshots import Snapshot, Yardstick, members, snapshot_reference
from tasks.stores.regions import regions_of
from tasks.stores.stage_keys import embedding_keys

_SCALE_DIGITS: Final = 12
"""Of a key, as a counter is a number: as many as a double holds without rounding."""


@dataclass(frozen=True)
class Assigned:
    """What became of a night's new images.

    Attributes
    ----------
    n_new, n_assigned, n_unknown, n_born, n_quarantined
        New images that could be used, those of them with a cluster and without, clusters born, files that could not be
        used.
    rarity
        Median over the new images of each one's largest rarity against the yardstick, in embedding units, the standard
        error of that, the number of images and `rarity_scale`, as counters; empty where there are none or it was not
        measured.
    weights
        Folder of their rarity and weights, or None.
    n_learnt
        New images that what was learnt from decisions gave to another cluster than the nearest; None where nothing was.
    """

    n_new: int
    n_assigned: int
    n_unknown: int
    n_born: int
    n_quarantined: int
    rarity: Mapping[str, float] = field(default_factory=dict)
    weights: str | None = None
    n_learnt: int | None = None


@task(name="assign", **UNTRACKED)
def assign_images(
    *,
    place: Place,
    given: DatasetManifest,
    settled: DatasetManifest,
    embeddings: tuple[str, str],
    nearest: NearestDistances | None,
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
        Folders of the images' embeddings on both levels, and distances from them to the snapshot's reference; None
        where it has none.
    snapshot
        What the last re-clustering left.
    """
    was = members(place.layout, snapshot)
    compared = [image.sha256 for image in settled.clustered]
    alike = night_alike(place, snapshot, was, settled.clustered, embeddings[0])
    once = alike if counts_once(place) else None
    against = None
    if nearest is not None and snapshot.reference is not None:
        reference = snapshot_reference(was, snapshot.reference)
        measure = once.measure(reference) if once else Measure(reference.contents, reference.counts)
        against = Against(NearestSlabs(Path(nearest.uri)), reference.role, measure)
    new = describe_new(place, snapshot, settled.clustered, embeddings=embeddings, against=against)
    measured = read_measured(place.layout, place.category, snapshot.keys)
    ranked = arrays.read(place.layout.folder("weights", place.category, snapshot.keys["weigh"]), "rarity").max(axis=1)
    of_snapshot = [image.sha256 for image in was.clustered]
    rarest = new.rarity.max(axis=1)
    usable = set(compared)
    came = [image.sha256 for image in given.clustered if image.sha256 in usable]
    by = decided_tonight(place, snapshot, was, came, list(zip(settled.clustered, rarest.tolist(), strict=True)))
    with Catalog.open(place.catalog, store=place.layout) as opened:
        aside = {*opened.views(place.category), *by} - {content for content, of in by.items() if content == of}
    described = Described.of(
        (of_snapshot, measured.descriptors, measured.choosing, ranked),
        (compared, new.descriptors, new.choosing, rarest),
    ).without(aside)
    contents, fresh = ([content for content in of if content not in aside] for of in (compared, came))
    row_of = {content: at for at, content in enumerate(described.contents)}
    descriptors, choosing = described.descriptors, described.choosing
    at_fresh = [row_of[content] for content in fresh]
    regions = regions_of(place.layout, settled.clustered, place.run.spec)[0]
    head = read_head(place.layout, place.category, snapshot.keys["group"])
    scores = head.scores(described.choosing[at_fresh], measured.chosen_by) if head else None
    level = _level(place, against, came, snapshot, regions)
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        highest = dict(zip(described.contents, described.rarity.tolist(), strict=True))

        def assigned_to(found: Standing) -> Assigned:
            """Assign to the clusters as they stand, and record it where they still do."""
            if not has_clusters(found, of_snapshot):  # all are unknown until everything is re-clustered
                unknown = Assigned(len(fresh), 0, len(fresh), 0, 0, rarity=level)
                return _record(
                    place, catalog, found, _Worked(given, settled, unknown, snapshot.key, _unplaced(fresh), by=by)
                )
            lately = recent_images(catalog, place.category, place.night)
            said = Said.of(catalog.clusters(place.category))
            where = {content: None if of in found.retired else of for content, of in found.assigned.items()}
            prototypes = _prototypes(described, of_snapshot, where, found, height=snapshot.merge_height)
            by_choice, choice = prototypes, None
            if measured.choosing is not None:
                by_choice = _prototypes(replace(described, descriptors=choosing), of_snapshot, where, found, height=0.0)
                choice = choose(choosing[at_fresh], by_choice, merged_into=found.merged_into)
            n_learnt = None
            if head is not None and scores is not None:
                nearest_one = choice or choose(choosing[at_fresh], by_choice, merged_into=found.merged_into)
                homes = [where.get(content) if where.get(content) in by_choice.ids else None for content in of_snapshot]
                choice = head.choice(scores, homes, nearest_one, found.merged_into)
                n_learnt = sum(one != other for one, other in zip(choice.ids, nearest_one.ids, strict=True))
            best = assign(descriptors[at_fresh], prototypes, merged_into=found.merged_into, choice=choice)
            placed = _by_content(fresh, best.ids, best)
            now = {content: where.get(content) for content in described.contents}
            now |= {content: fact.cluster for content, fact in placed.items()}

            settled_in = {*found.retired, *found.lasting}
            owners = {
                content: owner_of(now.get(content) or found.assigned.get(content) or "", found.merged_into)
                for content in (*fresh, *lately.nights, *contents)
            }
            sure = {fact.content: fact.confidence for fact in catalog.assignments(place.category, list(lately.nights))}
            sure |= {content: fact.confidence for content, fact in placed.items()}
            open_ones = {
                content
                for content, owner in owners.items()
                if owner not in settled_in and not lately.is_settled(content, owner, sure.get(content, 0.0))
            }
            born = born_of(
                described,
                now,
                prototypes,
                candidates=Candidates(
                    recent=open_ones & {*fresh, *lately.nights},
                    unknown={content for content in open_ones & {*contents} if now[content] is None},
                    nights={**dict.fromkeys(fresh, place.night), **lately.nights},
                ),
                ordinary=ordinary_images(now, highest, said),
                seed=place.run.config.seed,
                units=once.units if once else None,
            )
            names = fresh_ids(found.identities, len(born))
            evidence = {name: group.evidence(snapshot.key) for name, group in zip(names, born, strict=True)}
            placed |= members_of_born(dict(zip(names, born, strict=True)), described, prototypes, by_choice)
            drawn = {*came, *(content for content in contents if now[content] is None)}
            kept = None
            if came:
                told_alike = alike_details(alike, set(came))
                kept = _keep_arrays(place, snapshot, compared, new, of=drawn, details=told_alike)
            assigned = Assigned(
                n_new=len(fresh),
                n_assigned=sum(placed[content].cluster is not None for content in fresh),
                n_unknown=sum(placed[content].cluster is None for content in fresh),
                n_born=len(born),
                n_quarantined=0,
                rarity=level,
                weights=kept,
                n_learnt=n_learnt,
            )
            told = [
                cluster_notice(place.category, name, len(group.contents), place.night, place.report)
                for name, group in zip(names, born, strict=True)
            ]
            work = _Worked(given, settled, assigned, snapshot.key, placed, evidence, told, by)
            return _record(place, catalog, found, work)

        return catalog.recording(place.category, assigned_to)


def _level(
    place: Place,
    against: Against | None,
    contents: Sequence[str],
    snapshot: Snapshot,
    regions: Regions | None,
) -> dict[str, float]:
    """How rare the new images are against the yardstick, as counters: `Assigned.rarity`. A detector is its own."""
    yardstick = snapshot.yardstick
    if not contents:
        return {}
    if against is not None and yardstick is not None:
        counts = [1] * len(yardstick.contents)
        rarity = rarity_of_contents(against.slabs, contents, yardstick.contents, counts, yardstick.role)
    elif snapshot.is_detected:
        rarity = detected_scores(place.layout, place.category, place.run.spec, contents)
    else:
        return {}
    if regions is not None:
        rarity = least_outside(rarity, regions.inside(contents))
    median, error = median_and_error(rarity.max(axis=1))
    scale = rarity_scale(place.category, place.run.spec, yardstick)
    return {"rarity": median, "rarity_error": error, RARITY_IMAGES: len(rarity), RARITY_SCALE: scale}


def rarity_scale(category: str, spec: EmbeddingSpec, yardstick: Yardstick | None) -> int:
    """Number that stands for everything but the new images that decides a night's level of rarity.

    That is the network and what it sees, which patches are compared, and the images of the yardstick; or the detector.
    """
    keys = embedding_keys(DatasetManifest(category, ()), spec)
    measured_by: dict[str, object] = {"detected": keys.detected, "regions": keys.regions}
    if not keys.detected:
        measured_by = {"distances": keys.distances, "yardstick": asdict(yardstick) if yardstick else None}
    return int(content_key("rarity scale", measured_by)[:_SCALE_DIGITS], 16)


@task(name="register", **UNTRACKED)
def register_images(*, place: Place, given: DatasetManifest, settled: DatasetManifest) -> Assigned:
    """Record new images as unknown: they get their clusters once everything is re-clustered."""
    usable = {image.sha256 for image in settled.clustered}
    came = [image for image in given.clustered if image.sha256 in usable]
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        by = decided_unseen(place, catalog, came)
        fresh = [image.sha256 for image in came if by.get(image.sha256, image.sha256) == image.sha256]
        work = _Worked(given, settled, Assigned(len(fresh), 0, len(fresh), 0, 0), "", _unplaced(fresh), by=by)
        return catalog.recording(place.category, lambda found: _record(place, catalog, found, work))


def _unplaced(contents: Sequence[str]) -> dict[str, AssignmentFact]:
    return {content: AssignmentFact(content, None, 0.0, 0.0) for content in contents}


def _prototypes(
    described: Described,
    of_snapshot: Sequence[str],
    where: Mapping[str, str | None],
    found: Standing,
    *,
    height: float,
) -> Prototypes:
    """Clusters of the snapshot, as they and people have placed its images since, and beside them those born since."""
    members_of = set(of_snapshot)
    old = [at for at, content in enumerate(described.contents) if content in members_of]
    rows = [at for at in old if where.get(described.contents[at]) not in {None, *found.provisional}]
    ids = [str(where[described.contents[at]]) for at in rows]
    given = {content: where.get(content) for content in described.contents}
    aside = {None, *ids}
    since = {at: str(given[content]) for at, content in enumerate(described.contents) if given[content] not in aside}
    prototypes = fit_prototypes(described.descriptors[rows], ids, merge_height=height)
    return extended(prototypes, described.descriptors[list(since)], list(since.values())) if since else prototypes


def _by_content(
    contents: Sequence[str], clusters: Sequence[str | None], found: Assignments
) -> dict[str, AssignmentFact]:
    return {fact.content: fact for fact in assignment_facts(contents, clusters, found.distances, found.confidence)}


def _keep_arrays(
    place: Place,
    snapshot: Snapshot,
    contents: Sequence[str],
    new: NewDescriptors,
    *,
    of: Set[str],
    details: Mapping[str, Sequence[Sequence[str]]],
) -> str:
    """Keep what the report draws of some images, and what it tells of all; gives the folder."""
    rows = [at for at, content in enumerate(contents) if content in of]
    parts = {"snapshot": snapshot.key, "contents": [contents[at] for at in rows]}
    key = content_key("assign", {**parts, **{name: value for name, value in details.items() if value}})
    folder = place.layout.folder("weights", place.category, key)
    stored = {
        "rarity": new.rarity[rows].astype(np.float32),
        "weights": new.weights[rows].astype(np.float32),
        "descriptors": new.descriptors[rows],
    }
    # a person's cut is another snapshot, on the same scale
    arrays.write_arrays(folder, stored, {"tau": snapshot.tau, "weigh": snapshot.keys["weigh"], **parts, **details})
    return str(folder)


@dataclass(frozen=True)
class _Worked:
    """What was worked out about new images: where they belong, the clusters born of them, what is told.

    ``given`` and ``settled`` are those of `assign_images`, ``key`` is the snapshot's, or empty without one. ``by`` is
    that of `decided_tonight`.
    """

    given: DatasetManifest
    settled: DatasetManifest
    assigned: Assigned
    key: str
    placed: Mapping[str, AssignmentFact]
    born: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    told: Sequence[NoticeFact] = ()
    by: Mapping[str, str] = field(default_factory=dict)


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
    changed = {fact.content: fact for fact in changed_facts(facts, work.by)}
    facts = [changed.get(fact.content, fact) for fact in facts]
    earlier_views = catalog.known_images(place.category, sorted(work.by.keys() - {fact.content for fact in facts}))
    facts += changed_facts(earlier_views.values(), work.by)
    bad = [fact for fact in facts if fact.quarantined is not None]
    known = catalog.known_images(place.category, [fact.content for fact in bad])
    newly_bad = [fact for fact in bad if fact.content not in known]
    before, born_before = catalog.night_record(place.category, place.night)
    assigned = replace(work.assigned, n_quarantined=len(newly_bad))
    earlier = catalog.night(place.category, place.night)
    counted: dict[str, float] = {
        "new": assigned.n_new,
        "assigned": assigned.n_assigned,
        "unknown": assigned.n_unknown,
        ONE_BY_ONE: assigned.n_new if work.key else 0,
        "new_clusters": assigned.n_born,
        "quarantined": len(newly_bad),
    }
    if assigned.n_learnt is not None:
        counted["learnt"] = assigned.n_learnt
    was = earlier.counters if earlier is not None else {}
    counters = {**was, **{name: count + was.get(name, 0) for name, count in counted.items()}}
    if assigned.rarity.get(RARITY_IMAGES, 0) >= was.get(RARITY_IMAGES, 0):  # a few more images say less than all others
        counters |= assigned.rarity
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
