"""Deep clustering trained here, beside the published rows, the recipes and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from anoclust_core.benchmark import published, published_ardelean
from anoclust_core.benchmark.ablation import RECIPES, SOHN, WHOLE
from anoclust_core.benchmark.cells import NONE, Table, find, mean_cell, published_text, scores_text
from anoclust_core.benchmark.columns import Column, Results, columns_of
from anoclust_core.benchmark.deep_rows import BEST, LAST
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.evaluation.protocols import ARDELEAN, Protocol

EXPERIMENT: Final = "deep: "
"""How the names of experiments begin that train one method each."""

TITLES: Final = ("IIC", "GATCluster", "SCAN", "SPICE")
AUTO: Final = "recipe auto"

UNTRAINED: Final = (
    "UniFormaly (printed as SelfFormaly) and STEGO are not run here: both take DINO weights, which no package that "
    "Anoclust installs brings along."
)


def deep_results(results: Results, prefix: str = "") -> dict[str, dict[str, list[Measurement]]]:
    """Rows of deep clustering by category, in one experiment for each title."""
    found: dict[str, dict[str, list[Measurement]]] = {}
    for category, experiments in results.items():
        rows = [row for name, of in experiments.items() if name.startswith(prefix + EXPERIMENT) for row in of]
        found[category] = {title: own for title in TITLES if (own := [row for row in rows if row.method == title])}
    return found


def clustering_rows(results: Results, columns: Sequence[Column], protocol: Protocol) -> list[list[str]]:
    """Rows for Tables 2 and 8 of [SOHN23]: each method's last epoch and, where trained here, the oracle's."""
    deep = deep_results(results)
    auto = [mean_cell(results, column, RECIPES, WHOLE, protocol) for column in columns]
    rows = [["Ward", AUTO, *(cell for own in auto for cell in (own, NONE))]] if set(auto) - {NONE} else []
    for title in TITLES:
        theirs = published.DEEP_CLUSTERING.get(title, {})
        is_measured = any(title in of for of in deep.values())
        for at, which in enumerate((LAST, BEST) if is_measured else (LAST,)):
            if not theirs and not is_measured:
                continue
            row = [title, f"deep clustering, {which}" if is_measured else "deep clustering, published"]
            for column in columns:
                printed = theirs.get(column.published or "")
                row.append(mean_cell(deep, column, title, title, protocol, which))
                row.append(published_text(printed[at] if printed else None))
            rows.append(row)
    return rows


def oracle_rows(results: Results, columns: Sequence[Column], prefix: str) -> list[list[str]]:
    """Rows for Table 1 of [ARDELEAN24] that it does not print: recipe auto, methods and epochs of its own."""
    deep = deep_results(results, prefix)
    wanted: list[tuple[str, Results, str, str, str | None]] = [(AUTO, results, prefix + RECIPES, WHOLE, None)]
    for title in TITLES:
        if title not in published_ardelean.TABLE_1:
            wanted.append((f"{title}, {LAST}", deep, title, title, LAST))
        wanted.append((f"{title}, {BEST}", deep, title, title, BEST))
    rows = []
    for name, source, experiment, method, which in wanted:
        row = [name]
        for column in columns:
            for defects in (False, True):
                row.append(mean_cell(source, column, experiment, method, ARDELEAN, which, defects=defects))
            row.append(NONE)
        if any(cell != NONE for cell in row[1:]):
            rows.append(row)
    return rows


def deep_table(results: Results, protocol: Protocol, *, prefix: str = "", described: str = "") -> Table:
    """What was trained, category by category: scores of two epochs, seconds and memory, the recipes beside it.

    Parameters
    ----------
    results
        Of everything that was measured.
    protocol
        Decides which F1 is printed.
    prefix
        Before the names of the experiments.
    described
        How the networks were trained, for the notes.
    """
    rows = []
    for category, titles in deep_results(results, prefix).items():
        for title, found in titles.items():
            last, best = find(found, title, LAST), find(found, title, BEST)
            if last and best:
                rows.append([category, title, *_measured(last, best, protocol), *_printed(title, category, protocol)])
        for recipe in (SOHN, WHOLE) if titles else ():
            row = find(results[category].get(prefix + RECIPES, ()), recipe)
            if row:
                texts = (scores_text(row.scores, protocol), scores_text(row.defect_only, protocol))
                rows.append([category, f"recipe {recipe}", *texts, *([NONE] * 6)])
    header = (
        "category", "method", f"last epoch, NMI / ARI / F1 ({protocol.f1_average})", "defects only",
        "best epoch by labels (oracle)", "that epoch", "images", "seconds", "peak memory, MiB",
        "published: last epoch", "published: best epoch",
    )  # fmt: skip
    rows = [[*row, *([NONE] * (len(header) - len(row)))] for row in rows]
    notes = [
        described,
        "The number of clusters is that of the classes. No label is seen while a network is trained; the best epoch is "
        "an oracle, chosen by its accuracy (micro F1) with the labels, as Sohn et al. print it.",
        "Published numbers are for their own networks and images. Peak memory is that of the process, on the host.",
        UNTRAINED,
    ]
    name = f"deep-{protocol.name}"
    return Table(name, f"Deep clustering, protocol {protocol.name}", header, rows, [note for note in notes if note])


def _measured(last: Measurement, best: Measurement, protocol: Protocol) -> list[str]:
    scores: Mapping[str, float] = last.scores
    return [
        scores_text(last.scores, protocol),
        scores_text(last.defect_only, protocol),
        scores_text(best.scores, protocol),
        f"{best.scores['epoch']:.0f} of {scores['epoch']:.0f}",
        f"{scores['n_images']:,.0f}",
        f"{scores['seconds']:,.0f}",
        f"{scores['peak_mib']:,.0f}",
    ]


def _printed(title: str, category: str, protocol: Protocol) -> list[str]:
    """Published numbers of a category that is a column by itself."""
    if protocol.name == ARDELEAN.name:
        column = columns_of([category], published_ardelean.COLUMNS)[0]
        theirs = published_ardelean.TABLE_1.get(title, {}).get(column.published or "") if column.is_whole else None
        return [published_text(theirs), NONE]
    column = columns_of([category])[0]
    pair = published.DEEP_CLUSTERING.get(title, {}).get(column.published or "") if column.is_whole else None
    return [published_text(pair[at] if pair else None) for at in (0, 1)]
