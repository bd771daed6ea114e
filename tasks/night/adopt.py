"""A re-clustering becomes the snapshot of the next nights: its clusters get the identities of those that they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.errors import StoreError
from anoclust_core.matching.news import news_of
from anoclust_core.matching.partitions import ChangeKind
from anoclust_core.records import Reference
from tasks.night.lasting import Lasting, assigned, lasting_clusters, lost_clusters
from tasks.night.learning import decided_images, learnt, with_evidence
from tasks.night.notify import Gone, cluster_notice, gone_notice
from tasks.night.place import UNTRACKED, Place
from tasks.night.severity import Said, ordinary_images
from tasks.night.views import changed_facts, decided_again
from tasks.stores import arrays, runs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import SnapshotFact, Standing
from tasks.stores.manifests import load_manifest
from tasks.stores.nights.measured import Measured, read_measured
from tasks.stores.nights.snapshots import Snapshot, pin, read_snapshot, yardstick
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import embedding_keys


@dataclass(frozen=True)
class Adopted:
    """What a re-clustering made of the clusters.

    Attributes
    ----------
    changes
        Clusters by what became of them: ``kept``, ``born``, ``retired``, ``split``, ``merged``. Empty where it is the
        last re-clustering once more, and nobody has decided anything since that changes it.
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
            merge_height=measured.height,
            n_usable=sum(by[fact.content] == fact.content and fact.night <= place.night for fact in usable),
            recipe=place.run.config.recipe,
            region=place.run.spec.region,
            yardstick=yardstick(
                images,
                embedding_keys(images, place.run.spec).embedding,
                _readable(latest),
            ),
        )
        came = {fact.content: fact.night for fact in usable}
        rarity = arrays.read(parts.weights, "rarity").max(axis=1)
        highest = dict(zip(contents, rarity.tolist(), strict=True))
        choosing = measured.chosen_by

        def matched(found: Standing) -> Adopted:
            """Match against how clusters stand, and record it where they still do."""
            found = replace(
                found,
                assigned={by.get(of, of): cluster for of, cluster in found.assigned.items()},
                placed={by.get(of, of): cluster for of, cluster in found.placed.items()},
                wrong=_of_deciding(found.wrong, by),
            )
            own, now, lasting = _as_learnt(place, found, contents, (snapshot, measured, labels), parts.weights)
            match, ids = lasting.match, lasting.ids
            pin(place.layout, place.category, own)
            # where there were no clusters before, everything is new and nothing is told
            born = match.clusters("born") if found.identities else ()
            ordinary = ordinary_images(found.partition, highest, Said.of(catalog.clusters(place.category)))
            news = _news(ids, born, choosing, rarity, [(came[one], one in ordinary) for one in contents])
            is_recorded = catalog.record_snapshot(
                SnapshotFact(
                    category=place.category,
                    key=own.key,
                    made_at=datetime.now(UTC),
                    n_images=len(contents),
                    merge_height=own.merge_height,
                    details={**own.details, "reason": reason},
                ),
                night=place.night,
                match=match,
                assignments=assigned(contents, ids, now),
                new=changed_facts(usable, by),
                tell=[
                    *(cluster_notice(place.category, one, ids.count(one), place.night, place.report) for one in news),
                    *(
                        gone_notice(place.category, Gone(name, into), place.night, place.report)
                        for name, into in lost_clusters(found, match).items()
                    ),
                ],
                found=found,
            )
            if not is_recorded:
                return Adopted()
            kinds: tuple[ChangeKind, ...] = ("kept", "born", "retired", "split", "merged")
            return Adopted({kind: list(match.clusters(kind)) for kind in kinds}, news)

        return catalog.recording(place.category, matched)


def _as_learnt(
    place: Place,
    found: Standing,
    contents: Sequence[str],
    plain: tuple[Snapshot, Measured, NDArray[np.int64]],
    weights: Path,
) -> tuple[Snapshot, Measured, Lasting]:
    """Snapshot, descriptors and lasting clusters, learnt from what people decided where that is asked for.

    ``plain`` is what the re-clustering is without decisions; nothing else is given back where there are none.
    """
    snapshot, measured, labels = plain
    config = place.run.config
    choosing = measured.chosen_by
    without = lasting_clusters(found, contents, labels, choosing)
    if config.night.learn == "off" or not found.decided or config.group.distance != "weighted_average":
        return snapshot, measured, without
    more = learnt(
        place.layout,
        place.category,
        decided_images(found, contents, choosing),
        contents,
        (snapshot.key, labels),
        (choosing, arrays.read(weights, "descriptors")),
        fewest=config.group.number or (config.group.bounds or (1, None))[0],
    )
    if more is None:
        return snapshot, measured, without
    measured = measured.in_clusters(int(more.labels.max()) + 1)
    lasting = lasting_clusters(found, contents, more.labels, choosing, homes=more.decided.homes)
    keys = {**snapshot.keys, "group": more.key}
    own = replace(snapshot, key=more.key, keys=keys, merge_height=measured.height)
    return own, measured, with_evidence(lasting, without, found, contents, more.decided.n_decisions)


def _of_deciding(wrong: Mapping[str, Set[str]], by: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Clusters that images are wrong in, by the view that stands for each."""
    found: dict[str, frozenset[str]] = {}
    for content, clusters in wrong.items():
        deciding = by.get(content, content)
        found[deciding] = found.get(deciding, frozenset()) | clusters
    return found


def _readable(fact: SnapshotFact | None) -> Snapshot | None:
    """Snapshot before this one; None where there is none, or one that cannot be read: it is being replaced."""
    try:
        return read_snapshot(fact) if fact is not None else None
    except StoreError:
        return None


def _news(
    ids: Sequence[str | None],
    born: Sequence[str],
    choosing: NDArray[np.float32],
    rarity: NDArray[np.floating[Any]],
    known: Sequence[tuple[date, bool]],
) -> tuple[str, ...]:
    """Born clusters that are news; ``known`` are the night of every image, and whether its cluster was ordinary."""
    rows = [at for at, cluster in enumerate(ids) if cluster is not None]
    if not rows:
        return ()
    return news_of(
        choosing[rows],
        [cluster for cluster in ids if cluster is not None],
        born,
        nights=[known[at][0] for at in rows],
        is_ordinary=np.array([known[at][1] for at in rows]),
        rarity=rarity[rows],
    )
