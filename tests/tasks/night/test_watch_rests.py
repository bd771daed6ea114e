"""What was told rests for some nights; a camera that falls silent is news each time."""

from __future__ import annotations

from datetime import date, timedelta

from tasks.night.notify import CAMERA, GROWING
from tasks.night.watch import REST_NIGHTS, is_old
from tasks.stores.catalog.facts import NoticeFact

FIRST = date(2026, 11, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def about_images(number: int, *, limit: float, value: float = 3.0, what: str = "images") -> NoticeFact:
    """Make what is told of a night with few images, or of one without any, whose limit is 0."""
    payload = {"category": "part", "what": what, "value": value, "limit": limit, "over": 1}
    return NoticeFact("part", f"camera {what} {number}", day(number), CAMERA, payload)


def test_what_was_told_rests() -> None:
    """Few images are told once in some nights."""
    before = [about_images(10, limit=0.5)]
    assert is_old(about_images(12, limit=0.5), before, day(11))
    assert not is_old(about_images(11 + REST_NIGHTS, limit=0.5), before, day(11))
    assert not is_old(about_images(12, limit=0.5, value=6.0), before, day(11))


def test_a_night_without_images_is_news_after_one_with_some() -> None:
    """Neither a night of few images before, nor an earlier silent one, makes it old news."""
    assert not is_old(about_images(11, limit=0), [about_images(10, limit=0.5)], day(10))
    assert not is_old(about_images(12, limit=0), [about_images(10, limit=0)], day(11))


def test_a_silence_that_lasts_rests() -> None:
    """The second silent night in a row is no news."""
    assert is_old(about_images(11, limit=0), [about_images(10, limit=0)], day(9))


def test_the_other_direction_is_news() -> None:
    """Pictures that are brighter than usual are told, although they were told as darker two nights ago."""
    darker = about_images(10, limit=5, value=-30.0, what="brightness")
    assert not is_old(about_images(12, limit=5, value=30.0, what="brightness"), [darker], day(11))
    assert is_old(about_images(12, limit=5, value=-30.0, what="brightness"), [darker], day(11))


def test_the_same_night_tells_it_once() -> None:
    """Growth of late images and of tonight's, in two calls of a night, is told by the first."""
    payload = {"category": "part", "cluster": "c2", "value": 30.0, "limit": 7, "over": 1}
    late, tonight = (NoticeFact("part", f"growing c2 {day(of)}", day(12), GROWING, payload) for of in (11, 12))
    assert is_old(tonight, [late], day(11))
