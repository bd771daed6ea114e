"""Clusters against a column of the manifest, to see whether a kind of defect comes from one line or one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TELLING: Final = 0.8
"""Share of a cluster's images from which on one value is told in a sentence."""

LEAST: Final = 10
"""Images that a cluster has at least, for a sentence: of three, all may come from one line by chance."""

_BEYOND: Final = 1.5
"""How much larger that share has to be than the value's share of all images."""


@dataclass(frozen=True)
class ColumnRow:
    """A cluster's images by value, in the order of the values; and their sum."""

    cluster: str
    counts: Sequence[int]
    n_images: int


@dataclass(frozen=True)
class ColumnTable:
    """Clusters against the values of a column.

    Attributes
    ----------
    rows
        By cluster; without those that have no image.
    totals
        Images by value.
    telling
        Cluster, share and value, where most images of a cluster have one value that is rarer elsewhere.
    n_without
        Images without a value.
    """

    rows: Sequence[ColumnRow]
    totals: Sequence[int]
    telling: Sequence[tuple[str, float, str]]
    n_without: int


def column_table(counts: Mapping[str, Mapping[str, int]], order: Sequence[str], values: Sequence[str]) -> ColumnTable:
    """Put counts into a table.

    Parameters
    ----------
    counts
        By cluster, images of each value; those without one under the empty text.
    order
        Clusters as they are shown.
    values
        Values as they are shown.

    Examples
    --------
    >>> counts = {"c1": {"1": 5, "2": 95}, "c2": {"1": 100}}
    >>> column_table(counts, ["c1", "c2"], ["1", "2"]).telling
    [('c1', 0.95, '2'), ('c2', 1.0, '1')]
    """
    known = [name for name in order if name in counts]
    rows = [ColumnRow(name, found, sum(found)) for name in known if any(found := _of(counts[name], values))]
    totals = [sum(column) for column in zip(*(row.counts for row in rows), strict=True)] if rows else [0] * len(values)
    everything = sum(totals) or 1
    telling = []
    for row in rows:
        most = max(row.counts)
        at = list(row.counts).index(most)
        share = most / row.n_images
        if row.n_images >= LEAST and share >= TELLING and share >= _BEYOND * totals[at] / everything:
            telling.append((row.cluster, share, values[at]))
    return ColumnTable(rows, totals, telling, sum(counts[name].get("", 0) for name in known))


def _of(counts: Mapping[str, int], values: Sequence[str]) -> list[int]:
    return [counts.get(value, 0) for value in values]
