from __future__ import annotations

import json

import pytest

from benchmarks.figures import Figure, as_record, changes, read_record, renewed, table

pytestmark = pytest.mark.slow  # imports torch


def figure(*ratios: float, better: str = "larger", target: float | None = None, name: str = "a") -> Figure:
    return Figure("pairwise", name, "ours", "reference", ratios, better=better, target=target, peak_bytes=1 << 20)


@pytest.mark.parametrize(
    ("better", "target", "met"),
    [
        ("larger", 0.5, True),
        ("larger", 0.6, False),
        ("smaller", 0.5, True),
        ("smaller", 0.4, False),
        ("larger", None, None),
    ],
)
def test_the_median_is_what_has_to_reach_the_target(better, target, met):
    """Neither the best run nor the mean decides."""
    assert figure(0.1, 0.5, 0.9, better=better, target=target).is_met is met


def test_a_move_by_more_than_a_fifth_is_told_in_either_direction(tmp_path):
    """What got slower is as worth a look as what got faster; what was not recorded is compared with nothing."""
    record = tmp_path / "record.json"
    before = [figure(1.0), figure(1.0, name="b", better="smaller"), figure(1.0, name="c")]
    record.write_text(json.dumps(as_record(before)))
    now = [figure(0.79), figure(1.21, name="b", better="smaller"), figure(1.19, name="c"), figure(9, name="new")]
    told = changes(now, read_record(record))
    assert [line.partition(":")[0] for line in told] == ["pairwise, a", "pairwise, b"]
    assert all("worse" in line for line in told)
    assert "better" in changes([figure(1.3)], read_record(record))[0]


def test_a_record_is_renewed_figure_by_figure(tmp_path):
    """A section that is measured again takes its old place; the others, and their peaks and targets, stay."""
    record = tmp_path / "record.json"
    before = [figure(1.0, 3.0, target=2), figure(1.0, name="b"), figure(1.0, name="c")]
    record.write_text(json.dumps(as_record(before)))
    new = [figure(7.0, name="b"), figure(9.0, name="d")]
    assert renewed(read_record(record), new) == [before[0], new[0], before[2], new[1]]


def test_a_missed_target_is_not_to_be_overlooked():
    """The table shows median, extremes, target and peak, and a missed target in bold."""
    row = table([figure(0.1, 0.5, 0.9, target=0.8)]).splitlines()[-1]
    for words in ("**0.5** (0.1 to 0.9)", "≥ 0.8", "**no**", "1.0 MiB"):
        assert words in row


def test_a_record_names_the_machine_and_what_was_installed():
    """Ratios of one machine are not those of another."""
    record = as_record([figure(1.0)])
    assert record["machine"]["cores"] >= 1
    assert {"numpy", "torch", "zarr"} <= set(record["machine"]["packages"])
