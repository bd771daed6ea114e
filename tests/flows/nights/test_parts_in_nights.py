"""Nights that cluster parts: the unit that is given to a cluster and counted is the part, whatever views it has."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from helpers.builders import surface
from helpers.parts import PATTERN, VIEWS, defective_view, deliver, part_defect
from helpers.streams import CATEGORY, Stream, day, night_config

from tasks.export.clusters import cluster_table, write_csv
from tasks.stores.catalog.rebuild import rebuild_catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.arrivals import NightRules

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

FIRST = range(18)


def table(stream: Stream) -> pd.DataFrame:
    """Exported clusters, a row for every view."""
    with stream.catalog() as catalog:
        found = cluster_table(catalog, CATEGORY)
    number = found["part"].str.extract(r"p(\d+)$")[0].astype(int)
    return found.assign(number=number, defect=number.map(part_defect))


def cluster_of(stream: Stream, number: int) -> str:
    """The one cluster that all views of a part have; exactly one view decides."""
    rows = table(stream)
    rows = rows[rows["number"] == number]
    assert rows["decides"].sum() == 1
    assert rows["cluster"].nunique(dropna=False) == 1
    return str(rows["cluster"].iloc[0])


def decider(stream: Stream, number: int) -> int:
    """Number of the view that stands for a part."""
    rows = table(stream)
    (path,) = rows.loc[(rows["number"] == number) & rows["decides"], "path"]
    return int(Path(path).stem[-1])


def counts(stream: Stream, night: int) -> dict[str | None, int]:
    """Parts of a night by cluster."""
    with stream.catalog() as catalog:
        found = catalog.counts(CATEGORY, since=day(night), until=day(night))
    return {count.cluster: count.n_images for count in found}


def clusters_by_defect(stream: Stream) -> dict[str, str]:
    """Cluster of most parts with each defect."""
    rows = table(stream).query("decides")
    return {str(defect): Counter(found["cluster"]).most_common(1)[0][0] for defect, found in rows.groupby("defect")}


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make a night of eighteen parts once, for tests to copy."""
    config = night_config(checkpoint, by="part", part=PATTERN, recluster_every="none")
    stream = Stream(tmp_path_factory.mktemp("parts"), config)
    deliver(stream, 0, FIRST)
    stream.night(0)
    return stream


@pytest.fixture
def stream(first_night: Stream, tmp_path: Path) -> Stream:
    """Copy it."""
    shutil.copytree(first_night.root, tmp_path / "stream")
    return first_night.at(tmp_path / "stream", first_night.config)


def test_the_first_night_counts_parts(first_night: Stream) -> None:
    """Six parts a cluster, not twenty-four images; all views carry the cluster of their part."""
    rows = table(first_night)
    assert len(rows) == len(FIRST) * VIEWS
    assert rows.groupby("cluster")["defect"].nunique().eq(1).all()
    assert sorted(counts(first_night, 0).values()) == [6, 6, 6]
    with first_night.catalog() as catalog:
        assert {one.cluster: one.n_images for one in catalog.clusters(CATEGORY)} == counts(first_night, 0)
        assert catalog.n_usable(CATEGORY, until=day(0)) == len(FIRST)
    for number in FIRST:
        if part_defect(number) != "good":
            assert decider(first_night, number) == defective_view(number)


def test_a_night_counts_parts(stream: Stream) -> None:
    """Six new parts are six, two in each cluster, and the report shows each once with its views beside it."""
    before = clusters_by_defect(stream)
    deliver(stream, 1, range(18, 24))
    outcome = stream.night(1)
    assert outcome.counters["new"] == outcome.counters["assigned"] == 6
    assert outcome.counters["seen"] == 24 * VIEWS
    assert counts(stream, 1) == dict.fromkeys(before.values(), 2)
    for number in range(18, 24):
        assert cluster_of(stream, number) == before[part_defect(number)]
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "6 new parts" in page
    assert page.count('<span class="view"') == 6 * (VIEWS - 1)
    assert all(f"<bdi>{CATEGORY}/p{number:03d}</bdi>" in page for number in range(18, 24))


def test_a_missing_view_does_not_hold_a_part_up(stream: Stream) -> None:
    """The views that are there decide."""
    hole = 19
    before = clusters_by_defect(stream)
    deliver(stream, 1, [hole], views=[defective_view(hole), (defective_view(hole) + 1) % VIEWS])
    assert stream.night(1).counters["new"] == 1
    assert cluster_of(stream, hole) == before["hole"]


def test_a_later_view_that_shows_the_defect_takes_over(stream: Stream) -> None:
    """The part goes to the cluster of the defect, and counts once: in the night of the view that decides now."""
    hole = 19
    late = defective_view(hole)
    before = clusters_by_defect(stream)
    deliver(stream, 1, [hole], views=[view for view in range(VIEWS) if view != late])
    stream.night(1)
    assert cluster_of(stream, hole) == before["good"]
    assert counts(stream, 1) == {before["good"]: 1}
    deliver(stream, 2, [hole], views=[late])
    assert stream.night(2).counters["new"] == 1
    assert cluster_of(stream, hole) == before["hole"]
    assert decider(stream, hole) == late
    assert (counts(stream, 1), counts(stream, 2)) == ({}, {before["hole"]: 1})
    with stream.catalog() as catalog:
        assert sum(one.n_images for one in catalog.clusters(CATEGORY)) == len(FIRST) + 1


