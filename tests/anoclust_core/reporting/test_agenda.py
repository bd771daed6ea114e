"""The one line of a night: what it says, in which order, and that it is silent where there is nothing to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html import unescape
from itertools import pairwise

import pytest

from anoclust_core.reporting.agenda import NOTHING, agenda, first_line
from anoclust_core.reporting.night import MOST_DATES, chart_lines, counts_svg, render_night
from anoclust_core.reporting.night_record import Comparison, GoneCluster, NightCluster, NightImage, NightReport

NIGHT = date(2026, 11, 20)


def cluster(identity: str, **values: object) -> NightCluster:
    plain = NightCluster(identity, None, "confirmed", NIGHT, False, 14, Comparison(4, value=4))
    return replace(plain, **values)  # type: ignore[arg-type]


@pytest.fixture
def quiet() -> NightReport:
    """Make a night on which nothing is to be told."""
    return NightReport(
        "tile", NIGHT, "2026-11-21T03:00:00+00:00", {"new": 20}, [cluster("c1"), cluster("c2")],
        Comparison(0), [], None, {}, [NIGHT], {"c1": [4], "c2": [4]},
    )  # fmt: skip


GROWING = Comparison(16, limit=12, alarm=True, value=16, expected=6.2)
LATE = Comparison(0, limit=7, alarm=True, value=30, expected=2.2, of_night="2026-11-19")
SLOW = Comparison(9, limit=27, alarm=True, value=30, expected=16.4, over=4)

SAID = {
    "c1 is new (14 images)": {"clusters": [cluster("c1", is_new=True)]},
    'c1 "chip" is new (1 image)': {"clusters": [cluster("c1", is_new=True, name="chip", n_images=1)]},
    "c1 grows (16 tonight, 6 expected)": {"clusters": [cluster("c1", counts=GROWING)]},
    "c1 grows (30 in the last 4 nights, 16 expected)": {"clusters": [cluster("c1", counts=SLOW)]},
    "c1 grows (30 in the night of 2026-11-19, 2 expected)": {"clusters": [cluster("c1", counts=LATE)]},
    "more ordinary parts than usual: c1 (16 tonight, 6 expected)": {
        "clusters": [cluster("c1", counts=GROWING, is_ordinary=True)]
    },
    "c4 went into c3": {"gone": [GoneCluster("c4", None, "c3", 17)]},
    'c4 "ring" is gone': {"gone": [GoneCluster("c4", "ring", None, 17)]},
    "7 images belong to no cluster (0.4 expected)": {
        "unknown": Comparison(7, limit=4, alarm=True, value=7, expected=0.42)
    },
    "parts look rarer than before": {"rarity": Comparison(0.4, limit=0.2, alarm=True)},
    "parts look more ordinary than before": {"rarity": Comparison(-0.4, limit=0.2, alarm=True)},
    "the camera, not the product: pictures are darker": {"camera": [("brightness", "pictures are darker")]},
    "only 3 images came, 24 are usual": {"camera": [("images", "only 3 images came, 24 are usual")]},
    "2 files cannot be used": {"quarantine": [("a.png", "cut off"), ("b.png", "cut off")]},
}


@pytest.mark.parametrize("text", SAID)
def test_each_thing_is_said_in_words(quiet: NightReport, text: str) -> None:
    """Every kind of finding is one thing to look at, by itself, and on the page."""
    report = replace(quiet, **SAID[text])  # type: ignore[arg-type]
    assert first_line(agenda(report)) == f"1 thing to look at: {text}"
    assert "1 thing to look at" in render_night(report)


def test_a_quiet_night_has_nothing_to_do(quiet: NightReport) -> None:
    """Without a finding, the line and the page say so."""
    assert first_line(agenda(quiet)) == NOTHING
    assert "Nothing to do" in render_night(quiet)


def test_the_camera_comes_first_and_ordinary_parts_late(quiet: NightReport) -> None:
    """What makes everything else doubtful is said first; of many things the line names the first four."""
    report = replace(
        quiet,
        clusters=[
            cluster("c1", counts=GROWING, is_ordinary=True),
            cluster("c5", is_new=True),
            cluster("c2", counts=GROWING),
        ],
        gone=[GoneCluster("c4", None, "c3", 17)],
        camera=[("brightness", "pictures are darker")],
    )
    assert [one.kind for one in agenda(report)] == ["camera", "new", "growing", "merged", "growing"]
    line = first_line(agenda(report))
    assert line.startswith("5 things to look at: the camera, not the product: pictures are darker, c5 is new")
    assert line.endswith("c4 went into c3, and 1 more")


def test_a_cluster_that_is_gone_is_shown_with_the_way_back(quiet: NightReport) -> None:
    """The page names the command that brings it back."""
    page = render_night(replace(quiet, gone=[GoneCluster("c4", None, "c3", 17)]))
    assert "anoclust clusters undo tile 17" in page


def test_a_command_can_be_copied_as_it_is(quiet: NightReport) -> None:
    """The name of a category with a blank in it is quoted."""
    page = render_night(replace(quiet, category="metal nut", gone=[GoneCluster("c4", None, "c3", 17)]))
    assert "anoclust clusters undo 'metal nut' 17" in unescape(page)


def test_one_image_and_one_cluster_are_told_in_the_singular(quiet: NightReport) -> None:
    """The line below the things to do is English where one image came too."""
    counters = {"new": 1, "unknown": 0, "new_clusters": 1}
    page = render_night(replace(quiet, counters=counters, reclustered="the first time"))
    assert "1 new image, 0 unknown, the first cluster of this category." in page


@pytest.mark.parametrize("n_nights", [2, 3, 14, 90])
def test_charts_have_few_dates(n_nights: int) -> None:
    """With any number of nights no more dates are written than fit beside each other, the last night's among them."""
    nights = [date.fromordinal(NIGHT.toordinal() - n_nights + 1 + at) for at in range(n_nights)]
    svg = counts_svg(nights, {"c1": [1] * n_nights, "c2": [1] * n_nights})
    dates = svg.count(" Nov") + svg.count(" Oct") + svg.count(" Sep") + svg.count(" Aug")
    assert 2 <= dates <= 2 * MOST_DATES  # as a comment and as text
    assert f"{NIGHT:%d %b}" in svg


