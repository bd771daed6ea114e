"""What the benchmark writes: tables as markdown and CSV, figures as PNG, and every number in one file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect.artifacts import create_image_artifact, create_markdown_artifact

from anoclust_core.benchmark import plots, tables, tables_auto, tables_deep
from anoclust_core.benchmark.cells import Table
from anoclust_core.benchmark.columns import Results
from anoclust_core.benchmark.geometry import CategoryArrays, rarity_of, weighted
from anoclust_core.benchmark.tables import Setting
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.evaluation.protocols import COMBINED
from anoclust_core.records import GOOD, EmbeddingSpec, ImageRecord
from anoclust_core.weighting.weights import mask_weights, soft_weights, temperature
from tasks.benchmark.sohn import rows_of
from tasks.images.thumbnails import thumbnail
from tasks.stores.files import safe_name, write_bytes, write_text
from tasks.stores.written_tables import csv_of_frame, csv_of_rows

PAGE = "benchmark.md"
SHEET_CLUSTERS = 16
"""Clusters on a sheet, [SOHN23] Figure 5."""

_OVERLAY_ROWS = 6
_PICTURE_SIDE = 192
_PER_CLUSTER = 12

_TABLES = {
    "1": tables.distances_table,
    "2": tables.clusterings_table,
    "3": tables.purity_table,
    "4": tables.holistic_table,
    "5": tables.variants_table,
    "7": tables.categories_table,
    "8": tables.clusterings_table,
    "9": tables.baselines_table,
    "10": tables.clustering_subsets_table,
}
_FIGURE_TABLES = {
    "6": tables.temperatures_table,
    "7": tables.settings_table("figure-7", "Figure 7: only the top k patches", "top_patches"),
    "8": tables.settings_table("figure-8", "Figure 8: share of the normals", "shares_of_normals"),
}


@dataclass(frozen=True)
class Part:
    """What one paper's tables and figures put on the page.

    Attributes
    ----------
    tables
        Those with a row.
    pictures
        PNG by file name.
    numbers
        Every measurement, as rows of one CSV file.
    """

    tables: Sequence[Table]
    pictures: Mapping[str, bytes]
    numbers: Sequence[Mapping[str, object]]


def sohn_part(
    results: Results,
    by_backbone: Mapping[str, Results],
    setting: Setting,
    numbers: Sequence[str],
    figures: Sequence[str],
    pictures: Mapping[str, bytes],
) -> Part:
    """Make the tables and figures of [SOHN23]; ``pictures`` are those that `draw_pictures` has made."""
    made: list[Table] = [_TABLES[number](results, setting) for number in numbers]
    if any("distances" in found for found in results.values()):
        made.append(tables.localisation_table(results, setting))
    made.append(tables.temperatures_table(results, setting))
    made += [
        _FIGURE_TABLES[number](results, setting) for number in figures if number in _FIGURE_TABLES and number != "6"
    ]
    made += [
        make(results, setting)
        for make in (tables_auto.ablation_table, tables_auto.numbers_table, tables_auto.only_good_table)
    ]
    made.append(tables_deep.deep_table(results, setting.protocol, described=setting.deep))
    made = [table for table in {table.name: table for table in made}.values() if table.rows]
    drawn = {**_figures(results, by_backbone, figures), **pictures}
    rows = [
        row for backbone, found in by_backbone.items() for row in numbers_of(found, backbone, setting.protocol.name)
    ]
    return Part(made, drawn, rows)


def numbers_of(results: Results, backbone: str, protocol: str) -> list[dict[str, object]]:
    """All measurements of one backbone as rows of one CSV file."""
    return [
        {"backbone": backbone, "protocol": protocol, "category": category, "experiment": experiment, **row}
        for category, experiments in results.items()
        for experiment, rows in experiments.items()
        for row in rows_of(list(rows))
    ]


def write_benchmark(out: Path, parts: Sequence[Part]) -> Path:
    """Write tables, figures and numbers into a folder; gives the page that shows them."""
    pages, shown = ["# Benchmark", ""], []
    for part in parts:
        for table in part.tables:
            write_text(out / f"{table.name}.csv", csv_of_rows([table.header, *table.rows]))
            pages.append(table.markdown())
        for name, data in part.pictures.items():
            write_bytes(out / name, data)
            shown.append(f"![{name}]({name})\n")
    numbers = pd.DataFrame([row for part in parts for row in part.numbers])
    write_text(out / "measurements.csv", csv_of_frame(numbers))
    pages += shown
    write_text(out / PAGE, "\n".join(pages))
    return out / PAGE


def publish_benchmark(page: Path) -> None:
    """Show the page and its pictures in the Prefect UI."""
    text = page.read_text(encoding="utf-8").partition("\n![")[0]
    create_markdown_artifact(f"{text}\n\nAll of it: `{page}`", key="benchmark", description="Benchmark")
    for picture in sorted(page.parent.glob("*figure-*.png")):
        url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
        create_image_artifact(image_url=url, key=picture.stem.lower(), description=picture.stem)


def draw_pictures(
    found: CategoryArrays,
    images: Sequence[ImageRecord],
    figures: Sequence[str],
    *,
    tau: str,
    tau_normals: str,
    spec: EmbeddingSpec,
) -> dict[str, bytes]:
    """Draw the figures that show images, by file name: weight overlays (3) and cluster sheets (5)."""
    drawn = {}
    if "3" in figures:
        drawn[f"figure-3-{safe_name(found.name)}.png"] = _overlays(found, images, tau, tau_normals, spec)
    if "5" in figures:
        drawn[f"figure-5-{safe_name(found.name)}.png"] = _sheet(found, images, tau, tau_normals)
    return drawn


def _overlays(
    found: CategoryArrays, images: Sequence[ImageRecord], tau: str, tau_normals: str, spec: EmbeddingSpec
) -> bytes:
    """One image of every defect: the patch that decides max Hausdorff, blind weights, weights by normals, masks."""
    kinds: dict[str, NDArray[np.floating]] = {}
    farthest = np.take_along_axis(
        np.asarray(found.nearest, np.float32), found.statistics.largest.argmax(axis=1)[:, None, None], axis=1
    )[:, 0]
    kinds["max Hausdorff"] = np.asarray(farthest == farthest.max(axis=1, keepdims=True), np.float32)
    blind = rarity_of(found, "expectation")
    kinds["blind"] = soft_weights(blind, tau=temperature(tau, blind))
    if found.to_normals is not None:
        semi = rarity_of(found, "normals")
        kinds["normals"] = soft_weights(semi, tau=temperature(tau_normals, semi))
    if found.masks is not None:
        kinds["masks"] = mask_weights(list(found.masks), found.grid)
    chosen: dict[str | None, int] = {}
    for row, image in enumerate(images):
        if image.label != GOOD:
            chosen.setdefault(image.label, row)
    rows = []
    for label, row in list(chosen.items())[:_OVERLAY_ROWS]:
        pixels = _pixels(images[row], seen_by=spec)
        if pixels is not None:
            maps = {kind: values[row].reshape(found.grid) for kind, values in kinds.items()}
            rows.append((str(label), pixels, maps))
    return plots.overlays(rows)


def _sheet(found: CategoryArrays, images: Sequence[ImageRecord], tau: str, tau_normals: str) -> bytes:
    """Clusters with their majority label and purity, by normals where there are any."""
    kind = "expectation" if found.to_normals is None else "normals"
    rarity = rarity_of(found, "expectation" if kind == "expectation" else "normals")
    geometry = weighted(found, rarity, [tau if kind == "expectation" else tau_normals])[0]
    assert geometry.descriptors is not None  # noqa: S101 - weights give descriptors
    clusters = cut_tree(
        linkage_tree(geometry.descriptors, method="ward"), n_clusters=min(SHEET_CLUSTERS, found.n_images)
    )
    shown = []
    for cluster in range(int(clusters.max()) + 1):
        rows = np.flatnonzero(clusters == cluster)
        labels = [str(found.labels[int(row)]) for row in rows]
        majority = max(sorted(set(labels)), key=labels.count)
        pictures = []
        for row, label in list(zip(rows, labels, strict=True))[:_PER_CLUSTER]:
            pixels = _pixels(images[int(row)])
            if pixels is not None:
                state = "right" if label == majority else "several" if label == COMBINED else "wrong"
                pictures.append((pixels, state, label))
        shown.append((majority, labels.count(majority) / len(labels), pictures))
    return plots.cluster_sheet(shown)


def _pixels(image: ImageRecord, *, seen_by: EmbeddingSpec | None = None) -> NDArray[np.uint8] | None:
    """Small picture of an image; None where it has moved since it was embedded."""
    picture = thumbnail(Path(image.file), sha256=image.sha256, side=_PICTURE_SIDE, seen_by=seen_by)
    return None if picture is None else np.asarray(picture)


def _figures(results: Results, by_backbone: Mapping[str, Results], figures: Sequence[str]) -> dict[str, bytes]:
    """Figures that show scores, by file name."""
    drawn = {}
    for number in figures:
        name = f"figure-{number}.png"
        if number in ("4", "13"):
            drawn[name] = plots.purity_curves(results)
        elif number == "6":
            drawn[name] = plots.sweep(results, "temperatures", xlabel="tau", positions="tau")
        elif number == "7":
            drawn[name] = plots.sweep(results, "top_patches", xlabel="patches", positions="setting")
        elif number == "8":
            drawn[name] = plots.sweep(results, "shares_of_normals", xlabel="share of normals", positions="setting")
        elif number == "9":
            drawn[name] = plots.backbone_bars(by_backbone, "holistic")
        elif number in ("10", "11"):
            drawn[name] = plots.backbone_bars(by_backbone, "distances")
    return drawn
