"""How the commands about clusters are told which images are meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.builders import digest

from anoclust_core.errors import ConfigError
from flows.cli.deciding import contents_of, decided_about
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact

FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)


def image(path: str, night: int = 0, quarantined: str | None = None) -> ImageFact:
    taken = FIRST + timedelta(days=night)
    return ImageFact(digest(f"{path} {night}"), path, taken, taken.date(), quarantined=quarantined)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A camera that calls the first image of every night alike, for a week; its images of before have other names."""
    images = [image("0001.png", night) for night in range(7)]
    images += [image("once.png"), image("mended.png", quarantined="is damaged"), image("mended.png", 1)]
    images += [image("bad.png", quarantined="is damaged")]
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        opened.record_images("board", images)
        yield opened


def test_a_path_names_its_image(catalog: Catalog) -> None:
    """By path, with back slashes too, or by the start of the sha256; of a file that was repaired it is the good one."""
    once = image("once.png").content
    for name in ("once.png", once[:6], once):
        assert contents_of(catalog, "board", [name]) == [once]
    assert contents_of(catalog, "board", ["mended.png"]) == [image("mended.png", 1).content]
    assert contents_of(catalog, "board", ["bad.png"]) == [image("bad.png").content]


def test_a_path_that_several_nights_brought_is_refused(catalog: Catalog) -> None:
    """Nobody is decided about by chance: the message has the newest nights, and what to give names one image."""
    with pytest.raises(ConfigError, match=r"7 images of board are named 0001\.png; give the start") as caught:
        contents_of(catalog, "board", ["once.png", "0001.png"])
    message = str(caught.value)
    for night in range(2, 7):
        start = image("0001.png", night).content[:12]
        assert f"{start} of night 2026-11-0{1 + night}" in message
        assert contents_of(catalog, "board", [start]) == [image("0001.png", night).content]
    assert message.index("2026-11-07") < message.index("2026-11-03")
    assert "2026-11-02" not in message
    assert "`anoclust export clusters board` has all" in message


def test_two_views_of_a_part_are_one_part(catalog: Catalog) -> None:
    """What commands say that they decided about is counted as the history counts it."""
    one, other = image("p1_cam0.png"), image("p1_cam1.png")
    catalog.record_images("nut", [one, replace(other, decided_by=one.content)])
    assert decided_about(catalog, "nut", contents_of(catalog, "nut", ["p1_cam0.png", "p1_cam1.png"])) == "1 part"
    assert decided_about(catalog, "board", contents_of(catalog, "board", ["once.png", "bad.png"])) == "2 images"


def test_commands_in_messages_can_be_copied(catalog: Catalog) -> None:
    """A category's name with a blank in it is quoted."""
    with pytest.raises(ConfigError, match=r"`anoclust clusters show 'metal nut' CLUSTER` lists paths"):
        contents_of(catalog, "metal nut", ["once.png"])


def test_a_few_characters_are_no_hash(catalog: Catalog) -> None:
    """Fewer than six could be a slip, and would name an image by chance."""
    with pytest.raises(ConfigError, match=r"0 images of board are named .*at least the first 6 characters"):
        contents_of(catalog, "board", [image("once.png").content[:5]])
