"""What nights make of a data set that is dealt out over them: identities, new clusters, pairs, and the last partition.

The clustered images of a manifest are shuffled and dealt out over thirty nights; normals are there from the first. What
is printed at the end compares the partition after the last night with that of one run over everything, and the same
again after everything was re-clustered. Settings come from `ANOCLUST_*` variables and `anoclust.toml`.

    anoclust prepare mtd FOLDER --out mtd.csv
    python -m benchmarks.nights mtd.csv --work FOLDER --plot pairs.png
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.safe_text.cells import original
from flows.nights.outcome import NightOutcome
from flows.nights.run import run_nights
from flows.run import run_data
from flows.settings import resolve
from tasks.stores import runs
from tasks.stores.catalog.catalog import Catalog

FIRST = date(2026, 1, 1)
COLUMN = "dealt_to"


@dataclass(frozen=True)
class Begins:
    """A class whose images come on a night or later, and on none before."""

    label: str
    night: int


def deal(
    manifest: Path,
    out: Path,
    *,
    nights: int,
    seed: int,
    begins: Begins | None = None,
    keep_labels: bool = True,
) -> tuple[str, dict[str, str]]:
    """Write the manifest with a night for each image; gives its category and the label of each path.

    With ``keep_labels=False`` the nights see no label but of normals, and take no number of clusters from them.
    """
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    clustered = [row for row in rows if row.get("split") in {None, "", "test"}]
    for row in rows:
        row["path"] = str((manifest.parent / row["path"]).resolve())
        row[COLUMN] = ""
    labels = {row["path"]: row.get("label") or "" for row in clustered}
    rng = np.random.default_rng(seed)
    if begins is not None and begins.label not in labels.values():
        raise ConfigError(f"expected images of class {begins.label}, found {', '.join(sorted(set(labels.values())))}")
    late = [row for row in clustered if begins is not None and labels[row["path"]] == begins.label]
    early = [row for row in clustered if begins is None or labels[row["path"]] != begins.label]
    for dealt, first in ((early, 0), (late, begins.night if begins else 0)):
        for place, at in enumerate(rng.permutation(len(dealt)).tolist()):
            dealt[at][COLUMN] = (FIRST + timedelta(days=first + place * (nights - first) // len(dealt))).isoformat()
    if not keep_labels:
        for row in clustered:
            row["label"] = ""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    categories = sorted({row["category"] for row in rows})
    if len(categories) != 1:
        raise SystemExit(f"expected a manifest of one category, found {', '.join(categories)}")
    return categories[0], labels


def partition(store: Path, category: str) -> dict[str, str]:
    """Cluster of every image by path; the unknown are one cluster."""
    with Catalog.open(store / "catalog.sqlite") as catalog:
        paths = {fact.content: fact.path for fact in catalog.images(category)}
        return {paths[fact.content]: fact.cluster or "unknown" for fact in catalog.assignments(category)}


def agreement(one: Mapping[str, str], other: Mapping[str, str]) -> float:
    """ARI over the images that are in both."""
    common = sorted(one.keys() & other.keys())
    return float(adjusted_rand_score([one[path] for path in common], [other[path] for path in common]))


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    """Images that had a cluster and have another one now."""
    return sum(after[path] != cluster for path, cluster in before.items() if cluster != "unknown" and path in after)


def from_scratch(manifest: Path, store: Path, config: RunConfig) -> dict[str, str]:
    """Cluster of every image by path, of one run over everything."""
    (outcome,) = run_data(manifest, store, config)
    if outcome.run is None:
        raise SystemExit(f"the run over everything failed: {outcome.error}")
    with (outcome.run / runs.ASSIGNMENTS_CSV).open(encoding="utf-8", newline="") as file:
        return {original(row["path"]): row["cluster"] for row in csv.DictReader(file)}


def one_night(manifest: Path, store: Path, config: RunConfig, night: date, *, recluster: bool = False) -> NightOutcome:
    """Run a night of the only category; stop where it fails."""
    (outcome,) = run_nights(manifest, store, config, as_of=night, recluster=recluster)
    if outcome.error is not None:
        raise SystemExit(f"night {night} failed: {outcome.error}")
    return outcome


def plot_pairs(outcomes: Sequence[NightOutcome], path: Path, *, title: str) -> None:
    """Draw the pair products of every night beside those with every earlier image."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    new = np.array([outcome.counters["new"] for outcome in outcomes])
    products = np.array([outcome.counters["pair_products"] for outcome in outcomes])
    reclustered = np.array([outcome.reclustered is not None for outcome in outcomes])
    nights = np.arange(1, len(new) + 1)
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    axes.bar(nights[~reclustered], products[~reclustered], label="pair products of the night")
    axes.bar(nights[reclustered], products[reclustered], label="the same, and everything was re-clustered")
    axes.plot(nights, new * np.cumsum(new), color="0.3", linestyle="--", label="new images x all images so far")
    axes.set(xlabel="night", ylabel="pair products", title=title)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Print a line a night, and the comparison at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores; delete it afterwards")
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-labels", action="store_true", help="find the number of clusters without labels")
    parser.add_argument("--plot", type=Path, help="PNG of the pair products of every night")
    asked = parser.parse_args()
    settings = resolve({"night.captured": f"column:{COLUMN}", "night.day_starts": "00:00"})
    dealt = asked.work / "dealt.csv"
    category, labels = deal(
        asked.manifest, dealt, nights=asked.nights, seed=asked.seed, keep_labels=not asked.no_labels
    )
    store = asked.work / "nights"
    before: dict[str, str] = {}
    outcomes = []
    print("| night | new | unknown | new clusters | pair products | moved | ARI to labels | s | re-clustered |")
    print("|---|---|---|---|---|---|---|---|---|")
    for number in range(asked.nights):
        start = time.perf_counter()
        outcome = one_night(dealt, store, settings.config, FIRST + timedelta(days=number))
        took = time.perf_counter() - start
        outcomes.append(outcome)
        now = partition(store, category)
        of = outcome.counters
        print(
            f"| {number + 1} | {of['new']} | {of['unknown']} | {of['new_clusters']} | {of['pair_products']:,} "
            f"| {changed(before, now)} | {agreement(now, labels):.3f} | {took:.0f} | {outcome.reclustered or ''} |",
            flush=True,
        )
        before = now
    if asked.plot:
        plot_pairs(outcomes, asked.plot, title=f"{category}, dealt out over {asked.nights} nights")
    scratch = from_scratch(dealt, asked.work / "scratch", settings.config)
    last = FIRST + timedelta(days=asked.nights - 1)
    print(f"\nafter the last night: ARI to a run from scratch {agreement(before, scratch):.3f}")
    reclustered = one_night(dealt, store, settings.config, last, recluster=True)
    after = partition(store, category)
    print(
        f"re-clustered ({reclustered.counters['pair_products']:,} pair products): ARI to a run from scratch "
        f"{agreement(after, scratch):.3f}, {changed(before, after)} images moved"
    )
    print(
        f"ARI to the labels: from scratch {agreement(scratch, labels):.3f}, by nights {agreement(before, labels):.3f}"
    )


if __name__ == "__main__":
    main()
