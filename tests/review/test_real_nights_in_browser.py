"""Mornings between real nights: what a person does in a browser holds in the next night and through a re-clustering."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import config_of
from helpers.chromium import needs_chromium
from helpers.streams import CATEGORY, Stream, day, night_config
from persons import answer, choose_on_map, chosen_of, decide, say_name, select_range, undo
from playwright.sync_api import Page, expect
from serving import Served, served
from watching import Watched, opened_browser, watching

from benchmarks.nights import COLUMN, FIRST, deal, one_night
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.files import category_address
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import members, read_snapshot

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.usefixtures("prefect_db")]

MANIFEST = "MANIFEST_OF_MORNINGS"
"""Variable with a manifest whose images are dealt out over nights, and a person's decisions tried on."""

N_DEALT = 240
"""Images of that manifest that are taken."""


@dataclass
class Decided:
    """What a person decided, as it has to hold.

    Attributes
    ----------
    names
        Name by cluster; None where a name was taken back.
    placed
        Images that the person put into a cluster, by cluster.
    merged
        Cluster by the one that was merged into it.
    groups
        Cluster of every image of the cut, when the last decision was made.
    undone
        Clusters that somebody made, and took back.
    """

    names: dict[str, str | None] = field(default_factory=dict)
    placed: dict[str, set[str]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)


@contextmanager
def morning(review: Served) -> Iterator[Watched]:
    """Give a browser for one morning: it is closed before the night."""
    with opened_browser() as browser, watching(browser, review) as found:
        yield found


def sizes(review: Served, category: str) -> dict[str, int]:
    """Images of every living cluster, the largest first."""
    rows = [row for row in review.reading.state(category).rows if row.fact is not None]
    return {row.cluster: row.n_images for row in sorted(rows, key=lambda row: -row.n_images)}


def look(page: Page, category: str) -> None:
    """From home to the category, a cluster with heat, and an image with its heat and those that are most alike."""
    page.get_by_role("link", name=category, exact=True).click()
    page.locator(".row").first.get_by_role("heading").get_by_role("link").click()
    page.get_by_role("button", name="Heat on").click()
    expect(page.locator(".pictures .heat").first).to_be_visible()
    page.locator(".pictures a.caption").first.click()
    expect(page.locator("#viewer .photo")).to_be_visible()
    expect(page.locator(".rarest")).to_be_attached()
    expect(page.locator(".alike li").first).to_be_visible()


def use_cut(page: Page, number: int) -> None:
    """Slide to a number of clusters, and use that cut."""
    page.locator("#cut").fill(str(number))
    expect(page.locator("#cut-groups .row")).to_have_count(number)
    decide(page, "Use this cut…", confirm="Use this cut")


def born_of(review: Served, category: str, act: Callable[[], object]) -> str:
    """Cluster that an act makes."""
    before = sizes(review, category)
    act()
    (born,) = sizes(review, category).keys() - before.keys()
    return born


def work_through(watched: Watched, review: Served, category: str, *, number: int, night: str) -> Decided:
    """Look at everything, cut into a number of clusters, name, merge, split, move and choose on the map, undo some."""
    page, where, decided = watched.page, category_address(category), Decided()
    say_name(page, "Kim")
    page.goto(review.base)
    look(page, category)
    before = sizes(review, category)
    watched.go(f"{where}/cuts")
    use_cut(page, number + 1)
    decided.undone |= sizes(review, category).keys() - before.keys()
    undo(page)
    assert sizes(review, category) == before
    watched.go(f"{where}/cuts")
    use_cut(page, number)
    clusters = list(sizes(review, category))
    assert len(clusters) == number
    first, second, last = clusters[0], clusters[1], clusters[-1]

    for cluster, name in ((first, "good parts"), (second, "edge chip")):
        watched.go(f"{where}/clusters/{cluster}")
        decide(page, "Rename", fill=name)
        decided.names[cluster] = name
    watched.go(f"{where}/clusters/{last}")
    decide(page, "Rename", fill="a mistake")
    undo(page)

    watched.go(f"{where}/clusters/{first}")
    chosen = select_range(page, 0, 2)
    part = born_of(review, category, lambda: decide(page, "Split off"))
    watched.go(f"{where}/clusters/{first}")
    chosen += select_range(page, 0, 1)
    decide(page, "Move…", confirm="Move", choose=part)
    decided.placed[part] = set(chosen)

    watched.go(f"{where}/clusters/{first}")
    select_range(page, 0, 1)
    decided.undone.add(born_of(review, category, lambda: decide(page, "Split off")))
    undo(page)
    select_range(page, 1, 2)
    decide(page, "Move…", confirm="Move", choose=last)
    undo(page)

    watched.go(f"{where}/map")
    page.locator("#colour-by").select_option("night")
    on_map = choose_on_map(page, night, second)
    chosen_of(page, second).get_by_role("button", name="Split off").click()
    seen = born_of(review, category, lambda: answer(page, "Split off"))
    decided.placed[seen] = set(on_map)

    watched.go(f"{where}/clusters/{first}")
    decide(page, "Merge…", confirm="Merge", choose=second)
    undo(page)
    watched.go(f"{where}/clusters/{last}")
    decide(page, "Merge…", confirm="Merge", choose=second)
    decided.merged[last] = second
    latest = review.reading.catalog.latest_snapshot(category)
    assert latest is not None
    cut = {image.sha256 for image in members(review.reading.layout, read_snapshot(latest)).clustered}
    decided.groups = {content: name for content, name in groups(review, category).items() if content in cut}
    return decided


def groups(review: Served, category: str) -> dict[str, str]:
    """Cluster of every image, merges followed; those without one are left out."""
    found = review.reading.catalog.assignments(category)
    return {one.content: one.cluster for one in found if one.cluster is not None}


