"""Stage 2: nearest-patch distances, block by block over Dask; only pairs that no run has computed."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task

from anoclust_core.memory.pairs import cover_plan, pair_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.pairwise import tiling
from anoclust_core.records import EmbeddingSpec, NearestDistances, Reference, unique_contents
from anoclust_core.weighting.reference import reference_contents
from anoclust_core.weighting.regions import Regions
from tasks import telemetry
from tasks.compute.covers import MOST_IN_SEGMENT, compute_covers, images_at_once, missing_covers
from tasks.compute.dask_jobs import CORES, count_workers, run_jobs
from tasks.compute.pair_blocks import compute_block
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE, Progress
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs, wanted_pairs
from tasks.stores.regions import regions_of


@task(name="pair", **STAGE)
def pair(
    *,
    run: CategoryRun,
    key: str,
    manifest: str,
    embeddings: tuple[str, str],
    folder: str,
    reference: Reference,
    with_means: bool = False,
    both_ways: bool = False,
) -> NearestDistances:
    """Compute the distances that are missing between the clustered images, or from them to the normals.

    ``embeddings`` are the folders of bags and of their covers, empty where patches are compared with all. The patches
    of a cover are chosen first, once for each image that others are compared with.

    Every worker chooses its own device, so that with ``auto`` those with a GPU and those without can work together.
    """
    spec, dask = run.spec, run.config.pair.dask
    images = load_manifest(Path(manifest))
    slabs = NearestSlabs(Path(folder))
    n_images, n_reference = len(unique_contents(images.clustered)[0]), len(reference_contents(reference, images)[0])
    bags, covers = Path(embeddings[0]), Path(embeddings[1]) if embeddings[1] else None
    regions = regions_of(run.layout, images.images, spec)[0]
    pairs = wanted_pairs(images, reference, with_means=with_means, both_ways=both_ways)
    n_missing = slabs.count_missing(pairs)
    n_workers = count_workers(dask) if n_missing else 1
    side, memory = plan_blocks(
        spec,
        (n_images, n_reference),
        n_missing=n_missing,
        n_workers=n_workers,
        is_here=dask is None,
        memory_budget=run.memory_budget,
    )
    memory.check(run.memory_budget)
    plan = slabs.plan(
        pairs,
        bags,
        spec.n_patches,
        side,
        device=run.config.embed.device,
        window=spec.window,
        covers=covers,
        regions=regions,
    )
    if covers:
        _cover(plan.columns, run, (bags, covers), regions, n_workers=n_workers)
    if plan.blocks:
        get_run_logger().info("%d image pairs in %d blocks", plan.n_products, len(plan.blocks))
        progress = Progress("pair", run.category)
        total, done = plan.n_products, 0

        def on_done(position: int, n_products: int) -> None:
            nonlocal done
            plan.block_done(plan.blocks[position])
            done += n_products
            telemetry.count("pair_products", n_products)
            progress(done, total)

        plan.create()
        run_jobs(compute_block, plan.blocks, address=dask, on_done=on_done)
    return NearestDistances(uri=folder, key=key, reference=reference, shape=(n_images, n_reference, spec.n_patches))


def _cover(
    contents: list[str], run: CategoryRun, folders: tuple[Path, Path], regions: Regions | None, *, n_workers: int
) -> None:
    """Choose the patches of images that others are compared with, where they were not chosen yet."""
    spec, dask = run.spec, run.config.pair.dask
    assert spec.cover is not None  # noqa: S101 - only then there is a folder for covers
    jobs = missing_covers(*folders, contents, spec.cover, n_workers=n_workers, regions=regions)
    if jobs:
        covering_memory(spec, n_images=len(contents), is_here=dask is None).check(run.memory_budget)
        progress = Progress("cover", run.category)
        done, total = 0, sum(len(job.hashes) for job in jobs)

        def on_done(_: int, n_images: int) -> None:
            nonlocal done
            done += n_images
            progress(done, total)

        run_jobs(compute_covers, jobs, address=dask, on_done=on_done)


def covering_memory(spec: EmbeddingSpec, *, n_images: int, is_here: bool) -> MemoryPlan:
    """Predict the memory for choosing the patches of images that others are compared with, in this process or not."""
    size = spec.cover.size if spec.cover else spec.n_patches
    return cover_plan(
        block_bytes=tiling.block_bytes(1, spec.n_patches, spec.dim, n_others=size),
        n_patches=spec.n_patches,
        dim=spec.dim,
        size=size,
        images_at_once=images_at_once(spec.n_patches, spec.dim),
        images_kept=min(MOST_IN_SEGMENT, n_images),
        threads=CORES if is_here else 0,
    )


def plan_blocks(
    spec: EmbeddingSpec,
    sizes: tuple[int, int],
    *,
    n_missing: int,
    n_workers: int,
    is_here: bool,
    memory_budget: int,
) -> tuple[int, MemoryPlan]:
    """Images per side of a block, as many as fit into the memory, and what they need there.

    Parameters
    ----------
    spec
        Of the bags.
    sizes
        Distinct images on both sides.
    n_missing
        Pairs to compute.
    n_workers
        Blocks that are computed at a time.
    is_here
        Whether this process computes them.
    memory_budget
        Bytes that may be used.
    """
    side = tiling.adapted_block_images(
        n_missing, spec.n_patches, spec.dim, n_workers=n_workers, window=spec.window, n_others=_n_others(spec)
    )
    threads = CORES if is_here else 0
    while side > 1 and _predict(side, spec, *sizes, threads).total > memory_budget:
        side //= 2
    return side, _predict(side, spec, *sizes, threads)


def _n_others(spec: EmbeddingSpec) -> int | None:
    """Patches of an image that others are compared with, where these are not all."""
    return spec.cover.size if spec.cover else None


def _predict(side: int, spec: EmbeddingSpec, n_images: int, n_reference: int, threads: int) -> MemoryPlan:
    return pair_plan(
        block_bytes=tiling.block_bytes(side, spec.n_patches, spec.dim, window=spec.window, n_others=_n_others(spec)),
        side=side,
        n_patches=spec.n_patches,
        dim=spec.dim,
        threads=threads,
        n_images=n_images + n_reference,
        n_pairs=n_images * n_reference,
        is_aligned=spec.window is not None,
    )
