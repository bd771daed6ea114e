"""Cluster one category: the contents page of the method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prefect import flow

from anoclust_core.config import COUNT_ONCE, RunConfig
from anoclust_core.records import EmbeddingSpec
from flows.plan import plan_run
from flows.stages import compare_images, describe_blindly, describe_in_levels, embed_images, find_near_duplicates
from tasks import telemetry
from tasks.compute.dask_jobs import memory_budget
from tasks.stages.category_run import CategoryRun
from tasks.stages.evaluate import evaluate
from tasks.stages.group import group
from tasks.stages.report import report
from tasks.stages.runner import StageRunner
from tasks.stages.views import decided_by_rarity
from tasks.stages.weigh import weigh
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import save_manifest
from tasks.stores.stage_keys import pair_key


@flow(name="cluster-category", flow_run_name="cluster {category}")
def cluster_category(category: str, manifest: str, store: str, config: RunConfig, spec: EmbeddingSpec) -> str:
    """Cluster the images of one category by type of anomaly, by recipe ``auto``, [SOHN23] or [ARDELEAN24].

    1. **embed**: every new image becomes a bag of patch embeddings.
    2. **pair**: distance of every patch to its nearest patch in every other image, or in the known normals. Not needed
       where the weights follow given maps. **near_duplicates** finds images of one part exposed several times.
    3. **weigh**: rare patches get large weights (eq. 5, 6); each image is pooled to one descriptor (eq. 1). Recipe
       Recipe ``auto`` has **whiten** in its place: two feature levels, whitened and smoothed. Recipe ``blind`` has
       **localize** and **describe** in place of 2 and 3: anomaly maps, a contrastive head, descriptors. By part, the
       rarest view of each part stands for it from here on.
    4. **group**: a tree of merges (Ward's) over the descriptors, or over Hausdorff distances, cut into clusters.
    5. **evaluate**: agreement with the labels, where there are labels.
    6. **report**: the run's folder: assignments, summary, report, figures.

    Parameters
    ----------
    category
        Name of the product.
    manifest
        Path of the saved manifest that says which images there are.
    store
        Folder of the store.
    config, spec
        What is asked for, and the backbone that it resolves to.

    Returns
    -------
    run
        Path of the finished run's folder.
    """
    with telemetry.flow_started():
        layout = StoreLayout(Path(store))
        run_stage = StageRunner(CategoryRun(layout, category, config, spec, memory_budget(config.memory)))
        embedded = embed_images(run_stage, manifest)
        # images that could not be decoded are known from here on; the keys stand for the others
        images, settled = embedded.images, embedded.manifest
        plan = plan_run(images, config, spec)
        nearest, among = (
            compare_images(
                run_stage,
                embedded,
                reference,
                key=pair_key(plan.images, images, reference),
                distances=plan.images.distances,
                with_means=reference is plan.among and config.group.distance == "mean_mean",
            )
            if reference
            else None
            for reference in (plan.reference, plan.among)
        )
        if nearest:
            alike = find_near_duplicates(run_stage, embedded, nearest, key=plan.keys["near_duplicates"])
            nearest = replace(nearest, once=alike.uri if config.pair.near_duplicates == COUNT_ONCE else "")
        if config.recipe == "blind":
            weights = describe_blindly(
                run_stage,
                embedded,
                localize_key=plan.keys["localize"],
                describe_key=plan.keys["weigh"],
                n_classes=plan.n_clusters,
            )
        elif config.recipe == "auto":
            weights = describe_in_levels(
                run_stage, embedded, nearest, key=plan.keys["weigh"], n_clusters=plan.n_clusters
            )
        else:
            weights_folder = layout.folder("weights", category, plan.keys["weigh"])
            weights = run_stage(
                weigh,
                key=plan.keys["weigh"],
                detail=f"{config.weigh.weights}, tau {config.weigh.tau}",
                is_complete=arrays.is_complete(weights_folder),
                manifest=settled,
                embeddings=embedded.embeddings,
                nearest=nearest,
                folder=str(weights_folder),
            )

        if config.group.by == "part":
            images = decided_by_rarity(images, weights)
            settled = str(save_manifest(layout, images))
        tree_folder = layout.folder("trees", category, plan.keys["group"])
        tree = run_stage(
            group,
            key=plan.keys["group"],
            detail=f"{len(images.clustered)} {config.group.by}s, {config.group.distance}, {config.group.linkage}",
            is_complete=arrays.is_complete(tree_folder),
            manifest=settled,
            weights=weights,
            among=among,
            folder=str(tree_folder),
            n_clusters=plan.n_clusters,
            n_clusters_rule=plan.n_clusters_rule,
        )

        evaluation = run_stage(
            evaluate,
            key=plan.keys["evaluate"],
            detail=f"protocol {config.protocol}",
            is_complete=True,
            manifest=settled,
            tree=tree,
        )

        run = run_stage(
            report,
            key=plan.run,
            detail=f"{tree.n_clusters} clusters",
            is_complete=False,
            manifest=settled,
            reference=plan.reference,
            weights=weights,
            tree=tree,
            evaluation=evaluation,
            keys=plan.told,
        )
        return telemetry.finished("cluster", run)
