"""The page over all categories of a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from anoclust_core.reporting.overview import OverviewRow, render_overview

ROWS = [
    OverviewRow("a well", "well", 20, 3, ("nothing new",), 1.0, "runs/a%20well/1/report.html"),
    OverviewRow("<script>x", "look", 40, 5, ("4 more images than in the run before",), 2.0, "runs/x/1/report.html"),
    OverviewRow("broken", "failed", told=("no <b>image</b> can be used",)),
]


def page() -> str:
    """Render the page of three categories."""
    return render_overview("Run of 3 categories", ROWS, created_at=datetime(2026, 11, 29, 6, tzinfo=UTC))


def test_what_has_to_be_looked_at_comes_first() -> None:
    """Failures, then news, then the rest; every category is there, with its report."""
    names = re.findall(r"<bdi>(.*?)</bdi>", page())
    assert names == ["broken", "&lt;script&gt;x", "a well"]
    assert re.findall(r'<a href="(.*?)">', page()) == ["runs/x/1/report.html", "runs/a%20well/1/report.html"]
    assert "2 of 3 categories to look at" in page()
    assert "4 more images than in the run before" in page()


def test_nothing_on_the_page_acts() -> None:
    """Names and messages are escaped, and the page asks no server and runs no script."""
    assert "<script" not in page()
    assert "no &lt;b&gt;image&lt;/b&gt; can be used" in page()
    assert "default-src 'none'" in page()
    assert not re.findall(r'(?:src|href)="(?!data:|runs/)', page())


def test_nights_have_no_column_of_clusters() -> None:
    """Where no category has a number of clusters, as in nights, no column is full of dashes."""
    heading = '<th scope="col" class="num">clusters</th>'
    nights = [OverviewRow("a", "well", 20, told=("nothing to do",)), OverviewRow("b", "failed")]
    plain = render_overview("Night", nights, created_at=datetime(2026, 11, 29, tzinfo=UTC), counted="new images")
    assert heading in page()
    assert heading not in plain
    assert plain.count("<td") == 4 * len(nights)


def test_nothing_to_do() -> None:
    """A command after which nobody has to look says so."""
    quiet = render_overview("Run of 1 categories", ROWS[:1], created_at=datetime(2026, 11, 29, tzinfo=UTC))
    assert "Nothing to do" in quiet
