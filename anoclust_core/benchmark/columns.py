"""Data sets as the papers' tables group them, and the temperature that is chosen across a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from anoclust_core.benchmark.experiments import TAUS
from anoclust_core.benchmark.published import GROUPS, MTD, TEXTURE
from anoclust_core.benchmark.scoring import Measurement
from anoclust_core.evaluation.protocols import Protocol

Results: TypeAlias = Mapping[str, Mapping[str, Sequence[Measurement]]]
"""Measurements by category, then by experiment."""


@dataclass(frozen=True)
class Column:
    """A data set of the paper, or one of the user's.

    Attributes
    ----------
    title
        Heading.
    categories
        Those that its scores are the plain mean of.
    published
        Name of the column in the papers' tables, or None.
    is_whole
        Whether all categories of the published column are there.
    """

    title: str
    categories: tuple[str, ...]
    published: str | None
    is_whole: bool


def columns_of(categories: Iterable[str], groups: Mapping[str, Sequence[str]] = GROUPS) -> list[Column]:
    """Group the categories as a paper's tables do; a category that they do not have is a column of its own.

    Parameters
    ----------
    categories
        Names that manifests give them.
    groups
        Categories of each published column.
    """
    left = list(categories)
    columns = []
    for group, members in groups.items():
        found = tuple(name for name in members if name in left)
        if found:
            is_whole = len(found) == len(members)
            title = group if is_whole else f"{group}, {len(found)} of {len(members)}"
            columns.append(Column(found[0] if len(members) == 1 else title, found, group, is_whole))
            left = [name for name in left if name not in found]
    return columns + [Column(name, (name,), None, True) for name in left]


def select_taus(results: Results, method: str, protocol: Protocol, default: str) -> dict[str, tuple[str, bool]]:
    """Choose the temperature of each category on the others, [SOHN23] sec. 4: the best mean of NMI, ARI and F1.

    A category of MVTec is left out of its own choice; Magnetic Tile takes the choice of the textures. Where there is no
    other category to choose on, the default is taken.

    Returns
    -------
    taus
        By category: the temperature, and whether it was selected.
    """
    quality = {
        category: {
            row.setting: float(np.mean([row.scores["nmi"], row.scores["ari"], row.scores[protocol.f1_name]]))
            for row in found.get("temperatures", ())
            if row.method == method and row.setting in TAUS
        }
        for category, found in results.items()
    }
    chosen = {}
    for category in results:
        others = [name for name in _siblings(category) if name != category and quality.get(name)]
        if others:
            best = max(TAUS, key=lambda tau: (np.mean([quality[name][tau] for name in others]), -TAUS.index(tau)))
            chosen[category] = (best, True)
        else:
            chosen[category] = (default, False)
    return chosen


def _siblings(category: str) -> tuple[str, ...]:
    """Categories that a category's temperature may be chosen on."""
    for group, members in GROUPS.items():
        if category in members:
            return GROUPS[TEXTURE] if group == MTD else members
    return ()
