"""What is shown of every image of a run: its entry, its pictures and its row of the assignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anoclust_core.clustering.labels import distances_to_cluster_means
from anoclust_core.records import BagWeights, DatasetManifest, EmbeddingSpec, ImageRecord
from anoclust_core.reporting.record import ImageEntry, Picture, ViewEntry
from anoclust_core.weighting.parts import labels_by_part
from tasks.images.thumbnails import picture_of
from tasks.stages.runner import Progress
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.regions import region_mask
from tasks.stores.stage_keys import VIEW_RARITY
from tasks.stores.written_tables import with_given

THUMBNAIL_SIDE: Final = 192
VIEW_SIDE: Final = 96
"""Longest side of the picture of another view of a part."""

DRAWN_PER_CLUSTER: Final = 24


@dataclass(frozen=True)
class ShownImages:
    """Images of a run with what was worked out about them; rows in the order of ``images``.

    Attributes
    ----------
    layout
        The store.
    images, views, spec
        The clustered images, other views of their parts by part, and how they are decoded.
    by_part
        Whether each stands for a part, with other views beside it.
    rarity, descriptors, labels
        Arrays of the stages: shape ``(n_images, n_patches)``, ``(n_images, dim)``, and the cluster of each image.
    view_rarity
        Rarity of the patches of every other view, by content.
    alike
        Number of each image's group of near-duplicates, by content; those in none are not there.
    """

    layout: StoreLayout
    images: tuple[ImageRecord, ...]
    views: Mapping[str, tuple[ImageRecord, ...]]
    spec: EmbeddingSpec
    by_part: bool
    rarity: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    labels: NDArray[np.int64]
    view_rarity: Mapping[str, NDArray[np.float32]]
    alike: Mapping[str, int]


def entries_of(shown: ShownImages) -> list[ImageEntry]:
    """Entries of the report, the other views of each part among them."""
    scores = shown.rarity.max(axis=1)
    labels = [image.label for image in shown.images]
    if shown.by_part:
        labels = labels_by_part(shown.images, [*shown.images, *chain.from_iterable(shown.views.values())])
    distances = distances_to_cluster_means(shown.descriptors, shown.labels)
    return [
        ImageEntry(
            path=image.path,
            sha256=image.sha256,
            cluster=int(cluster),
            anomaly_score=float(score),
            distance=float(distance),
            label=label,
            split=image.split,
            part=image.part if shown.by_part else None,
            views=[
                ViewEntry(view.path, view.sha256, float(shown.view_rarity[view.sha256].max()), view.label)
                for view in shown.views.get(image.part or "", ())
            ],
        )
        for image, label, cluster, score, distance in zip(
            shown.images, labels, shown.labels, scores, distances, strict=True
        )
    ]


def view_rarity(settled: DatasetManifest, weights: BagWeights) -> dict[str, NDArray[np.float32]]:
    """Rarity of the patches of every view that does not decide, by content; none by image."""
    others = {image.sha256 for views in settled.views.values() for image in views}
    if not others:
        return {}
    every = arrays.read(Path(weights.arrays.uri), VIEW_RARITY)
    return {
        image.sha256: rarity for image, rarity in zip(settled.compared, every, strict=True) if image.sha256 in others
    }


def pictures_of(shown: ShownImages, entries: Sequence[ImageEntry], progress: Progress) -> dict[str, Picture]:
    """Thumbnails of the most typical images of every cluster."""
    order = np.lexsort([np.array([entry.distance for entry in entries]), shown.labels])
    first = np.searchsorted(shown.labels[order], shown.labels[order])
    drawn = order[np.arange(len(order)) - first < DRAWN_PER_CLUSTER]
    pictures: dict[str, Picture] = {}
    for done, at in enumerate(drawn, start=1):
        image = shown.images[at]
        picture = picture_of(
            Path(image.file),
            sha256=image.sha256,
            side=THUMBNAIL_SIDE,
            spec=shown.spec,
            rarity=shown.rarity[at].reshape(shown.spec.grid),
            looked_at=region_mask(shown.layout, image.region or shown.spec.region),
        )
        pictures = _pictures_of_views(shown, shown.views.get(image.part or "", ())) | pictures
        if picture is None:
            continue  # moved since it was embedded: listed without a picture
        pictures[image.sha256] = picture
        progress(done, len(drawn))
    return pictures


def _pictures_of_views(shown: ShownImages, views: Sequence[ImageRecord]) -> dict[str, Picture]:
    """Small pictures of the other views of a part, without a zoom."""
    found = {}
    for view in views:
        rarity = shown.view_rarity[view.sha256].reshape(shown.spec.grid)
        picture = picture_of(
            Path(view.file),
            sha256=view.sha256,
            side=VIEW_SIDE,
            spec=shown.spec,
            rarity=rarity,
            looked_at=region_mask(shown.layout, view.region or shown.spec.region),
        )
        if picture is not None:
            found[view.sha256] = replace(picture, zoom=None)
    return found


def assignments_of(shown: ShownImages, entries: Sequence[ImageEntry]) -> pd.DataFrame:
    """One row per image, by path: what the run says of it, then the columns that came with it.

    Views of a part have its cluster and distance, and scores and labels of their own.
    """
    rows = []
    names_parts = shown.by_part or any(image.part for image in shown.images)
    for image, entry in zip(shown.images, entries, strict=True):
        views = shown.views.get(image.part or "", ())
        scores = [entry.anomaly_score, *(one.anomaly_score for one in entry.views)]
        for view, score in zip((image, *views), scores, strict=True):
            row: dict[str, object] = {
                "path": view.path,
                "sha256": view.sha256,
                "cluster": entry.cluster,
                "anomaly_score": round(score, 6),
                "distance": round(entry.distance, 6),
                "label": view.label,
                "split": view.split,
                "near_duplicates": shown.alike.get(view.sha256),
                **({"part": view.part} if names_parts else {}),
                **({"decides": view is image} if shown.by_part else {}),
            }
            rows.append(with_given(row, view.extra))
    return pd.DataFrame(rows).astype({"near_duplicates": "Int32"}).sort_values("path", kind="stable")


def parquet_of(assignments: pd.DataFrame) -> bytes:
    """The same rows with types: numbers in 32 bits, text that may be missing."""
    ours = {"cluster": "int32", "anomaly_score": "float32", "distance": "float32", "near_duplicates": "Int32"}
    ours |= {str(name): "bool" for name in assignments.columns[assignments.dtypes == np.dtype(bool)]}
    typed = assignments.astype({name: ours.get(name, "string") for name in assignments.columns})
    written: bytes = typed.to_parquet(None, engine="pyarrow", index=False)
    return written
