"""Stage 6: what people and scripts read: assignments, summary, report, figures, and artifacts in the Prefect UI."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact

from anoclust_core.clustering.knee import CERTAIN_FROM, FEWEST_TO_SPLIT
from anoclust_core.config import RunConfig
from anoclust_core.embedding.deep_images import Outside, outside_note, range_note
from anoclust_core.embedding.fixed_camera import Steadiness, aligned_note
from anoclust_core.evaluation.partitions import Scores
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.evaluation.scores import Evaluation
from anoclust_core.memory.clusters import report_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.records import BagWeights, ClusterTree, DatasetManifest, EmbeddingSpec, Reference
from anoclust_core.reporting.figures import montage_jpeg
from anoclust_core.reporting.html import draw_figures, render_report
from anoclust_core.reporting.record import ImageEntry, Picture, RunReport
from anoclust_core.weighting.covers import cover_note
from anoclust_core.weighting.reference import reference_contents, reference_note
from anoclust_core.weighting.regions import Regions, region_note
from tasks import telemetry
from tasks.images.category_frames import read_frames
from tasks.images.thumbnails import ZOOM_SIDE
from tasks.services.prefect_server import complete_anyway
from tasks.stages.alike import Alike, alike_images
from tasks.stages.category_run import CategoryRun
from tasks.stages.method_notes import method_notes
from tasks.stages.runner import STAGE, Progress, artifact_key
from tasks.stages.shown_images import (
    DRAWN_PER_CLUSTER,
    THUMBNAIL_SIDE,
    ShownImages,
    assignments_of,
    entries_of,
    parquet_of,
    pictures_of,
    view_rarity,
)
from tasks.stores import arrays, runs
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.files import FILES, file_digests, with_digest, write_bytes, write_json, write_text
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.regions import regions_of
from tasks.stores.written_tables import csv_of_frame

_VERSIONED: Final = ("anoclust", "torch", "timm", "zarr", "dask", "prefect", "scikit-learn", "numpy")

_TOLD_AS: Final = {
    "pair": "pairwise",
    "weigh": "weights",
    "describe": "weights",
    "group": "cluster",
    "evaluate": "cluster",
}
"""Names in summary.json of the seconds of stages; the others have their own."""

_ALWAYS_TOLD: Final = ("imports", "orchestrator_start", "embed", "pairwise", "localize", "weights", "cluster")
"""Names of seconds that every summary.json has, 0 where a run has no such stage."""


@dataclass(frozen=True)
class _Shown:
    """The report stage's inputs, arrays read; rows in the order of ``images``."""

    category: str
    run_id: str
    key: str
    config: RunConfig
    spec: EmbeddingSpec
    manifest: DatasetManifest
    of_images: ShownImages
    reference: Reference | None
    weights: BagWeights
    tree: ClusterTree
    linkage: NDArray[np.float64]
    evaluation: Evaluation
    keys: Mapping[str, str]
    localization: Mapping[str, float] | None
    structure: Mapping[str, float | bool | None] | None
    steadiness: Steadiness | None
    manifest_path: str
    outside: Mapping[str, Outside]
    radii: list[float]
    regions: Regions | None
    alike: Alike


