"""All that is shown of a night, gathered from the catalog and the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.embedding.deep_images import outside_note, range_note
from anoclust_core.matching.drift import DriftSignal
from anoclust_core.matching.identities import id_order
from anoclust_core.matching.partitions import ChangeKind
from anoclust_core.records import DatasetManifest
from anoclust_core.reporting.night_record import (
    UNKNOWN,
    Comparison,
    GoneCluster,
    NightCluster,
    NightImage,
    NightReport,
    NightView,
)
from anoclust_core.reporting.record import Picture
from anoclust_core.weighting.regions import region_note
from anoclust_core.wording import counted
from tasks import telemetry
from tasks.images.thumbnails import picture_of
from tasks.night.alike import alike_notes
from tasks.night.notify import GONE, MERGED
from tasks.night.place import Place
from tasks.night.severity import Severity, cluster_severity
from tasks.night.watch import HISTORY_NIGHTS, Watched
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.clusters import MACHINE
from tasks.stores.catalog.facts import AssignmentFact, ClusterFact, DecisionKind, ImageFact, NightCount
from tasks.stores.catalog.standing import NEW
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.files import category_address
from tasks.stores.nights.arrivals import content_of_path, record
from tasks.stores.regions import region_mask, regions_of
from tasks.stores.stage_keys import embedding_keys

DRAWN: Final = 12
"""Pictures of a cluster."""

_CHANGES: Final[Mapping[DecisionKind, ChangeKind]] = {
    "kept": "kept",
    "born": "born",
    "retired": "retired",
    "was_split": "split",
    "merged": "merged",
}
"""What a re-clustering did to clusters, by how it is written down."""

THUMBNAIL_SIDE: Final = 160
VIEW_SIDE: Final = 96
"""Longest sides of pictures, and of those of other views of a part."""


def night_record(
    place: Place,
    given: DatasetManifest,
    watched: Watched,
    weights: str | None,
    reclustered: str | None,
    changes: Mapping[str, Sequence[str]],
) -> NightReport:
    """Gather all that is shown of a night; parameters as those of `tasks.night.report.write_night_report`."""
    with Catalog.open(place.catalog, store=place.layout) as opened, opened.view() as catalog:
        since = place.night - timedelta(days=HISTORY_NIGHTS)
        lost = _lost(catalog, place)
        if reclustered is None and watched.counters.get("reclustered"):
            reclustered, changes = _reclustered_before(catalog, place)
        severity = cluster_severity(place, catalog, weights)
        told = [one for one in catalog.notices(place.category) if one.night == place.night and one.event == NEW]
        news = {str(one.payload["cluster"]) for one in told}
        counts = catalog.counts(place.category, since=since, until=place.night)
        clusters = {cluster.cluster: cluster for cluster in catalog.clusters(place.category)}
        facts = {fact.content: fact for fact in catalog.images(place.category, since=place.night, until=place.night)}
        came = [image.sha256 for image in given.clustered]
        came += [content_of_path(entry.path) for entry in given.quarantine]
        arrived = catalog.known_images(place.category, came)
        facts |= {content: fact for content, fact in arrived.items() if fact.night <= place.night}
        assigned = {fact.content: fact for fact in catalog.assignments(place.category, list(facts))}
        beside = catalog.known_images(place.category, list(catalog.views(place.category)))
    views: dict[str | None, list[NightView]] = defaultdict(list)
    for view in sorted(beside.values(), key=lambda view: view.path):
        views[view.decided_by].append(NightView(view.path, view.content))
    tonight = {content: fact for content, fact in facts.items() if content in assigned}
    by_cluster: dict[str | None, list[NightImage]] = defaultdict(list)
    for content, fact in tonight.items():
        where = assigned[content]
        image = replace(_night_image(fact, where, views), is_late=fact.night < place.night)
        by_cluster[where.cluster].append(image)
    for images in by_cluster.values():
        images.sort(key=lambda image: (-image.confidence, image.path))
    nights = sorted({count.night for count in counts} | {place.night})
    shown = _shown(clusters, by_cluster, counts, watched, place.night, news)
    shown, gone, others = _beside(place, shown, lost, severity, views)
    facts |= others
    drawn = [image for cluster in shown for image in (cluster.images or cluster.earlier)[:DRAWN]]
    drawn += by_cluster[None][:DRAWN] + [image for one in gone for image in (*one.images, *one.of_into)]
    bad = [fact for fact in facts.values() if fact.quarantined is not None]
    page = place.run.config.night.review
    n_tonight = sum(count.n_images for count in counts if count.night == place.night)
    ahead = [one for one, fact in arrived.items() if fact.night > place.night and fact.quarantined is None]
    return NightReport(
        category=place.category,
        night=place.night,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        counters=watched.counters,
        clusters=shown,
        unknown=_compared(counts, None, nights, place.night, watched.unknown),
        unknown_images=by_cluster[None],
        rarity=_shift(watched.rarity),
        pictures=_pictures(drawn, facts, weights, place)
        | _pictures([view for image in drawn for view in image.views], beside, weights, place, side=VIEW_SIDE),
        nights=nights,
        series=_series(counts, nights, [cluster.cluster for cluster in shown]),
        reclustered=reclustered,
        changes=changes,
        quarantine=sorted((fact.path, str(fact.quarantined)) for fact in bad),
        deferred=[(entry.path, entry.told) for entry in given.deferred],
        notes=[
            *given.notes,
            *map(range_note, place.run.spec.deep),
            *outside_notes(place, given),
            *region_notes(place, given),
            *alike_notes(weights, given),
            *telemetry.current().notes,
        ],
        camera=[
            (what, _of_camera(what, signal, watched.counters, unit=place.run.config.group.by))
            for what, signal in watched.camera.items()
            if signal.alarm
        ],
        gone=gone,
        review=None if page is None else f"{page}{category_address(place.category)}",
        unit=place.run.config.group.by,
        n_tonight=n_tonight,
        n_late=max(0, int(watched.counters.get("new", 0)) - n_tonight - sum(one not in beside for one in ahead)),
    )


def _night_image(image: ImageFact, where: AssignmentFact, views: Mapping[str | None, list[NightView]]) -> NightImage:
    """An image as it is shown, with the other views of the part that it stands for, if there are."""
    others = views.get(image.content, ())
    part = image.part if others else None
    return NightImage(image.path, where.content, where.cluster, where.distance, where.confidence, part, others)


def outside_notes(place: Place, given: DatasetManifest) -> list[str]:
    """How far the night's deep images lie outside of their range, where that is to be told."""
    key = embedding_keys(given, place.run.spec).embedding
    outside = EmbeddingSegments(place.layout.folder("embeddings", place.category, key)).outside(given.clustered)
    told = outside_note(outside, len(given.clustered))
    return [told] if told else []


