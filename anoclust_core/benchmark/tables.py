"""Tables in the shape of [SOHN23]: ours beside the published number, and what is different about ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from anoclust_core.benchmark import published
from anoclust_core.benchmark.cells import (
    NONE,
    Table,
    error_of,
    find,
    join,
    mean_cell,
    mean_of,
    methods_of,
    published_text,
    score_names,
    scores_text,
    with_error,
)
from anoclust_core.benchmark.columns import Column, Results, columns_of
from anoclust_core.benchmark.experiments import PURITIES
from anoclust_core.benchmark.published import MAX_HAUSDORFF, WEIGHTED
from anoclust_core.benchmark.tables_deep import clustering_rows
from anoclust_core.clustering.methods import CLUSTERINGS
from anoclust_core.evaluation.protocols import Protocol
from anoclust_core.records import EmbeddingSpec

PAPER_BACKBONE: Final = "wide_resnet50_2"
PAPER_GRID: Final = (32, 32)


@dataclass(frozen=True)
class Setting:
    """How all of it was measured.

    Attributes
    ----------
    protocol
        Decides which images count, and the F1 that is printed.
    spec
        Backbone.
    taus
        Temperature by category, and how it was chosen.
    deep
        How deep clustering was trained, in words; empty where none was.
    """

    protocol: Protocol
    spec: EmbeddingSpec
    taus: Mapping[str, str]
    deep: str = ""

    @property
    def is_papers(self) -> bool:
        """Whether features are made as in the paper."""
        return self.spec.backbone == PAPER_BACKBONE and self.spec.grid == PAPER_GRID and self.spec.image_size == 256


def distances_table(results: Results, setting: Setting) -> Table:
    """Table 1."""

    def cells(name: str, column: Column) -> Sequence[str]:
        return (
            mean_cell(results, column, "distances", name, setting.protocol),
            mean_cell(results, column, "distances", name, setting.protocol, defects=True),
            published_text(published.TABLE_1.get(name, {}).get(column.published or "")),
        )

    header = _header(["method"], results, setting, score_names(setting.protocol), "defects only")
    rows = _rows(results, "distances", cells)
    return Table("table-1", "Table 1: distances under Ward clustering", header, rows, _notes(setting))


def categories_table(results: Results, setting: Setting) -> Table:
    """Table 7: Table 1 for every category by itself."""
    names = methods_of(results, "distances")
    rows = []
    for category, found in results.items():
        printed = published.TABLE_7.get(category)
        theirs = dict(zip(published.TABLE_1, printed, strict=True)) if printed else {}
        for name in names:
            row = find(found.get("distances", ()), name)
            if row:
                rows.append(
                    (
                        category,
                        name,
                        scores_text(row.scores, setting.protocol),
                        scores_text(row.defect_only, setting.protocol),
                        published_text(theirs.get(name)),
                    )
                )
    header = (
        "category",
        "distance",
        f"ours, {score_names(setting.protocol)}",
        "defects only",
        _published_header(setting),
    )
    return Table("table-7", "Table 7: every category", header, rows, _notes(setting))


def clusterings_table(results: Results, setting: Setting) -> Table:
    """Tables 2 and 8: clustering methods on two distances, and deep ones."""
    columns = columns_of(results)
    rows = []
    for clustering in CLUSTERINGS.values():
        for distance in (MAX_HAUSDORFF, WEIGHTED):
            cells = [
                mean_cell(results, column, "clusterings", distance, setting.protocol, clustering.title)
                for column in columns
            ]
            if all(cell == NONE for cell in cells):
                continue
            row = [clustering.title, distance]
            for column, cell in zip(columns, cells, strict=True):
                row += [cell, published_text(_table_8(clustering.name, distance, column.published))]
            rows.append(row)
    rows += clustering_rows(results, columns, setting.protocol)
    header = _header(["clustering", "distance"], results, setting, score_names(setting.protocol))
    return Table("table-2-8", "Tables 2 and 8: clustering methods", header, rows, _notes(setting))


def purity_table(results: Results, setting: Setting) -> Table:
    """Table 3."""
    measures = ("mauc", *(f"r_at_{purity:g}" for purity in PURITIES))

    def cells(name: str, column: Column) -> Sequence[str]:
        values = [mean_of(results, column, "purity", name, measure) for measure in measures]
        return join(values), published_text(published.TABLE_3.get(name, {}).get(column.published or ""))

    header = _header(["distance"], results, setting, "mAUC / R@0.9 / R@0.95 / R@0.99")
    rows = _rows(results, "purity", cells)
    return Table("table-3", "Table 3: purity with more clusters than classes", header, rows, _notes(setting))


def holistic_table(results: Results, setting: Setting) -> Table:
    """Table 4."""
    return _single(
        "table-4", "Table 4: the network's last layer, whole image against patches (NMI)", "holistic", results, setting,
        published.TABLE_4,
    )  # fmt: skip


def variants_table(results: Results, setting: Setting) -> Table:
    """Table 5."""
    return _single(
        "table-5", "Table 5: variants of the Hausdorff distance and of unsupervised weights (NMI)", "variants", results,
        setting, published.TABLE_5,
    )  # fmt: skip


def baselines_table(results: Results, setting: Setting) -> Table:
    """Table 9."""

    def cells(name: str, column: Column) -> Sequence[str]:
        theirs = published.TABLE_9.get(name, {}).get(column.published or "")
        ours = mean_cell(results, column, "baselines", name, setting.protocol, errors=True)
        return ours, published_text(theirs[0], theirs[1]) if theirs else NONE

    header = _header(["distance"], results, setting, score_names(setting.protocol))
    rows = _rows(results, "baselines", cells)
    title = "Table 9: distances and pooling baselines, mean and standard error over random 90 % subsets"
    note = "The codebook of the bag of words is made from all images once, weights are computed again in every subset."
    return Table("table-9", title, header, rows, [*_notes(setting), note])


def clustering_subsets_table(results: Results, setting: Setting) -> Table:
    """Table 10."""
    columns = columns_of(results)
    header = _header(["clustering", "distance"], results, setting, "NMI")
    rows = []
    for clustering in CLUSTERINGS.values():
        for distance in (MAX_HAUSDORFF, WEIGHTED):
            row = [clustering.title, distance]
            for column in columns:
                ours = mean_of(results, column, "clustering_subsets", distance, "nmi", clustering.title)
                error = error_of(results, column, "clustering_subsets", distance, "nmi", clustering.title)
                theirs = (
                    published.TABLE_10.get(_PUBLISHED_NAMES[clustering.name], {})
                    .get(distance, {})
                    .get(column.published or "")
                )
                row += [with_error(ours, error), with_error(*theirs) if theirs else NONE]
            if any(cell != NONE for cell in row[2::2]):
                rows.append(row)
    title = "Table 10: clustering methods, NMI, mean and standard error over random 90 % subsets"
    return Table("table-10", title, header, rows, _notes(setting))


def temperatures_table(results: Results, setting: Setting) -> Table:
    """Figure 6 in numbers; the row that stands beside a temperature that was not selected."""
    rows = []
    for category, found in results.items():
        for row in found.get("temperatures", ()):
            rows.append(
                (
                    category,
                    row.method,
                    row.setting,
                    f"{row.scores['tau']:.4g}",
                    scores_text(row.scores, setting.protocol),
                    scores_text(row.defect_only, setting.protocol),
                )
            )
    header = ("category", "distance", "temperature", "tau", score_names(setting.protocol), "defects only")
    return Table("figure-6", "Figure 6: temperature", header, rows, _notes(setting))


def settings_table(name: str, title: str, experiment: str) -> Callable[[Results, Setting], Table]:
    """Make the table of an experiment that varies one setting: the numbers of a figure."""

    def build(results: Results, setting: Setting) -> Table:
        rows = [
            (
                category,
                row.method,
                row.setting or NONE,
                scores_text(row.scores, setting.protocol),
                scores_text(row.defect_only, setting.protocol),
            )
            for category, found in results.items()
            for row in found.get(experiment, ())
        ]
        header = ("category", "weights", "setting", score_names(setting.protocol), "defects only")
        return Table(name, title, header, rows, _notes(setting))

    return build


def localisation_table(results: Results, setting: Setting) -> Table:
    """Section 4.3: how well the weights find the defects."""
    rows = []
    for category, found in results.items():
        for row in found.get("distances", ()):
            if "pixel_auroc" in row.scores:
                theirs = published.PIXEL_AUROC.get(row.method)
                scores = [row.scores.get(name) for name in _LOCALISATION]
                rows.append((category, row.method, *(join([score]) for score in scores), join([theirs])))
    header = (
        "category", "weights", "pixel AUROC of the weights", "of the rarity", "PRO of the weights", "of the rarity",
        "image AUROC", "published: pixel AUROC of the weights on MVTec",
    )  # fmt: skip
    return Table("localisation", "Localisation by the weights (section 4.3)", header, rows, _notes(setting))


_LOCALISATION: Final = ("pixel_auroc", "pixel_auroc_of_rarity", "pro", "pro_of_rarity", "image_auroc")

_PUBLISHED_NAMES: Final = MappingProxyType(
    {
        "ward": "Ward", "single": "single", "complete": "complete", "average": "average", "kmeans": "k-means",
        "gmm": "GMM", "spectral": "spectral", "kmedoids": "k-medoids",
    }
)  # fmt: skip
"""Names of the clustering methods in the tables of `anoclust_core.benchmark.published`."""


def _table_8(clustering: str, distance: str, column: str | None) -> Sequence[float] | None:
    if clustering == "kmedoids":
        nmi = published.K_MEDOIDS_NMI[distance].get(column or "")
        return None if nmi is None else (nmi,)
    return published.TABLE_8[_PUBLISHED_NAMES[clustering]].get(distance, {}).get(column or "")


def _single(
    name: str,
    title: str,
    experiment: str,
    results: Results,
    setting: Setting,
    theirs: Mapping[str, Mapping[str, float]],
) -> Table:
    def cells(method: str, column: Column) -> Sequence[str]:
        printed = theirs.get(method, {}).get(column.published or "")
        ours = mean_of(results, column, experiment, method, "nmi")
        return join([ours]), published_text(None if printed is None else (printed,))

    return Table(name, title, _header(["method"], results, setting), _rows(results, experiment, cells), _notes(setting))


def _rows(results: Results, experiment: str, cells: Callable[[str, Column], Sequence[str]]) -> list[list[str]]:
    """A row for each method: its name, then its cells for every data set."""
    columns = columns_of(results)
    return [
        [name, *(cell for column in columns for cell in cells(name, column))]
        for name in methods_of(results, experiment)
    ]


def _header(first: Sequence[str], results: Results, setting: Setting, scores: str = "", *more: str) -> list[str]:
    """Head of a table with two columns or more for each data set: our scores, and at last what is published."""
    header, ours = list(first), f"ours, {scores}" if scores else "ours"
    for column in columns_of(results):
        header += [f"{column.title}: {ours}", *more, _published_header(setting)]
    return header


def _published_header(setting: Setting) -> str:
    return "published" if setting.is_papers else "published, other backbone"


def _notes(setting: Setting) -> list[str]:
    spec = setting.spec
    grid = f"{spec.grid[0]} x {spec.grid[1]} patches of {spec.dim}"
    ours = f"Ours: {spec.backbone}, {spec.image_size} px, {grid}, protocol `{setting.protocol.name}`."
    theirs = f"Published: {PAPER_BACKBONE}, 256 px, 32 x 32 patches; " + (
        "the same features as ours."
        if setting.is_papers
        else "**other features than ours**, so the columns differ by more than the method."
    )
    taus = "; ".join(f"{category}: {how}" for category, how in setting.taus.items())
    return [ours, theirs, f"tau: {taus}."]