@task(name="report", **{**STAGE, "cache_policy": None, "persist_result": False})
def report(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    reference: Reference | None,
    weights: BagWeights,
    tree: ClusterTree,
    evaluation: Evaluation,
    keys: Mapping[str, str],
) -> str:
    """Write the run folder and publish its artifacts; gives the folder."""
    layout, category, spec = run.layout, run.category, run.spec
    settled = load_manifest(Path(manifest))
    n_images, dim = weights.arrays.shapes["descriptors"]
    n_views = -(-len(settled.compared) // n_images)
    reporting_memory(spec, n_images=n_images, dim=dim, n_clusters=tree.n_clusters, n_views=n_views).check(
        run.memory_budget
    )
    alike = alike_images(settled.compared, _groups_folder(layout, category, keys), run.config)
    shown = _Shown(
        category=category,
        run_id=runs.new_run_id(layout.runs(category), key),
        key=key,
        config=run.config,
        spec=spec,
        manifest=settled,
        of_images=ShownImages(
            layout=layout,
            images=settled.clustered,
            views=settled.views,
            spec=spec,
            by_part=run.config.group.by == "part",
            rarity=arrays.read(Path(weights.arrays.uri), "rarity"),
            descriptors=arrays.read(Path(weights.arrays.uri), "descriptors"),
            labels=arrays.read(Path(tree.arrays.uri), "labels"),
            view_rarity=view_rarity(settled, weights),
            alike=alike.by_content(settled.compared),
        ),
        reference=reference,
        weights=weights,
        tree=tree,
        linkage=arrays.read(Path(tree.arrays.uri), "linkage"),
        evaluation=evaluation,
        keys=keys,
        localization=_localization(run.config, weights),
        structure=_structure(run.config, weights),
        steadiness=read_frames(layout.frame(category)).seen_by(run.spec),
        manifest_path=Path(manifest).relative_to(layout.root).as_posix(),
        outside=EmbeddingSegments(layout.folder("embeddings", category, keys["embedding"])).outside(settled.compared),
        radii=_radii(layout, category, settled, reference, keys),
        regions=regions_of(layout, settled.compared, spec)[0],
        alike=alike,
    )
    entries = entries_of(shown.of_images)
    record = _record(shown, entries, pictures_of(shown.of_images, entries, Progress("report", category)))
    sheet, figures = montage_jpeg(record), draw_figures(record)
    with runs.publish_run(layout.runs(category), shown.run_id) as draft:
        assignments = assignments_of(shown.of_images, entries)
        write_text(draft / runs.ASSIGNMENTS_CSV, csv_of_frame(assignments))
        write_bytes(draft / runs.ASSIGNMENTS_PARQUET, parquet_of(assignments))
        write_bytes(draft / "figures" / "clusters.jpg", sheet)
        for name, svg in (("dendrogram", figures.tree), ("map", figures.map)):
            if svg is not None:
                write_text(draft / "figures" / f"{name}.svg", svg)
        page = render_report(record, figures=figures, max_drawn_per_cluster=DRAWN_PER_CLUSTER)
        write_text(draft / runs.REPORT, page)
        write_json(draft / runs.SUMMARY, with_digest({**_summary(shown), FILES: file_digests(draft)}))
    folder = layout.runs(category) / shown.run_id
    with complete_anyway(f"{category}: the run"):
        _publish_artifacts(folder, record, sheet)
    return str(folder)


def reporting_memory(spec: EmbeddingSpec, *, n_images: int, dim: int, n_clusters: int, n_views: int = 1) -> MemoryPlan:
    """Predict the peak of the stage for so many images or parts with descriptors of a length, in so many clusters.

    ``n_views`` is how many images a part has, on average and rounded up.
    """
    return report_plan(
        n_images=n_images,
        n_patches=spec.n_patches,
        dim=dim,
        n_drawn=n_views * min(n_images, n_clusters * DRAWN_PER_CLUSTER),
        thumbnail_bytes=3 * (THUMBNAIL_SIDE**2 + (ZOOM_SIDE**2 if spec.tiles else 0)),
        largest_pixels=0,
    )


def _groups_folder(layout: StoreLayout, category: str, keys: Mapping[str, str]) -> Path | None:
    """Where the near-duplicates of the run lie, where some were looked for."""
    return layout.folder("near_duplicates", category, keys["near_duplicates"]) if "near_duplicates" in keys else None


def _record(shown: _Shown, entries: Sequence[ImageEntry], pictures: Mapping[str, Picture]) -> RunReport:
    notes = telemetry.current()
    return RunReport(
        category=shown.category,
        run_id=shown.run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=shown.config.recipe,
        images=entries,
        pictures=pictures,
        linkage=shown.linkage,
        descriptors=shown.of_images.descriptors,
        n_clusters=shown.tree.n_clusters,
        n_clusters_rule=shown.tree.n_clusters_rule,
        n_clusters_suggested=shown.tree.n_clusters_suggested,
        next_best=tuple(shown.tree.next_best),
        tau=shown.weights.tau,
        tau_text=shown.config.weigh.tau,
        protocol=shown.evaluation.protocol,
        scores=shown.evaluation.full,
        scores_defect_only=shown.evaluation.defect_only,
        trivial=shown.evaluation.trivial,
        counts=_counts(shown.manifest, shown.config.group.by),
        quarantine=[(entry.path, entry.told) for entry in shown.manifest.quarantine],
        duplicates=shown.manifest.duplicates,
        near_duplicates=_near_duplicates(shown, entries),
        config={"run": shown.config.model_dump(exclude={"night"}), "embedding": asdict(shown.spec)},
        seconds=_seconds(notes.seconds),
        work=notes.work,
        versions=_versions(),
        notes=_notes(shown),
        from_maps=shown.reference is None,
        **_rarity_words(shown.config, shown.reference),
        f1_average=protocol_named(shown.evaluation.protocol).f1_average,
        deferred=[(entry.path, entry.reason) for entry in shown.manifest.deferred],
        unit=shown.config.group.by,
    )


def _near_duplicates(shown: _Shown, entries: Sequence[ImageEntry]) -> list[list[ImageEntry]]:
    """Entries of each group of near-duplicates, by path; by part those of the parts that they show."""
    of_image = {content: one for one in entries for content in (one.sha256, *(view.sha256 for view in one.views))}
    groups = []
    for rows in shown.alike.groups:
        of_rows = {entry.path: entry for at in rows if (entry := of_image.get(shown.manifest.compared[at].sha256))}
        groups.append([of_rows[path] for path in sorted(of_rows)])
    return [group for group in groups if len(group) > 1]


def _summary(shown: _Shown) -> dict[str, Any]:
    """Content of summary.json; docs/summary.md describes every field."""
    notes = telemetry.current()
    return {
        "summary_version": runs.SUMMARY_VERSION,
        "category": shown.category,
        "run_id": shown.run_id,
        "key": shown.key,
        "keys": dict(shown.keys),
        "manifest": shown.manifest_path,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset_hash": shown.manifest.dataset_hash,
        "recipe": shown.config.recipe,
        "config": shown.config.model_dump(exclude={"night"}),
        "embedding": asdict(shown.spec),
        "reference": shown.reference.role if shown.reference else None,
        "n_reference": len(reference_contents(shown.reference, shown.manifest)[0]) if shown.reference else 0,
        "protocol": shown.evaluation.protocol,
        "images": _counts(shown.manifest, shown.config.group.by),
        "n_clusters": shown.tree.n_clusters,
        "n_clusters_rule": shown.tree.n_clusters_rule,
        "n_clusters_suggested": shown.tree.n_clusters_suggested,
        "n_clusters_next_best": list(shown.tree.next_best),
        "structure": shown.structure,
        "tau": shown.weights.tau,
        "localization": shown.localization,
        "metrics": {
            "full": _scores(shown.evaluation.full),
            "defect_only": _scores(shown.evaluation.defect_only),
            "trivial": {name.replace(" ", "_"): _scores(scores) for name, scores in shown.evaluation.trivial.items()},
            "n_evaluated": shown.evaluation.n_evaluated,
            "n_left_out": shown.evaluation.n_left_out,
        },
        "seconds": _all_seconds(notes),
        "work": dict(notes.work),
        "peak_memory_bytes": telemetry.peak_memory_bytes(),
        "versions": _versions(),
        "quarantine": [{"path": entry.path, "reason": entry.told} for entry in shown.manifest.quarantine],
        "deferred": [{"path": entry.path, "reason": entry.told} for entry in shown.manifest.deferred],
        "duplicates": [list(paths) for paths in shown.manifest.duplicates],
        "near_duplicates": [sorted(shown.manifest.compared[at].path for at in rows) for rows in shown.alike.groups],
        "outside_range": {path: asdict(one) for path, one in sorted(shown.outside.items())},
        "notes": _notes(shown),
    }


def _counts(manifest: DatasetManifest, by: str) -> dict[str, int]:
    return {
        "total": manifest.n_total,
        "clustered": len(manifest.compared),
        **({"parts": len(manifest.clustered)} if by == "part" else {}),
        "normals": len(manifest.normals),
        "duplicates": sum(len(paths) - 1 for paths in manifest.duplicates),
        "quarantined": len(manifest.quarantine),
        "deferred": len(manifest.deferred),
    }


def _seconds(noted: Mapping[str, float]) -> dict[str, float]:
    seconds = dict.fromkeys(_ALWAYS_TOLD, 0.0)
    for stage, took in noted.items():
        name = _TOLD_AS.get(stage, stage)
        seconds[name] = seconds.get(name, 0.0) + took
    return {name: round(took, 3) for name, took in seconds.items()}


def _all_seconds(notes: telemetry.Telemetry) -> dict[str, float]:
    """Seconds by stage up to now: what no other stage took is the report's, and saving manifests."""
    before = _seconds(notes.seconds)
    total = time.time() - notes.started
    return {**before, "report": round(total - sum(before.values()), 3), "total": round(total, 3)}


def _notes(shown: _Shown) -> list[str]:
    return [
        *shown.manifest.notes,
        *(reference_note(shown.reference, shown.manifest) if shown.reference else []),
        *map(range_note, shown.spec.deep),
        *([told] if (told := outside_note(shown.outside, len(shown.manifest.compared))) else []),
        *([told] if (told := region_note(shown.regions, [one.sha256 for one in shown.manifest.compared])) else []),
        *_compared_notes(shown),
        *_structure_notes(shown.structure),
        *shown.alike.notes,
        *method_notes(shown.config, shown.localization),
        *telemetry.current().notes,
    ]


def _localization(config: RunConfig, weights: BagWeights) -> dict[str, float] | None:
    """How recipe blind told anomalous cells; None by another recipe."""
    if config.recipe != "blind":
        return None
    found = arrays.describe(Path(weights.arrays.uri)) or {}
    return {name: float(found[name]) for name in ("threshold", "anomalous_share") if name in found}


def _rarity_words(config: RunConfig, reference: Reference | None) -> dict[str, str]:
    """Unit of the anomaly scores, and what patches are compared with, in words for the report."""
    by_auto = config.recipe == "auto"
    if reference is not None and reference.role == "normal":
        unit = "standard deviations, added up over three distances to the normals" if by_auto else "embedding units"
        return {"score_unit": unit, "compared_with": "the known normal images"}
    others = "the most similar 30 % of the other images" if by_auto else "the other images, on average"
    return {"score_unit": "embedding units", "compared_with": others}


def _structure(config: RunConfig, weights: BagWeights) -> dict[str, float | bool | None] | None:
    """Whether the images differ in kind for certain, by recipe auto; None by another one, which does not ask."""
    if config.recipe != "auto":
        return None
    index = (arrays.describe(Path(weights.arrays.uri)) or {}).get("split_index")
    return {"index": index, "is_certain": index is not None and index >= CERTAIN_FROM}


def _radii(
    layout: StoreLayout, category: str, images: DatasetManifest, reference: Reference | None, keys: Mapping[str, str]
) -> list[float]:
    """Of the covers of the reference's images, where they have some."""
    if reference is None or "covers" not in keys:
        return []
    covers = EmbeddingSegments(layout.folder("embeddings", category, keys["covers"]))
    return list(covers.radii(reference_contents(reference, images)[0]).values())


def _compared_notes(shown: _Shown) -> list[str]:
    """What patches were compared with, where that is a question."""
    if shown.reference is None:
        return []
    notes = (
        aligned_note(shown.spec, shown.config.pair, shown.steadiness),
        cover_note(shown.spec, shown.config.pair.reference_patches, shown.radii),
    )
    return [note for note in notes if note]


def _structure_notes(structure: Mapping[str, float | bool | None] | None) -> list[str]:
    """Warn where clusters may be no kinds."""
    if structure is None or structure["is_certain"]:
        return []
    if structure["index"] is None:
        return [
            f"Structure uncertain: fewer than {FEWEST_TO_SPLIT} different images are too few to tell whether they "
            "differ in kind."
        ]
    return [
        "Structure uncertain: these images may all be of one kind. Where random halves of them are split in two, the "
        f"other halves hardly confirm the split (index {structure['index']:.2f}, certain from {CERTAIN_FROM}). Look at "
        "the clusters before you act on them."
    ]


def _scores(scores: Scores | None) -> dict[str, float] | None:
    return asdict(scores) if scores else None


def _versions() -> dict[str, str]:
    found = {}
    for package in _VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _publish_artifacts(folder: Path, record: RunReport, sheet: bytes) -> None:
    """Show the run in the Prefect UI: the cluster sheet, its sizes and scores, the way to the report."""
    category = record.category
    picture = f"data:image/jpeg;base64,{base64.b64encode(sheet).decode()}"
    create_image_artifact(
        image_url=picture, key=artifact_key("clusters", category), description=f"Clusters of {category}"
    )
    create_link_artifact(
        (folder / runs.REPORT).as_uri(),
        key=artifact_key("report", category),
        link_text=f"Report of {category}",
        description="Open it on the machine that holds the store",
    )
    sizes = Counter(entry.cluster for entry in record.images)
    scores, protocol = record.scores, protocol_named(record.protocol)
    lines = [
        f"# {category}: {record.n_clusters} clusters of {len(record.images)} {record.unit}s",
        f"Report: `{folder / runs.REPORT}`",
        f"{record.n_clusters_rule}. tau = {record.tau:.4g} ({record.tau_text}), protocol `{record.protocol}`.",
        f"NMI {scores.nmi:.3f}, ARI {scores.ari:.3f}, {protocol.f1_average} F1 {protocol.headline_f1(scores):.3f}."
        if scores
        else "No labels, no scores.",
        *([f"**{len(record.quarantine)} images could not be used.**"] if record.quarantine else []),
        *([f"{len(record.deferred)} images are left for the next run."] if record.deferred else []),
        f"| cluster | {record.unit}s |\n|---|---|\n"
        + "\n".join(f"| {cluster} | {size} |" for cluster, size in sorted(sizes.items())),
    ]
    create_markdown_artifact(
        "\n\n".join(lines), key=artifact_key("summary", category), description=f"Run {record.run_id}"
    )
