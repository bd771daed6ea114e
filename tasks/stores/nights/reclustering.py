"""Whether everything is to be re-clustered, and why: decided from the catalog and the store alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from anoclust_core.config import RunConfig
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import Standing
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import Snapshot, is_whole, members, read_snapshot

MIN_UNKNOWN: Final = 5
"""Unknown images below which their share says nothing."""

GROWTH: Final = 2
"""Times as many images as the snapshot had, from which on it stands for too few of them."""

REQUESTED: Final = "asked for"


def due(
    layout: StoreLayout,
    catalog: Catalog,
    category: str,
    night: date,
    config: RunConfig,
    *,
    settings_key: str,
    detected: str = "",
    requested: bool = False,
) -> str | None:
    """Say why all images are to be re-clustered, or None; ask once the catalog has the night's images.

    Parameters
    ----------
    layout, catalog, category, night, config
        What is asked about.
    settings_key
        Key of what is asked for, `tasks.stores.stage_keys.settings_key`.
    detected
        Key of the maps of the detector that patches are weighted by; empty where there is none.
    requested
        Whether a person wants it.

    Returns
    -------
    reason
        Why, in words for a person; a kill at any point leaves the same answer.
    """
    fact = catalog.latest_snapshot(category)
    n_usable = catalog.n_usable(category, until=night)
    if fact is None:
        return "the first time" if n_usable > 1 else None
    snapshot = read_snapshot(fact)
    if snapshot.is_detected and detected and snapshot.keys["detected"] != detected:
        return "the detector was changed, and the new one looks at every image"
    if snapshot.settings_key != settings_key:
        return "backbone, recipe or settings were changed"
    n_had = min(snapshot.n_usable, catalog.n_usable(category, until=snapshot.night))  # see Snapshot.n_usable
    n_since = n_usable - n_had
    if not assigns(config):
        return "this way of clustering takes every image together" if n_since > 0 else None
    if not is_whole(layout, category, snapshot):
        return "part of what the last clustering is made of is gone"
    if requested:
        return REQUESTED
    if n_since <= 0 or night < snapshot.night:
        return None
    return (
        _outgrown(n_had, n_usable)
        or _aged(snapshot, night, config)
        or _emptied(layout, catalog, category, snapshot)
        or _unlike(catalog.n_unknown_since(category, until=night), n_since, config)
    )


def assignable(
    layout: StoreLayout, catalog: Catalog, category: str, config: RunConfig, *, settings_key: str
) -> Snapshot | None:
    """Snapshot whose clusters new images can be given to; None where they wait until everything is re-clustered."""
    fact = catalog.latest_snapshot(category)
    if fact is None:
        return None
    snapshot = read_snapshot(fact)
    fits = snapshot.settings_key == settings_key and assigns(config)
    return snapshot if fits and is_whole(layout, category, snapshot) else None


def has_clusters(found: Standing, contents: Iterable[str]) -> bool:
    """Whether any of a snapshot's images is in a cluster that new images can be given to."""
    gone = {None, *found.retired, *found.provisional}
    return any(found.assigned.get(content) not in gone for content in contents)


def assigns(config: RunConfig) -> bool:
    """Whether one image can be given to clusters by itself: not by what compares all of them with each other."""
    return config.weigh.maps is None and config.group.distance == "weighted_average" and config.group.linkage == "ward"


def _outgrown(n_had: int, n_usable: int) -> str | None:
    if n_usable < GROWTH * n_had:
        return None
    return f"there are {n_usable:,} images, the last clustering had {n_had:,}"


def _aged(snapshot: Snapshot, night: date, config: RunConfig) -> str | None:
    passed, every = (night - snapshot.night).days, config.night.recluster_every
    return f"the last clustering is {passed} nights old" if every is not None and passed >= every else None


def _emptied(layout: StoreLayout, catalog: Catalog, category: str, snapshot: Snapshot) -> str | None:
    contents = [image.sha256 for image in members(layout, snapshot).clustered]
    return None if has_clusters(catalog.standing(category), contents) else "no cluster of the last clustering is left"


def _unlike(n_unknown: int, n_since: int, config: RunConfig) -> str | None:
    if n_unknown < MIN_UNKNOWN or n_unknown <= config.night.recluster_unknown * n_since:
        return None
    return f"{n_unknown:,} of {n_since:,} images since the last clustering are unknown"
