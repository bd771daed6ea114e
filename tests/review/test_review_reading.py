"""What the review page reads of a store, without a server."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from generated import FIRST, GRID, generate
from PIL import Image

from anoclust_core.errors import ConfigError
from tasks.images.thumbnails import sealed, whole
from tasks.review.columns import column_table
from tasks.review.kept import Kept
from tasks.review.reading import N_LEADING, Reading
from tasks.review.told import read_told
from tasks.store_check.shared import check_thumbnails
from tasks.stores import arrays
from tasks.stores.catalog.browsing import MOST_VALUES, Chosen
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep.inventory import category_folders, store_size, temporary

CATEGORY = "bottle"


@pytest.fixture
def reading(layout: StoreLayout) -> Iterator[Reading]:
    with Catalog.open(layout.catalog, store=layout, create=False) as catalog:
        yield Reading(layout, catalog)


def test_places_are_those_of_the_catalog(reading: Reading) -> None:
    """Members, sizes and counts by night are what the catalog itself says, after every kind of decision too."""
    catalog = reading.catalog
    c2 = reading.members(CATEGORY, "c2", Chosen())
    catalog.split(CATEGORY, "c2", c2[:3], who="kim")
    catalog.move(CATEGORY, c2[3:5], to="c3", who="kim")
    catalog.mark_wrong(CATEGORY, c2[5:7], who="kim")
    catalog.merge(CATEGORY, ["c4"], into="c5", who="kim")
    catalog.move(CATEGORY, reading.members(CATEGORY, "unknown", Chosen())[:1], to="c5", who="kim")
    expected: dict[str, set[str]] = {}
    for fact in catalog.assignments(CATEGORY):
        expected.setdefault(fact.cluster or "unknown", set()).add(fact.content)
    assert "c4" not in expected
    state = reading.state(CATEGORY)
    for cluster, contents in expected.items():
        assert set(reading.members(CATEGORY, cluster, Chosen())) == contents
        row = state.row(cluster)
        assert row is not None
        assert row.n_images == len(contents)
    of_catalog = {(one.night, one.cluster or "unknown"): one.n_images for one in catalog.counts(CATEGORY)}
    shown = {
        (night, row.cluster): count
        for row in state.rows
        for night, count in zip(state.nights, row.counts, strict=True)
        if count
    }
    assert shown == of_catalog
    assert [fact.cluster for fact in state.gone] == ["c4"]


def test_the_most_typical_images_come_first(reading: Reading) -> None:
    """Images of a cluster are ordered by how surely they belong to it; its row begins with the same ones."""
    contents = reading.members(CATEGORY, "c1", Chosen())
    sure = {fact.content: fact.confidence for fact in reading.catalog.assignments(CATEGORY)}
    assert [sure[content] for content in contents] == sorted((sure[content] for content in contents), reverse=True)
    assert reading.leading(CATEGORY, Chosen())["c1"] == contents[:N_LEADING]


def test_new_clusters_first_and_ordinary_ones_last(reading: Reading) -> None:
    """Rows are in the order in which they are to be looked at; what a person says of a cluster counts more."""
    assert [row.cluster for row in reading.state(CATEGORY).rows][:2] == ["c2", "c3"]
    assert reading.state(CATEGORY).rows[-1].cluster == "c1"
    reading.catalog.mark_ordinary(CATEGORY, "c4", True, who="kim")
    assert {row.cluster for row in reading.state(CATEGORY).rows[-2:]} == {"c1", "c4"}
    reading.catalog.mark_ordinary(CATEGORY, "c1", False, who="kim")
    assert reading.state(CATEGORY).rows[-1].cluster == "c4"


def test_images_are_chosen_by_night_label_and_column(reading: Reading) -> None:
    """A choice leaves out what it does not name; nights at both ends count."""
    facts = {fact.content: fact for fact in reading.catalog.images(CATEGORY)}
    members = reading.members(CATEGORY, "c1", Chosen())
    second = FIRST + timedelta(days=1)
    for chosen, fits in (
        (Chosen(since=second), lambda fact: fact.night >= second),
        (Chosen(until=second), lambda fact: fact.night <= second),
        (Chosen(second, second), lambda fact: fact.night == second),
        (Chosen(columns={"label": "chip"}), lambda fact: fact.label == "chip"),
        (Chosen(columns={"line": "3", "shift": "late"}), lambda fact: fact.extra == {"line": "3", "shift": "late"}),
        (Chosen(columns={'no "such": \\ column': "3"}), lambda _: False),
    ):
        wanted = [content for content in members if fits(facts[content])]
        assert reading.members(CATEGORY, "c1", chosen) == wanted
        assert reading.sizes(CATEGORY, chosen)["c1"] == len(wanted)


def test_columns_with_few_values_can_be_chosen_by(layout: StoreLayout, tmp_path: Path) -> None:
    """Columns with few values are offered; one that tells single images apart, as a serial number, is not."""
    many = [str(number) for number in range(2000)]
    other = generate(tmp_path / "other" / "store", 200, columns={'od"d': ("a", "b"), "serial": many}, n_nights=2)
    assert MOST_VALUES < 200
    with Catalog.open(other.catalog, store=other, create=False) as catalog:
        found = Reading(other, catalog)
        assert found.columns(CATEGORY) == {"label": ["chip"], 'od"d': ["a", "b"]}
        counts = found.breakdown(CATEGORY, 'od"d', Chosen())
        assert sum(sum(some.values()) for some in counts.values()) == 200
        chosen = Chosen(columns={'od"d': "a"})
        assert found.sizes(CATEGORY, chosen)["c1"] == counts["c1"]["a"]


def test_a_table_tells_what_stands_out() -> None:
    """A value is told if most of a cluster's images have it and most others do not; few images tell nothing."""
    counts = {"c1": {"1": 50, "2": 50}, "c2": {"2": 91, "1": 9}, "c3": {"1": 4}, "unknown": {"": 3, "1": 1}}
    table = column_table(counts, ["c2", "c1", "c3", "unknown"], ["1", "2"])
    assert table.telling == [("c2", 0.91, "2")]
    assert [row.cluster for row in table.rows] == ["c2", "c1", "c3", "unknown"]
    assert (list(table.totals), table.n_without) == ([64, 141], 3)


