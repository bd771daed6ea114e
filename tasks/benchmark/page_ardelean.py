"""What the benchmark writes of [ARDELEAN24]."""

from __future__ import annotations

from collections.abc import Sequence

from anoclust_core.benchmark import blind, plots
from anoclust_core.benchmark import tables_ardelean as tables
from anoclust_core.benchmark.columns import Results
from anoclust_core.benchmark.published_ardelean import TAU
from anoclust_core.benchmark.tables_ardelean import BlindSetting
from anoclust_core.benchmark.tables_deep import deep_table
from anoclust_core.evaluation.protocols import ARDELEAN
from tasks.benchmark.page import Part, numbers_of

_TABLES = {
    "ardelean-1": tables.clustering_table,
    "ardelean-2": tables.localization_table,
    "ardelean-3": tables.ablation_table,
    "ardelean-4": tables.clusterings_table,
    "ardelean-s4": tables.thresholds_table,
}
FIGURE = "ardelean-figure-5.png"


def blind_part(results: Results, setting: BlindSetting, numbers: Sequence[str], figures: Sequence[str]) -> Part:
    """Make the tables and figures that are asked for."""
    made = [_TABLES[number](results, setting) for number in dict.fromkeys(numbers)]
    deep = deep_table(results, ARDELEAN, prefix=blind.REFERENCE, described=setting.deep)
    made += [deep] if deep.rows else []
    pictures = {}
    if "ardelean-5" in figures:
        made.append(tables.temperatures_table(results, setting))
        pictures[FIGURE] = plots.temperature_curves(results, blind.TEMPERATURES, published_tau=TAU)
    return Part(made, pictures, numbers_of(results, setting.spec.backbone, ARDELEAN.name))
