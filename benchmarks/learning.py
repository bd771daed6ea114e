"""What learning from decisions gains: other images by re-clustering and by nights, for 1 to 10 labels a class.

Each data set is clustered once without labels, in a store that stays. Then some images get their class as a label, as
if a person had put each into the cluster of its class, and the others are scored: ARI and NMI. Labels are drawn at
random, or are those that the morning list asks for; of all classes, or of half of them. Nights get a random third of
the images after the others were clustered; what they are described by was fitted to all.

    anoclust prepare mtd FOLDER --out mtd.csv
    python -m benchmarks.learning --data mtd.csv --work FOLDER
    python -m benchmarks.learning --data mtd.csv --blind --work FOLDER
    python -m benchmarks.learning --images 20000 --labels 500
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from anoclust_core.clustering.cut import suggest_cut
from anoclust_core.clustering.learning.asking import telling_images
from anoclust_core.clustering.learning.partition import Labelled, contradicts, learn_partition, learning_space
from anoclust_core.clustering.linkage import linkage_tree
from anoclust_core.clustering.smoothing import smoothed
from anoclust_core.matching.assigning import Choice, assign, choose
from anoclust_core.matching.prototypes import fit_prototypes, merge_height
from anoclust_core.safe_text.cells import original
from flows.run import run_data
from flows.settings import resolve
from tasks.night.learning import NightHead
from tasks.stores import arrays, runs
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of

NUMBERS: Final = (1, 3, 5, 10)
"""Labels a class."""

LATER: Final = 1 / 3
"""Part of the images that nights get."""


@dataclass(frozen=True)
class Fitted:
    """A clustering of a data set: descriptors before and after smoothing, plain ones, tree, clusters, classes."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    plain: NDArray[np.float32]
    linkage: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return int(self.classes.max()) + 1


def fitted(manifest: Path, work: Path, *, is_blind: bool) -> Mapping[str, Fitted]:
    """Cluster a data set without its labels, and take its descriptors and classes, by category."""
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if is_blind:
        rows = [row for row in rows if row.get("split") in {None, "", "test"}]
    of_path = {}
    for row in rows:
        row["path"] = str((manifest.parent / row["path"]).resolve())
        if row.get("split") in {None, "", "test"}:
            of_path[row["path"]], row["label"] = row.get("label") or "", ""
    name = f"{manifest.stem}-{'blind' if is_blind else 'all'}"
    without = work / f"{name}.csv"
    work.mkdir(parents=True, exist_ok=True)
    with without.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    store = work / name
    outcomes = run_data(without, store, resolve().config)
    found = {}
    for outcome in outcomes:
        if outcome.run is None:
            raise SystemExit(f"the run over {name} failed: {outcome.error}")
        found[outcome.category] = of_run(store, outcome.run, of_path)
    return found


def of_run(store: Path, run: Path, of_path: Mapping[str, str]) -> Fitted:
    """Descriptors, tree and clusters of a run, with the classes of its images; turned onto the axes that they span."""
    layout, summary = StoreLayout(store), runs.read_summary(run)
    parts, category = parts_of(layout, summary), run.parent.name
    images = load_manifest(parts.manifest).clustered
    model = layout.folder("models", category, parts.keys["whiten"])
    before, after = arrays.read(model, "unsmoothed"), arrays.read(parts.weights, "descriptors")
    middle = before.mean(axis=0)
    axes = np.linalg.svd(before - middle, full_matrices=False)[2].T
    return Fitted(
        before=((before - middle) @ axes).astype(np.float32),
        after=((after - middle) @ axes).astype(np.float32),
        plain=arrays.read(model, "plain"),
        linkage=arrays.read(parts.tree, "linkage").astype(np.float64),
        labels=arrays.read(parts.tree, "labels").astype(np.int64),
        classes=np.unique([of_path[original(image.path)] for image in images], return_inverse=True)[1],
    )