def test_a_later_view_of_a_clustered_part_takes_over(stream: Stream) -> None:
    """It may come after the re-clustering that its part was in: the distances of then are enough."""
    before = clusters_by_defect(stream)
    good = next(number for number in FIRST if part_defect(number) == "good")
    path = stream.data / CATEGORY / str(day(1)) / f"p{good:03d}_cam4.png"
    stream.put(path, surface(987, "hole"), "hole")
    stream.night(1)
    assert cluster_of(stream, good) == before["hole"]
    assert decider(stream, good) == 4
    assert counts(stream, 0)[before["good"]] == 5
    deliver(stream, 2, [24, 25, 26])
    assert stream.night(2).counters["assigned"] == 3
    assert cluster_of(stream, good) == before["hole"]


def test_a_later_view_without_a_defect_joins_its_part(stream: Stream) -> None:
    """It has the cluster of its part, and is no new part."""
    hole = 19
    late = (defective_view(hole) + 1) % VIEWS
    deliver(stream, 1, [hole], views=[view for view in range(VIEWS) if view != late])
    stream.night(1)
    was = cluster_of(stream, hole)
    deliver(stream, 2, [hole], views=[late])
    outcome = stream.night(2)
    assert outcome.counters["new"] == 0
    assert cluster_of(stream, hole) == was
    assert decider(stream, hole) == defective_view(hole)
    assert len(table(stream).query("number == @hole")) == VIEWS


def test_a_reclustering_keeps_identities_of_parts(stream: Stream) -> None:
    """Other views may decide when rarity is measured again: clusters are matched by parts, not by images."""
    before = {number: cluster_of(stream, number) for number in FIRST}
    deliver(stream, 1, range(18, 30))
    outcome = stream.night(1, recluster=True)
    assert outcome.reclustered == "asked for"
    assert {number: cluster_of(stream, number) for number in FIRST} == before
    with stream.catalog() as catalog:
        assert sum(one.n_images for one in catalog.clusters(CATEGORY)) == 30


def test_a_part_that_a_person_placed_stays_when_a_later_view_takes_over(stream: Stream) -> None:
    """Where a person put a part counts more than its views."""
    goods = [number for number in FIRST if part_defect(number) == "good"][:2]
    rows = table(stream)
    not_deciding = rows[rows["number"].isin(goods) & ~rows["decides"]].groupby("number")["sha256"].first()
    with stream.catalog() as catalog:
        new = catalog.split(CATEGORY, cluster_of(stream, goods[0]), list(not_deciding), who="me")
    assert [cluster_of(stream, number) for number in goods] == [new, new]
    path = stream.data / CATEGORY / str(day(1)) / f"p{goods[0]:03d}_cam4.png"
    stream.put(path, surface(987, "hole"), "hole")
    stream.night(1)
    assert decider(stream, goods[0]) == 4
    assert cluster_of(stream, goods[0]) == new


def test_by_image_again_every_view_is_on_its_own(stream: Stream, checkpoint: Path) -> None:
    """Another way of counting re-clusters; then all images have a cluster, and none decides for another."""
    stream.config = night_config(checkpoint, part=PATTERN, recluster_every="none")
    deliver(stream, 1, [18])
    assert stream.night(1).reclustered == "backbone, recipe or settings were changed"
    with stream.catalog() as catalog:
        assert not catalog.views(CATEGORY)
        assert sum(one.n_images for one in catalog.clusters(CATEGORY)) == (len(FIRST) + 1) * VIEWS
        assert "decides" not in cluster_table(catalog, CATEGORY)


def test_one_part_waits_for_another(tmp_path: Path, checkpoint: Path) -> None:
    """Four views of one part are nothing to cluster yet: they are unknown until there is a second part."""
    stream = Stream(tmp_path, night_config(checkpoint, by="part", part=PATTERN, n_clusters="1:3"))
    deliver(stream, 0, [0])
    outcome = stream.night(0)
    assert outcome.reclustered is None
    assert (outcome.counters["new"], outcome.counters["unknown"]) == (1, 1)
    deliver(stream, 1, [1, 2])
    assert stream.night(1).reclustered == "the first time"
    assert sum(len(table(stream).query("number == @number")) for number in range(3)) == 3 * VIEWS


def test_exports_know_parts(stream: Stream, tmp_path: Path) -> None:
    """The CSV has a row for every view with its part and whether it decides."""
    with stream.catalog() as catalog:
        write_csv(cluster_table(catalog, CATEGORY), tmp_path / "clusters.csv")
    rows = pd.read_csv(tmp_path / "clusters.csv")
    assert len(rows) == len(FIRST) * VIEWS
    assert rows["decides"].sum() == len(FIRST)
    assert rows.groupby("part")["cluster"].nunique().eq(1).all()


def test_a_lost_catalog_knows_parts_again(stream: Stream) -> None:
    """The journal has the parts' names and which views decide."""
    deliver(stream, 1, [18, 19])
    stream.night(1)
    before = table(stream)
    (stream.store / "catalog.sqlite").unlink()
    layout = StoreLayout(stream.store)
    rebuild_catalog(layout, layout.catalog, NightRules.of(stream.config.night))
    pd.testing.assert_frame_equal(table(stream), before)


def test_pages_give_parts_back_where_there_is_no_journal(stream: Stream) -> None:
    """The arrays tell which views decide, those that took over since the re-clustering too."""
    deliver(stream, 1, [18, 20, 21, 24, 27])
    deliver(stream, 1, [19], views=[view for view in range(VIEWS) if view != defective_view(19)])
    stream.night(1)
    deliver(stream, 2, [19], views=[defective_view(19)])
    stream.night(2)
    before = table(stream)
    layout = StoreLayout(stream.store)
    (stream.store / "catalog.sqlite").unlink()
    shutil.rmtree(layout.identity.parent)
    rebuild_catalog(layout, layout.catalog, NightRules.of(stream.config.night))
    after = table(stream)
    columns = ["path", "part", "decides", "cluster"]
    pd.testing.assert_frame_equal(after[columns], before[columns])