NAME = re.compile(r'<text [^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(c\d+|unknown|others)</text>')


@pytest.mark.parametrize("tonight", [lambda at: at, lambda at: 0, lambda at: 50], ids=["spread", "none", "alike"])
def test_every_name_of_a_chart_lies_inside(tonight: Callable[[int], int]) -> None:
    """Of forty clusters eleven have a line with a name; none lies outside of the picture or on another one."""
    series = {f"c{at}": [1, tonight(at)] for at in range(1, 41)} | {"unknown": [0, 1]}
    lines, n_others = chart_lines(series)
    assert n_others == 29
    assert [sum(counts[night] for counts in lines.values()) for night in (0, 1)] == [
        sum(counts[night] for counts in series.values()) for night in (0, 1)
    ]
    svg = counts_svg([date(2026, 11, 19), NIGHT], lines)
    width, height = (float(side) for side in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    found = NAME.findall(svg)
    assert {name for *_, name in found} == set(lines)
    assert {*(f"c{at}" for at in range(1, 12)), "others", "unknown"} == set(lines)
    places = sorted(float(y) for _, y, _ in found)
    assert min(below - above for above, below in pairwise(places)) > 9  # the size of the font
    assert 9 < places[0] < places[-1] < height
    assert all(float(x) < width - 30 for x, *_ in found)


def test_the_page_says_what_its_chart_leaves_out(quiet: NightReport) -> None:
    """The clusters without a line of their own are counted below the chart; of few, every one has its line."""
    many = {f"c{at}": [at, at] for at in range(1, 41)} | {"unknown": [0, 1]}
    two = replace(quiet, nights=[date(2026, 11, 19), NIGHT], series=many)
    assert "dotted: the other 29 clusters together" in render_night(two)
    assert "dotted" not in render_night(replace(two, series={"c1": [1, 2], "unknown": [0, 1]}))


def image(number: int, *, is_late: bool) -> NightImage:
    return NightImage(f"{number}.png", f"{number:064x}", "c1", 0.1, 0.9, is_late=is_late)


def test_images_that_came_late_are_told_as_such(quiet: NightReport) -> None:
    """Ten of thirty images are of the night before: each number of the page is of what it says."""
    mixed = [image(at, is_late=at < 5) for at in range(15)]
    late = [image(at, is_late=True) for at in range(20, 25)]
    report = replace(
        quiet,
        counters={"new": 30, "unknown": 5},
        clusters=[cluster("c1", counts=Comparison(10, value=10), images=mixed)],
        unknown=Comparison(0),
        unknown_images=late,
        n_tonight=20,
        n_late=10,
    )
    page = render_night(report)
    assert "30 new images, 10 of them of earlier nights, 5 unknown." in page
    assert "15 came, 5 of them late; 14 in all" in page
    assert "all 15 that came" in page
    assert 'Unknown <span class="dim">5 came late' in page
    assert '<td class="num">10</td><td class="num">50 %</td>' in page
    assert "from tonight" not in page
    plain = render_night(replace(report, clusters=[cluster("c1", images=mixed[5:])], unknown_images=[], n_late=0))
    assert "10 tonight; 14 in all" in plain
    assert "all 10 from tonight" in plain
    assert "earlier nights" not in plain


def test_the_page_links_to_where_people_decide(quiet: NightReport) -> None:
    """With an address of the review page, the category and each cluster that is shown link to their pages there."""
    shown = replace(quiet, clusters=[cluster("c1", is_new=True)])
    assert "review" not in render_night(shown)
    page = render_night(replace(shown, review="http://qa:8765/c/tile"))
    assert '<a href="http://qa:8765/c/tile">open in review</a>' in page
    assert '<a href="http://qa:8765/c/tile/clusters/c1">review</a>' in page
