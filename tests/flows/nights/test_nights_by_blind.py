"""Nights by recipe blind: new images are described by what the last clustering has learnt, and nothing is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import surface
from helpers.streams import CATEGORY, TWO, Stream, day, night_config

from anoclust_core.config import RunConfig
from anoclust_core.localization.contrastive import train_head
from anoclust_core.localization.vae import train_vae
from anoclust_core.localization.variants import VARIANTS
from tasks.compute.localizing import each_image
from tasks.networks.backbone_spec import embedding_spec
from tasks.stages import describe as describe_stage
from tasks.stages import localize as localize_stage
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.localizers import read_localizer
from tasks.stores.nights.snapshots import Snapshot, members, read_snapshot
from tasks.stores.upkeep.collect import collect

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


SHORT = {name: replace(variant, vae_steps=30) for name, variant in VARIANTS.items()}
"""Thirty steps of training."""


def settings_of(checkpoint: Path, **settings: object) -> RunConfig:
    return night_config(checkpoint, **{"recipe": "blind", "recluster_every": "none", **settings})


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make the first night of twenty images, with thirty steps of training, for tests to copy."""
    stream = Stream(tmp_path_factory.mktemp("blind"), settings_of(checkpoint))
    stream.deliver(0, TWO + TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localize_stage, "VARIANTS", SHORT)
        assert stream.night(0).reclustered == "the first time"
    return stream


@pytest.fixture
def stream(first_night: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Copy it; from here on, training anything is an error."""

    def trains(*_: object, **__: object) -> None:
        raise AssertionError("a night that assigns trains nothing")

    monkeypatch.setattr(localize_stage, "train_vae", trains)
    monkeypatch.setattr(describe_stage, "train_head", trains)
    return first_night.copied(tmp_path / "stream")


@pytest.fixture
def trains_again(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Allow training, of thirty steps."""

    def allow() -> None:
        monkeypatch.setattr(localize_stage, "train_vae", train_vae)
        monkeypatch.setattr(describe_stage, "train_head", train_head)
        monkeypatch.setattr(localize_stage, "VARIANTS", SHORT)

    return allow


def snapshot_of(stream: Stream) -> Snapshot:
    with stream.catalog() as catalog:
        fact = catalog.latest_snapshot(CATEGORY)
    assert fact is not None
    return read_snapshot(fact)


def frozen(stream: Stream, contents: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Maps and descriptors of stored images by what the last clustering has learnt."""
    layout, snapshot = StoreLayout(stream.store), snapshot_of(stream)
    spec = embedding_spec(layout, stream.config)
    localizer = read_localizer(layout.folder("localizers", CATEGORY, snapshot.keys["describe"]), device="cpu")
    folder = layout.folder("embeddings", CATEGORY, snapshot.keys["embedding"])
    described = dict(each_image(folder, contents, spec, lambda _, features: localizer.describe(features)))
    maps, descriptors = zip(*(described[at] for at in range(len(contents))), strict=True)
    return np.stack(maps), np.stack(descriptors)


def described_in_nights(stream: Stream) -> dict[str, np.ndarray]:
    """Descriptors that nights have kept, by content."""
    found: dict[str, np.ndarray] = {}
    for folder in (stream.store / "weights" / CATEGORY).iterdir():
        contents = (arrays.describe(folder) or {}).get("contents", [])
        found |= dict(zip(contents, arrays.read(folder, "descriptors"), strict=True)) if contents else {}
    return found


def test_what_was_learnt_describes_its_own_images_as_they_were(first_night: Stream) -> None:
    """An image of the clustering, described again by the frozen parts alone, has the same map and descriptor."""
    layout, snapshot = StoreLayout(first_night.store), snapshot_of(first_night)
    contents = [image.sha256 for image in members(layout, snapshot).clustered]
    maps, descriptors = frozen(first_night, contents)
    weights = layout.folder("weights", CATEGORY, snapshot.keys["weigh"])
    np.testing.assert_array_equal(maps.reshape(len(maps), -1), arrays.read(weights, "rarity"))
    np.testing.assert_array_equal(descriptors, arrays.read(weights, "descriptors"))


def test_nights_assign_until_a_re_clustering_is_due(
    stream: Stream, checkpoint: Path, trains_again: Callable[[], None]
) -> None:
    """New images get clusters, each night in a process of its own; at the age that was asked for, all are clustered."""
    before = stream.partition()
    for number in (1, 2):
        stream.deliver(number, TWO[:4])
        outcome = stream.night(number)
        assert outcome.reclustered is None
        assert outcome.counters["new"] == 4
        assert outcome.work["pair_products"] == 0
        assert stream.night(number).reclustered is None  # the same night again has nothing to do
    with stream.catalog() as catalog:  # so that the unknown ones are watched
        assert [night.counters["one_by_one"] for night in catalog.nights(CATEGORY)] == [0, 4, 4]
    after = stream.partition()
    assert {name: after[name] for name in before} == before
    kept = described_in_nights(stream)
    assert len(kept) == 8
    contents = sorted(kept)
    np.testing.assert_array_equal(frozen(stream, contents)[1], np.stack([kept[one] for one in contents]))
    trains_again()
    stream.config = settings_of(checkpoint, recluster_every=3)
    stream.deliver(3, TWO[:2])
    assert stream.night(3).reclustered == "the last clustering is 3 nights old"
    assert snapshot_of(stream).night == day(3)
    assert "unknown" not in stream.partition().values()


def test_the_same_images_are_described_alike_in_one_night_or_two(stream: Stream, tmp_path: Path) -> None:
    """Descriptors do not depend on what else came that night."""
    other = stream.copied(tmp_path / "other")
    for of, nights in ((stream, (1, 1)), (other, (1, 2))):
        for number, label in zip(nights, ("good", "hole"), strict=True):
            of.put(of.data / CATEGORY / str(day(number)) / f"{label}-{label}.png", surface(77, label), label)
        for number in sorted(set(nights)):
            assert of.night(number).reclustered is None
    one, two = described_in_nights(stream), described_in_nights(other)
    assert one.keys() == two.keys()
    for content, values in one.items():
        np.testing.assert_array_equal(values, two[content])


def test_clearing_up_keeps_what_nights_describe_by(stream: Stream) -> None:
    """Collecting everything old leaves the localizer, and the check knows it; a night works on."""
    layout = StoreLayout(stream.store)
    localizer = layout.folder("localizers", CATEGORY, snapshot_of(stream).keys["describe"])
    collect(layout, timedelta(0))
    assert arrays.is_complete(localizer)
    assert check_store(layout).damage == []
    stream.deliver(1, TWO[:2])
    assert stream.night(1).reclustered is None


def test_a_localizer_that_is_damaged_is_found_and_made_again(stream: Stream, trains_again: Callable[[], None]) -> None:
    """A changed byte is told by the check; without it the next night clusters everything again."""
    layout = StoreLayout(stream.store)
    localizer = layout.folder("localizers", CATEGORY, snapshot_of(stream).keys["describe"])
    chunk = next(path for path in (localizer / "state" / "c").rglob("*") if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert any("localizers" in one.path for one in check_store(layout).damage)
    shutil.rmtree(localizer)
    trains_again()
    stream.deliver(1, TWO[:2])
    assert stream.night(1).reclustered == "part of what the last clustering is made of is gone"
    assert arrays.is_complete(layout.folder("localizers", CATEGORY, snapshot_of(stream).keys["describe"]))