def labels_of(rows: NDArray[np.int64], classes: NDArray[np.int64]) -> Labelled:
    """Some images as labels of their classes."""
    groups = np.full(len(classes), -1, np.int64)
    groups[rows] = np.unique(classes[rows], return_inverse=True)[1]
    return Labelled(groups, np.zeros((len(classes), len(np.unique(classes[rows]))), np.bool_))


def reclustered(found: Fitted, labelled: Labelled) -> tuple[NDArray[np.int64], NightHead | None]:
    """The re-clustering of the product, and what nights go on with."""
    if not contradicts(found.labels, labelled):
        return found.labels, None
    values = learning_space(found.before, found.after)
    number = int(found.labels.max()) + 1
    learnt = learn_partition(values, found.linkage, labelled, n_clusters=number, plain=found.labels)
    return learnt.labels, NightHead(learnt.head, learnt.labels, not np.array_equal(found.before, found.after))


def by_nearest_mean(values: NDArray[np.floating[Any]], labelled: Labelled) -> NDArray[np.int64]:
    """Nearest class mean."""
    means = np.stack([values[labelled.groups == group].mean(axis=0) for group in range(labelled.n_groups)])
    return np.asarray(((means**2).sum(axis=1) - 2 * values @ means.T).argmin(axis=1), np.int64)


def drawn(classes: NDArray[np.int64], number: int, rng: np.random.Generator, among: Sequence[int]) -> NDArray[np.int64]:
    """So many images of each class, or all where it has fewer."""
    rows = [rng.permutation(np.flatnonzero(classes == one))[:number] for one in among]
    return np.sort(np.concatenate(rows))


def scored(classes: NDArray[np.int64], labels: NDArray[np.int64], rows: NDArray[np.bool_]) -> tuple[float, float]:
    """ARI and NMI of some images."""
    return (
        float(adjusted_rand_score(classes[rows], labels[rows])),
        float(normalized_mutual_info_score(classes[rows], labels[rows])),
    )


