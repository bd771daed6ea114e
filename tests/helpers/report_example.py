"""A small synthetic run report that the report tests share."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from typing import Any

import numpy as np
from PIL import Image
from scipy.cluster import hierarchy

from anoclust_core.reporting.record import ImageEntry, Picture, RunReport, Scores


def example_report(
    n_images: int = 12, n_clusters: int = 3, *, labels: bool = True, pictures: bool = True, **changes: Any
) -> RunReport:
    """Build a run of noisy groups, cut from their own Ward tree; ``changes`` replace fields of the record."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(n_clusters, 8)) * 4
    descriptors = (centres[np.arange(n_images) % n_clusters] + rng.normal(size=(n_images, 8))).astype(np.float32)
    linkage = hierarchy.linkage(descriptors.astype(np.float64), "ward")
    clusters = hierarchy.fcluster(linkage, n_clusters, "maxclust") - 1
    images = [
        ImageEntry(
            path=f"part/{index:04d}.png",
            sha256=hashlib.sha256(str(index).encode()).hexdigest(),
            cluster=int(clusters[index]),
            anomaly_score=float(0.3 + 0.1 * clusters[index] + 0.05 * rng.random()),
            distance=float(rng.random()),
            label=("good", "crack", "hole")[clusters[index] % 3] if labels else None,
            split="test",
        )
        for index in range(n_images)
    ]
    report = RunReport(
        category="tile",
        run_id="run-1",
        created_at="2026-01-02T03:04:05+00:00",
        recipe="auto",
        images=images,
        pictures={entry.sha256: example_picture(rng) for entry in images} if pictures else {},
        linkage=linkage,
        descriptors=descriptors,
        n_clusters=n_clusters,
        n_clusters_rule="As many as were asked for.",
        n_clusters_suggested=2,
        next_best=(3, 4),
        tau=0.0213,
        tau_text="0.3sd",
        protocol="sohn",
        scores=Scores(nmi=0.61, ari=0.52, f1_weighted=0.73, f1_micro=0.74) if labels else None,
        scores_defect_only=Scores(nmi=0.41, ari=0.32, f1_weighted=0.53, f1_micro=0.54) if labels else None,
        trivial={"one cluster": Scores(nmi=0.0, ari=0.0, f1_weighted=0.2, f1_micro=0.3)} if labels else {},
        counts={
            "total": n_images,
            "clustered": n_images,
            "normals": 0,
            "duplicates": 0,
            "quarantined": 0,
            "deferred": 0,
        },
        quarantine=[],
        duplicates=[],
        config={"linkage": "ward", "pair": {"tile": 8}},
        seconds={"embed": 1.5},
        work={"pairs": 66},
        versions={"anoclust": "0.1.0"},
    )
    return dataclasses.replace(report, **changes)


def example_picture(rng: np.random.Generator, *, size: tuple[int, int] = (48, 32)) -> Picture:
    """Make a noisy grey photograph with one rare patch."""
    jpeg = io.BytesIO()
    pixels = rng.integers(90, 140, size=(size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=70)
    rarity = 0.2 + 0.02 * rng.random((8, 8))
    rarity[3, 5] = 0.7
    return Picture(thumbnail=jpeg.getvalue(), rarity=rarity)