def left(review: Served, category: str, decided: Decided) -> set[str]:
    """Images of the cut that are not in the cluster any more that they were in when the last decision was made."""
    now = groups(review, category)
    return {content for content, cluster in decided.groups.items() if now.get(content) != cluster}


def moved_by_learning(review: Served, category: str) -> set[str]:
    """Images of which the history says that a re-clustering moved them by what it learnt from decisions."""
    told = [
        one.after["learnt"]["contents"] for one in review.reading.catalog.history(category) if "learnt" in one.after
    ]
    return {content for contents in told for content in contents}


def check_holds(watched: Watched, review: Served, category: str, decided: Decided) -> None:
    """Compare the catalog and the pages with what was decided."""
    state, page, where = review.reading.state(category), watched.page, category_address(category)
    rows = {row.cluster: row for row in state.rows}
    for cluster, name in decided.names.items():
        assert rows[cluster].name == name
    watched.go(where)
    for cluster, name in decided.names.items():
        expect(page.locator(".row h3", has_text=f"{cluster} {name}")).to_have_count(1)
    for cluster, images in decided.placed.items():
        members = review.reading.members(category, cluster, Chosen())
        assert images <= set(members)
        watched.go(f"{where}/clusters/{cluster}")
        expect(page.locator(".cluster-head")).to_contain_text(f"{len(members):,} image")
        shown = page.locator("#choice input[name=image]").evaluate_all("boxes => boxes.map((box) => box.value)")
        assert set(shown) == set(members[:60])
    for cluster, into in decided.merged.items():
        assert cluster not in rows
        watched.go(f"{where}/clusters/{cluster}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"{into} {decided.names[into]}")
    told = {
        str(notice.payload["cluster"])
        for notice in review.reading.catalog.notices(category)
        if notice.event in {"anoclust.cluster.gone", "anoclust.cluster.merged"}
    }
    kept = set(decided.groups.values())
    assert kept - told <= rows.keys()
    assert not decided.undone & {*rows, *(fact.cluster for fact in state.lost)}
    watched.go(f"{where}/history")
    history = page.locator(".history tbody")
    expect(history.locator("tr.undone")).to_have_count(5)
    expect(history).not_to_contain_text("anoclust")


@pytest.mark.timeout(900)
def test_a_morning_holds(tmp_path: Path, checkpoint: Path) -> None:
    """All that a person does at the page, with the clusters of a cut that a plain re-clustering would join again."""
    stream = Stream(tmp_path, night_config(checkpoint, n_clusters=2, recluster_every="none"))
    kinds = ("good",) * 8 + ("hole",) * 6 + ("scratch",) * 5
    stream.deliver(0, kinds)
    stream.night(0)
    stream.deliver(1, ("good", "hole", "hole", "hole", "scratch", "scratch"))
    stream.night(1)
    with served(StoreLayout(stream.store)) as review:
        with morning(review) as watched:
            decided = work_through(watched, review, CATEGORY, number=3, night=f"{day(1):%d %b}")
        stream.deliver(2, ("good", "hole", "scratch"))
        assert stream.night(2).reclustered is None
        with morning(review) as watched:
            check_holds(watched, review, CATEGORY, decided)
        assert left(review, CATEGORY, decided) == set()
        stream.deliver(3, ("good", "hole", "scratch"))
        assert stream.night(3, recluster=True).reclustered == "asked for"
        with morning(review) as watched:
            check_holds(watched, review, CATEGORY, decided)
        assert set(decided.groups.values()) <= sizes(review, CATEGORY).keys()
        assert left(review, CATEGORY, decided) <= moved_by_learning(review, CATEGORY)


def sampled(manifest: Path, out: Path) -> Path:
    """Write a manifest with some of the images, drawn at random, the same every time."""
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:N_DEALT])
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**rows[at], "path": (manifest.parent / rows[at]["path"]).resolve()} for at in chosen)
    return out


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.skipif(MANIFEST not in os.environ, reason=f"needs a manifest of one category in {MANIFEST}")
def test_a_morning_with_real_images_holds(
    tmp_path: Path, print_table: Callable[[list[tuple[object, ...]]], None]
) -> None:
    """The same after four nights of other images, with the default settings; how many images stay is printed."""
    manifest = sampled(Path(os.environ[MANIFEST]), tmp_path / "sampled.csv")
    category, _ = deal(manifest, tmp_path / "dealt.csv", nights=6, seed=0, keep_labels=False)
    config = config_of(**{"night.captured": f"column:{COLUMN}", "night.day_starts": "00:00"})
    store = tmp_path / "store"

    def live(number: int, *, recluster: bool = False) -> str | None:
        night = FIRST + timedelta(days=number)
        return one_night(tmp_path / "dealt.csv", store, config, night, recluster=recluster).reclustered

    for number in range(4):
        live(number)
    figures: list[tuple[object, ...]] = [("after", "re-clustered", "clusters", "of the clusters", "images that stayed")]
    with served(StoreLayout(store)) as review:
        with morning(review) as watched:
            night = f"{FIRST + timedelta(days=3):%d %b}"
            decided = work_through(watched, review, category, number=8, night=night)
        for number, recluster in ((4, False), (5, True)):
            reclustered = live(number, recluster=recluster)
            with morning(review) as watched:
                check_holds(watched, review, category, decided)
            clusters, kept = sizes(review, category).keys(), set(decided.groups.values())
            part = f"{1 - len(left(review, category, decided)) / len(decided.groups):.3f}"
            told = f"{len(kept & clusters)} of {len(kept)} are there"
            figures.append((f"night {number + 1}", reclustered or "", len(clusters), told, part))
    print_table(figures)
