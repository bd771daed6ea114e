"""A re-clustering becomes the snapshot of the next nights: its clusters get the identities of those that they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.errors import StoreError
from anoclust_core.matching.assigning import member_confidence, member_distances
from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.matching.keeping import keep_apart
from anoclust_core.matching.news import news_of
from anoclust_core.matching.partitions import ChangeKind, PartitionMatch, match_partitions
from anoclust_core.matching.prototypes import fit_prototypes
from anoclust_core.records import Reference
from tasks.night.notify import Gone, cluster_notice, gone_notice
from tasks.night.place import UNTRACKED, Place
from tasks.night.severity import ordinary_images
from tasks.night.views import changed_facts, decided_again
from tasks.stores import arrays, runs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import SnapshotFact, Standing, assignment_facts
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.measured import read_measured
from tasks.stores.nights.snapshots import Snapshot, pin, read_snapshot, yardstick
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import embedding_keys


@dataclass(frozen=True)
class Adopted:
    """What a re-clustering made of the clusters.

    Attributes
    ----------
    changes
        Clusters by what became of them: ``kept``, ``born``, ``retired``, ``split``, ``merged``.
    news
        Those of the born ones that were told as new.
    """

    changes: dict[str, list[str]] = field(default_factory=dict)
    news: tuple[str, ...] = ()


@task(name="adopt", **UNTRACKED)
def adopt(*, place: Place, run_folder: str, settings_key: str, reference: Reference | None, reason: str) -> Adopted:
    """Match a finished run's clusters to the lasting ones, and record it as the snapshot.

    Parameters
    ----------
    place
        Where.
    run_folder
        Folder of the run.
    settings_key
        Key of what was asked for.
    reference
        Images that its rarity is measured against.
    reason
        Why everything was re-clustered.

    Returns
    -------
    adopted
        What became of the clusters, and which are news.
    """
    summary = runs.read_summary(Path(run_folder))
    parts = parts_of(place.layout, summary)
    images = load_manifest(parts.manifest)
    contents = [image.sha256 for image in images.clustered]
    labels = arrays.read(parts.tree, "labels")
    measured = read_measured(place.layout, place.category, parts.keys)
    pooled, height = measured.descriptors, measured.height
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        usable = [fact for fact in catalog.images(place.category) if fact.quarantined is None]
        by = decided_again(images, usable)
        latest = catalog.latest_snapshot(place.category)
        snapshot = Snapshot(
            key=parts.keys["group"],
            night=place.night,
            settings_key=settings_key,
            run=Path(run_folder).name,
            keys=parts.keys,
            manifest=parts.manifest.relative_to(place.layout.root).as_posix(),
            reference=reference,
            tau=float(summary["tau"]),
            merge_height=height,
            n_usable=sum(by[fact.content] == fact.content for fact in usable),
            recipe=place.run.config.recipe,
            yardstick=yardstick(
                images,
                embedding_keys(images, place.run.spec).embedding,
                _readable(latest),
            ),
        )
        pin(place.layout, place.category, snapshot)

        came = {fact.content: fact.night for fact in usable}
        rarity = arrays.read(parts.weights, "rarity").max(axis=1)
        highest = dict(zip(contents, rarity.tolist(), strict=True))
        choosing = pooled if measured.choosing is None else measured.choosing

        def matched(found: Standing) -> Adopted:
            """Match against how clusters stand, and record it where they still do."""
            found = replace(found, assigned={by.get(of, of): cluster for of, cluster in found.assigned.items()})
            match, ids = _matched(found, contents, labels, choosing)
            # where there were no clusters before, everything is new and nothing is told
            born = match.clusters("born") if found.identities else ()
            called = {cluster.cluster: cluster.name for cluster in catalog.clusters(place.category)}
            ordinary = ordinary_images(found.partition, highest, called)
            news = news_of(
                choosing,
                ids,
                born,
                nights=[came[content] for content in contents],
                is_ordinary=np.array([content in ordinary for content in contents]),
                rarity=rarity,
            )
            distances = member_distances(pooled, ids, fit_prototypes(pooled, ids, merge_height=height))
            confidence = member_confidence(choosing, ids, fit_prototypes(choosing, ids, merge_height=height))
            catalog.record_snapshot(
                SnapshotFact(
                    category=place.category,
                    key=snapshot.key,
                    made_at=datetime.now(UTC),
                    n_images=len(contents),
                    merge_height=height,
                    details={**snapshot.details, "reason": reason},
                ),
                night=place.night,
                match=match,
                assignments=assignment_facts(contents, ids, distances, confidence),
                new=changed_facts(usable, by),
                tell=[
                    *(cluster_notice(place.category, one, ids.count(one), place.night, place.report) for one in news),
                    *(gone_notice(place.category, one, place.night, place.report) for one in _gone(found, match)),
                ],
                found=found,
            )
            kinds: tuple[ChangeKind, ...] = ("kept", "born", "retired", "split", "merged")
            return Adopted({kind: list(match.clusters(kind)) for kind in kinds}, news)

        return catalog.recording(place.category, matched)


def _readable(fact: SnapshotFact | None) -> Snapshot | None:
    """Snapshot before this one; None where there is none, or one that cannot be read: it is being replaced."""
    try:
        return read_snapshot(fact) if fact is not None else None
    except StoreError:
        return None


def _matched(
    found: Standing, contents: Sequence[str], labels: NDArray[np.int64], choosing: NDArray[np.float32]
) -> tuple[PartitionMatch, list[str]]:
    """Give the clusters of a run their identities; known ones that the cut lost stay where they lie apart.

    Gives the match and the identity of every image's cluster.
    """
    row_of = {content: at for at, content in enumerate(contents)}
    members: dict[str, list[int]] = defaultdict(list)
    for content, cluster in found.partition.items():
        if content in row_of:
            members[owner_of(cluster, found.merged_into)].append(row_of[content])
    separations: dict[str, float] = {}
    while True:
        match = match_partitions(
            found.partition,
            dict(zip(contents, (int(label) for label in labels), strict=True)),
            taken=found.identities,
            merged_into=found.merged_into,
            lasting=found.lasting,
        )
        lost = {gone.cluster: members[gone.cluster] for gone in _gone(found, match) if gone.cluster not in separations}
        if not lost:
            break
        labels, of_lost = keep_apart(choosing, labels, lost)
        separations |= of_lost
    changes = tuple(
        replace(change, separation=separations.get(change.cluster)) if change.kind in {"kept", "retired"} else change
        for change in match.changes
    )
    return replace(match, changes=changes), [match.ids[int(label)] for label in labels]


def _gone(found: Standing, match: PartitionMatch) -> list[Gone]:
    """Known clusters that the new clustering has lost."""
    gone = [Gone(name, into) for name, into in match.merged_into.items()]
    gone += [Gone(name, None) for name in match.clusters("retired")]
    return sorted((one for one in gone if one.cluster in found.known), key=lambda one: id_order(one.cluster))
