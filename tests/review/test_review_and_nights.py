"""The review page beside real nights: what people decide there holds, and what nights measure is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from answering import WHO, broken, decided, result
from helpers.parts import PATTERN, VIEWS, defective_view, deliver
from helpers.streams import CATEGORY, TWO, Stream, night_config
from serving import served

from flows.run import run_data
from tasks.review.morning.answers import given_since, offers, take_back
from tasks.review.morning.listed import morning_list
from tasks.review.reading import Reading
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.layout import StoreLayout

pytestmark = pytest.mark.slow


def test_a_run_is_adopted_mapped_and_cut(tmp_path: Path, checkpoint: Path, prefect_db: None) -> None:
    """A run starts the nights of its category from the page; a night draws its map; a cut holds in the next night."""
    stream = Stream(tmp_path / "nights", night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO)
    (outcome,) = run_data(stream.manifest, stream.store, stream.config)
    assert outcome.run is not None, outcome.error
    with served(StoreLayout(stream.store), settings=stream.config) as review, review.client(who="kim") as client:
        assert CATEGORY in client.get("/").text
        assert "become c1, c2, and so on" in client.get(f"/adopt/{CATEGORY}/ask").text
        answer = review.post(client, f"/adopt/{CATEGORY}/do")
        assert answer.status_code == 303, answer.text
        assert "kim" in client.get(answer.headers["location"]).text
        assert review.post(client, f"/adopt/{CATEGORY}/do").status_code == 404
        before = stream.partition()
        stream.deliver(1, TWO[:4])
        stream.night(1)
        assert {path: cluster for path, cluster in stream.partition().items() if path in before} == before
        points = client.get(f"/c/{CATEGORY}/map/points").json()
        assert len(points["images"]) == len(before) + 4
        assert review.post(client, f"/c/{CATEGORY}/cuts/do", number="3").status_code == 303
        assert len(set(stream.partition().values())) == 3
        stream.deliver(2, TWO[:4])
        stream.night(2, recluster=True)
        shown = client.get(f"/c/{CATEGORY}").text
        assert "kim cut" not in shown
        assert (StoreLayout(stream.store).root / "projections" / CATEGORY).is_dir()
        kinds = [one.kind for one in review.reading.catalog.history(CATEGORY)]
        assert {"adopt", "cut"} <= set(kinds)


def test_all_views_of_a_part_are_shown(tmp_path: Path, checkpoint: Path, prefect_db: None) -> None:
    """A part counts once, with all its views beside it, heat on each; a view that takes over leaves no second point."""
    config = night_config(checkpoint, by="part", part=PATTERN, n_clusters=3, recluster_every="none")
    stream = Stream(tmp_path / "nights", config)
    deliver(stream, 0, range(9))
    stream.night(0)
    hole = 10
    deliver(stream, 1, [9, 11])
    deliver(stream, 1, [hole], views=[view for view in range(VIEWS) if view != defective_view(hole)])
    stream.night(1)
    deliver(stream, 2, [hole], views=[defective_view(hole)])
    stream.night(2)
    with served(StoreLayout(stream.store)) as review, review.client() as client:
        where, reading = f"/c/{CATEGORY}", review.reading
        assert "12 parts, 48 images in" in client.get(where).text
        points = client.get(f"{where}/map/points").json()
        assert (len(points["images"]), points["missing"]) == (12, 0)
        holes = reading.image(CATEGORY, reading.members(CATEGORY, holes_of(reading), Chosen())[0])
        assert holes is not None
        assert len(holes.views) == VIEWS
        page = client.get(f"{where}/clusters/{holes.cluster}").text
        assert "4 parts" in page
        assert page.count('<span class="views">') == 4
        for view in reading.catalog.images(CATEGORY):
            assert reading.heat(CATEGORY, view) is not None, view.path
            assert client.get(f"{where}/pictures/{view.content}/thumbnail").headers["content-type"] == "image/jpeg"
        for view in holes.views:
            page = client.get(f"{where}/images/{view.content}").text
            assert page.count("decides") == 1
            assert all(other.content in page for other in holes.views)
            assert f">{holes.cluster}<" in page
            ((nearest, _),) = reading.nearest(CATEGORY, view.content, 1)
            assert nearest.cluster == holes.cluster
        asked = review.post(client, f"{where}/clusters/{holes.cluster}/ask/split", images=holes.stands)
        assert "1 part leaves" in asked.text
        assert "The parts of the last re-clustering become 2 clusters" in client.get(f"{where}/cuts/ask?number=2").text
        assert 'data-unit="part"' in client.get(f"{where}/cuts").text
        assert not re.search(r"\d images?( ·|<)", client.get(f"{where}/morning").text)


def holes_of(reading: Reading) -> str:
    """Cluster of the parts with a hole."""
    holes = {fact.content: fact.label for fact in reading.catalog.images(CATEGORY)}
    found = [one for one in reading.catalog.assignments(CATEGORY) if holes[one.content] == "hole"]
    (cluster,) = {one.cluster for one in found}
    assert cluster is not None
    return cluster


def test_answers_of_the_morning_list_hold_in_nights(tmp_path: Path, checkpoint: Path, prefect_db: None) -> None:
    """Kept ones hold in a night that clusters everything again; undone ones give the night of a store without them."""
    kept = Stream(tmp_path / "kept", night_config(checkpoint, recipe="sohn", recluster_every="none"))
    kept.deliver(0, TWO)
    kept.night(0)
    undone, never = kept.copied(tmp_path / "undone"), kept.copied(tmp_path / "never")
    decisions = {}
    for stream in (kept, undone):
        with served(StoreLayout(stream.store)) as review, review.client(who=WHO) as client:
            wanted = iter(("name", "right", "move", "wrong", "dismiss") * 20)
            while questions := morning_list(review.reading, CATEGORY):
                kinds = [one.kind for one in offers(questions[0], review.reading.state(CATEGORY))]
                answer = next(kind for kind in wanted if kind in kinds)
                form = {"question": questions[0].name, "answer": answer, "text": f"of {questions[0].cluster}"}
                done = review.post(client, f"/c/{CATEGORY}/morning/answer", since="0", **form)
                assert done.status_code == 303, done.text
            catalog = review.reading.catalog
            decisions[stream] = decided(catalog, CATEGORY)
            assert {"rename", "move"} <= {one.kind for one in decisions[stream]}
            if stream is undone:
                for given in reversed(given_since(catalog, CATEGORY, WHO, 0)):
                    take_back(catalog, CATEGORY, given[0].number, who=WHO)
    for stream in (kept, undone, never):
        stream.deliver(1, TWO[:6])
        stream.night(1, recluster=True)
    with served(StoreLayout(kept.store)) as review:
        assert broken(review.reading, CATEGORY, decisions[kept]) == []
    with undone.catalog() as one, never.catalog() as other:
        assert result(one, CATEGORY) == result(other, CATEGORY)
