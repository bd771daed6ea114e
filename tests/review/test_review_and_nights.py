"""The review page beside real nights: what people decide there holds, and what nights measure is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from answering import WHO, broken, decided, result
from helpers.streams import CATEGORY, TWO, Stream, day, night_config
from serving import served

from flows.run import run_data
from tasks.review.morning.answers import given_since, offers, take_back
from tasks.review.morning.listed import morning_list
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.layout import StoreLayout

pytestmark = pytest.mark.slow


def test_decisions_of_the_page_hold(tmp_path: Path, checkpoint: Path, prefect_db: None) -> None:
    """A name and a split from the page hold in the next night and through a re-clustering; heat is shown for both."""
    stream = Stream(tmp_path / "nights", night_config(checkpoint, recipe="sohn", recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    stream.deliver(1, TWO[:6])
    stream.night(1)
    with served(StoreLayout(stream.store)) as review, review.client(who="kim") as client:
        where = f"/c/{CATEGORY}/clusters"
        assert review.post(client, f"{where}/c1/do/rename", name="good parts").status_code == 303
        chosen = review.reading.members(CATEGORY, "c2", Chosen())[:2]
        new = review.post(client, f"{where}/c2/do/split", images=" ".join(chosen))
        assert new.status_code == 303
        part = next(row.cluster for row in review.reading.state(CATEGORY).rows if row.n_images == 2)
        for fact in review.reading.catalog.images(CATEGORY):  # of the clustering, and of the night since
            assert review.reading.heat(CATEGORY, fact) is not None, fact.path
            ((nearest, _),) = review.reading.nearest(CATEGORY, fact.content, 1)
            assert nearest.fact.label == fact.label
        stream.deliver(2, TWO[:6])
        stream.night(2)
        assert "good parts" in client.get(f"/c/{CATEGORY}").text
        assert set(chosen) <= set(review.reading.members(CATEGORY, part, Chosen()))
        assert review.reading.state(CATEGORY).nights[-1] == day(2)
        stream.deliver(3, TWO[:6])
        stream.night(3, recluster=True)
        row = review.reading.state(CATEGORY).row("c1")
        assert row is not None
        assert row.name == "good parts"
        assert set(chosen) <= set(review.reading.members(CATEGORY, part, Chosen()))
        assert client.get(f"{where}/c1").status_code == 200


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
