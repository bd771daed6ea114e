"""Tables of recipe auto: its parts beside the published methods, and the number of clusters that it finds."""

from __future__ import annotations

from collections.abc import Sequence

from anoclust_core.benchmark.ablation import ABLATIONS, N_SIBLINGS
from anoclust_core.benchmark.cells import NONE, Table
from anoclust_core.benchmark.columns import Results
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.benchmark.tables import Setting


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
            f"{row.scores['difference']:+.3f}",
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
    """Number of clusters without labels: the knee beside the largest step, over the same subsets."""
    rows = [
        (
            category,
            against,
            row.method,
            f"{row.scores['n_true']:.1f}",
            f"{row.scores['n_clusters']:.1f}",
            f"{row.scores['ratio']:.1f}",
            f"{row.scores['nmi_knee']:.3f}",
            f"{row.scores['nmi']:.3f}",
            f"{row.scores['ari_knee']:.3f}",
            f"{row.scores['ari_ratio']:.3f}",
        )
        for category, against, row in _measured(results)
        if row.method in ("auto", "sohn")
    ]
    header = (
        "category", "rarity against", "descriptors", "classes", "knee", "largest step", "NMI at the knee",
        "at the classes", "ARI at the knee", "at the largest step",
    )  # fmt: skip
    return Table("n-clusters", "Number of clusters without labels", header, rows, _notes(setting))


def _measured(results: Results) -> list[tuple[str, str, Measurement]]:
    """Category, setting and row of every measurement, in the order of the table."""
    return [
        (category, setting, row)
        for category, found in results.items()
        for name, setting in ABLATIONS.items()
        for row in found.get(name, ())
    ]


def _notes(setting: Setting) -> Sequence[str]:
    return (
        f"{setting.spec.backbone}, {setting.spec.image_size} px, Ward, as many clusters as there are classes, protocol "
        f"{setting.protocol.name}; means over random 90 % subsets, in which everything is fitted again.",
        "NMI less sohn: paired over the subsets, with their 2.5 % and 97.5 % percentiles. Stability: mean ARI between "
        "the partition of a subset and that of all images.",
        f"Siblings: of every image, the {N_SIBLINGS} normals whose mean patch is most similar to its own are left out.",
        "Best temperature: an oracle, chosen by the labels.",
    )
