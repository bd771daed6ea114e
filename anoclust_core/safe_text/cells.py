"""Cells of CSV files that no spreadsheet runs as a formula, and back.

A spreadsheet takes a cell for a formula that begins with ``=``, ``+``, ``-``, ``@``, one of their full-width twins, a
tab or a carriage return. Names of files, labels and further columns of a manifest come from outside: such a cell gets
an apostrophe in front, by which spreadsheets know text. `original` takes exactly that one away: every text survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_SIGN: Final = "'"
"""What makes a cell text."""

_FORMULA: Final = re.compile(r"['\"\s\u200b\ufeff]*[=+\-@＝＋－＠]|'*[\t\r\n]")
"""How a formula begins, also behind quotes and blanks; behind apostrophes too, so that one more can be taken away."""

_HARMLESS: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|-+|[+-]?(inf|nan)", re.IGNORECASE)
"""A number as text, and a dash for nothing."""

_INSIDE: Final = re.compile(r"([;\t\r\n]+)")
"""Where another cell begins for a spreadsheet that takes other signs for the end of a cell."""


def safe_cell(text: str) -> str:
    """Text as a CSV file may hold it; numbers, and all that no spreadsheet runs, stay as they are.

    Examples
    --------
    >>> safe_cell("=cmd|' /C calc'!A0"), safe_cell("-0.5"), safe_cell("scratch")
    ("'=cmd|' /C calc'!A0", '-0.5', 'scratch')
    >>> original(safe_cell("=1+1;@x")), original(safe_cell("'=1+1"))
    ('=1+1;@x', "'=1+1")
    """
    return _marked(_inside(text, _marked))


def original(cell: str) -> str:
    """Text that `safe_cell` made a cell of; what it never made is given back as it is."""
    return _inside(_unmarked(cell), _unmarked)


def _inside(text: str, change: Callable[[str], str]) -> str:
    """Change what stands behind every sign at which another cell may begin."""
    parts = _INSIDE.split(text)  # text and signs in turn
    return "".join([parts[0], *(change(part) if at % 2 else part for at, part in enumerate(parts[1:]))])


def _marked(text: str) -> str:
    return f"{_SIGN}{text}" if _is_run(text) else text


def _unmarked(text: str) -> str:
    return text[1:] if text.startswith(_SIGN) and _is_run(text[1:]) else text


def _is_run(text: str) -> bool:
    """Whether a spreadsheet may run a text."""
    return _FORMULA.match(text) is not None and _HARMLESS.fullmatch(text) is None
