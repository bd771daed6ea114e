"""Stage between pairs and weights: which images show one part, exposed more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.config import COUNT_ONCE, RunConfig
from anoclust_core.errors import ResourceError
from anoclust_core.memory.pairs import near_duplicates_plan
from anoclust_core.memory.plan import SMALLER, MemoryPlan, readable_bytes
from anoclust_core.pairwise.near_duplicates import Closest, near_duplicate_groups
from anoclust_core.records import ArrayHandle, EmbeddingSpec, NearestDistances, unique_contents
from tasks.compute.closest import MOST_BYTES, can_be_compared, closest_compared, closest_stored, has_all_pairs
from tasks.compute.counting import GROUPS
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs
from tasks.stores.regions import regions_of


@task(name="near_duplicates", **STAGE)
def near_duplicates(
    *, run: CategoryRun, key: str, manifest: str, embeddings: str, nearest: NearestDistances, folder: str
) -> ArrayHandle:
    """Find the groups; a row for each distinct content of the clustered images.

    The nearest images of each are kept beside the groups: nights go on from there.

    Raises
    ------
    ResourceError
        If there is too much to compare and near-duplicates count once: the clusters depend on them.
    """
    spec = run.spec
    images = load_manifest(Path(manifest)).clustered
    contents, _ = unique_contents(images)
    is_stored = has_all_pairs(nearest.reference)
    is_searched = can_be_searched(spec, n_contents=len(contents), is_stored=is_stored, memory_budget=run.memory_budget)
    if not is_searched and run.config.pair.near_duplicates == COUNT_ONCE:
        _refuse(spec, n_contents=len(contents), is_stored=is_stored, memory_budget=run.memory_budget)
    # else no result depends on near-duplicates: where they do not fit the run goes on, and its report says so
    if len(contents) < 2 or not is_searched:
        closest = nothing_close(len(contents))
    elif is_stored:
        closest = closest_stored(NearestSlabs(Path(nearest.uri)), contents)
    else:
        closest = closest_compared(
            EmbeddingSegments(Path(embeddings)),
            contents,
            range(len(contents)),
            spec,
            regions=regions_of(run.layout, images, spec)[0],
            device=run.config.embed.device,
        )
    groups = near_duplicate_groups(closest)
    stored: dict[str, NDArray[Any]] = {
        "images": closest.images,
        "means": closest.means,
        "largest": closest.largest,
        GROUPS: groups,
    }
    arrays.write_arrays(Path(folder), stored, {"is_searched": is_searched})
    return ArrayHandle(uri=folder, key=key, shapes={name: values.shape for name, values in stored.items()})


def nothing_close(n_contents: int) -> Closest:
    """Images that were compared with none."""
    none = np.empty((n_contents, 0), np.float32)
    return Closest(none.astype(np.int64), none, none)


def can_be_searched(spec: EmbeddingSpec, *, n_contents: int, is_stored: bool, memory_budget: int) -> bool:
    """Whether there is memory to look for near-duplicates among so many distinct images."""
    memory = searching_memory(spec, n_contents=n_contents, is_stored=is_stored)
    fits = memory.total <= memory_budget and (is_stored or can_be_compared(spec, n_contents))
    return n_contents < 2 or fits


def is_settled(
    folder: Path, spec: EmbeddingSpec, config: RunConfig, *, n_contents: int, is_stored: bool, memory_budget: int
) -> bool:
    """Whether a folder of the stage is there and all that it can be.

    It is not where near-duplicates were not looked for, for want of memory, and there is enough now; nor where they
    count once: then the stage says what is lacking.
    """
    if not arrays.is_complete(folder):
        return False
    if (arrays.describe(folder) or {}).get("is_searched", True):
        return True
    may_lack = config.pair.near_duplicates != COUNT_ONCE
    return may_lack and not can_be_searched(
        spec, n_contents=n_contents, is_stored=is_stored, memory_budget=memory_budget
    )


def _refuse(spec: EmbeddingSpec, *, n_contents: int, is_stored: bool, memory_budget: int) -> NoReturn:
    """Say why near-duplicates cannot be looked for."""
    searching_memory(spec, n_contents=n_contents, is_stored=is_stored).check(memory_budget)
    needed = readable_bytes(2 * n_contents * spec.n_patches * spec.dim)
    why = f"whose embeddings take {needed}; the limit is {readable_bytes(MOST_BYTES)}"
    if spec.cover is not None:
        why = f"and --reference-patches takes {spec.cover.size:,} of the {spec.n_patches:,} patches of each"
    raise ResourceError(
        f"--near-duplicates count-once compares {n_contents:,} whole images with each other, {why}; {SMALLER}, or omit "
        "--near-duplicates"
    )


def searching_memory(spec: EmbeddingSpec, *, n_contents: int, is_stored: bool) -> MemoryPlan:
    """Predict the peak of the stage for so many distinct images."""
    return near_duplicates_plan(n_contents=n_contents, n_patches=spec.n_patches, dim=spec.dim, is_stored=is_stored)
