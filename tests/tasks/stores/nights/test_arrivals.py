"""What a night takes up, and what is told of images that are of other nights."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, time
from pathlib import Path

import pytest
from helpers.builders import digest

from anoclust_core.records import DatasetManifest, ImageRecord, SetAside
from tasks.stores.catalog.capture import parse_rules
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.nights.arrivals import NightRules, Tonight, survey

RULES = NightRules(parse_rules(["path:%Y-%m-%d"]), UTC, time(6))
TONIGHT = date(2026, 11, 20)
NIGHT_BEFORE = (
    "All new images are of the night before, 2026-11-19; does the command run after night.day_starts (06:00)?"
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def images(*paths: str) -> DatasetManifest:
    """List made-up images; their paths say when they were taken."""
    return DatasetManifest("tile", tuple(ImageRecord(path, f"/{path}", digest(path), "cluster") for path in paths))


def seen(catalog: Catalog, *paths: str, only_until: bool = False) -> Tonight:
    return survey(images(*paths), catalog, night=TONIGHT, only_until=only_until, rules=RULES, unreadable=lambda _: {})


def know(catalog: Catalog, *paths: str) -> None:
    catalog.record_images("tile", [RULES.fact(image) for image in images(*paths).images])


def test_a_command_that_runs_after_the_day_starts_is_told(catalog: Catalog) -> None:
    """Where all new images are of the night before, a note asks whether it runs too late; in the report too."""
    know(catalog, "2026-11-18/a.png")
    found = seen(catalog, "2026-11-18/a.png", "2026-11-19/a.png", "2026-11-19/b.png")
    assert found.told == (NIGHT_BEFORE,)
    assert NIGHT_BEFORE in found.new.notes


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["2099-01-02/a.png"], "1 new image is dated after tonight, the first 2099-01-02; check the clock"),
        (["2099-01-02/a.png", "2026-11-21/b.png"], "2 new images are dated after tonight, the first 2026-11-21; check"),
    ],
)
def test_images_of_nights_to_come_are_told(catalog: Catalog, paths: list[str], told: str) -> None:
    """They are taken up, once; where a night was asked for, they wait."""
    found = seen(catalog, "2026-11-20/a.png", *paths)
    assert [note[: len(told)] for note in found.told] == [told]
    assert len(found.new.images) == 1 + len(paths)
    assert seen(catalog, "2026-11-20/a.png", *paths, only_until=True).told == ()
    know(catalog, *paths)
    assert seen(catalog, "2026-11-20/a.png", *paths).told == ()


def test_late_images_alone_are_no_reason_to_ask(catalog: Catalog) -> None:
    """Not beside images of tonight, not of earlier nights, not where a night was asked for, not every hour."""
    assert seen(catalog, "2026-11-19/a.png", "2026-11-20/a.png").told == ()
    assert seen(catalog, "2026-11-18/a.png", "2026-11-19/a.png").told == ()
    assert seen(catalog, "2026-11-19/a.png", only_until=True).told == ()
    know(catalog, "2026-11-19/a.png")
    assert seen(catalog, "2026-11-19/a.png", "2026-11-19/b.png").told == ()
    assert seen(catalog, "2026-11-19/a.png").told == ()


def test_a_known_image_that_no_longer_fits_its_region_is_not_newly_bad(catalog: Catalog) -> None:
    """A region that came later sets it aside; a new image of the wrong size is a bad file, once."""
    know(catalog, "2026-11-18/old.png")
    wrong = images("2026-11-18/old.png", "2026-11-20/new.png")
    aside = tuple(SetAside(image.path, "is 8 x 8 pixels and its region is 9 x 9 pixels") for image in wrong.images)
    listed = DatasetManifest("tile", (), quarantine=aside)
    found = survey(
        listed,
        catalog,
        night=TONIGHT,
        only_until=False,
        rules=RULES,
        unreadable=lambda _: {},
        misfits=wrong.images,
    )
    assert [entry.path for entry in found.new.quarantine] == ["2026-11-20/new.png"]
    assert found.n_seen == 2
