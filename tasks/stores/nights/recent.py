"""The last nights: which images came in them, and which clusters are as young as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.standing import NEW

RECENT_NIGHTS: Final = 5
"""Nights with images in which new kinds are looked for: the first three of a kind come within these, or one by one."""

SURE: Final = 0.95
"""Confidence from which on an image surely belongs to a cluster that is new itself: on made streams images of another
new kind have 0.53 to 0.93 in it, its own 0.9 to 1."""

_LOOK_BACK: Final = timedelta(days=30)


@dataclass(frozen=True)
class Recent:
    """What came lately.

    Attributes
    ----------
    nights
        Night of every image of the last nights, by content; tonight's too, where they are recorded already.
    told
        Night on which each cluster was told as new, in twice as many nights.
    """

    nights: Mapping[str, date]
    told: Mapping[str, date]

    def is_settled(self, content: str, cluster: str, confidence: float) -> bool:
        """Whether an image is of the kind that its cluster was told as.

        It was there when that was told, or surely belongs there. Others may be of another new kind.
        """
        was_there = content in self.nights and self.nights[content] <= self.told.get(cluster, date.min)
        return was_there or (cluster in self.told and confidence >= SURE)


def recent_images(catalog: Catalog, category: str, night: date) -> Recent:
    """Images of the ``RECENT_NIGHTS`` nights with images up to tonight; never those of a category's first night."""
    counts = catalog.counts(category, since=night - _LOOK_BACK, until=night)
    nights = sorted({count.night for count in counts} | {night})
    if len(nights) <= RECENT_NIGHTS and not catalog.n_usable(category, until=nights[0] - timedelta(days=1)):
        nights = nights[1:]
    if not nights:
        return Recent({}, {})
    since = nights[-RECENT_NIGHTS:][0]
    settled = nights[-2 * RECENT_NIGHTS :][0]
    return Recent(
        {
            image.content: image.night
            for image in catalog.images(category, since=since, until=night)
            if image.decided_by is None
        },
        {
            str(one.payload["cluster"]): one.night
            for one in catalog.notices(category)
            if one.event == NEW and settled <= one.night <= night
        },
    )
