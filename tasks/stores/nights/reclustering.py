"""Why everything is to be re-clustered, if it is: told from the catalog and the store alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from anoclust_core.config import RunConfig
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Frozen, frozen, is_whole

MIN_UNKNOWN: Final = 5
"""Unknown images below which their share says nothing."""

GROWTH: Final = 2
"""Times as many images as the snapshot had, from which on it stands for too few of them."""

REQUESTED: Final = "asked for"


@dataclass(frozen=True)
class Due:
    """Why a re-clustering is due, in words for a person, and whether new images can go to the old clusters before."""

    reason: str
    can_assign: bool = True


def due(
    layout: StoreLayout,
    catalog: Catalog,
    category: str,
    night: date,
    config: RunConfig,
    *,
    settings: str,
    n_new: int = 0,
    requested: bool = False,
) -> Due | None:
    """Say whether and why all images are to be re-clustered; a kill at any point leaves the same answer.

    Parameters
    ----------
    layout, catalog, category, night, config
        What is asked about.
    settings
        Key of what is asked for, `flows.plan.settings_key`.
    n_new
        Usable images that the catalog does not have yet.
    requested
        Whether a person wants it.
    """
    fact = catalog.latest_snapshot(category)
    n_usable = n_new + catalog.n_usable(category, until=night)
    if fact is None:
        return Due("the first time", can_assign=False) if n_usable > 1 else None
    snapshot = frozen(fact)
    if snapshot.settings != settings:
        return Due("backbone, recipe or settings were changed", can_assign=False)
    n_since = n_usable - snapshot.n_usable
    if not assigns(config):
        return Due("this way of clustering takes every image together", can_assign=False) if n_since > 0 else None
    if not is_whole(layout, category, snapshot):
        return Due("part of what the last clustering is made of is gone", can_assign=False)
    return _by_choice(catalog, category, night, config, snapshot, n_since=n_since, n_usable=n_usable, asked=requested)


def assigns(config: RunConfig) -> bool:
    """Whether one image can be given to clusters by itself: not by what compares all of them with each other."""
    return (
        config.method == "sohn"
        and config.weigh.maps is None
        and config.group.distance == "weighted_average"
        and config.group.linkage == "ward"
    )


def _by_choice(
    catalog: Catalog,
    category: str,
    night: date,
    config: RunConfig,
    snapshot: Frozen,
    *,
    n_since: int,
    n_usable: int,
    asked: bool,
) -> Due | None:
    if asked:
        return Due(REQUESTED)
    if n_since <= 0 or night < snapshot.night:
        return None
    if n_usable >= GROWTH * snapshot.n_usable:
        return Due(f"there are {n_usable:,} images, the last clustering had {snapshot.n_usable:,}")
    every = config.night.recluster_every
    passed = (night - snapshot.night).days
    if every is not None and passed >= every:
        return Due(f"the last clustering is {passed} nights old")
    unknown = catalog.n_unknown(category)
    if unknown >= MIN_UNKNOWN and unknown > config.night.recluster_unknown * n_since:
        return Due(f"{unknown:,} of {n_since:,} images since the last clustering are unknown")
    return None
