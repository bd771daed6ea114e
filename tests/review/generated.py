"""A store as many nights leave it, without a network: pictures, catalog, rarity and descriptors are made up."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.clustering.labels import numbered_by_size
from anoclust_core.clustering.linkage import linkage_tree
from anoclust_core.matching.partitions import match_partitions
from anoclust_core.records import DatasetManifest, ImageRecord, Reference
from tasks.night.lasting import lasting_clusters
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, SnapshotFact
from tasks.stores.files import with_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest
from tasks.stores.nights.snapshots import Snapshot, members, read_snapshot

FIRST = date(2026, 11, 1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SHARES = (0.6, 0.12, 0.1, 0.08, 0.06, 0.04)
"""Shares of the clusters; the last is of the unknown images."""

MOST_OF_A_TREE = 1000
"""Images up to which the tree is worked out."""

CLUSTERED = {"n_clusters": 6, "n_clusters_rule": "knee of the merge heights", "n_clusters_suggested": 6}
"""What the run says of its number of clusters."""

GRID = (8, 8)
DIM = 32


def picture(seed: int, kind: int, scale: int = 1) -> bytes:
    """A PNG of 64 x 48 pixels, or so many times that: a grey surface with a bright square in a place of its kind."""
    grey = np.random.default_rng(seed).normal(120, 12, (48, 64)).clip(0, 255).astype(np.uint8)
    if kind:
        grey[8 * (kind % 5) : 8 * (kind % 5) + 7, 10 * (kind % 6) : 10 * (kind % 6) + 9] = 250
    grey = grey.repeat(scale, axis=0).repeat(scale, axis=1)
    png = io.BytesIO()
    Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(png, "PNG", compress_level=1)
    return png.getvalue()


def generate(
    root: Path,
    n_images: int,
    *,
    category: str = "bottle",
    n_nights: int = 20,
    label: str = "chip",
    columns: Mapping[str, Sequence[str]] | None = None,
    scale: int = 1,
    alarms: bool = False,
) -> StoreLayout:
    """Make a store with one category.

    Parameters
    ----------
    root
        Folder of the store; its pictures lie beside it.
    n_images, n_nights
        How many, dealt over the nights.
    category, label
        Its name, and the label of every second image.
    columns
        Values of extra columns, dealt at random.
    scale
        As `picture` takes it.
    alarms
        Whether the last night told of the camera, of growth, of unknown images and of a drift.
    """
    rng = np.random.default_rng(7)
    layout = StoreLayout(root.absolute())
    given = {"line": ("1", "2", "3"), "shift": ("early", "late")} if columns is None else columns
    kinds = rng.choice(len(SHARES), n_images, p=SHARES)
    nights = np.sort(rng.integers(0, n_nights, n_images))
    folder = root.parent / f"pictures of {category.encode().hex()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    facts: list[ImageFact] = []
    for at, (kind, night) in enumerate(zip(kinds.tolist(), nights.tolist(), strict=True)):
        data = picture(at, kind, scale)
        file = folder / f"{at:06d}.png"
        file.write_bytes(data)
        extra = {name: str(values[rng.integers(len(values))]) for name, values in given.items()}
        if kind == 2 and "line" in extra:
            extra["line"] = given["line"][-1]
        when = NOON + timedelta(days=night)
        content = hashlib.sha256(data).hexdigest()
        facts.append(
            ImageFact(content, f"{category}/{at:06d}.png", when, when.date(), extra, file=str(file))
            if at % 2
            else ImageFact(content, f"{category}/{at:06d}.png", when, when.date(), extra, file=str(file), label=label)
        )
    by_content = sorted(zip(facts, kinds.tolist(), strict=True), key=lambda pair: pair[0].content)
    _record(layout, category, by_content, n_nights, alarms=alarms)
    return layout


def made_tree(kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    """A tree that joins the images of each kind first: one of 50,000 images would take minutes to work out."""
    n_images, merges, tops = len(kinds), [], []
    for kind in np.unique(kinds):
        top, *others = np.flatnonzero(kinds == kind).tolist()
        size = 1
        for other in others:
            size += 1
            merges.append((top, other, float(len(merges)), size))
            top = n_images + len(merges) - 1
        tops.append((top, size))
    (top, size), *others = tops
    for other, of_other in others:
        size += of_other
        merges.append((top, other, 10.0 * n_images + len(merges), size))
        top = n_images + len(merges) - 1
    return np.array(merges, dtype=np.float64)


def _record(
    layout: StoreLayout, category: str, images: Sequence[tuple[ImageFact, int]], n_nights: int, *, alarms: bool
) -> None:
    """Write everything into the catalog and the store: images by night, and a re-clustering of all of them."""
    unknown = len(SHARES) - 1
    rng = np.random.default_rng(8)
    records = [
        ImageRecord(path=fact.path, file=fact.file or "", sha256=fact.content, role="cluster") for fact, _ in images
    ]
    manifest = save_manifest(layout, DatasetManifest(category, tuple(records)))
    keys = {"weigh": "a" * 32, "group": "b" * 32, "embedding": "c" * 32, "distances": "d" * 32}
    rarity = rng.gamma(2.0, 0.1, (len(images), GRID[0] * GRID[1])).astype(np.float32)
    descriptors = rng.normal(0, 0.2, (len(images), DIM)).astype(np.float32)
    for at, (_, kind) in enumerate(images):
        descriptors[at, kind] += 3
        rarity[at, 9 * kind] += 2 * bool(kind)
    stored = {"rarity": rarity, "weights": rarity, "descriptors": descriptors}
    arrays.write_arrays(layout.folder("weights", category, keys["weigh"]), stored, {"tau": 0.1})
    of_images = np.array([kind for _, kind in images])
    is_small = len(images) <= MOST_OF_A_TREE
    linkage = linkage_tree(descriptors, method="ward") if is_small else made_tree(of_images)
    tree = {"linkage": linkage, "labels": numbered_by_size(of_images)}
    arrays.write_arrays(layout.folder("trees", category, keys["group"]), tree, {})
    write_json(
        layout.runs(category) / "run" / "summary.json",
        with_digest({"embedding": {"grid": list(GRID), "resize": "squash", "tiles": None}} | CLUSTERED),
    )
    last = FIRST + timedelta(days=n_nights - 1)
    reference = Reference("cluster", None, 0)
    snapshot = Snapshot(
        "s1", last, "settings", "run", keys, str(manifest.relative_to(layout.root)), reference, 0.1, 0.5,
        len(images), "sohn",
    )  # fmt: skip
    labels = {fact.content: kind for fact, kind in images if kind != unknown}
    with Catalog.open(layout.catalog, store=layout) as catalog:
        for night in range(n_nights):
            day = FIRST + timedelta(days=night)
            new = [fact for fact, _ in images if fact.night == day]
            catalog.record_night(
                NightFact(category, day, "done", "s1", NOON, NOON, {"new": len(new)}),
                new=new,
                assignments=[AssignmentFact(fact.content, None, 0.0, 0.0) for fact in new],
            )
        match = match_partitions({}, labels, taken=set(), merged_into={})
        confidence = dict(zip(labels, rng.uniform(0.5, 1, len(labels)).tolist(), strict=True))
        catalog.record_snapshot(
            SnapshotFact(category, "s1", NOON, len(images), 0.5, snapshot.details),
            night=last,
            match=match,
            assignments=[AssignmentFact(c, match.ids[k], 0.5, confidence[c]) for c, k in labels.items()],
        )
        told = [
            {"cluster": one.cluster, "is_new": at == 1, "alarm": at == 2, "is_ordinary": at == 0, "severity": 0.1 * at}
            for at, one in enumerate(catalog.clusters(category))
        ]
    to_do = [("new", f"{told[1]['cluster']} is new", told[1]["cluster"])]
    if alarms:
        to_do += [
            ("camera", "the camera, not the product: pictures are darker than before", None),
            ("growing", f"{told[2]['cluster']} grows (14 tonight, 3 expected)", told[2]["cluster"]),
            ("unknown", "9 images belong to no cluster (2 expected)", None),
            ("rarity", "parts look rarer than before", None),
        ]
    content = {
        "night": last.isoformat(),
        "to_do": [{"kind": kind, "text": text, "cluster": cluster} for kind, text, cluster in to_do],
        "clusters": told,
        "quarantine": [],
    }
    write_json(layout.night(category, last) / "summary.json", with_digest(content))


def next_morning(layout: StoreLayout, category: str = "bottle") -> None:
    """A night with ten images more, and a re-clustering of all before them that finds the kinds again."""
    with Catalog.open(layout.catalog, store=layout) as catalog:
        last = catalog.nights(category)[-1].night
        snapshot = read_snapshot(catalog.latest_snapshot(category))  # type: ignore[arg-type]
        weighed = layout.folder("weights", category, snapshot.keys["weigh"])
        descriptors = arrays.read(weighed, "descriptors")
        contents = [image.sha256 for image in members(layout, snapshot).clustered]
        day, moment = last + timedelta(days=1), NOON + timedelta(days=(last - FIRST).days + 1)
        known = catalog.images(category)
        new = [
            replace(one, content=hashlib.sha256(one.content.encode()).hexdigest(), path=f"new/{at}.png", night=day)
            for at, one in enumerate(known[:10])
        ]
        found = catalog.standing(category)
        catalog.record_night(
            NightFact(category, day, "done", "s1", moment, moment, {"new": len(new)}),
            new=new,
            assignments=[
                AssignmentFact(fact.content, found.assigned[like.content], 0.5, 0.9)
                for fact, like in zip(new, known, strict=False)
            ],
            found=found,
        )
        found = catalog.standing(category)
        labels = numbered_by_size(descriptors[:, : len(SHARES)].argmax(axis=1))
        lasting = lasting_clusters(found, contents, labels, descriptors)
        catalog.record_snapshot(
            SnapshotFact(category, "s2", moment, len(contents), 0.5, {**snapshot.details, "night": day.isoformat()}),
            night=day,
            match=lasting.match,
            assignments=[AssignmentFact(c, name, 0.5, 0.9) for c, name in zip(contents, lasting.ids, strict=True)],
            found=found,
        )
