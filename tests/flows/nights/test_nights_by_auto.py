"""Nights by recipe auto: what the snapshot has learnt describes later images, and which recipe a category has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.streams import CATEGORY, TWO, Stream, identity_of, night_config

from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import read_snapshot

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def recipe_of(stream: Stream) -> str:
    """Recipe of the last clustering."""
    with stream.catalog() as catalog:
        latest = catalog.latest_snapshot(CATEGORY)
    assert latest is not None
    return read_snapshot(latest).recipe


@pytest.fixture(scope="module")
def by_sohn(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make one night by recipe sohn, for tests to copy."""
    stream = Stream(tmp_path_factory.mktemp("sohn"), night_config(checkpoint, recipe="sohn", recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    return stream


@pytest.fixture
def kept(by_sohn: Stream, tmp_path: Path, checkpoint: Path) -> Stream:
    """Copy it; from here on, no recipe is asked for."""
    shutil.copytree(by_sohn.root, tmp_path / "stream")
    return by_sohn.at(tmp_path / "stream", night_config(checkpoint, recluster_every="none"))


def test_a_category_keeps_the_recipe_of_its_nights(kept: Stream) -> None:
    """A category that was clustered by sohn stays on it, also when it is re-clustered, until another is asked for."""
    kept.deliver(1, TWO[:4])
    assert kept.night(1).reclustered is None
    kept.deliver(2, TWO[:2])
    assert kept.night(2, recluster=True).reclustered == "asked for"
    assert recipe_of(kept) == "sohn"


def test_a_recipe_that_is_asked_for_reclusters_once(kept: Stream, checkpoint: Path) -> None:
    """Asked for by name, recipe auto takes over: clusters keep their identities, and from then on it stays."""
    before = kept.partition()
    kept.config = night_config(checkpoint, recipe="auto", recluster_every="none")
    kept.deliver(1, TWO[:4])
    outcome = kept.night(1)
    assert outcome.reclustered == "backbone, recipe or settings were changed"
    assert outcome.work["pair_products"] < 14 * 14  # distances of the first night are still hits
    after = kept.partition()
    assert {identity_of(after, label) for label in ("good", "hole")} == {
        identity_of(before, label) for label in ("good", "hole")
    }
    kept.config = night_config(checkpoint, recluster_every="none")
    kept.deliver(2, TWO[:2])
    assert kept.night(2).reclustered is None
    assert recipe_of(kept) == "auto"


def test_images_whose_files_are_gone_keep_their_cluster(tmp_path: Path, checkpoint: Path) -> None:
    """Recipe auto needs another feature level; of images without a file there is none, so they stay where they were."""
    kept = Stream(tmp_path, night_config(checkpoint, recipe="sohn", recluster_every="none"))
    kept.deliver(0, TWO)
    kept.night(0)
    before = kept.partition()
    gone = sorted(kept.data.rglob("*-hole.png"))[:2]
    names = [path.relative_to(kept.data).as_posix() for path in gone]
    for path in gone:
        kept.forget(path)
    kept.config = night_config(checkpoint, recipe="auto", recluster_every="none")
    kept.deliver(1, TWO[:6])
    outcome = kept.night(1)
    assert outcome.reclustered is not None
    after = kept.partition()
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    assert any("2 images" in note and "keep their cluster" in note for note in outcome.notes)


def test_a_night_is_assigned_by_its_snapshot_alone(tmp_path: Path, checkpoint: Path) -> None:
    """Whatever came between, an image gets the same cluster at the same distance from the same snapshot."""
    stream = Stream(tmp_path / "one", night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO + TWO)
    stream.night(0)
    assert recipe_of(stream) == "auto"
    shutil.copytree(stream.root, tmp_path / "two")
    other = stream.at(tmp_path / "two", stream.config)
    stream.deliver(1, ["hole", "good", "good"])
    stream.night(1)
    found = []
    for each in (stream, other):
        each.deliver(2, TWO[:4])
        assert each.night(2).reclustered is None
        with each.catalog() as catalog:
            of_night = {fact.content for fact in catalog.images(CATEGORY) if "2026-11-03" in fact.path}
            found.append(
                {
                    fact.content: (fact.cluster, pytest.approx(fact.distance, rel=1e-4))
                    for fact in catalog.assignments(CATEGORY)
                    if fact.content in of_night
                }
            )
    assert len(found[0]) == 4
    assert found[0] == {content: (cluster, near.expected) for content, (cluster, near) in found[1].items()}


def test_a_lost_model_is_made_again(tmp_path: Path, checkpoint: Path) -> None:
    """Where the store has lost what later images are described with, everything is re-clustered."""
    stream = Stream(tmp_path, night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    shutil.rmtree(StoreLayout(stream.store).root / "models")
    stream.deliver(1, TWO[:2])
    assert stream.night(1).reclustered == "part of what the last clustering is made of is gone"
    assert "unknown" not in stream.partition().values()
