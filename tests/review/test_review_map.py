"""Where images lie on the map, what they are coloured by, and what numbers of clusters would be."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from serving import Served

from anoclust_core.clustering.linkage import cut_tree
from tasks.review import projection
from tasks.review.colouring import MOST_NIGHTS, WITHOUT, by_column, by_night
from tasks.review.projection import map_points
from tasks.review.reading import Reading
from tasks.stores import arrays
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import UNKNOWN, ImageFact
from tasks.stores.files import category_address, read_json, with_digest, without_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import read_snapshot

CATEGORY = "bottle"


@pytest.fixture
def reading(layout: StoreLayout) -> Reading:
    """Read the copy."""
    return Reading(layout, Catalog.open(layout.catalog, store=layout, create=False))


def test_the_map_is_drawn_once_and_images_of_a_cluster_lie_together(
    reading: Reading, layout: StoreLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = reading.points(CATEGORY)
    colouring = reading.colouring(CATEGORY, "cluster")
    assert colouring is not None
    assert len(points.contents) == len(colouring.of) == 240
    away = np.linalg.norm(points.positions[:, None] - points.positions[None], axis=2)
    np.fill_diagonal(away, np.inf)
    of = np.array(colouring.of)
    assert (of[away.argmin(axis=1)] == of).mean() > 0.95

    monkeypatch.setattr(projection, "project", lambda *_, **__: pytest.fail("drawn twice"))
    again = Reading(layout, reading.catalog).points(CATEGORY)
    assert np.array_equal(again.positions, points.positions)


def test_a_damaged_map_is_drawn_again(reading: Reading, layout: StoreLayout) -> None:
    positions = reading.points(CATEGORY).positions
    folder = next((layout.root / "projections" / CATEGORY).iterdir())
    chunks = [file for file in (folder / "positions" / "c").rglob("*") if file.is_file()]
    assert chunks
    for chunk in chunks:
        chunk.write_bytes(b"not a chunk")
    assert np.array_equal(Reading(layout, reading.catalog).points(CATEGORY).positions, positions)


def test_images_of_later_nights_lie_beside_those_like_them(reading: Reading, layout: StoreLayout) -> None:
    measures, fact = reading.measures(CATEGORY), reading.catalog.latest_snapshot(CATEGORY)
    assert fact is not None
    first = reading.points(CATEGORY)
    folder, name, row = measures.plain[first.contents[17]]
    night = layout.folder("weights", CATEGORY, "e" * 32)
    arrays.write_arrays(night, {"descriptors": arrays.read(folder, name)[[row]] + np.float32(1e-4)}, {})
    later = replace(measures, plain={**measures.plain, "f" * 64: (night, "descriptors", 0)})
    points = map_points(layout, CATEGORY, read_snapshot(fact), later)
    assert points.contents[-1] == "f" * 64
    assert points.positions[-1] == pytest.approx(first.positions[17], abs=1e-3)
    assert np.array_equal(points.positions[:-1], first.positions)


def test_images_are_coloured_by_cluster_night_label_and_column(reading: Reading) -> None:
    contents = reading.points(CATEGORY).contents
    clusters = reading.colouring(CATEGORY, "cluster")
    assert clusters is not None
    assert [group.name for group in clusters.groups] == ["c1", "c2", "c3", "c4", "c5", UNKNOWN]
    unknown = {content for content, of in zip(contents, clusters.of, strict=True) if of == 5}
    assert unknown == set(reading.members(CATEGORY, UNKNOWN, Chosen()))
    labels = reading.colouring(CATEGORY, "column:label")
    assert labels is not None
    assert [group.text for group in labels.groups] == ["chip", WITHOUT]
    assert sum(of == 0 for of in labels.of) == 120
    nights = reading.colouring(CATEGORY, "night")
    assert nights is not None
    assert len(nights.groups) == 6
    assert reading.colouring(CATEGORY, "column:no such column") is None
    assert reading.colouring(CATEGORY, "size") is None


def test_many_nights_share_colours_and_every_group_has_another() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    days = [date(2026, 1, 1) + timedelta(days=at) for at in range(90)]
    facts = {f"{at:064x}": ImageFact(f"{at:064x}", f"{at}.png", when, day) for at, day in enumerate(days)}
    found = by_night(list(facts), facts)
    assert len(found.groups) <= MOST_NIGHTS
    assert len({group.colour for group in found.groups}) == len(found.groups)
    assert list(found.of) == sorted(found.of)
    assert by_column(["0" * 64], {}, "line").groups[0].text == WITHOUT


def test_every_cut_is_that_of_the_tree(reading: Reading, layout: StoreLayout) -> None:
    cuts = reading.cuts(CATEGORY)
    assert cuts is not None
    assert (cuts.n_now, cuts.n_made, cuts.n_suggested) == (6, 6, 6)
    assert sum(group.size for group in cuts.groups) == 240
    assert sum(group.labels.get("chip", 0) for group in cuts.groups) == 120
    linkage = arrays.read(layout.folder("trees", CATEGORY, "b" * 32), "linkage")
    for n_clusters in (1, 2, 6, 20, 60):
        parts = [[at] for at in range(len(cuts.groups))]
        for first, second in cuts.merges[: len(cuts.groups) - n_clusters]:
            parts.append(parts[first] + parts[second])
            parts[first] = parts[second] = []
        sizes = sorted(sum(cuts.groups[at].size for at in part) for part in parts if part)
        assert sizes == sorted(np.bincount(cut_tree(linkage, n_clusters=n_clusters)).tolist())


def test_the_typical_images_of_a_group_are_in_it(reading: Reading) -> None:
    cuts = reading.cuts(CATEGORY)
    assert cuts is not None
    shown = [content for group in cuts.groups for content in group.typical]
    assert len(shown) == len(set(shown))
    assert all(len(group.typical) == min(8, group.size) for group in cuts.groups)


def test_what_was_chosen_on_the_map_is_shown_by_cluster(review: Served) -> None:
    ours = (
        review.reading.members(CATEGORY, "c2", Chosen())[:3] + review.reading.members(CATEGORY, UNKNOWN, Chosen())[:1]
    )
    with review.client() as client:
        answer = review.post(client, f"/c/{CATEGORY}/map/chosen", images=" ".join([*ours, "0" * 64]))
        assert answer.status_code == 200
        assert re.search(r"<h2>4 images chosen</h2>", answer.text)
        assert answer.text.count('class="chosen"') == 2
        assert "New cluster of all 4</button>" in answer.text
        assert review.post(client, f"/c/{CATEGORY}/map/chosen", images="").text.count("No image is chosen.") == 1
        assert client.get(f"/c/{CATEGORY}/map/colours?by=column:nothing").status_code == 404


def test_a_cut_is_no_suggestion(review: Served) -> None:
    """After a person's cut the page has the present number, and beside it what the run made and the tree suggested."""
    with review.client() as client:
        page = client.get(f"/c/{CATEGORY}/cuts").text
        assert "The re-clustering made 6, as suggested: knee of the merge heights." in page
        assert review.post(client, f"/c/{CATEGORY}/cuts/do", number="4").status_code == 303
        page = client.get(f"/c/{CATEGORY}/cuts").text
        for words in ("made 6, as suggested: knee", "There are 4 now.", "Suggested: 6<", 'max="60" value="4"'):
            assert words in page
        assert review.post(client, f"/c/{CATEGORY}/cuts/do", number="100").status_code == 303
        page = client.get(f"/c/{CATEGORY}/cuts").text
        for words in ("There are 100 now.", "The slider ends at 60;", "Suggested: 6<", 'max="60" value="60"'):
            assert words in page


