"""Tables as CSV text: UTF-8, a header line, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from anoclust_core.safe_text.cells import safe_cell

if TYPE_CHECKING:
    import pandas as pd

_RETURN: Final = "\r"
"""Ends a row for whoever reads a table, and yet the writer of Python 3.11 puts no quotes around a cell that has one."""


def csv_of_frame(frame: pd.DataFrame) -> str:
    """Text of a table: texts and names of columns are made safe, numbers stay numbers."""
    safe = frame.rename(columns=_safe)
    for at, kind in enumerate(frame.dtypes):
        if kind.kind not in "iufcbmM":
            safe.isetitem(at, frame.iloc[:, at].map(_safe, na_action="ignore").array)
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC) if _RETURN in text else text


def csv_of_rows(rows: Sequence[Sequence[str]]) -> str:
    """Text of rows of texts, the header first."""
    text = io.StringIO()
    safe = [[safe_cell(cell) for cell in row] for row in rows]
    has_return = any(_RETURN in cell for row in safe for cell in row)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerows(safe)
    return text.getvalue()


def with_given(row: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """Row of a table, and behind it the columns that came with an image, as `given_...` where we use their name.

    Examples
    --------
    >>> with_given({"path": "a.png", "cluster": 3}, {"cluster": "by hand", "line": "7"})
    {'path': 'a.png', 'cluster': 3, 'given_cluster': 'by hand', 'line': '7'}
    """
    return {**row, **{f"given_{name}" if name in row else name: value for name, value in given.items()}}


def _safe(cell: object) -> object:
    return safe_cell(cell) if isinstance(cell, str) else cell