def test_a_damaged_thumbnail_is_told_and_made_again(reading: Reading) -> None:
    """One bit is noticed: `store check` names the file, and the page shows the picture as it was."""
    image = reading.images(CATEGORY, reading.members(CATEGORY, "c2", Chosen())[:1])[0]
    jpeg = reading.thumbnail(CATEGORY, image.fact)
    (kept,) = (reading.layout.root / "thumbnails").rglob("*.jpg")
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    (found,) = check_thumbnails(reading.layout, CATEGORY)
    assert found.path == kept.relative_to(reading.layout.root).as_posix()
    assert reading.thumbnail(CATEGORY, image.fact) == jpeg
    assert check_thumbnails(reading.layout, CATEGORY) == []


def test_thumbnails_are_made_once_and_known_to_the_store(reading: Reading) -> None:
    """A thumbnail is kept by content; it counts to its category, and what a killed process left is swept."""
    fact = reading.images(CATEGORY, reading.members(CATEGORY, "c2", Chosen())[:1])[0].fact
    jpeg = reading.thumbnail(CATEGORY, fact)
    assert jpeg is not None
    assert Image.open(io.BytesIO(jpeg)).size == (64, 48)
    (kept,) = (reading.layout.root / "thumbnails").rglob("*.jpg")
    assert whole(kept) == jpeg
    Path(fact.file or "").rename(f"{fact.file}.gone")
    try:
        assert reading.thumbnail(CATEGORY, fact) == jpeg
        assert reading.original(CATEGORY, fact) is None
    finally:
        Path(f"{fact.file}.gone").rename(fact.file or "")
    assert category_folders(reading.layout) == [CATEGORY]
    before = store_size(reading.layout)
    (left,) = [kept.parents[2] / ".x.0123abcd.partial"]
    left.write_bytes(b"half")
    assert temporary(reading.layout, CATEGORY) == [left]
    shutil.rmtree(reading.layout.root / "thumbnails")
    after = store_size(reading.layout)
    assert before.other == after.other
    assert before.categories[0].runs - after.categories[0].runs == len(sealed(jpeg))


def test_a_changed_file_is_not_shown(reading: Reading) -> None:
    """Another picture under the same path is no picture of the image."""
    fact = reading.images(CATEGORY, reading.members(CATEGORY, "c3", Chosen())[:1])[0].fact
    path = Path(fact.file or "")
    data = path.read_bytes()
    try:
        path.write_bytes(data + b"x")
        assert reading.thumbnail(CATEGORY, fact) is None
        assert reading.original(CATEGORY, fact) is None
    finally:
        path.write_bytes(data)
    shown = reading.original(CATEGORY, fact)
    assert shown is not None
    assert (shown.data, shown.kind) == (data, "image/png")