def test_a_number_that_was_asked_for_is_no_suggestion(review: Served, layout: StoreLayout) -> None:
    """With `--n-clusters 7` the page does not say that seven were suggested; above 60 nothing is marked."""
    run = layout.runs(CATEGORY) / "run" / "summary.json"
    given = {"n_clusters": 7, "n_clusters_rule": "as asked for with --n-clusters", "n_clusters_suggested": 100}
    write_json(run, with_digest(without_digest(read_json(run)) | given))
    with review.client() as client:
        page = client.get(f"/c/{CATEGORY}/cuts").text
    assert "The re-clustering made 7: as asked for with --n-clusters. The tree suggests 100." in " ".join(page.split())
    assert "The slider ends at 60;" in page
    assert "Suggested:" not in page


def test_a_night_report_links_to_pages_that_are_there(review: Served) -> None:
    with review.client() as client:
        for rest in ("", "/clusters/c1", f"/clusters/{UNKNOWN}"):
            assert client.get(f"{category_address(CATEGORY)}{rest}").status_code == 200


def test_a_cut_is_asked_done_and_undone(review: Served) -> None:
    """The form says what it does; then the category shows it, and one press takes it back."""
    catalog = review.reading.catalog
    before = catalog.partition(CATEGORY)
    with review.client() as client:
        asked = client.get(f"/c/{CATEGORY}/cuts/ask?number=4")
        assert "become 4 clusters" in asked.text
        answer = review.post(client, f"/c/{CATEGORY}/cuts/do", number="4")
        assert answer.status_code == 303
        assert "cut all images into 4 groups" in client.get(answer.headers["location"]).text
        assert len(set(catalog.partition(CATEGORY).values())) == 4
        number = catalog.history(CATEGORY)[-1].number
        assert review.post(client, f"/c/{CATEGORY}/undo", number=number).status_code == 303
        assert catalog.partition(CATEGORY) == before
        refused = review.post(client, f"/c/{CATEGORY}/cuts/do", number="999")
        assert refused.status_code == 409
        assert "999" in refused.text
