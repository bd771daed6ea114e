"""Stage 5: agreement of the clusters with the labels, where there are labels, under a named protocol."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact

from anoclust_core.evaluation import protocols, scores
from anoclust_core.records import ClusterTree
from anoclust_core.weighting.parts import labels_by_part
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, artifact_key
from tasks.stores import arrays
from tasks.stores.manifests import load_manifest


@task(name="evaluate", **STAGE)
def evaluate(
    *,
    run: CategoryRun,
    key: str,  # noqa: ARG001 - names the cached result
    manifest: str,
    tree: ClusterTree,
) -> scores.Evaluation:
    """Score the clusters, and publish the scores as a table in the Prefect UI."""
    protocol = run.config.protocol
    images = load_manifest(Path(manifest))
    labels = [image.label for image in images.clustered]
    if run.config.group.by == "part":
        labels = labels_by_part(images.clustered, images.compared)
    clusters = arrays.read(Path(tree.arrays.uri), "labels")
    made = scores.evaluate(protocols.protocol_named(protocol), labels, clusters.tolist())
    rows = {"full": made.full, "defects only": made.defect_only, **made.trivial}
    table = [
        {"images": name, **{metric: round(value, 4) for metric, value in asdict(scores).items()}}
        for name, scores in rows.items()
        if scores is not None
    ]
    create_table_artifact(
        table or [{"images": "no labels, no scores"}],
        key=artifact_key("scores", run.category),
        description=f"Scores of {run.category}, protocol {protocol}, {tree.n_clusters} clusters",
    )
    return made
