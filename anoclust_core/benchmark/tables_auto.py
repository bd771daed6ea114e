"""Tables of recipe auto: its parts beside the published methods, and the number of clusters that it finds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from anoclust_core.benchmark.ablation import ABLATIONS
from anoclust_core.benchmark.cells import NONE, Table
from anoclust_core.benchmark.columns import Results
from anoclust_core.benchmark.numbers import CONSTANTS, N_DRAWS, NUMBERS, ONLY_GOOD
from anoclust_core.benchmark.refit import N_SIBLINGS
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.benchmark.tables import Setting
from anoclust_core.clustering.knee import CERTAIN_FROM, FEWEST_TO_SPLIT


def ablation_table(results: Results, setting: Setting) -> Table:
    """NMI of every row in every setting, paired with recipe sohn."""
    rows = [
        (
            category,
            against,
            row.method,
            f"{row.scores['nmi']:.3f} ± {row.errors['nmi']:.3f}",
            f"{row.defect_only['nmi']:.3f}" if "nmi" in row.defect_only else NONE,
            f"{row.scores['ari']:.3f}",
            f"{row.scores['difference']:+.3f} ± {row.errors['difference']:.3f}",
            f"{row.scores['low']:+.3f} to {row.scores['high']:+.3f}",
            f"{row.scores['stability']:.3f}",
            f"{row.scores['n_subsets']:.0f}",
        )
        for category, against, row in _measured(results)
    ]
    header = (
        "category", "rarity against", "method", "NMI", "defects only", "ARI", "NMI less sohn", "95 % of the subsets",
        "stability", "subsets",
    )  # fmt: skip
    return Table("ablation", "Recipe auto, part by part", header, rows, _notes(setting))


def numbers_table(results: Results, setting: Setting) -> Table:
    """Number of clusters without labels: recipe auto's cut beside the largest step and the best constant."""
    measured = [
        (category, row) for category, found in results.items() for name in NUMBERS for row in found.get(name, ())
    ]
    return numbers_rows(measured, _images(setting))


def numbers_rows(measured: Sequence[tuple[str, Measurement]], described: str) -> Table:
    """Rows of `measure_numbers`, by the name of the category, and means over all that are given."""
    rows = [_numbers_row(category, row.setting, row.method, [row.scores]) for category, row in measured]
    for what, is_all in (("all", True), ("draws", False)):
        by_category = defaultdict(list)
        for category, row in measured:
            if (row.method == "all") == is_all:
                by_category[category].append(row.scores)
        means = [{name: fmean(one[name] for one in found) for name in found[0]} for found in by_category.values()]
        if means:
            rows.append(_numbers_row("mean", "", what, means))
    header = (
        "category", "rarity against", "classes kept", "auto", "mean error", "of the largest step", "of always 5",
        "NMI less that at the classes", "ARI at the classes", "by auto", "at the largest step",
        "at the best constant", "says 2 of 3 or more",
    )  # fmt: skip
    return Table(
        "n-clusters",
        "Number of clusters without labels",
        header,
        rows,
        (
            described,
            f"Classes kept: all images, or {N_DRAWS} random draws of so many classes, in which everything is fitted "
            "again; with all kept, a draw leaves out a tenth of the images.",
            "The best constant is chosen by the labels, for each row by itself. In the means a category counts once.",
        ),
    )


def _numbers_row(category: str, setting: str, kept: str, found: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    mean = {name: fmean(scores[name] for scores in found) for name in found[0]}
    constant = max(CONSTANTS, key=lambda number: mean[f"ari_{number}"])
    return (
        category,
        setting,
        kept,
        f"{mean['auto']:.1f}",
        f"{mean['error_auto']:.2f}",
        f"{mean['error_ratio']:.2f}",
        f"{mean['error_5']:.2f}",
        f"{mean['nmi_auto'] - mean['nmi_true']:+.3f}",
        f"{mean['ari_true']:.3f}",
        f"{mean['ari_auto']:.3f}",
        f"{mean['ari_ratio']:.3f}",
        f"{mean[f'ari_{constant}']:.3f} ({constant})",
        f"{100 * mean['twos']:.0f} %",
    )


def only_good_table(results: Results, setting: Setting) -> Table:
    """Whether sets of good images are called uncertain."""
    rows = [
        (
            category,
            f"{row.scores['n_images']:.0f}",
            f"{row.scores['n_draws']:.0f}",
            f"{100 * row.scores['uncertain']:.0f} %",
            f"{row.scores['index']:.2f}" if "index" in row.scores else NONE,
        )
        for category, found in results.items()
        for row in found.get(ONLY_GOOD, ())
    ]
    header = ("category", "good images", "sets", "structure uncertain", "mean index")
    notes = (
        _images(setting),
        f"Uncertain: an index below {CERTAIN_FROM}, or fewer than {FEWEST_TO_SPLIT} images, of which nothing is known.",
    )
    return Table("only-good", "One kind only", header, rows, notes)


def _measured(results: Results) -> list[tuple[str, str, Measurement]]:
    """Category, setting and row of every measurement, in the order of the table."""
    return [
        (category, setting, row)
        for category, found in results.items()
        for name, setting in ABLATIONS.items()
        for row in found.get(name, ())
    ]


def _images(setting: Setting) -> str:
    return (
        f"Recipe auto, {setting.spec.backbone}, {setting.spec.image_size} px, Ward, protocol {setting.protocol.name}."
    )


def _notes(setting: Setting) -> Sequence[str]:
    return (
        f"{setting.spec.backbone}, {setting.spec.image_size} px, Ward, as many clusters as there are classes, protocol "
        f"{setting.protocol.name}; means over random 90 % subsets, in which everything is fitted again.",
        "NMI less sohn: paired over the subsets, with the standard error of the mean, 2.5 % and 97.5 % percentiles.",
        "Stability: mean ARI between the partition of a subset and that of all images.",
        f"Siblings: of every image, the {N_SIBLINGS} normals whose mean patch is most similar to its own are left out.",
        "Best temperature: an oracle, chosen by the labels.",
    )
