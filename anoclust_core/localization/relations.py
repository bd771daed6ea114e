"""Which images an image is pulled towards or pushed away from, and which of their cells, [ARDELEAN24] sec. 3.2.

All of it comes before any cell is projected. 190 cells of at most 9 images are enough for a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from anoclust_core.arrays import WHOLE, checked_array
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.checks import check_count

N_NEIGHBOURS: Final = 3
"""Nearest images that an image is likened to, k of the paper."""

OWN_CELLS: Final = 20
"""Anomalous cells, and as many normal ones, that are drawn from the image itself."""

NEAR_CELLS: Final = 50
"""Anomalous cells, and as many normal ones, that are drawn from the image and its neighbours."""

FAR_CELLS: Final = 50
"""Anomalous cells that are drawn from the counterparts."""


def by_distance(descriptors: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """All other images of each image, from the nearest to the farthest, by mean squared distance of descriptors.

    An image is never among its own, however many exact duplicates it has. Equally distant ones are in their own order.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite, at least two images.

    Returns
    -------
    others
        Shape ``(n_images, n_images - 1)``, int64.

    Raises
    ------
    ArrayContractError
        If the descriptors are not two-dimensional and finite, have no features, or are of one image only.
    """
    descriptors = checked_array("descriptors", descriptors, "(n_images, dim)")
    if descriptors.ndim != 2 or descriptors.shape[0] < 2 or descriptors.shape[1] == 0:
        raise ArrayContractError(f"descriptors of at least two images are needed; found shape {descriptors.shape}")
    if not np.isfinite(descriptors).all():
        raise ArrayContractError("descriptors must be finite; found NaN or infinity")
    values = descriptors.astype(np.float64)
    distances = cdist(values, values, "sqeuclidean")  # of differences: duplicates are at exactly 0
    np.fill_diagonal(distances, -1)
    order: NDArray[np.int64] = np.argsort(distances, axis=1, kind="stable")[:, 1:]
    return order


def neighbours(others: NDArray[np.int64], *, count: int = N_NEIGHBOURS) -> NDArray[np.int64]:
    """Nearest images of each image, N(i) of [ARDELEAN24] sec. 3.2.

    Parameters
    ----------
    others
        From `by_distance`.
    count
        How many, >= 1.

    Returns
    -------
    neighbours
        Shape ``(n_images, min(count, n_images - 1))``, int64, nearest first.

    Raises
    ------
    ConfigError
        If ``count`` is less than 1.
    """
    others = checked_array("others", others, "(n_images, n_others)", kinds=WHOLE)
    return others[:, : check_count(count, "the number of neighbours")]


def counterparts(
    others: NDArray[np.int64],
    *,
    count: int,
    repeat: bool,
    generator: np.random.Generator,
    n_neighbours: int = N_NEIGHBOURS,
) -> NDArray[np.int64]:
    """Draw images from the farther half of each image's others, C(i) of [ARDELEAN24] sec. 3.2.

    A neighbour is never a counterpart, which matters where there are few images: of two, each is the other's neighbour
    and has no counterpart.

    Parameters
    ----------
    others, count
        As in `neighbours`.
    repeat
        Whether one image may be drawn more than once, as in the published program. If not, there are no more of them
        than images to draw from.
    generator
        Draws them.
    n_neighbours
        Nearest images to leave out.

    Returns
    -------
    counterparts
        Shape ``(n_images, n)``, int64: n is ``count``, or less as said above, or 0 without an image to draw from.

    Raises
    ------
    ConfigError
        If ``count`` is less than 1.
    """
    others = checked_array("others", others, "(n_images, n_others)", kinds=WHOLE)
    check_count(count, "the number of counterparts")
    n_images, n_others = others.shape
    farther = others[:, max((n_others + 1) // 2, n_neighbours) :]
    n_farther = farther.shape[1]
    if n_farther == 0:
        return farther
    if repeat:
        places = generator.integers(n_farther, size=(n_images, count))
    else:
        places = generator.permuted(np.tile(np.arange(n_farther), (n_images, 1)), axis=1)[:, :count]
    return np.take_along_axis(farther, places, axis=1)


@dataclass(frozen=True)
class Cells:
    """Cells of several images, one an entry.

    Attributes
    ----------
    images, places
        Each shape ``(n,)``, int64: image, and number of the cell in its map, row by row.
    """

    images: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """Cells of one step; each part has the published number of them, or none if there was none to draw from.

    Attributes
    ----------
    anomalous, normal
        Of the image itself, from S and S-bar.
    near_anomalous, near_normal
        Of the image and its neighbours, from P and P-bar.
    far_anomalous
        Of the counterparts, from C.
    """

    anomalous: Cells
    normal: Cells
    near_anomalous: Cells
    near_normal: Cells
    far_anomalous: Cells

    @property
    def parts(self) -> tuple[Cells, Cells, Cells, Cells, Cells]:
        """All five, in the order of the attributes."""
        return self.anomalous, self.normal, self.near_anomalous, self.near_normal, self.far_anomalous


@dataclass(frozen=True)
class AnomalousCells:
    """Which cells of every image are anomalous, and which are not: in the order that draws count in.

    Attributes
    ----------
    places
        Shape ``(n_images, n_cells)``, int32: numbers of an image's cells, the anomalous ones first, each kind rising.
    n_anomalous
        Shape ``(n_images,)``, int64.
    """

    places: NDArray[np.int32]
    n_anomalous: NDArray[np.int64]

    @classmethod
    def of(cls, is_anomalous: NDArray[np.bool_]) -> AnomalousCells:
        """Sort the cells of images, ``(n_images, n_cells)``, bool; assumes checked input."""
        places = np.argsort(~is_anomalous, axis=1, kind="stable").astype(np.int32)
        return cls(places, np.count_nonzero(is_anomalous, axis=1))

    def drawn(self, count: int, images: NDArray[np.int64], *, anomalous: bool, generator: np.random.Generator) -> Cells:
        """Draw cells of one kind with replacement, from all those of some images alike; none where there is none."""
        numbers = self.n_anomalous[images] if anomalous else self.places.shape[1] - self.n_anomalous[images]
        ends = np.cumsum(numbers)
        if not numbers.any():
            return Cells(np.zeros(0, np.int64), np.zeros(0, np.int64))
        chosen = generator.integers(ends[-1], size=count)
        at = np.searchsorted(ends, chosen, side="right")
        of = images[at]
        rank = chosen - (ends - numbers)[at] + (0 if anomalous else self.n_anomalous[of])
        return Cells(of, self.places[of, rank].astype(np.int64))


def draw_cells(
    image: int,
    *,
    neighbours: NDArray[np.int64],
    counterparts: NDArray[np.int64],
    cells: AnomalousCells,
    generator: np.random.Generator,
) -> Draw | None:
    """Draw the cells of one step, each part with replacement from all its cells alike; assumes checked input.

    Parameters
    ----------
    image
        The one whose turn it is.
    neighbours, counterparts
        Each shape ``(n,)``: its own row.
    cells
        Of all images.
    generator
        Draws them.

    Returns
    -------
    draw
        None if the image has no anomalous cell: then it gives no pairs.
    """
    neighbours = checked_array("neighbours", neighbours, "(n_neighbours,)", kinds=WHOLE)
    counterparts = checked_array("counterparts", counterparts, "(n_counterparts,)", kinds=WHOLE)
    if not cells.n_anomalous[image]:
        return None
    own = np.array([image])
    near = np.concatenate([own, neighbours])
    return Draw(
        anomalous=cells.drawn(OWN_CELLS, own, anomalous=True, generator=generator),
        normal=cells.drawn(OWN_CELLS, own, anomalous=False, generator=generator),
        near_anomalous=cells.drawn(NEAR_CELLS, near, anomalous=True, generator=generator),
        near_normal=cells.drawn(NEAR_CELLS, near, anomalous=False, generator=generator),
        far_anomalous=cells.drawn(FAR_CELLS, counterparts, anomalous=True, generator=generator),
    )
