"""Everything that the review page reads of a store, each part once for every state of the category."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from anoclust_core.reporting.figures import rarity_overlay_png
from tasks.images.headers import geometry_of
from tasks.review.clusters import CategoryState, category_state
from tasks.review.colouring import CLUSTER, COLUMN, NIGHT, Colouring, by_cluster, by_column, by_night
from tasks.review.cuts import Cuts, read_cuts
from tasks.review.kept import Kept
from tasks.review.nearest import nearest_images
from tasks.review.originals import ShownPicture, original
from tasks.review.places import Positions
from tasks.review.projection import MapPoints, map_points
from tasks.review.rarity import Measures, read_measures
from tasks.review.thumbnails import Thumbnails
from tasks.stores import runs
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import UNKNOWN, AssignmentFact, ImageFact
from tasks.stores.files import safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.snapshots import read_snapshot
from tasks.stores.upkeep.inventory import category_name

N_LEADING: Final = 12
"""Pictures in the row of a cluster."""

_DECODED_AT_ONCE: Final = 4
"""Pictures that are decoded side by side: one of the largest takes 0.5 GB."""

_KEPT: Final = 64
"""Small results that are kept: states, columns, choices of 0.1 MB."""

_KEPT_POSITIONS: Final = 12
"""Categories of which it is known where all images are; 100,000 images take 15 MB."""

Revision = Literal["all", "places", "images"]
"""What a result follows from: everything, where images are, or which images there are."""

_KEPT_MEASURES: Final = 2
"""Categories whose stored measures are known: each takes some 20 MB for 100,000 images."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class ImageView:
    """One image: what the catalog has of it, and where it is now; ``cluster`` is `UNKNOWN` where it has none.

    Where parts are clustered, ``views`` are all views of its part by path, and it is where the one is that ``stands``
    for the part.
    """

    fact: ImageFact
    place: AssignmentFact | None
    views: Sequence[ImageFact] = ()

    @property
    def stands(self) -> str:
        """Content of the view that stands for its part; its own where it does."""
        return self.fact.decided_by or self.fact.content

    @property
    def others(self) -> Sequence[ImageFact]:
        """The other views of its part."""
        return [view for view in self.views if view.content != self.fact.content]

    @property
    def cluster(self) -> str:
        """Identity of its cluster, merges followed."""
        return (self.place.cluster if self.place else None) or UNKNOWN


@dataclass(frozen=True)
class Rarest:
    """The rarest patch of an image: left, top, width and height in parts of the picture, and how rare it is."""

    left: float
    top: float
    width: float
    height: float
    rarity: float


