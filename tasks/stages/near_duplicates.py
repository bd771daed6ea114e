"""Stage between pairs and weights: which images show one part, exposed more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task

from anoclust_core.memory.pairs import near_duplicates_plan
from anoclust_core.memory.plan import MemoryPlan
from anoclust_core.pairwise.near_duplicates import Closest, near_duplicate_groups
from anoclust_core.records import ArrayHandle, EmbeddingSpec, NearestDistances, unique_contents
from tasks.compute.closest import can_be_compared, closest_compared, closest_stored, has_all_pairs
from tasks.compute.counting import GROUPS
from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs


@task(name="near_duplicates", **STAGE)
def near_duplicates(
    *, run: CategoryRun, key: str, manifest: str, embeddings: str, nearest: NearestDistances, folder: str
) -> ArrayHandle:
    """Find the groups; a row for each distinct content of the clustered images.

    The nearest images of each are kept beside the groups: nights go on from there.
    """
    spec = run.spec
    contents, _ = unique_contents(load_manifest(Path(manifest)).clustered)
    is_stored = has_all_pairs(nearest.reference)
    memory = searching_memory(spec, n_contents=len(contents), is_stored=is_stored)
    # a run needs no near-duplicates: where they do not fit it goes on, and its report says so
    is_searched = memory.total <= run.memory_budget and (is_stored or can_be_compared(spec, len(contents)))
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


def searching_memory(spec: EmbeddingSpec, *, n_contents: int, is_stored: bool) -> MemoryPlan:
    """Predict the peak of the stage for so many distinct images."""
    return near_duplicates_plan(n_contents=n_contents, n_patches=spec.n_patches, dim=spec.dim, is_stored=is_stored)
