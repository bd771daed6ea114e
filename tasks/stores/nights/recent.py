"""The last nights: which images came in them, and which clusters are as young as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.standing import NEW

RECENT_NIGHTS: Final = 5
"""Nights with images in which new kinds are looked for: the first three of a kind come within these, or one by one."""

_LOOK_BACK: Final = timedelta(days=30)


@dataclass(frozen=True)
class Recent:
    """What came lately.

    Attributes
    ----------
    contents
        Images of the last nights before tonight, by content.
    clusters
        Clusters that were told as new in twice as many nights.
    """

    contents: frozenset[str]
    clusters: frozenset[str]


def recent_images(catalog: Catalog, category: str, night: date) -> Recent:
    """Images of the ``RECENT_NIGHTS`` nights with images up to tonight; never those of a category's first night."""
    counts = catalog.counts(category, since=night - _LOOK_BACK, until=night)
    nights = sorted({count.night for count in counts} | {night})
    if len(nights) <= RECENT_NIGHTS and not catalog.n_usable(category, until=nights[0] - timedelta(days=1)):
        nights = nights[1:]
    if not nights:
        return Recent(frozenset(), frozenset())
    since = nights[-RECENT_NIGHTS:][0]
    settled = nights[-2 * RECENT_NIGHTS :][0]
    return Recent(
        frozenset(image.content for image in catalog.images(category, since=since, until=night)),
        frozenset(
            str(one.payload["cluster"])
            for one in catalog.notices(category)
            if one.event == NEW and settled <= one.night <= night
        ),
    )
