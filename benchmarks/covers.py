"""A reference bounded in patches against all patches: scores with error bars, seconds and bytes.

The images of one category are embedded once, and compared by every bound in the same store, as runs do it. Then recipe
auto is fitted again on the same random 90 % subsets from each run's distances: blind, with the number of classes given.

    python -m benchmarks.covers --data mtd.csv --work FOLDER
    python -m benchmarks.covers --data mtd.csv --work FOLDER --image-size 256 --patches all 64 16 --subsets 50
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.benchmark.geometry import CategoryArrays
from anoclust_core.benchmark.localization import localization_scores
from anoclust_core.benchmark.refit import BLIND, Setting, Subset, fitted
from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.benchmark.scoring import scores_of
from anoclust_core.clustering.distances import PairStatistics
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.config import RunConfig
from anoclust_core.config.setting import nest
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.records import DatasetManifest
from anoclust_core.seeding import generator
from anoclust_core.weighting.auto_switches import AUTO

SEED = 0
MASK_SIDE = 128
"""Pixels of the squares that heat and ground truth are compared in."""

SHOWN = ("nmi", "ari", "nmi*", "ari*", "image_auroc")
"""Scores of a subset: of all its images, of its defects only, and how well the rarest patch tells a defect."""


@dataclass(frozen=True)
class Compared:
    """What a run left: its images and distances, the seconds of comparing, bytes of distances and covers, its note."""

    arrays: CategoryArrays
    seconds: float
    stored: tuple[int, int]
    note: str


def compare(data: Path, store: Path, image_size: int, patches: str) -> Compared:
    """Run recipe auto over the images of the only category, blind, and read back what it was made of."""
    from flows.run import run_data
    from tasks.benchmark.sohn import ground_truth
    from tasks.networks.backbone_spec import embedding_spec
    from tasks.stores.embeddings import EmbeddingSegments
    from tasks.stores.layout import StoreLayout
    from tasks.stores.manifests import load_manifest
    from tasks.stores.nearest import NearestSlabs
    from tasks.stores.runs import parts_of
    from tasks.stores.upkeep.inventory import tree_bytes

    asked = {"data.normals": "none", "data.settle_seconds": 0, "embed.image_size": image_size}
    config = RunConfig.model_validate(nest({**asked, "pair.reference_patches": patches}))
    (outcome,) = run_data(data, store, config)
    if outcome.error is not None or outcome.run is None:
        raise SystemExit(str(outcome.error))
    layout, keys, category = StoreLayout(store), outcome.summary["keys"], outcome.category
    images: DatasetManifest = load_manifest(parts_of(layout, outcome.summary).manifest)
    contents = [image.sha256 for image in images.clustered]
    folders = [layout.folder("embeddings", category, keys[name]) for name in ("embedding", "deeper")]
    nearest = layout.folder("nearest", category, keys["distances"])
    covers = layout.folder("embeddings", category, keys["covers"]) if "covers" in keys else None
    first, second = (EmbeddingSegments(folder).read(contents) for folder in folders)
    spec = outcome.summary["embedding"]
    parts = [part for _, part in NearestSlabs(nearest).read(contents, contents)]
    none = np.zeros((len(contents), len(contents)), np.float32)  # of Hausdorff distances, which nothing here asks for
    arrays = CategoryArrays(
        name=category,
        labels=[image.label for image in images.clustered],
        bags=first,
        grid=tuple(spec["grid"]),
        nearest=np.concatenate(parts),
        to_normals=None,
        statistics=PairStatistics(none, none, none),
        masks=ground_truth(images.clustered, MASK_SIDE, embedding_spec(layout, config)),
        deeper=second,
        deeper_grid=tuple(spec["deeper"]["grid"]),
    )
    notes = [note for note in outcome.summary["notes"] if note.startswith("A patch is compared")]
    stored = tree_bytes(nearest), tree_bytes(covers) if covers else 0
    return Compared(arrays, outcome.summary["seconds"]["pairwise"], stored, " ".join(notes))


def subset_scores(arrays: CategoryArrays, n_subsets: int) -> dict[str, NDArray[np.float64]]:
    """Scores on random subsets, the same for every bound; everything is fitted again on each."""
    protocol, setting = protocol_named("sohn"), Setting(arrays, BLIND)
    draws = random_subsets(arrays.n_images, generator=generator(SEED, "subsets"), n_subsets=n_subsets)
    found: dict[str, list[float]] = {name: [] for name in SHOWN}
    for images in draws:
        subset = Subset(setting, images, protocol, SEED)
        tree = linkage_tree(smoothed(fitted(subset, subset.n_true).unsmoothed), method="ward")
        clusters = cut_tree(tree, n_clusters=subset.n_true)
        every, defects = scores_of(protocol, subset.labels, clusters)
        rarity = subset.scores(AUTO)[..., 0].reshape(len(images), *arrays.grid)
        told = localization_scores(rarity, subset.labels, None, protocol=protocol)
        values = every["nmi"], every["ari"], defects["nmi"], defects["ari"], told["image_auroc"]
        for name, value in zip(SHOWN, values, strict=True):
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def pixel_scores(arrays: CategoryArrays) -> dict[str, float]:
    """Pixel AUROC and PRO of the rarity of all images."""
    protocol = protocol_named("sohn")
    whole = Subset(Setting(arrays, BLIND), np.arange(arrays.n_images), protocol, SEED)
    rarity = whole.scores(AUTO)[..., 0].reshape(arrays.n_images, *arrays.grid)
    return localization_scores(rarity, arrays.labels, arrays.masks, protocol=protocol)


def row(patches: str, scores: dict[str, NDArray[np.float64]], exact: dict[str, NDArray[np.float64]]) -> str:
    """One line of the table: mean and standard error of each score, and of its difference to all patches."""
    cells = []
    for name in SHOWN:
        mean, error = mean_and_standard_error(scores[name])
        off, off_error = mean_and_standard_error(scores[name] - exact[name])
        cells.append(f"{mean:.3f} ± {error:.3f} ({off:+.3f} ± {off_error:.3f})")
    return f"| {patches} | {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of scores, and a line of seconds and bytes for each bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images of one category, with labels")
    parser.add_argument("--work", type=Path, required=True, help="folder for the store")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--patches", nargs="+", default=["all", "256", "64"], help="bounds; the first is compared with")
    parser.add_argument("--subsets", type=int, default=30)
    asked = parser.parse_args(argv)
    exact: dict[str, NDArray[np.float64]] = {}
    for patches in asked.patches:
        found = compare(asked.data, asked.work / "store", asked.image_size, patches)
        with threadpool_limits(1):
            scores = subset_scores(found.arrays, asked.subsets)
        exact = exact or scores
        if exact is scores:
            print(f"| patches | {' | '.join(SHOWN)} |\n|{'---|' * (1 + len(SHOWN))}", flush=True)
        print(row(patches, scores, exact), flush=True)
        pixels = pixel_scores(found.arrays)
        told = ", ".join(f"{name} {value:.3f}" for name, value in pixels.items())
        distances, covers = (size / (1 << 20) for size in found.stored)
        print(f"  {patches}: {told}; comparing {found.seconds:.0f} s, distances {distances:.0f} MiB, covers "
              f"{covers:.1f} MiB\n  {found.note}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