def region_notes(place: Place, given: DatasetManifest) -> list[str]:
    """How much of the night's images is looked at, where that is not all."""
    regions = regions_of(place.layout, given.clustered, place.run.spec)[0]
    told = region_note(regions, [image.sha256 for image in given.clustered])
    return [told] if told else []


def _shown(
    clusters: Mapping[str, ClusterFact],
    by_cluster: Mapping[str | None, Sequence[NightImage]],
    counts: Sequence[NightCount],
    watched: Watched,
    night: date,
    news: Set[str],
) -> list[NightCluster]:
    """Clusters that are not gone: the new ones first, then the growing ones, then the largest of tonight."""
    nights = sorted({count.night for count in counts} | {night})
    found = [
        NightCluster(
            cluster=name,
            name=cluster.name,
            state=cluster.state,
            born=cluster.born,
            is_new=name in news,
            n_images=cluster.n_images,
            counts=replace(
                _compared(counts, name, nights, night, watched.growth.get(name)),
                of_night=watched.late[name].isoformat() if name in watched.late else None,
            ),
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
        value=signal.value if signal else of.get(night, 0),
        expected=signal.expected if signal else None,
        over=signal.over if signal else 1,
    )


def _shift(signal: DriftSignal | None) -> Comparison | None:
    if signal is None:
        return None
    return Comparison(
        signal.value,
        limit=signal.limit,
        alarm=signal.alarm,
        value=signal.value,
        expected=signal.expected,
        over=signal.over,
    )


def _of_camera(what: str, signal: DriftSignal, counters: Mapping[str, float], *, unit: str) -> str:
    """Say what has changed about the pictures, or how many images or parts came."""
    before = signal.expected or 0.0
    if what == "images":
        usual, came = np.exp(-before), counters.get("new", 0)
        if signal.over > 1:
            of_them = counted(np.exp(-before - signal.value), unit)
            return f"in the last {signal.over} nights {of_them} a night came, {usual:,.0f} were usual before"
        return f"{f'only {counted(came, unit)}' if came else f'no {unit}'} came, {usual:,.0f} are usual"
    if what == "brightness":
        way = "brighter" if signal.value > 0 else "darker"
        return f"pictures are {way} than before (grey level {before + signal.value:.0f}, before {before:.0f})"
    if what == "sharpness":
        return f"pictures are {'sharper' if signal.value > 0 else 'less sharp'} than before"
    return "pictures are more alike than before; the camera may be sending the same picture again"


def _reclustered_before(catalog: Catalog, place: Place) -> tuple[str | None, dict[str, list[str]]]:
    """Why an earlier call of the night re-clustered everything, and what that did to clusters; the last one of them."""
    of_night = [
        one
        for one in catalog.history(place.category)
        if one.who == MACHINE and one.night == place.night and "overlaps" in one.after
    ]
    last = [one for one in of_night if one.when == of_night[-1].when]
    snapshot = catalog.snapshot(place.category, last[0].after.get("snapshot", "")) if last else None
    if snapshot is None:
        return None, {}
    clusters: dict[str, set[str]] = {kind: set() for kind in _CHANGES.values()}
    for one in last:
        clusters[_CHANGES[one.kind]].add(one.after.get("merged_into", one.cluster))
    changes = {kind: sorted(names, key=id_order) for kind, names in clusters.items()}
    return snapshot.details.get("reason"), changes


@dataclass(frozen=True)
class _Lost:
    """A known cluster that is gone, and the images that it had."""

    cluster: ClusterFact
    into: str | None
    undo: int
    contents: Sequence[str]


def _lost(catalog: Catalog, place: Place) -> list[_Lost]:
    """Known clusters that tonight's re-clustering lost, and that nobody has brought back since."""
    told = {
        str(one.payload["cluster"]): one.payload["into"]
        for one in catalog.notices(place.category)
        if one.night == place.night and one.event in {MERGED, GONE}
    }
    found = []
    for cluster, into in told.items():
        done = [one for one in catalog.history(place.category, cluster) if one.kind in {"merged", "retired"}]
        done = [one for one in done if one.cluster == cluster and not one.undone]
        if done:
            contents = catalog.members_before(place.category, done[-1].number)
            found.append(_Lost(catalog.cluster(place.category, cluster), into, done[-1].number, contents))
    return found


def _beside(
    place: Place,
    shown: Sequence[NightCluster],
    lost: Sequence[_Lost],
    severity: Severity,
    views: Mapping[str | None, list[NightView]],
) -> tuple[list[NightCluster], list[GoneCluster], dict[str, ImageFact]]:
    """Say of clusters how severe they are, and show images of other nights where there are none of tonight.

    Gives clusters, those that are gone, and the images that are shown besides, by content.
    """
    with Catalog.open(place.catalog, store=place.layout) as catalog:
        members_of: dict[str, list[AssignmentFact]] = defaultdict(list)
        now = {fact.content: fact for fact in catalog.assignments(place.category)}
        for fact in now.values():
            if fact.cluster is not None:
                members_of[fact.cluster].append(fact)
        for facts in members_of.values():
            facts.sort(key=lambda fact: (-fact.confidence, fact.content))
        chosen = {
            one.cluster: members_of[one.cluster][:DRAWN]
            for one in shown
            if (one.is_new or one.counts.alarm) and not one.images
        }
        of_lost = {
            one.cluster.cluster: [now[content] for content in one.contents if content in now][:DRAWN] for one in lost
        }
        of_into = {
            one.cluster.cluster: [fact for fact in members_of[one.into] if fact.content not in set(one.contents)][
                :DRAWN
            ]
            for one in lost
            if one.into is not None
        }
        wanted = {fact.content for facts in (*chosen.values(), *of_into.values(), *of_lost.values()) for fact in facts}
        images = catalog.known_images(place.category, sorted(wanted))

    def shown_of(facts: Iterable[AssignmentFact]) -> list[NightImage]:
        return [_night_image(images[fact.content], fact, views) for fact in facts if fact.content in images]

    clusters = [
        replace(
            one,
            earlier=shown_of(chosen.get(one.cluster, ())),
            is_ordinary=one.cluster in severity.ordinary,
            severity=severity.above_ordinary(one.cluster),
        )
        for one in shown
    ]
    gone = [
        GoneCluster(
            one.cluster.cluster,
            one.cluster.name,
            one.into,
            one.undo,
            shown_of(of_lost[one.cluster.cluster]),
            shown_of(of_into.get(one.cluster.cluster, ())),
        )
        for one in lost
    ]
    return clusters, gone, images


def _series(counts: Sequence[NightCount], nights: Sequence[date], names: Sequence[str]) -> dict[str, list[int]]:
    found = {(count.night, count.cluster): count.n_images for count in counts}
    series = {name: [found.get((night, name), 0) for night in nights] for name in names}
    return {**series, UNKNOWN: [found.get((night, None), 0) for night in nights]}


def _pictures(
    images: Sequence[NightImage | NightView],
    facts: Mapping[str, ImageFact],
    weights: str | None,
    place: Place,
    *,
    side: int = THUMBNAIL_SIDE,
) -> dict[str, Picture]:
    """Thumbnails of images whose files are still there, with their rarity where it is known."""
    spec = place.run.spec
    rarity: dict[str, NDArray[np.float32]] = {}
    if weights is not None:
        contents = (arrays.describe(Path(weights)) or {}).get("contents", [])
        rarity = dict(zip(contents, arrays.read(Path(weights), "rarity"), strict=True))
    found = {}
    for image in images:
        file, region = Path(facts[image.sha256].file or ""), record(facts[image.sha256], "cluster").region
        grid = rarity[image.sha256].reshape(spec.grid) if image.sha256 in rarity else np.empty((0, 0), np.float32)
        looked_at = region_mask(place.layout, region or spec.region)
        picture = picture_of(file, sha256=image.sha256, side=side, spec=spec, rarity=grid, looked_at=looked_at)
        if picture is not None:
            found[image.sha256] = picture
    return found
