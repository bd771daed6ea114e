"""Tables as text: one cell from measurements, or from published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from anoclust_core.benchmark.columns import Column, Results
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.evaluation.protocols import Protocol

NONE: Final = "–"
"""What stands for a number that there is not."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name
        As in ``table-1``.
    title
        What it shows.
    header, rows
        Cells as text.
    notes
        What a reader must know.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """Write the table as markdown."""
        lines = [f"## {self.title}", "", _line(self.header), "|---" * len(self.header) + "|"]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])


def methods_of(results: Results, experiment: str) -> list[str]:
    """Methods in the order in which they were measured, over all categories."""
    return list(dict.fromkeys(row.method for found in results.values() for row in found.get(experiment, ())))


def find(rows: Sequence[Measurement], method: str, clustering: str | None = None) -> Measurement | None:
    """First row of a method, and of a clustering where one is named; None where there is none."""
    return next((row for row in rows if row.method == method and clustering in (None, row.clustering)), None)


def rows_of_column(
    results: Results, column: Column, experiment: str, method: str, clustering: str | None = None
) -> list[Measurement]:
    """Rows of all categories of a column; none where one of them lacks it."""
    rows = [find(results[category].get(experiment, ()), method, clustering) for category in column.categories]
    return [row for row in rows if row] if all(rows) else []


def mean_of(
    results: Results, column: Column, experiment: str, method: str, score: str, clustering: str | None = None
) -> float | None:
    """Mean of a score over the categories of a column; None where one of them lacks it."""
    rows = rows_of_column(results, column, experiment, method, clustering)
    values = [row.scores[score] for row in rows if score in row.scores]
    return float(np.mean(values)) if values and len(values) == len(rows) else None


def error_of(
    results: Results, column: Column, experiment: str, method: str, score: str, clustering: str | None = None
) -> float | None:
    """Standard error of the mean over categories, whose subsets are drawn independently."""
    rows = rows_of_column(results, column, experiment, method, clustering)
    return float(np.sqrt(sum(row.errors[score] ** 2 for row in rows)) / len(rows)) if rows else None


def mean_cell(
    results: Results,
    column: Column,
    experiment: str,
    method: str,
    protocol: Protocol,
    clustering: str | None = None,
    *,
    defects: bool = False,
    errors: bool = False,
) -> str:
    """Means of NMI, ARI and F1 over the categories of a column, as text.

    Parameters
    ----------
    results, column, experiment, method, clustering
        Which rows.
    protocol
        Decides which F1 is printed.
    defects
        Scores without the good images.
    errors
        Standard errors beside the means.
    """
    rows = rows_of_column(results, column, experiment, method, clustering)
    scores = [row.defect_only if defects else row.scores for row in rows]
    if not scores or not all(scores):
        return NONE
    shared = [name for name in scores[0] if all(name in found for found in scores)]
    means = {name: float(np.mean([found[name] for found in scores])) for name in shared}
    if not errors:
        return scores_text(means, protocol)
    names = ("nmi", "ari", protocol.f1_name)
    return " / ".join(
        with_error(means[name], error_of(results, column, experiment, method, name, clustering)) for name in names
    )


def scores_text(scores: Mapping[str, float], protocol: Protocol) -> str:
    """NMI, ARI and the protocol's F1 as text."""
    if not scores:
        return NONE
    return join([scores["nmi"], scores["ari"], scores[protocol.f1_name]])


def join(values: Sequence[float | None]) -> str:
    """Several numbers as text; None is one that there is not."""
    return " / ".join(NONE if value is None else f"{value:.3f}" for value in values)


def with_error(value: float | None, error: float | None) -> str:
    """Write a number, and its standard error where there is one."""
    if value is None:
        return NONE
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def published_text(values: Sequence[float] | None, errors: Sequence[float] | None = None) -> str:
    """Published numbers as text, with their standard errors where they are printed."""
    if values is None:
        return NONE
    if errors is None:
        return join(values)
    return " / ".join(with_error(value, error) for value, error in zip(values, errors, strict=True))


def score_names(protocol: Protocol) -> str:
    """What the numbers of `scores_text` are."""
    return f"NMI / ARI / F1 ({protocol.f1_average})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
