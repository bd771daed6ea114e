"""New kinds among the images of the last nights: told with their third image, once, and not against a person's will."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.streams import CATEGORY, TWO, Stream, day, night_config

from tasks.stores.nights.recent import RECENT_NIGHTS, SURE, recent_images

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

NEW = "scratch"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make three nights of two kinds, and two with one image of a third kind each, for tests to copy."""
    config = night_config(checkpoint, recluster_every="none", **{"night.recluster_unknown": 1.0})
    stream = Stream(tmp_path_factory.mktemp("begun"), config)
    stream.deliver(0, TWO * 6)
    stream.night(0)
    for number, more in ((1, ()), (2, (NEW,)), (3, (NEW,))):
        stream.deliver(number, TWO + more)
        stream.night(number)
    return stream


@pytest.fixture
def stream(begun: Stream, tmp_path: Path) -> Stream:
    """Copy them."""
    return begun.copied(tmp_path / "stream")


def of_new_kind(stream: Stream) -> list[str]:
    """Cluster of every image of the third kind."""
    return [cluster for path, cluster in sorted(stream.partition().items()) if f"-{NEW}" in path]


def test_it_is_told_with_its_third_image(stream: Stream) -> None:
    """One image a night is enough: the third one makes it a kind, and the images of the nights before are in it."""
    assert stream.told() == []
    stream.deliver(4, (*TWO, NEW))
    assert stream.night(4).reclustered is None
    (told,) = stream.told()
    assert told[0] == day(4)
    assert told[1]["n_images"] == 3
    assert of_new_kind(stream) == [told[1]["cluster"]] * 3


def test_it_is_told_once(stream: Stream) -> None:
    """More images of it go to its cluster, and make no second one; a re-clustering keeps it."""
    stream.deliver(4, (*TWO, NEW))
    stream.night(4)
    (told,) = stream.told()
    for number in (5, 6):
        stream.deliver(number, (*TWO, NEW, NEW))
        stream.night(number, recluster=number == 6)
    assert stream.told() == [told]
    assert set(of_new_kind(stream)) == {told[1]["cluster"]}


def test_what_a_new_cluster_was_told_of_is_settled(stream: Stream) -> None:
    """So is what surely belongs there; other images of it may be of another new kind, and are looked at again."""
    stream.deliver(4, (*TWO, NEW))
    stream.night(4)
    cluster = str(stream.told()[0][1]["cluster"])
    stream.deliver(5, (*TWO, NEW))
    stream.night(5)
    with stream.catalog() as catalog:
        lately = recent_images(catalog, CATEGORY, day(5))
        paths = {image.content: image.path for image in catalog.images(CATEGORY)}
    members = [content for content, path in paths.items() if f"-{NEW}" in path]
    assert {lately.nights[content] for content in members if lately.is_settled(content, cluster, 0.5)} == {
        day(2),
        day(3),
        day(4),
    }
    assert all(lately.is_settled(content, cluster, SURE) for content in members)
    assert not any(lately.is_settled(content, "c1", 1.0) for content in members)


def test_what_a_person_retired_is_not_told_again(stream: Stream) -> None:
    """Its images are no reason to tell the same kind the night after."""
    stream.deliver(4, (*TWO, NEW))
    stream.night(4)
    (told,) = stream.told()
    with stream.catalog() as catalog:
        catalog.retire(CATEGORY, str(told[1]["cluster"]), who="somebody")
    stream.deliver(5, TWO)
    stream.night(5)
    assert stream.told() == [told]


def test_the_last_nights_are_those_with_images(stream: Stream) -> None:
    """The first night of a category is never among them, nor a night without images; what came later is left out."""
    with stream.catalog() as catalog:
        everything = {image.content: image.night for image in catalog.images(CATEGORY)}
        lately = recent_images(catalog, CATEGORY, day(3))
        assert {everything[content] for content in lately.nights} == {day(1), day(2), day(3)}
        assert {everything[content] for content in recent_images(catalog, CATEGORY, day(2)).nights} == {
            day(1),
            day(2),
        }
        later = recent_images(catalog, CATEGORY, day(RECENT_NIGHTS))
        assert {everything[content] for content in later.nights} == {day(1), day(2), day(3)}
        assert recent_images(catalog, CATEGORY, day(0)).nights == {}
        assert lately.told == {}
