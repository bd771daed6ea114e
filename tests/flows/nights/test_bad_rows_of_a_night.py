"""Rows of a manifest that are of no use, in nights, with either kind of catalog: told once, and they stop nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.streams import CATEGORY, Stream, day

from flows.nights.backfill import run_backfill
from flows.nights.run import run_nights
from flows.terminal.nights import night_lines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

BAD = {
    f"{'x' * 300}.png,board,hole": "cannot be read: File name too long",
    f"{'y/' * 4000}z.png,board,hole": "cannot be read: File name too long",
    f"board/{day(2)}/00-hole.png,board,ho\0le": "holds a zero byte in the column label",
    f"bo\0ard/{day(2)}/00-hole.png,board,hole": "holds a zero byte in the column path",
    "board,board,hole": "is a folder",
    "../x.png,board,hole": "leads out of",
    '"board/open.png,board,hole': "has a quote that is not closed",
}


def append(stream: Stream, rows: list[str]) -> None:
    with stream.manifest.open("ab") as file:
        file.write("".join(f"{row}\n" for row in rows).encode())


def test_bad_rows_of_a_night(stream: Stream) -> None:
    """Each bad row is quarantined with its line, once; the night's images are taken up, and other categories too."""
    stream.deliver(2, ["hole", "good"] * 10)
    n_lines = len(stream.manifest.read_text().splitlines())
    append(stream, list(BAD))
    outcome = stream.night(2)
    assert (outcome.counters["new"], outcome.counters["quarantined"]) == (20, len(BAD))
    assert outcome.report is not None
    summary = json.loads((outcome.report.parent / "summary.json").read_text(encoding="utf-8"))
    reasons = sorted(entry["reason"] for entry in summary["quarantine"])
    for line, reason in enumerate(BAD.values(), start=n_lines + 1):
        assert any(found.startswith(f"line {line}: {reason}") for found in reasons), (line, reason, reasons)
    assert len(reasons) == len(BAD)
    assert "2 rows: cannot be read: File name too long (first: line" in night_lines(outcome)
    assert stream.night(2).is_new is False
    again = stream.night(3)
    assert (again.is_new, len(stream.told("anoclust.quarantine"))) == (False, 1)


def test_a_late_row_that_cannot_be_read_is_told(stream: Stream) -> None:
    """Its path is of an earlier night, whose report is written: the report of the night in which it comes has it."""
    append(stream, [f"board/{day(0)}/gone-hole.png,board,hole"])
    outcome = stream.night(2)
    assert outcome.counters["quarantined"] == 1
    ((path, reason),) = outcome.quarantine
    assert path == f"board/{day(0)}/gone-hole.png"
    assert "No such file" in reason
    assert outcome.line == "1 thing to look at: 1 file cannot be used"


def test_backfill_goes_on(stream: Stream) -> None:
    """Past nights are worked through whatever a row of the manifest holds."""
    stream.deliver(2, ["hole"] * 6)
    stream.deliver(3, ["good"] * 6)
    append(stream, list(BAD)[2:4])
    outcomes = list(
        run_backfill(stream.manifest, stream.store, stream.config, categories=[CATEGORY], nights=[day(2), day(3)])
    )
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [outcome.counters["new"] for outcome in outcomes] == [6, 6]
    assert sum(outcome.counters["quarantined"] for outcome in outcomes) == 2


def test_another_category_has_its_night(stream: Stream) -> None:
    """A category of bad rows only has nothing to cluster; the other one has its night."""
    stream.deliver(2, ["hole"] * 4)
    append(stream, [f"{'x' * 300}.png,nut,", "n\0.png,nut,"])
    board, nut = run_nights(stream.manifest, stream.store, stream.config, as_of=day(2))
    assert (board.error, board.counters["new"]) == (None, 4)
    assert (nut.error, nut.counters["quarantined"]) == (None, 2)


def test_what_was_guessed_is_told(stream: Stream) -> None:
    """A manifest in another encoding, with other separators: the same night; its report says what was guessed."""
    stream.deliver(2, ["hole"] * 2)
    text = stream.manifest.read_text().replace(",", ";").replace("hole\n", "Löcher\n")
    stream.manifest.write_bytes(text.encode("cp1252"))
    outcome = stream.night(2)
    assert outcome.counters["new"] == 2
    assert outcome.report is not None
    for words in ("read as Windows-1252", "read with semicolons"):
        assert words in outcome.report.read_text(encoding="utf-8")
        assert words in night_lines(outcome)


@pytest.mark.parametrize("seconds", [2**40, -(2**40)])
def test_a_file_of_no_year(stream: Stream, seconds: int) -> None:
    """A file whose time no calendar has stops no night, whether or not its path says when it was taken."""
    (path,) = stream.deliver(2, ["hole"])
    moved = path.parent.parent / "undated.png"
    path.rename(moved)
    stream.list(moved, "hole")
    try:
        os.utime(moved, (seconds, seconds))
    except (OSError, OverflowError):
        pytest.skip("this file system keeps no such time")
    (outcome,) = run_nights(stream.manifest, stream.store, stream.config)
    assert outcome.error is None
    assert outcome.counters["new"] == 1
    assert Path(moved).exists()
