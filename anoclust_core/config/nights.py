"""Settings of nights."""

from __future__ import annotations

from datetime import time, tzinfo
from typing import ClassVar, Literal

from anoclust_core.config.section import Section
from anoclust_core.config.setting import (
    Count,
    Names,
    Page,
    Share,
    TimeOfDay,
    Zone,
    setting,
)
from anoclust_core.matching.night_dates import zone_of


class NightConfig(Section):
    """Nights: what belongs to one, and when everything is re-clustered. Nothing of it enters a key of a run."""

    heading: ClassVar[str] = "Nights"

    timezone: Zone = setting(
        "UTC",
        "Time zone of the nights, such as `Europe/Berlin`.",
        commands=("nightly", "up", "deploy apply"),
        takes="the name of a time zone such as Europe/Berlin or UTC",
    )
    day_starts: TimeOfDay = setting(
        "06:00",
        "Time of day at which a night begins: with `06:00`, an image taken at 05:59 belongs to the night before. A "
        "night is named after the date on which it begins.",
        commands=("nightly",),
        takes="a time of day such as 06:00",
    )
    captured: Names = setting(
        ("file",),
        "How to tell when an image was taken, tried in this order, separated by commas: `path:%Y-%m-%d/*_%H%M%S`, "
        "`column:NAME` of a manifest, `exif`, `file` (when the file was last changed).",
        commands=("nightly", "backfill"),
        takes="path:PATTERN, column:NAME, exif or file, several separated by commas",
    )
    recluster_every: Count | None = setting(
        7,
        "Re-cluster everything after this many nights, if there are new images; `none` never does.",
        commands=("nightly",),
        takes="none or a whole number from 1",
        nothing="none",
    )
    recluster_unknown: Share = setting(
        0.2,
        "Re-cluster everything when more than this share of the images since the last clustering is unknown, from 0 "
        "to 1.",
        commands=("nightly",),
        takes="a share from 0 to 1",
    )
    learn: Literal["auto", "off"] = setting(
        "auto",
        "Whether re-clusterings learn from what people decide about images and clusters, and nights from that: `auto` "
        "or `off`. Without decisions there is nothing to learn.",
        commands=("nightly",),
        takes="auto or off",
    )
    catalog: str | None = setting(
        None,
        "Database of images, nights and clusters: `auto` is the file `catalog.sqlite` in the store; or a URL such as "
        "`postgresql://user@host/name`.",
        commands=("nightly", "backfill", "status", "store rebuild-catalog"),
        takes="auto or a URL such as postgresql://user@host/name",
        nothing="auto",
        is_secret=True,
    )
    review: Page | None = setting(
        None,
        "Address where `anoclust review` can be reached, such as `http://quality-pc:8765`: night reports link to it.",
        commands=("nightly", "up", "deploy apply"),
        takes="none or an address such as http://quality-pc:8765",
        nothing="none",
    )

    @property
    def zone(self) -> tzinfo:
        """Time zone that ``timezone`` names."""
        return zone_of(self.timezone)

    @property
    def begins(self) -> time:
        """Time of day that ``day_starts`` says."""
        return time.fromisoformat(self.day_starts)
