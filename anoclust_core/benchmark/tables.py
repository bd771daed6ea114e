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
from anoclust_core.benchmark.columns import Results, columns_of
from anoclust_core.benchmark.experiments import PURITIES
from anoclust_core.benchmark.published import MAX_HAUSDORFF, WEIGHTED
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
    """

    protocol: Protocol
    spec: EmbeddingSpec
    taus: Mapping[str, str]

    @property
    def is_papers(self) -> bool:
        """Whether features are made as in the paper."""
        return self.spec.backbone == PAPER_BACKBONE and self.spec.grid == PAPER_GRID and self.spec.image_size == 256


def distances_table(results: Results, setting: Setting) -> Table:
    """Table 1."""
    names = methods_of(results, "distances")
    return _triples(
        "table-1", "Table 1: distances under Ward clustering", "distances", names, results, setting,
        lambda name, column: published.TABLE_1.get(name, {}).get(column),
    )  # fmt: skip


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
    """Tables 2 and 8: clustering methods on two distances, with the published deep ones."""
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
    for name, theirs in published.DEEP_CLUSTERING.items():
        row = [name, "deep clustering, published"]
        for column in columns:
            found = theirs.get(column.published or "")
            row += [NONE, published_text(found[0] if found else None)]
        rows.append(row)
    header = ["clustering", "distance"]
    for column in columns:
        header += [f"{column.title}: ours, {score_names(setting.protocol)}", _published_header(setting)]
    return Table("table-2-8", "Tables 2 and 8: clustering methods", header, rows, _notes(setting))


def purity_table(results: Results, setting: Setting) -> Table:
    """Table 3."""
    columns = columns_of(results)
    measures = ("mauc", *(f"r_at_{purity:g}" for purity in PURITIES))
    header = ["distance"]
    for column in columns:
        header += [f"{column.title}: ours, mAUC / R@0.9 / R@0.95 / R@0.99", _published_header(setting)]
    rows = []
    for name in methods_of(results, "purity"):
        row = [name]
        for column in columns:
            values = [mean_of(results, column, "purity", name, measure) for measure in measures]
            theirs = published.TABLE_3.get(name, {}).get(column.published or "")
            row += [join(values), published_text(theirs)]
        rows.append(row)
    return Table("table-3", "Table 3: purity with more clusters than classes", header, rows, _notes(setting))


def holistic_table(results: Results, setting: Setting) -> Table:
    """Table 4."""
    return _single(
        "table-4", "Table 4: the network's last layer, whole image against patches (NMI)", "holistic",
        methods_of(results, "holistic"), results, setting,
        lambda name, column: published.TABLE_4.get(name, {}).get(column),
    )  # fmt: skip


def variants_table(results: Results, setting: Setting) -> Table:
    """Table 5."""
    return _single(
        "table-5", "Table 5: variants of the Hausdorff distance and of unsupervised weights (NMI)", "variants",
        methods_of(results, "variants"), results, setting,
        lambda name, column: published.TABLE_5.get(name, {}).get(column),
    )  # fmt: skip


def baselines_table(results: Results, setting: Setting) -> Table:
    """Table 9."""
    columns = columns_of(results)
    rows = []
    for name in methods_of(results, "baselines"):
        row = [name]
        for column in columns:
            theirs = published.TABLE_9.get(name, {}).get(column.published or "")
            row += [
                mean_cell(results, column, "baselines", name, setting.protocol, errors=True),
                published_text(theirs[0], theirs[1]) if theirs else NONE,
            ]
        rows.append(row)
    header = ["distance"]
    for column in columns:
        header += [f"{column.title}: ours, {score_names(setting.protocol)}", _published_header(setting)]
    title = "Table 9: distances and pooling baselines, mean and standard error over random 90 % subsets"
    note = "The codebook of the bag of words is made from all images once, weights are computed again in every subset."
    return Table("table-9", title, header, rows, [*_notes(setting), note])


def clustering_subsets_table(results: Results, setting: Setting) -> Table:
    """Table 10."""
    columns = columns_of(results)
    header = ["clustering", "distance"]
    for column in columns:
        header += [f"{column.title}: ours, NMI", _published_header(setting)]
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


def _triples(
    name: str,
    title: str,
    experiment: str,
    methods: Sequence[str],
    results: Results,
    setting: Setting,
    theirs: Callable[[str, str], Sequence[float] | None],
) -> Table:
    columns = columns_of(results)
    header = ["method"]
    for column in columns:
        header += [f"{column.title}: ours, {score_names(setting.protocol)}", "defects only", _published_header(setting)]
    rows = []
    for method in methods:
        row = [method]
        for column in columns:
            row += [
                mean_cell(results, column, experiment, method, setting.protocol),
                mean_cell(results, column, experiment, method, setting.protocol, defects=True),
                published_text(theirs(method, column.published) if column.published else None),
            ]
        rows.append(row)
    return Table(name, title, header, rows, _notes(setting))


def _single(
    name: str,
    title: str,
    experiment: str,
    methods: Sequence[str],
    results: Results,
    setting: Setting,
    theirs: Callable[[str, str], float | None],
) -> Table:
    columns = columns_of(results)
    header = ["method"]
    for column in columns:
        header += [f"{column.title}: ours", _published_header(setting)]
    rows = []
    for method in methods:
        row = [method]
        for column in columns:
            printed = theirs(method, column.published) if column.published else None
            row += [
                join([mean_of(results, column, experiment, method, "nmi")]),
                published_text(None if printed is None else (printed,)),
            ]
        rows.append(row)
    return Table(name, title, header, rows, _notes(setting))


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
