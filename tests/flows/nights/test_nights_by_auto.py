"""Nights by recipe auto: what the snapshot has learnt describes later images, and which recipe a category has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, surface
from helpers.streams import CATEGORY, TWO, Stream, day, identity_of, night_config
from hypothesis import given, settings
from hypothesis import strategies as st

from anoclust_core.clustering import AnomalyClusterer
from tasks.datasets.loading import load_backbone, load_images
from tasks.stores.catalog.facts import AssignmentFact
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


@pytest.mark.parametrize("n_gone", [2, 5])
def test_images_whose_files_are_gone_keep_their_cluster(tmp_path: Path, checkpoint: Path, n_gone: int) -> None:
    """Recipe auto needs another feature level; images without a file have none and stay, some of a cluster or all."""
    kept = Stream(tmp_path, night_config(checkpoint, recipe="sohn", recluster_every="none"))
    kept.deliver(0, TWO)
    kept.night(0)
    before = kept.partition()
    holes = identity_of(before, "hole")
    with kept.catalog() as catalog:
        catalog.rename(CATEGORY, holes, "hole", who="kim")
    gone = sorted(kept.data.rglob("*-hole.png"))[:n_gone]
    names = [path.relative_to(kept.data).as_posix() for path in gone]
    for path in gone:
        kept.forget(path)
    kept.config = night_config(checkpoint, recipe="auto", recluster_every="none")
    kept.deliver(1, TWO[:6])
    outcome = kept.night(1)
    assert outcome.reclustered is not None
    after = kept.partition()
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    assert any(f"{n_gone} images" in note and "keep their cluster" in note for note in outcome.notes)
    with kept.catalog() as catalog:
        assert catalog.cluster(CATEGORY, holes).state == "confirmed"
    assert not kept.told("anoclust.cluster.gone") + kept.told("anoclust.cluster.merged")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make one night by recipe auto, for tests to copy."""
    stream = Stream(tmp_path_factory.mktemp("auto"), night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO + TWO)
    stream.night(0)
    assert recipe_of(stream) == "auto"
    return stream


N_DEALT = 8


def dealt(snapshot: Stream, root: Path, nights: Sequence[int]) -> dict[str, AssignmentFact]:
    """Where the same images belong after they came in these nights, by content."""
    shutil.copytree(snapshot.root, root)
    stream = snapshot.at(root, snapshot.config)
    for at, number in enumerate(nights):
        label = ("good", "hole")[at % 2]
        path = stream.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png"
        stream.put(path, surface(7000 + at, label), label)
    for number in sorted(set(nights)):
        assert stream.night(number).reclustered is None
    with stream.catalog() as catalog:
        before = {fact.content for fact in catalog.images(CATEGORY) if str(day(0)) in fact.path}
        return {one.content: one for one in catalog.assignments(CATEGORY) if one.content not in before}


@pytest.fixture(scope="module")
def in_one_night(snapshot: Stream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, AssignmentFact]:
    """All of them in the first night after the snapshot."""
    return dealt(snapshot, tmp_path_factory.mktemp("one") / "stream", [1] * N_DEALT)


@settings(max_examples=3, deadline=None)
@given(nights=st.lists(st.integers(1, 3), min_size=N_DEALT, max_size=N_DEALT).filter(lambda nights: set(nights) > {1}))
def test_a_night_is_assigned_by_its_snapshot_alone(
    snapshot: Stream,
    in_one_night: dict[str, AssignmentFact],
    tmp_path_factory: pytest.TempPathFactory,
    nights: list[int],
) -> None:
    """However images are dealt to nights, each gets the same cluster at the same distance from the same snapshot."""
    found = dealt(snapshot, tmp_path_factory.mktemp("dealt") / "stream", nights)
    assert len(found) == N_DEALT
    for content, one in found.items():
        together = in_one_night[content]
        assert one.cluster == together.cluster
        assert one.distance == pytest.approx(together.distance, rel=1e-4)


def test_a_lost_model_is_made_again(tmp_path: Path, checkpoint: Path) -> None:
    """Where the store has lost what later images are described with, everything is re-clustered."""
    stream = Stream(tmp_path, night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    shutil.rmtree(StoreLayout(stream.store).root / "models")
    stream.deliver(1, TWO[:2])
    assert stream.night(1).reclustered == "part of what the last clustering is made of is gone"
    assert "unknown" not in stream.partition().values()


def test_the_estimator_gives_new_images_to_the_clusters_of_nights(
    snapshot: Stream, tmp_path: Path, checkpoint: Path
) -> None:
    """`AnomalyClusterer.predict` says of every new image what a night says of it, be it that it is unknown."""
    assigned = dealt(snapshot, tmp_path / "stream", [1] * N_DEALT)
    stream = snapshot.at(tmp_path / "stream", snapshot.config)
    with stream.catalog() as catalog:
        path_of = {fact.content: stream.data / fact.path for fact in catalog.images(CATEGORY)}
        old = {one.content: one.cluster for one in catalog.assignments(CATEGORY) if one.content not in assigned}
    first, new = sorted(old), sorted(assigned)
    backbone = load_backbone(TINY_BACKBONE, checkpoint=str(checkpoint), image_size=TINY_SIDE, device="cpu")
    fitted = AnomalyClusterer(backbone, n_clusters=len(set(old.values())))
    fitted.fit(load_images([path_of[content] for content in first]))
    name_of = dict(zip(fitted.labels_.tolist(), (old[content] for content in first), strict=True))
    assert [name_of[label] for label in fitted.labels_.tolist()] == [old[content] for content in first]
    found = [name_of.get(label) for label in fitted.predict(load_images([path_of[one] for one in new])).tolist()]
    # what a night does not know may have started a cluster
    told = [assigned[content].cluster if assigned[content].cluster in old.values() else None for content in new]
    assert found == told
    assert len(set(found) - {None}) == 2