def at_random(found: Fitted, number: int, seed: int) -> dict[str, tuple[float, float]]:
    """One draw of labels of all classes, and one of half of them."""
    rng = np.random.default_rng(seed)
    classes = found.classes
    rows = drawn(classes, number, rng, range(found.n_classes))
    labelled = labels_of(rows, classes)
    others = labelled.groups < 0
    space = learning_space(found.before, found.after)
    scores = {
        "none": scored(classes, found.labels, others),
        "random": scored(classes, reclustered(found, labelled)[0], others),
        "nearest mean": scored(classes, by_nearest_mean(space, labelled), others),
    }
    named = rng.permutation(found.n_classes)[: found.n_classes // 2]
    labelled = labels_of(drawn(classes, number, rng, named.tolist()), classes)
    unnamed = ~np.isin(classes, named)
    scores["half: unnamed"] = scored(classes, reclustered(found, labelled)[0], unnamed)
    scores["half: none"] = scored(classes, found.labels, unnamed)
    return scores


def as_asked(found: Fitted, number: int) -> dict[str, tuple[float, float]]:
    """Labels of the images that the morning list asks for."""
    rows = telling_images(found.linkage, found.after, n_clusters=found.n_classes, n_each=number)
    labelled = labels_of(rows, found.classes)
    return {"asked": scored(found.classes, reclustered(found, labelled)[0], labelled.groups < 0)}


def by_nights(found: Fitted, number: int, seed: int) -> dict[str, tuple[float, float]]:
    """Images that come after the others were clustered, given to clusters as nights do; the unknown are one cluster."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(found.classes))
    n_later = int(LATER * len(order))
    later, first = np.sort(order[:n_later]), np.sort(order[n_later:])
    is_smoothed = not np.array_equal(found.before, found.after)
    before = found.before[first]
    after = smoothed(before) if is_smoothed else before
    linkage = linkage_tree(after, method="ward")
    own = Fitted(before, after, found.plain[first], linkage, suggest_cut(linkage, after)[1], found.classes[first])
    labelled = labels_of(drawn(own.classes, number, rng, np.unique(own.classes).tolist()), own.classes)
    tree = linkage_tree(own.plain, method="ward")
    scores = {}
    for column, (labels, head) in (("nights: none", (own.labels, None)), ("nights", reclustered(own, labelled))):
        ids = [f"c{label + 1}" for label in labels.tolist()]
        choice: Choice = choose(found.before[later], fit_prototypes(before, ids, merge_height=0.0))
        if head is not None:
            choice = head.choice(head.scores(found.before[later], before), ids, choice, {})
        height = merge_height(tree, n_clusters=int(labels.max()) + 1)
        best = assign(found.plain[later], fit_prototypes(own.plain, ids, merge_height=height), choice=choice)
        numbers = np.array([int(name[1:]) if name else 0 for name in best.ids])
        scores[column] = scored(found.classes[later], numbers, np.ones(len(later), np.bool_))
    return scores


def table(name: str, found: Fitted, draws: int) -> None:
    """Print mean ARI and NMI by number of labels."""
    columns = ("none", "random", "nearest mean", "asked", "nights: none", "nights", "half: none", "half: unnamed")
    sizes = f"{len(found.classes)} images, {found.n_classes} classes, {int(found.labels.max()) + 1} clusters"
    print(f"\n{name}: {sizes}; ARI (NMI)\n\n| labels a class | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for number in NUMBERS:
        scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for seed in range(draws):
            for column, one in {**at_random(found, number, seed), **by_nights(found, number, seed)}.items():
                scores[column].append(one)
        for column, one in as_asked(found, number).items():
            scores[column].append(one)
        cells = []
        for column in columns:
            mean = np.mean(scores[column], axis=0) if scores[column] else None
            cells.append("" if mean is None else f"{mean[0]:.3f} ({mean[1]:.3f})")
        print(f"| {number} | {' | '.join(cells)} |", flush=True)


def cost(n_images: int, n_labels: int, dim: int) -> None:
    """Print seconds of processor time that a re-clustering takes after its descriptors, without labels and with."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 12, n_images)
    before = (rng.normal(size=(12, dim))[classes] + 3 * rng.normal(size=(n_images, dim))).astype(np.float32)

    def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
        start = time.process_time()
        done = work()
        return time.process_time() - start, done

    smoothing, after = seconds(lambda: smoothed(before))
    growing, linkage = seconds(lambda: linkage_tree(after, method="ward"))
    cutting, (_, labels) = seconds(lambda: suggest_cut(linkage, after))
    labelled = labels_of(np.sort(rng.permutation(n_images)[:n_labels]), classes)
    number = int(labels.max()) + 1
    space = learning_space(before, after)
    learning, _ = seconds(lambda: learn_partition(space, linkage, labelled, n_clusters=number, plain=labels))
    print(
        f"{n_images:,} images of {dim} values, {n_labels} labels: smoothing {smoothing:.0f} s, tree {growing:.0f} s, "
        f"cut {cutting:.0f} s; learning {learning:.0f} s, {learning / (smoothing + growing + cutting):.0%} of these"
    )


def main() -> None:
    """Print the tables of the data sets that are asked for, or the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="manifests with labels")
    parser.add_argument("--blind", action="store_true", help="leave known normals out")
    parser.add_argument("--work", type=Path, help="folder for the stores")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--images", type=int, help="measure the cost of so many images instead")
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--dim", type=int, default=1416, help="values of a descriptor; those of the default backbone")
    asked = parser.parse_args()
    if asked.images:
        cost(asked.images, asked.labels, asked.dim)
    for manifest in asked.data:
        if asked.work is None:
            parser.error("--data needs --work")
        for category, found in fitted(manifest, asked.work, is_blind=asked.blind).items():
            table(f"{category}{', blind' if asked.blind else ''}", found, asked.draws)


if __name__ == "__main__":
    main()
