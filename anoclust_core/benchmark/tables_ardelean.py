"""Tables in the shape of [ARDELEAN24]: ours beside the published number, and what is different about ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anoclust_core.benchmark import blind, published_ardelean
from anoclust_core.benchmark.cells import (
    NONE,
    Table,
    mean_cell,
    mean_of,
    published_text,
    score_names,
    scores_text,
)
from anoclust_core.benchmark.columns import Column, Results, columns_of
from anoclust_core.benchmark.deep_rows import LAST
from anoclust_core.benchmark.published import AVERAGE, MAX_HAUSDORFF, WEIGHTED
from anoclust_core.benchmark.published_ardelean import FCA, FCA_VAE, OURS, SOHN_RARITY
from anoclust_core.benchmark.scoring import TRIVIAL, Measurement
from anoclust_core.benchmark.tables_deep import deep_results, oracle_rows
from anoclust_core.clustering.methods import CLUSTERINGS
from anoclust_core.config import BlindConfig
from anoclust_core.evaluation.protocols import ARDELEAN
from anoclust_core.evaluation.scores import GOOD_AGAINST_DEFECT, ONE_CLUSTER
from anoclust_core.records import EmbeddingSpec

_WARD = CLUSTERINGS["ward"].title
_LOCALIZATION = ("pro", "pixel_auroc", "image_auroc")


@dataclass(frozen=True)
class BlindSetting:
    """How the tables of recipe blind were measured.

    Attributes
    ----------
    config
        Of the recipe.
    tau
        Temperature of the rows that do not vary it, as asked for.
    spec
        Backbone.
    reference
        Backbone of the rows of [SOHN23]; None where no table shows them.
    taus
        Temperature of these rows by category, and how it was chosen.
    n_images
        By category.
    deep
        How deep clustering was trained, in words; empty where none was.
    detectors
        How the detectors were trained, in words, by their titles in `blind.DETECTORS`; those that were not are missing.
    given_normals
        Titles of those that were trained on known normals.
    """

    config: BlindConfig
    tau: str
    spec: EmbeddingSpec
    reference: EmbeddingSpec | None
    taus: Mapping[str, str]
    n_images: Mapping[str, int]
    deep: str = ""
    detectors: Mapping[str, str] = field(default_factory=dict)
    given_normals: frozenset[str] = frozenset()

    @property
    def is_papers(self) -> bool:
        """Whether features are made as in the paper."""
        paper = (published_ardelean.BACKBONE, published_ardelean.GRID, published_ardelean.IMAGE_SIZE)
        return (self.spec.backbone, self.spec.grid, self.spec.image_size) == paper


def clustering_table(results: Results, setting: BlindSetting) -> Table:
    """Table 1: ours, the distances of [SOHN23] measured here, and what the paper prints of others."""
    columns = _columns(results)
    measured = dict.fromkeys((AVERAGE, MAX_HAUSDORFF, WEIGHTED), blind.REFERENCE + "distances")
    measured[OURS] = blind.CLUSTERING
    deep = deep_results(results, blind.REFERENCE)
    trained = {title for of in deep.values() for title in of}
    rows = []
    for name, theirs in published_ardelean.TABLE_1.items():
        row = [name if name in measured else f"{name}, {LAST}" if name in trained else _not_measured(name)]
        for column in columns:
            if name in trained:
                row += _triple(deep, column, name, name, LAST)
            else:
                row += _triple(results, column, measured.get(name), name)
            row.append(published_text(theirs.get(column.published or "")))
        rows.append(row)
    rows += oracle_rows(results, columns, blind.REFERENCE)
    rows += _trivial_rows(results, columns, blind.CLUSTERING)
    return Table("ardelean-1", "Ardelean & Weyrich, Table 1: clustering", _header(columns, setting), rows,
                 [*_notes(setting), *_reference_notes(setting)])  # fmt: skip


def localization_table(results: Results, setting: BlindSetting) -> Table:
    """Table 2: where the defects are."""
    columns = _columns(results)
    as_in_the_paper = blind.AS_THEY_ARE if setting.config.flat_field else ""
    measured = {
        SOHN_RARITY: (blind.REFERENCE + "localization", WEIGHTED),
        **{name: (blind.LOCALIZATION, name + as_in_the_paper) for name in (FCA, FCA_VAE)},
        **{title: (blind.LOCALIZATION, title) for title in setting.detectors},
    }
    rows = []
    lines: dict[str, Mapping[str, published_ardelean.Localization]] = dict(published_ardelean.TABLE_2)
    for name, theirs in (lines | {title: lines.get(title, {}) for title in blind.DETECTORS.values()}).items():
        title = measured[name][1] if name in (FCA, FCA_VAE) else name
        title += " (normals given)" if name in setting.given_normals else ""
        row = [title if name in measured else _no_detector(name) or _not_measured(name)]
        for column in columns:
            scores: list[float | None] = [None] * len(_LOCALIZATION)
            if name in measured:
                scores = [mean_of(results, column, *measured[name], score) for score in _LOCALIZATION]
            row += [_percent(scores), _percent(theirs.get(column.published or "", ()), has_percent=True)]
        rows.append(row)
    for name in (FCA, FCA_VAE) if setting.config.flat_field else ():
        row = [f"{name}, flat field"]
        for column in columns:
            scores = [mean_of(results, column, blind.LOCALIZATION, name, score) for score in _LOCALIZATION]
            row += [_percent(scores), NONE]
        rows.append(row)
    header = ["method"]
    for column in columns:
        header += [f"{column.title}: ours, PRO / pixel AUROC / image AUROC in %", _published_header(setting)]
    side = setting.reference.image_size if setting.reference else 0
    note = (
        f"Maps and ground truth are compared at {side} x {side} pixels; an image's score is the largest value of its "
        "map, and its label tells whether it is good. Without masks there is no PRO and no pixel AUROC."
    )
    title = "Ardelean & Weyrich, Table 2: localisation among mixed normal and defective images"
    trained = [f"{name}: {how}." for name, how in setting.detectors.items()]
    return Table("ardelean-2", title, header, rows, [*_notes(setting), note, *trained, *_reference_notes(setting)])


def ablation_table(results: Results, setting: BlindSetting) -> Table:
    """Table 3, with k-means beside Ward."""
    columns = _columns(results)
    rows = []
    for clustering in blind.WARD_AND_K_MEANS:
        title = CLUSTERINGS[clustering].title
        for name, theirs in published_ardelean.TABLE_3.items():
            row = [name if clustering == "ward" else f"{name}, {title}"]
            for column in columns:
                row += _triple(results, column, blind.ABLATION, name, title)
                row.append(published_text(theirs.get(column.published or "")) if clustering == "ward" else NONE)
            rows.append(row)
    rows += _trivial_rows(results, columns, blind.ABLATION)
    note = "Rows say k-means where it takes the place of Ward; the paper prints these in its supplement only."
    return Table("ardelean-3", "Ardelean & Weyrich, Table 3: ablation", _header(columns, setting), rows,
                 [*_notes(setting), note])  # fmt: skip


def clusterings_table(results: Results, setting: BlindSetting) -> Table:
    """Table 4: clustering methods on the final descriptors."""
    columns = _columns(results)
    rows = []
    for clustering in CLUSTERINGS.values():
        row = [clustering.title]
        for column in columns:
            theirs = published_ardelean.TABLE_4.get(clustering.name, {}).get(column.published or "")
            row += _triple(results, column, blind.CLUSTERINGS, OURS, clustering.title)
            row.append(NONE if theirs is None else published_text((theirs,)))
        rows.append(row)
    rows += _trivial_rows(results, columns, blind.CLUSTERINGS)
    title = "Ardelean & Weyrich, Table 4: clustering methods on the final descriptors (published: NMI)"
    return Table("ardelean-4", title, _header(columns, setting), rows, _notes(setting))


def thresholds_table(results: Results, setting: BlindSetting) -> Table:
    """Supplement S4: from which value on a cell is anomalous, and what the head makes of it."""
    rows = [
        (
            category,
            row.setting,
            _number(row, "threshold", ".4g"),
            _number(row, "anomalous_share", ".2%"),
            scores_text(row.scores, ARDELEAN),
            scores_text(row.defect_only, ARDELEAN),
        )
        for category, found in results.items()
        for row in found.get(blind.THRESHOLDS, ())
        if row.clustering == _WARD
    ]
    header = ("category", "rule", "threshold", "anomalous cells", score_names(ARDELEAN), "defects only")
    note = (
        "`kmeans-quantile` is the published program's rule and needs the number of classes; the others need no label. "
        "Nothing of this is printed in the paper."
    )
    title = "Ardelean & Weyrich, supplement S4: rules for the threshold"
    return Table("ardelean-s4", title, header, rows, [*_notes(setting), note])


def temperatures_table(results: Results, setting: BlindSetting) -> Table:
    """Figure 5 in numbers."""
    rows = [
        (
            category,
            row.method,
            row.clustering,
            row.setting,
            _number(row, "tau", ".4g"),
            scores_text(row.scores, ARDELEAN),
            scores_text(row.defect_only, ARDELEAN),
        )
        for category, found in results.items()
        for row in sorted(
            (row for row in found.get(blind.TEMPERATURES, ()) if row.clustering != TRIVIAL),
            key=lambda row: (row.method, row.clustering, row.scores["tau"]),
        )
    ]
    header = ("category", "descriptors", "clustering", "temperature", "tau", score_names(ARDELEAN), "defects only")
    note = (
        "With contrastive learning every temperature has a head of its own: neighbours follow from descriptors, and "
        "descriptors from the temperature. The paper prints this figure without numbers."
    )
    title = "Ardelean & Weyrich, Figure 5: temperature"
    return Table("ardelean-figure-5", title, header, rows, [*_notes(setting), note])


def _columns(results: Results) -> list[Column]:
    return columns_of(results, published_ardelean.COLUMNS)


def _triple(
    results: Results, column: Column, experiment: str | None, name: str, clustering: str | None = _WARD
) -> list[str]:
    """Scores of all images, and of the defective ones; none for a method that is not measured here."""
    if experiment is None:
        return [NONE, NONE]
    return [
        mean_cell(results, column, experiment, name, ARDELEAN, clustering, defects=defects) for defects in (False, True)
    ]


def _trivial_rows(results: Results, columns: Sequence[Column], experiment: str) -> list[list[str]]:
    rows = []
    for name in (ONE_CLUSTER, GOOD_AGAINST_DEFECT):
        row = [name]
        for column in columns:
            row += [*_triple(results, column, experiment, name, TRIVIAL), NONE]
        rows.append(row)
    return rows


def _header(columns: Sequence[Column], setting: BlindSetting) -> list[str]:
    header = ["method"]
    for column in columns:
        header += [f"{column.title}: ours, {score_names(ARDELEAN)}", "defects only", _published_header(setting)]
    return header


def _published_header(setting: BlindSetting) -> str:
    return "published" if setting.is_papers else "published, other backbone"


def _no_detector(name: str) -> str:
    """Row of a detector that nobody has trained, and why; nothing for other rows."""
    if name not in blind.DETECTORS.values():
        return ""
    return f"{name}, weights not at hand" if name == blind.DETECTORS["cfa"] else f"{name}, not trained"


def _not_measured(name: str) -> str:
    return f"{name}, published only"


def _percent(values: Sequence[float | None], *, has_percent: bool = False) -> str:
    if all(value is None for value in values):
        return NONE
    factor = 1 if has_percent else 100
    return " / ".join(NONE if value is None else f"{factor * value:.2f}" for value in values)


def _number(row: Measurement, name: str, text: str) -> str:
    return format(row.scores[name], text) if name in row.scores else NONE


def _notes(setting: BlindSetting) -> list[str]:
    spec, config = setting.spec, setting.config
    grid = f"{spec.grid[0]} x {spec.grid[1]} cells of {spec.dim}"
    ours = (
        f"Ours: recipe `blind`, variant `{config.variant}`, {spec.backbone}, {spec.image_size} px, {grid}, "
        f"tau {setting.tau}, threshold `{config.threshold}`, {'flat field' if config.flat_field else 'no flat field'}, "
        f"border {config.border:g}, protocol `{ARDELEAN.name}`."
    )
    paper = published_ardelean
    theirs = (
        f"Published: {paper.BACKBONE}, {paper.IMAGE_SIZE} px, {paper.GRID[0]} x {paper.GRID[1]} cells of {paper.DIM}, "
        f"tau {paper.TAU}; "
        + (
            "the same features as ours."
            if setting.is_papers
            else "**other features than ours**, so the columns differ by more than the method."
        )
    )
    counts = []
    for category, number in setting.n_images.items():
        column = next((name for name, members in paper.COLUMNS.items() if category in members), "")
        printed = f" (published: {paper.N_IMAGES[column]:,})" if column in paper.N_IMAGES else ""
        counts.append(f"{category} {number:,}{printed}")
    return [ours, theirs, f"Images: {', '.join(counts)}."]


def _reference_notes(setting: BlindSetting) -> list[str]:
    spec = setting.reference
    if spec is None:
        return []
    grid = f"{spec.grid[0]} x {spec.grid[1]} patches of {spec.dim}"
    text = f"Rows of Sohn et al.: measured here at {spec.image_size} px, {grid}, blind, under the same protocol"
    taus = "; ".join(f"{category}: {how}" for category, how in setting.taus.items())
    return [f"{text}; tau: {taus}." if taus else f"{text}."]
