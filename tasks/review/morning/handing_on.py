"""What is handed on from the morning list: images for a labeller, and the open questions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from tasks.export.clusters import cluster_table
from tasks.review.morning.listed import Question
from tasks.review.morning.telling import telling
from tasks.review.reading import Reading
from tasks.stores.nights.snapshots import read_snapshot

N_TO_LABEL: Final = 100
"""Images of the list for a labeller, if nobody says how many."""

_WHY: Final = "the middle of many images like it that nobody has named"

HEADER: Final = ("number", "question", "kind", "text", "cluster", "suggested", "path", "sha256", "why")
"""Columns of the table of questions."""


def images_to_label(reading: Reading, category: str, most: int = N_TO_LABEL) -> pd.DataFrame:
    """Images whose names would teach most, one a row, the most telling first: any first part of them is spread out.

    Images that people have placed, and what is like them, are left out. Columns are those of
    `tasks.export.clusters.cluster_table`, and ``why``.

    Raises
    ------
    StoreError
        If what the last re-clustering stored is gone or damaged.
    """
    table = cluster_table(reading.catalog, category).set_index("sha256", drop=False)
    fact = reading.catalog.latest_snapshot(category)
    contents: Sequence[str] = ()
    if fact is not None and fact.n_images > 1:
        settled = reading.catalog.settled(category)
        answered = settled.placed.keys() | settled.wrong
        contents = telling(reading.layout, category, read_snapshot(fact), answered, most=most)
    chosen = table.loc[[content for content in contents if content in table.index]].reset_index(drop=True)
    at = list(chosen.columns).index("name") + 1
    chosen.insert(at, "why", pd.Series([_WHY] * len(chosen), dtype="string"))
    return chosen


def question_rows(reading: Reading, category: str, questions: Sequence[Question]) -> list[list[str]]:
    """Rows of a table of questions, the header first."""
    contents = [one.content for one in questions if one.content is not None]
    facts = reading.catalog.known_images(category, contents)
    rows = [list(HEADER)]
    for number, one in enumerate(questions, start=1):
        path = facts[one.content].path if one.content in facts else ""
        places = [one.cluster or "", one.suggested or "", path, one.content or ""]
        rows.append([str(number), one.name, one.kind, one.text, *places, one.why])
    return rows
