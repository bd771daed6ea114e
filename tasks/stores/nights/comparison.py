"""What a night's new images are looked at with: the snapshot's reference, and images that wait for company."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from datetime import date
from pathlib import Path

from anoclust_core.records import DatasetManifest, ImageRecord
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.arrivals import record
from tasks.stores.nights.recent import recent_images
from tasks.stores.nights.snapshots import Snapshot, members, snapshot_reference


def compared_with(
    layout: StoreLayout,
    catalog: Path | str,
    given: DatasetManifest,
    snapshot: Snapshot | None,
    night: date,
    *,
    by_part: bool = False,
) -> DatasetManifest:
    """New images, and beside them what they are compared with: the reference in the role of normals, if there is one.

    Unknown images of earlier nights, members of clusters born since the snapshot, and images of the last nights are
    looked at again: their embeddings and distances are in the store, and their descriptors follow from these.
    ``by_part`` also earlier views of the parts that have a new one.
    """
    if snapshot is None:
        return replace(given.blind(), n_normals_given=0)
    was = members(layout, snapshot)
    compared: dict[str, ImageRecord] = {}
    if snapshot.reference is not None:
        compared = {image.sha256: image for image in snapshot_reference(was, snapshot.reference).images}
    if snapshot.reference is not None and snapshot.yardstick is not None:
        wanted = set(snapshot.yardstick.contents)
        compared |= {image.sha256: image for image in was.images if image.sha256 in wanted}
    with Catalog.open(catalog, store=layout) as opened:
        where = {fact.content: fact.cluster for fact in opened.assignments(given.category, follow_merges=False)}
        of_snapshot = {image.sha256 for image in was.compared}
        old = {where[content] for content in of_snapshot & where.keys()} - {None}
        aside = of_snapshot | {image.sha256 for image in given.clustered}
        lately = set(recent_images(opened, given.category, night).nights)
        others = [
            content
            for content, cluster in where.items()
            if content not in aside and (cluster not in old or content in lately)
        ]
        images = opened.known_images(given.category, others)
        if by_part:
            earlier = _earlier_views(opened, given, {*aside, *others})
            others, images = [*others, *earlier], images | earlier
    waiting = [
        record(images[content], "cluster")
        for content in others
        if images[content].quarantined is None and (where.get(content) is not None or images[content].night <= night)
    ]
    return replace(
        given,
        images=(*given.clustered, *waiting, *(_as_normal(image) for image in compared.values())),
        n_normals_given=0,
    )


def _earlier_views(catalog: Catalog, given: DatasetManifest, aside: Set[str]) -> dict[str, ImageFact]:
    """Views of the same parts that came since the snapshot, by content."""
    parts = {image.part for image in given.clustered} - {None}
    return {
        fact.content: fact
        for fact in catalog.images(given.category)
        if fact.part in parts and fact.content not in aside
    }


def _as_normal(image: ImageRecord) -> ImageRecord:
    return replace(image, role="normal")
