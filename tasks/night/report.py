"""What people and scripts read of a night: its report and summary, and artifacts in the Prefect UI."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from anoclust_core.embedding.deep_images import range_note
from anoclust_core.matching.drift import DriftSignal
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.reporting.night import (
    UNKNOWN,
    Comparison,
    NightCluster,
    NightImage,
    NightReport,
    render_night,
)
from anoclust_core.reporting.record import Picture
from tasks import telemetry
from tasks.images.thumbnails import thumbnail_jpeg
from tasks.night.place import UNTRACKED, Place
from tasks.night.watch import HISTORY_NIGHTS, Watched
from tasks.services.prefect_server import complete_anyway
from tasks.stages.runner import artifact_key
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ClusterFact, ImageFact, NightCount
from tasks.stores.nights.folders import write_night
from tasks.stores.upkeep.inventory import NIGHT_REPORT

SUMMARY_VERSION: Final = 1

DRAWN: Final = 12
"""Pictures of a cluster."""

THUMBNAIL_SIDE: Final = 160
_IN_ARTIFACT: Final = 6
"""Pictures of a new cluster in the Prefect UI: they lie in its database."""


@task(name="night-report", **UNTRACKED)
def write_night_report(
    *,
    place: Place,
    given: DatasetManifest,
    watched: Watched,
    weights: str | None,
    reclustered: str | None,
    changes: Mapping[str, Sequence[str]],
) -> str:
    """Write the folder of a night and publish its artifacts; gives the folder.

    Parameters
    ----------
    place
        Where.
    given
        What was new.
    watched
        Tonight against its past.
    weights
        Folder of the rarity of new images, or None.
    reclustered, changes
        Why everything was re-clustered, if so, and what that did to clusters.
    """
    record = _record(place, given, watched, weights, reclustered, changes)
    folder = place.layout.night(place.category, place.night)
    write_night(folder, render_night(record, max_drawn=DRAWN), _summary(record))
    with complete_anyway(f"{place.category}: the night {place.night}"):
        _publish(folder, record)
    return str(folder)


def _record(
    place: Place,
    given: DatasetManifest,
    watched: Watched,
    weights: str | None,
    reclustered: str | None,
    changes: Mapping[str, Sequence[str]],
) -> NightReport:
    with Catalog.open(place.catalog, store=place.layout) as opened, opened.view() as catalog:
        since = place.night - timedelta(days=HISTORY_NIGHTS)
        counts = catalog.counts(place.category, since=since, until=place.night)
        clusters = {cluster.cluster: cluster for cluster in catalog.clusters(place.category)}
        facts = {fact.content: fact for fact in catalog.images(place.category, since=place.night, until=place.night)}
        arrived = catalog.known_images(place.category, [image.sha256 for image in given.clustered])
        facts |= {content: fact for content, fact in arrived.items() if fact.night <= place.night}
        assigned = {fact.content: fact for fact in catalog.assignments(place.category, list(facts))}
    tonight = {content: fact for content, fact in facts.items() if content in assigned}
    by_cluster: dict[str | None, list[NightImage]] = defaultdict(list)
    for content, fact in tonight.items():
        where = assigned[content]
        by_cluster[where.cluster].append(
            NightImage(fact.path, content, where.cluster, where.distance, where.confidence)
        )
    for images in by_cluster.values():
        images.sort(key=lambda image: (-image.confidence, image.path))
    nights = sorted({count.night for count in counts} | {place.night})
    shown = _shown(clusters, by_cluster, counts, watched, place.night, set(changes.get("born", ())))
    drawn = [image for cluster in shown for image in cluster.images[:DRAWN]] + by_cluster[None][:DRAWN]
    bad = [fact for fact in facts.values() if fact.quarantined is not None]
    return NightReport(
        category=place.category,
        night=place.night,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        counters=watched.counters,
        clusters=shown,
        unknown=_compared(counts, None, nights, place.night, watched.unknown),
        unknown_images=by_cluster[None],
        rarity=_shift(watched.rarity),
        pictures=_pictures(drawn, facts, weights, place.run.spec),
        nights=nights,
        series=_series(counts, nights, [cluster.cluster for cluster in shown]),
        reclustered=reclustered,
        changes=changes,
        quarantine=sorted((fact.path, str(fact.quarantined)) for fact in bad),
        deferred=[(entry.path, entry.told) for entry in given.deferred],
        notes=[*given.notes, *map(range_note, place.run.spec.deep), *telemetry.current().notes],
    )


def _shown(
    clusters: Mapping[str, ClusterFact],
    by_cluster: Mapping[str | None, Sequence[NightImage]],
    counts: Sequence[NightCount],
    watched: Watched,
    night: date,
    born: set[str],
) -> list[NightCluster]:
    """Clusters that are not gone: the new ones first, then the growing ones, then the largest of tonight."""
    nights = sorted({count.night for count in counts} | {night})
    first_ever = all(cluster.born == night for cluster in clusters.values())
    found = [
        NightCluster(
            cluster=name,
            name=cluster.name,
            state=cluster.state,
            born=cluster.born,
            is_new=not first_ever and (cluster.born == night or name in born),
            n_images=cluster.n_images,
            counts=_compared(counts, name, nights, night, watched.growth.get(name)),
            images=by_cluster.get(name, ()),
        )
        for name, cluster in clusters.items()
        if cluster.state in {"provisional", "confirmed"}
    ]
    return sorted(found, key=lambda one: (not one.is_new, not one.counts.alarm, -one.counts.tonight, one.cluster))


def _compared(
    counts: Sequence[NightCount],
    name: str | None,
    nights: Sequence[date],
    night: date,
    signal: DriftSignal | None,
) -> Comparison:
    of = {count.night: count.n_images for count in counts if count.cluster == name}
    past = [one for one in nights if one < night]
    return Comparison(
        tonight=of.get(night, 0),
        last_night=of.get(past[-1], 0) if past else None,
        per_night=sum(of.get(one, 0) for one in past) / len(past) if past else None,
        limit=signal.limit if signal else None,
        alarm=bool(signal and signal.alarm),
    )


def _shift(signal: DriftSignal | None) -> Comparison | None:
    return Comparison(signal.value, limit=signal.limit, alarm=signal.alarm) if signal else None


def _series(counts: Sequence[NightCount], nights: Sequence[date], names: Sequence[str]) -> dict[str, list[int]]:
    found = {(count.night, count.cluster): count.n_images for count in counts}
    series = {name: [found.get((night, name), 0) for night in nights] for name in names}
    return {**series, UNKNOWN: [found.get((night, None), 0) for night in nights]}


def _pictures(
    images: Sequence[NightImage], facts: Mapping[str, ImageFact], weights: str | None, spec: EmbeddingSpec
) -> dict[str, Picture]:
    """Thumbnails of images whose files are still there, with their rarity where it is known."""
    rarity: dict[str, NDArray[np.float32]] = {}
    if weights is not None:
        contents = (arrays.describe(Path(weights)) or {}).get("contents", [])
        rarity = dict(zip(contents, arrays.read(Path(weights), "rarity"), strict=True))
    found = {}
    for image in images:
        file = Path(facts[image.sha256].file or "")
        jpeg = thumbnail_jpeg(file, sha256=image.sha256, side=THUMBNAIL_SIDE, deep=spec.deep)
        if jpeg is None:
            continue
        grid = rarity[image.sha256].reshape(spec.grid) if image.sha256 in rarity else np.empty((0, 0), np.float32)
        found[image.sha256] = Picture(jpeg, grid)
    return found


def _summary(record: NightReport) -> dict[str, Any]:
    """Content of summary.json; docs/nights.md describes every field."""
    return {
        "summary_version": SUMMARY_VERSION,
        "category": record.category,
        "night": record.night.isoformat(),
        "created_at": record.created_at,
        "counters": dict(record.counters),
        "reclustered": record.reclustered,
        "changes": {kind: list(names) for kind, names in record.changes.items()},
        "clusters": [
            {
                "cluster": cluster.cluster,
                "name": cluster.name,
                "state": cluster.state,
                "born": cluster.born.isoformat(),
                "is_new": cluster.is_new,
                "n_images": cluster.n_images,
                **asdict(cluster.counts),
            }
            for cluster in record.clusters
        ],
        "unknown": asdict(record.unknown),
        "rarity_shift": asdict(record.rarity) if record.rarity else None,
        "quarantine": [{"path": path, "reason": reason} for path, reason in record.quarantine],
        "deferred": [{"path": path, "reason": reason} for path, reason in record.deferred],
        "notes": list(record.notes),
    }


def _publish(folder: Path, record: NightReport) -> None:
    """Show the night in the Prefect UI: counts of every cluster, pictures of new ones, the way to the report."""
    category = record.category
    rows = [
        {
            "cluster": cluster.cluster,
            "name": cluster.name or "",
            "tonight": cluster.counts.tonight,
            "last night": cluster.counts.last_night,
            "a night": round(cluster.counts.per_night, 1) if cluster.counts.per_night is not None else None,
            "in all": cluster.n_images,
            "": ", ".join(word for word, on in (("new", cluster.is_new), ("growing", cluster.counts.alarm)) if on),
        }
        for cluster in record.clusters
    ]
    description = f"{category}, night {record.night}: " + ", ".join(
        f"{name.replace('_', ' ')} {value:,.4g}" for name, value in record.counters.items()
    )
    create_table_artifact(rows, key=artifact_key("night", category), description=description)
    create_link_artifact(
        (folder / NIGHT_REPORT).as_uri(),
        key=artifact_key("night-report", category),
        link_text=f"Night report of {category}, {record.night}",
        description="Open it on the machine that holds the store",
    )
    new = [cluster for cluster in record.clusters if cluster.is_new]
    if new:
        lines = [f"# {category}, {record.night}: {len(new)} new clusters"]
        for cluster in new:
            lines.append(f"## {cluster.cluster}: {cluster.n_images} images")
            lines.append(
                " ".join(
                    f"![{number}](data:image/jpeg;base64,{base64.b64encode(picture.thumbnail).decode()})"
                    for number, picture in enumerate(
                        record.pictures[image.sha256]
                        for image in cluster.images[:_IN_ARTIFACT]
                        if image.sha256 in record.pictures
                    )
                )
            )
        create_markdown_artifact(
            "\n\n".join(lines), key=artifact_key("new-clusters", category), description=f"Night {record.night}"
        )
