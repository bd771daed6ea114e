"""State of every category: its last night, its clusters, its unknown images, the age of its clustering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.identity import is_begun, no_nights
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import read_snapshot


@dataclass(frozen=True)
class CategoryStatus:
    """State of a category.

    Attributes
    ----------
    category
        Name of the product.
    last_night, state
        The newest recorded night, and whether it is finished; None before the first.
    n_images, n_unknown, n_quarantined
        Images in all, those without a cluster, files that cannot be used.
    n_clusters, n_provisional
        Clusters that are not gone, and those of them that no re-clustering has confirmed.
    clustered
        Night of the last re-clustering, or None.
    n_since
        Images that came since.
    report
        Report of the last night, or None.
    """

    category: str
    last_night: date | None
    state: str | None
    n_images: int
    n_unknown: int
    n_quarantined: int
    n_clusters: int
    n_provisional: int
    clustered: date | None
    n_since: int
    report: str | None


def catalog_of(layout: StoreLayout, config: RunConfig) -> Path | str:
    """File or URL of a store's catalog, which has to be there.

    Raises
    ------
    StoreError
        If there has not been a night yet, or the catalog is lost.
    """
    where = config.night.catalog or layout.catalog
    if not is_begun(layout, where):
        raise no_nights(layout)
    return where


def known_categories(layout: StoreLayout, where: Path | str) -> list[str]:
    """Categories that there have been nights of; none where there is no catalog yet."""
    if not is_begun(layout, where):
        return []
    with Catalog.open(where, store=layout) as opened:
        return opened.categories()


def known_category(catalog: Catalog, category: str) -> str:
    """Check that there is such a category, and that what the catalog has of it is as it was written.

    Raises
    ------
    ConfigError
        If there is not.
    StoreError
        If it is damaged.
    """
    catalog.check([category])
    known = catalog.categories()
    if category not in known:
        close = get_close_matches(category, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"found {', '.join(known) or 'none'}"
        raise ConfigError(f"there have been no nights of a category {category}; {hint}")
    return category


def status_of(layout: StoreLayout, where: Path | str, categories: Sequence[str] = ()) -> list[CategoryStatus]:
    """State of some categories, by default of all.

    Raises
    ------
    ConfigError
        If a category is not known.
    """
    with Catalog.open(where, store=layout, create=False) as opened, opened.view() as catalog:
        if categories:
            return [_status(layout, catalog, known_category(catalog, name)) for name in categories]
        catalog.check()
        return [_status(layout, catalog, name) for name in catalog.categories()]


def _status(layout: StoreLayout, catalog: Catalog, category: str) -> CategoryStatus:
    nights = catalog.nights(category)
    images = catalog.images(category)
    n_usable = sum(image.quarantined is None for image in images)
    living = [one for one in catalog.clusters(category) if one.state in {"provisional", "confirmed"}]
    latest = catalog.latest_snapshot(category)
    snapshot = read_snapshot(latest) if latest else None
    last = nights[-1] if nights else None
    reports = [layout.night(category, night.night) / "report.html" for night in reversed(nights)]
    return CategoryStatus(
        category=category,
        last_night=last.night if last else None,
        state=last.state if last else None,
        n_images=n_usable,
        n_unknown=catalog.n_unknown(category),
        n_quarantined=len(images) - n_usable,
        n_clusters=len(living),
        n_provisional=sum(one.state == "provisional" for one in living),
        clustered=snapshot.night if snapshot else None,
        n_since=sum(one.quarantined is None and one.decided_by is None for one in images)
        - (snapshot.n_usable if snapshot else 0),
        report=next((str(report) for report in reports if report.is_file()), None),
    )
