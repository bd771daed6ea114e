"""A category as people look at it: its clusters as rows, those to look at first, and its last night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from tasks.review.places import Positions
from tasks.review.told import TellsOf, Told, read_told
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import UNKNOWN, ClusterFact
from tasks.stores.layout import StoreLayout


@dataclass(frozen=True)
class ClusterRow:
    """One cluster, or the unknown images.

    Attributes
    ----------
    cluster
        Its identity, or `UNKNOWN`.
    fact
        What the catalog has of it; None of the unknown.
    counts
        Images by night, in the order of `CategoryState.nights`.
    tells
        What the last night told of it.
    """

    cluster: str
    fact: ClusterFact | None
    counts: Sequence[int]
    tells: TellsOf

    @property
    def n_images(self) -> int:
        """Images in it."""
        return sum(self.counts)

    @property
    def tonight(self) -> int:
        """Images of the last night."""
        return self.counts[-1] if self.counts else 0

    @property
    def name(self) -> str | None:
        """What a person calls it."""
        return self.fact.name if self.fact else None


@dataclass(frozen=True)
class CategoryState:
    """A category at one moment.

    Attributes
    ----------
    category
        Which.
    rows
        Its living clusters and the unknown images, those to look at first and ordinary parts last.
    gone
        Clusters that were retired, or merged into others.
    nights
        Nights with images, in order.
    told
        What the last recorded night told; None before the first.
    n_images, n_unusable
        Images, and files that cannot be used.
    taken_back
        Those of the gone clusters that came of a decision which was undone.
    n_views
        Views of parts that other views stand for; 0 where images are clustered.
    """

    category: str
    rows: Sequence[ClusterRow]
    gone: Sequence[ClusterFact]
    nights: Sequence[date]
    told: Told | None
    n_images: int
    n_unusable: int
    taken_back: Set[str] = frozenset()
    n_views: int = 0

    def row(self, cluster: str) -> ClusterRow | None:
        """Row of a living cluster, or of the unknown."""
        return next((row for row in self.rows if row.cluster == cluster), None)

    @property
    def lost(self) -> Sequence[ClusterFact]:
        """Clusters that are gone, without those that an undo took back: to people, these have never been."""
        return [fact for fact in self.gone if fact.cluster not in self.taken_back]

    @property
    def unit(self) -> Literal["image", "part"]:
        """What is clustered and counted."""
        return "part" if self.n_views else "image"

    @property
    def n_units(self) -> int:
        """How many there are of what is clustered."""
        return self.n_images - self.n_views

    @property
    def n_unknown(self) -> int:
        """Images without a cluster."""
        return sum(row.n_images for row in self.rows if row.fact is None)

    @property
    def has_trouble(self) -> bool:
        """Whether the last night failed, or could not use a file."""
        return self.told is not None and (self.told.trouble is not None or bool(self.told.quarantine))

    @property
    def urgency(self) -> tuple[bool, bool, bool, str]:
        """What categories are sorted by, those to look at first."""
        to_do = self.told.to_do if self.told else ()
        return not to_do, not self.has_trouble, not self.n_unknown, self.category


def category_state(layout: StoreLayout, catalog: Catalog, category: str, positions: Positions) -> CategoryState:
    """Read how a category stands.

    Parameters
    ----------
    layout, catalog, category
        Which; the catalog is best a view, so that all is of one moment.
    positions
        Where its images are.
    """
    nights = catalog.nights(category)
    told = read_told(layout, category, nights[-1].night, is_done=nights[-1].state == "done") if nights else None
    counts = positions.counts()
    with catalog.browsing(category) as browsing:
        n_images, n_unusable = browsing.n_images()
        facts = browsing.clusters({cluster: sum(found) for cluster, found in counts.items()})
        taken_back = browsing.taken_back()
    living = [fact for fact in facts if fact.state in {"provisional", "confirmed"}]
    return CategoryState(
        category=category,
        rows=_rows(living, counts, len(positions.nights()), told),
        gone=[fact for fact in facts if fact not in living],
        nights=positions.nights(),
        told=told,
        n_images=n_images,
        n_unusable=n_unusable,
        taken_back=taken_back,
        n_views=len(catalog.views(category)),
    )


def _rows(
    living: Sequence[ClusterFact], counts: Mapping[str, Sequence[int]], n_nights: int, told: Told | None
) -> list[ClusterRow]:
    nothing = [0] * n_nights
    rows = [ClusterRow(fact.cluster, fact, counts.get(fact.cluster, nothing), _tells(fact, told)) for fact in living]
    if UNKNOWN in counts:
        kinds = {kind for kind, _, _ in told.to_do} if told else set()
        rows.append(ClusterRow(UNKNOWN, None, counts[UNKNOWN], TellsOf(is_growing=UNKNOWN in kinds)))
    return sorted(rows, key=_order)


def _tells(fact: ClusterFact, told: Told | None) -> TellsOf:
    """What the last night told of a cluster; whether it is a defect is what a person says, if one does."""
    found = told.clusters.get(fact.cluster, TellsOf()) if told else TellsOf()
    return found if fact.ordinary is None else replace(found, is_ordinary=fact.ordinary)


def _order(row: ClusterRow) -> tuple[bool, bool, bool, int, int]:
    """New clusters first, then the growing ones, the unknown images, the largest of the last night; ordinary last."""
    return (
        not row.tells.is_new,
        not (row.tells.is_growing and not row.tells.is_ordinary),
        row.tells.is_ordinary,
        -row.tonight,
        -row.n_images,
    )