class Reading:
    """A store that is looked at.

    Categories are named by their names here, by the names of their folders in addresses: these are safe in a path.

    Parameters
    ----------
    layout, catalog
        The store, and its catalog.
    """

    def __init__(self, layout: StoreLayout, catalog: Catalog) -> None:
        self.layout, self.catalog = layout, catalog
        self._names: dict[str, str] = {}
        self._decoding = BoundedSemaphore(_DECODED_AT_ONCE)
        self._kept, self._kept_positions = Kept(_KEPT), Kept(_KEPT_POSITIONS)
        self._measures = Kept(_KEPT_MEASURES)

    def categories(self) -> dict[str, str]:
        """Name of every category by that of its folder."""
        self._names = {safe_name(category): category for category in self.catalog.categories()}
        return self._names

    def category(self, folder: str) -> str | None:
        """Name of the category of a folder, or None."""
        return self._names.get(folder) or self.categories().get(folder)

    def warm(self) -> None:
        """Read how every category stands and make its first thumbnails, so that the first page that asks has them."""
        for category in self.categories().values():
            self.state(category)
        for category in self.categories().values():
            for contents in self.leading(category, Chosen()).values():
                for fact in self.catalog.known_images(category, contents).values():
                    self.thumbnail(category, fact)

    def runs_without_nights(self) -> dict[str, str]:
        """Latest run of every category that has runs and has had no night, by category."""
        runs_of, known = self.layout.root / "runs", self.categories()
        found: dict[str, str] = {}
        for folder in sorted(runs_of.iterdir()) if runs_of.is_dir() else []:
            newest = [] if folder.name in known else runs.list_runs(folder)[:1]
            found |= {category_name(self.layout, folder.name): run.name for run in newest}
        return found

    def state(self, category: str) -> CategoryState:
        """How a category stands."""

        def read() -> CategoryState:
            with self.catalog.view() as view:
                return category_state(self.layout, view, category, self._positions(category))

        return self.once(category, "state", (), read)

    def members(self, category: str, cluster: str, chosen: Chosen) -> Sequence[str]:
        """Images of a cluster, or the unknown, by content, the most typical first."""
        return self._positions(category).members(cluster, self._mask(category, chosen))

    def leading(self, category: str, chosen: Chosen) -> dict[str, Sequence[str]]:
        """The most typical images of every cluster, and some of the unknown."""
        return self._positions(category).leading(N_LEADING, self._mask(category, chosen))

    def everywhere(self, category: str) -> dict[str, Sequence[str]]:
        """All images of every cluster, and the unknown, the most typical first."""
        return self._positions(category).leading(None, self._mask(category, Chosen()))

    def sizes(self, category: str, chosen: Chosen) -> dict[str, int]:
        """How many of the chosen images are in every cluster."""
        return self._positions(category).sizes(self._mask(category, chosen))

    def columns(self, category: str) -> dict[str, list[str]]:
        """Columns that images can be chosen by, and their values."""

        def read() -> dict[str, list[str]]:
            with self.catalog.browsing(category) as browsing:
                return browsing.columns()

        return self.once(category, "columns", (), read, of="images")

    def breakdown(self, category: str, column: str, chosen: Chosen) -> dict[str, dict[str, int]]:
        """How many images of every cluster have each value of a column."""
        with self.catalog.browsing(category) as browsing:
            values = browsing.values(column)
        return self._positions(category).breakdown(values, self._mask(category, chosen))

    def images(self, category: str, contents: Sequence[str]) -> list[ImageView]:
        """Some images, in the order that they are asked for; those that the catalog does not know are left out."""
        facts = self.catalog.known_images(category, list(contents))
        stands = {content: fact.decided_by or content for content, fact in facts.items()}
        standing = sorted(set(stands.values()))
        places = {place.content: place for place in self.catalog.assignments(category, standing)}
        views = self._views(category, standing)
        return [
            ImageView(facts[content], places.get(stands[content]), views.get(stands[content], ()))
            for content in contents
            if content in facts
        ]

    def image(self, category: str, content: str) -> ImageView | None:
        """One image, or None where the catalog knows none of that content."""
        return next(iter(self.images(category, [content])), None)

    def where(self, category: str, contents: Sequence[str]) -> dict[str, str]:
        """Cluster of each of some images, or `UNKNOWN`, by content, without those that are not known."""
        return {image.fact.content: image.cluster for image in self.images(category, contents)}

    def points(self, category: str) -> MapPoints:
        """Places of all images on the map; none before the first clustering."""

        def read() -> MapPoints:
            fact = self.catalog.latest_snapshot(category)
            if fact is None:
                return MapPoints([], np.zeros((0, 2), np.float32))
            points = map_points(self.layout, category, read_snapshot(fact), self.measures(category))
            views = self.catalog.views(category)
            shown = [at for at, content in enumerate(points.contents) if content not in views]
            return MapPoints([points.contents[at] for at in shown], points.positions[shown])

        return self.once(category, "points", (), read)

    def colouring(self, category: str, by: str) -> Colouring | None:
        """What the images on the map are coloured by; None where there is no such column."""
        column = by.removeprefix(COLUMN) if by.startswith(COLUMN) else None
        if column is None and by not in {CLUSTER, NIGHT}:
            return None
        if column is not None and column not in self.columns(category):
            return None

        def read() -> Colouring:
            contents = self.points(category).contents
            if by == CLUSTER:
                with self.catalog.view() as view:
                    names = {fact.cluster: fact.name for fact in view.clusters(category)}
                    return by_cluster(contents, view.partition(category), view.merges(category), names)
            facts = {fact.content: fact for fact in self.catalog.images(category)}
            return by_night(contents, facts) if column is None else by_column(contents, facts, column)

        return self.once(category, "colouring", (by,), read)

    def cuts(self, category: str) -> Cuts | None:
        """Cuts of the last re-clustering's tree; None where there is none, or only one image."""

        def read() -> Cuts | None:
            fact = self.catalog.latest_snapshot(category)
            if fact is None or fact.n_images < 2:
                return None
            facts = {image.content: image for image in self.catalog.images(category)}
            return read_cuts(self.layout, category, read_snapshot(fact), facts)

        return self.once(category, "cuts", (), read)

    def thumbnail(self, category: str, image: ImageFact) -> bytes | None:
        """JPEG of an image; None where its file is gone or has changed."""
        thumbnails = Thumbnails(self.layout, category)
        kept = thumbnails.kept(image)
        if kept is not None:
            return kept
        with self._decoding:
            return thumbnails.made(image)

    def original(self, category: str, image: ImageFact) -> ShownPicture | None:
        """An image at its own size; None where its file is gone or has changed."""
        with self._decoding:
            return original(image, Thumbnails(self.layout, category).deep)

    def heat(self, category: str, image: ImageFact) -> bytes | None:
        """PNG of an image's rare patches, to be stretched over its picture; None where it is not stored."""
        measures = self.measures(category)
        grid = self.rarity(category, image)
        return None if grid is None else rarity_overlay_png(grid, vmin=measures.scale[0], vmax=measures.scale[1])

    def rarity(self, category: str, image: ImageFact) -> NDArray[np.float32] | None:
        """Rarity of an image's patches, ``(height, width)`` over its whole picture; None where it is not stored."""
        geometry = geometry_of(Path(image.file or ""))
        return None if geometry is None else self.measures(category).rarity(image.content, geometry.upright)

    def measures(self, category: str) -> Measures:
        """What is stored of the category's images beyond the catalog."""
        with self.catalog.browsing(category) as browsing:
            revision = browsing.revision_of_images()
        return self._measures.get(
            (category, revision),
            lambda: read_measures(
                self.layout, category, self.catalog.latest_snapshot(category), self.catalog.views(category)
            ),
        )

    def rarest(self, category: str, image: ImageFact) -> Rarest | None:
        """The patch of an image that is rarest; None where that is not stored."""
        grid = self.rarity(category, image)
        if grid is None or not np.isfinite(grid).any():
            return None
        row, column = np.unravel_index(int(np.nan_to_num(grid, nan=-np.inf).argmax()), grid.shape)
        height, width = grid.shape
        return Rarest(column / width, row / height, 1 / width, 1 / height, float(grid[row, column]))

    def nearest(self, category: str, content: str, n: int) -> list[tuple[ImageView, float]]:
        """Images that are most alike by stored descriptors, with their distances; of a view, those like its part."""
        asked = self.image(category, content)
        found = dict(nearest_images(self.measures(category), asked.stands, n)) if asked else {}
        return [(image, found[image.fact.content]) for image in self.images(category, list(found))]

    def once(
        self, category: str, what: str, asked: tuple[Any, ...], read: Callable[[], Made], *, of: Revision = "all"
    ) -> Made:
        """Read something once for every state of a category, of where its images are, or of which there are."""
        with self.catalog.browsing(category) as browsing:
            if of == "all":
                revision = browsing.revision()
            else:
                revision = browsing.revision_of_places() if of == "places" else browsing.revision_of_images()
        kept = self._kept if what != "positions" else self._kept_positions
        return kept.get((category, revision, what, asked), read)

    def _views(self, category: str, standing: Sequence[str]) -> dict[str, Sequence[ImageFact]]:
        """All views of parts by path, by content of the view that stands for each; nothing where images are clustered.

        Parameters
        ----------
        category
            Which.
        standing
            Views that stand for their parts.
        """

        def read() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for content, of in self.catalog.views(category).items():
                found.setdefault(of, [of]).append(content)
            return found

        of_part = self.once(category, "views", (), read, of="images")
        wanted = {one: of_part[one] for one in standing if one in of_part}
        facts = self.catalog.known_images(category, [content for some in wanted.values() for content in some])
        return {
            one: sorted((facts[content] for content in some if content in facts), key=lambda fact: fact.path)
            for one, some in wanted.items()
        }

    def _positions(self, category: str) -> Positions:
        """Where all images are, read once for every change of that."""

        def read() -> Positions:
            with self.catalog.browsing(category) as browsing:
                return Positions(browsing.places())

        return self.once(category, "positions", (), read, of="places")

    def _mask(self, category: str, chosen: Chosen) -> NDArray[np.bool_]:
        """Which images are chosen."""

        def read() -> NDArray[np.bool_]:
            found = None
            if chosen.columns:
                with self.catalog.browsing(category) as browsing:
                    found = browsing.with_values(chosen.columns)
            return self._positions(category).mask(chosen, found)

        return self.once(category, "mask", (chosen.key,), read, of="places")
