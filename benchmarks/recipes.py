"""Recipe auto beside recipe sohn after the pairs: ``python -m benchmarks.recipes [--images 20000 --reference 200]``.

Simulated features and distances of many images through a random reference: the stages that differ between the two
recipes, and the tree, each recipe in a process of its own. Embedding and pairs are the same for both, but for the
second feature level.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from anoclust_core.config import RunConfig
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.records import NearestDistances, Reference
from anoclust_core.weighting.reference import reference_contents
from benchmarks import stages
from benchmarks.memory import GIB, apart
from tasks.stages.group import group
from tasks.stages.weigh import weigh
from tasks.stages.whiten import whiten
from tasks.stores import arrays
from tasks.stores.manifests import load_manifest
from tasks.stores.nearest import NearestSlabs, WantedPairs

RECIPES = ("sohn", "auto")


def by_recipe(recipe: str, n_images: int, n_reference: int, quick: bool, folder: Path) -> None:
    """Weights, descriptors and tree of simulated images by one recipe; prints the seconds of each stage."""
    n_images, n_reference = (300, 20) if quick else (n_images, n_reference)
    deeper = stages.made_up_spec((8, 8), 352)
    spec = replace(stages.made_up_spec((16, 16), 120), deeper=deeper)
    manifest = stages.write_data_set(folder, n_images, spec)
    reference = Reference("cluster", n_reference)
    images = load_manifest(manifest)
    hashes = sorted(image.sha256 for image in images.images)
    stages.write_bags(folder / "deeper", hashes, deeper)
    columns = reference_contents(reference, images)[0]
    _write_distances(folder, hashes, columns, spec.n_patches)
    nearest = NearestDistances(str(folder / "nearest"), "k", reference, (n_images, n_reference, spec.n_patches))
    config = RunConfig.model_validate({"recipe": recipe})
    run = stages.made_up_run(folder, spec, config, memory_budget=2 * GIB)
    stage = {"run": run, "key": "k", "manifest": str(manifest), "nearest": nearest, "folder": str(folder / "weights")}
    start = time.perf_counter()
    if recipe == "auto":
        levels = (str(folder / "bags"), str(folder / "deeper"))
        weights = whiten.fn(**stage, embeddings=levels, model=str(folder / "models"), n_clusters=None)
    else:
        weights = weigh.fn(**stage, embeddings=str(folder / "bags"))
    weighed = time.perf_counter()
    group.fn(
        run=run, key="k", manifest=str(manifest), weights=weights, among=None, folder=str(folder / "tree"),
        n_clusters=None, n_clusters_rule="",
    )  # fmt: skip
    print(f"{recipe}: weights and descriptors {weighed - start:.0f} s, tree {time.perf_counter() - weighed:.0f} s")


def _write_distances(folder: Path, rows: list[str], columns: list[str], n_patches: int) -> None:
    rng = np.random.default_rng(0)
    plan = NearestSlabs(folder / "nearest").plan(
        WantedPairs(rows=rows, columns=columns), folder / "bags", n_patches, 64
    )
    plan.create()
    for block in plan.blocks:
        values = rng.uniform(0.3, 0.7, (len(block.rows), len(block.columns), n_patches)).astype(np.float16)
        values[np.equal.outer(np.array(block.rows), np.array(block.columns))] = 0
        for target, block_values in ((block.forward, values), (block.backward, values.transpose(1, 0, 2))):
            if target:
                arrays.write_block(target[0], "distances", (target[1], target[2], 0), block_values)
        plan.block_done(block)


def main() -> None:
    """Print seconds and peaks of both recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--reference", type=int, default=200, help="images that rarity is measured against")
    parser.add_argument("--quick", action="store_true", help="300 images: shows that it works, measures nothing")
    asked = parser.parse_args()
    for recipe in RECIPES:
        peak, seconds = apart(partial(by_recipe, recipe, asked.images, asked.reference), asked.quick)
        print(
            f"{recipe}: peak {readable_bytes(peak)} above the imports; {seconds:.0f} s with the simulation", flush=True
        )


if __name__ == "__main__":
    main()
