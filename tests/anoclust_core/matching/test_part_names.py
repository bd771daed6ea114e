"""Names of parts, read from paths and columns."""

from __future__ import annotations

import pytest

from anoclust_core.errors import ConfigError
from anoclust_core.matching.part_names import PartRule, part_in_path


@pytest.mark.parametrize(
    ("path", "pattern", "part"),
    [
        ("0017_cam2.png", "{part}_*", "0017"),
        ("line7_0017_cam2.png", "{part}_*", "line7_0017"),
        ("0017_cam_2.png", "{part}_cam*", "0017"),
        ("0017/cam2.png", "{part}/*", "0017"),
        ("cam2/0017.png", "*/{part}", "0017"),
        ("monday/cam2/0017.png", "*/{part}", "monday/0017"),
        ("test/scratch/000_1.png", "{part}_*", "test/scratch/000"),
        ("0017.png", "{part}_*", None),
        ("0017.cam2.png", "{part}.*", "0017"),
        ("", "{part}", None),
    ],
)
def test_a_part_is_read_from_the_end_of_a_path(path: str, pattern: str, part: str | None) -> None:
    """The name is the longest text that fits; folders before the pattern tell parts of the same number apart."""
    assert part_in_path(path, pattern) == part


def test_a_column_names_the_part() -> None:
    """Cells are trimmed; an empty one names none."""
    rule = PartRule.read("column:serial")
    assert rule.part("a.png", {"serial": " 17 "}) == "17"
    assert rule.part("a.png", {"serial": " "}) is None
    assert rule.part("a.png", {}) is None


@pytest.mark.parametrize("text", ["part", "column:", "path:*", "path:{part}_{part}", "exif"])
def test_what_names_no_part_is_refused(text: str) -> None:
    """The message repeats what was written and gives an example."""
    with pytest.raises(ConfigError, match=r"0017_cam2\.png") as refused:
        PartRule.read(text)
    assert repr(text) in str(refused.value)