def test_heat_is_that_of_the_run_on_one_scale(reading: Reading) -> None:
    """The rarest patch of an image is where the stored rarity is highest; all heat has the scale of the category."""
    view = reading.images(CATEGORY, reading.members(CATEGORY, "c3", Chosen())[:1])[0]
    rarest = reading.rarest(CATEGORY, view.fact)
    stored = arrays.read(reading.layout.folder("weights", CATEGORY, "a" * 32), "rarity")
    contents = sorted(fact.content for fact in reading.catalog.images(CATEGORY))
    grid = stored[contents.index(view.fact.content)].reshape(GRID)
    row, column = np.unravel_index(grid.argmax(), GRID)
    assert rarest is not None
    assert (rarest.left, rarest.top) == (column / GRID[1], row / GRID[0])
    assert rarest.rarity == pytest.approx(float(grid.max()))
    heat = reading.heat(CATEGORY, view.fact)
    assert heat is not None
    assert Image.open(io.BytesIO(heat)).size == (GRID[1], GRID[0])
    low, high = reading.measures(CATEGORY).scale
    assert low == pytest.approx(np.median(stored))
    assert high == pytest.approx(np.percentile(stored, 99.5))


def test_the_nearest_images_are_those_of_all_descriptors(reading: Reading) -> None:
    """Read in parts, the nearest images are the ones that comparing all descriptors at once gives."""
    contents = sorted(fact.content for fact in reading.catalog.images(CATEGORY))
    stored = arrays.read(reading.layout.folder("weights", CATEGORY, "a" * 32), "descriptors").astype(np.float64)
    asked = contents[17]
    distances = np.linalg.norm(stored - stored[17], axis=1)
    order = [contents[at] for at in np.argsort(distances, kind="stable") if contents[at] != asked][:5]
    found = reading.nearest(CATEGORY, asked, 5)
    assert [view.fact.content for view, _ in found] == order
    assert [distance for _, distance in found] == pytest.approx(np.sort(distances)[1:6])
    assert reading.nearest(CATEGORY, "f" * 64, 5) == []


def test_without_its_run_a_category_is_shown_without_heat(reading: Reading) -> None:
    """Where what heat is made of is gone, there is none, and everything else is shown."""
    shutil.rmtree(reading.layout.runs(CATEGORY))
    view = reading.images(CATEGORY, reading.members(CATEGORY, "c3", Chosen())[:1])[0]
    assert reading.heat(CATEGORY, view.fact) is None
    assert reading.nearest(CATEGORY, view.fact.content, 5) == []
    assert reading.thumbnail(CATEGORY, view.fact) is not None


def test_a_night_that_failed_is_told(layout: StoreLayout) -> None:
    """A night that has not ended, and a summary that is damaged or gone, are trouble and no reason to stop."""
    last = FIRST + timedelta(days=5)
    assert read_told(layout, CATEGORY, last, is_done=True).trouble is None
    assert "has not ended" in str(read_told(layout, CATEGORY, last, is_done=False).trouble)
    summary = layout.night(CATEGORY, last) / "summary.json"
    summary.write_text(summary.read_text().replace("c1", "c8"))
    assert "is damaged" in str(read_told(layout, CATEGORY, last, is_done=True).trouble)
    summary.unlink()
    assert "is gone" in str(read_told(layout, CATEGORY, last, is_done=True).trouble)


def test_what_was_read_is_read_again_after_a_decision(reading: Reading) -> None:
    """Decisions of others, a night that runs meanwhile included, are seen by the next page."""
    before = reading.state(CATEGORY)
    assert reading.state(CATEGORY) is before
    with Catalog.open(reading.layout.catalog, store=reading.layout) as other:
        other.rename(CATEGORY, "c1", "good", who="ben")
        assert [row.name for row in reading.state(CATEGORY).rows if row.cluster == "c1"] == ["good"]
        with pytest.raises(ConfigError):
            other.rename(CATEGORY, "c2", "good", who="ben")


def test_few_results_are_kept() -> None:
    """The oldest result goes when there are too many, so that memory stays bounded."""
    kept: Kept = Kept(2)
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, lambda name=name: make(name)) == name  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
