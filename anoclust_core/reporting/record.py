"""The report record: everything that a run report shows, as plain values; nothing in it is computed by the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.evaluation.partitions import Scores as Scores


@dataclass(frozen=True)
class ViewEntry:
    """Another view of a part, beside the one that decides; attributes as in `ImageEntry`."""

    path: str
    sha256: str
    anomaly_score: float
    label: str | None


@dataclass(frozen=True)
class ImageEntry:
    """One clustered image, or one part by the view that decides for it.

    Attributes
    ----------
    path
        As the user wrote it; may hold any character, so escape it.
    sha256
        Hex digest of the file's bytes.
    cluster
        Number of its cluster, 0-based.
    anomaly_score
        The largest rarity of its patches, in ``RunReport.score_unit``.
    distance
        Euclidean distance of its descriptor to the mean descriptor of its cluster.
    label, split
        As given with the data, or None; the label of a part is that of its defect, whichever view shows it.
    part
        Name of the part, where parts are clustered and the image is of one.
    views
        Other views of that part.
    """

    path: str
    sha256: str
    cluster: int
    anomaly_score: float
    distance: float
    label: str | None
    split: str | None
    part: str | None = None
    views: Sequence[ViewEntry] = ()


@dataclass(frozen=True)
class Zoom:
    """The place of highest heat in a large frame, at the frame's own resolution.

    Attributes
    ----------
    picture
        JPEG bytes of that part of the frame.
    box
        Where it lies: left, top, width and height as parts of the frame's sides, from 0 to 1.
    """

    picture: bytes
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """What is drawn for one image.

    Attributes
    ----------
    thumbnail
        JPEG bytes of the whole image, made small; the aspect ratio is the image's own.
    rarity
        Shape ``(grid_height, grid_width)``, float; the image was squashed to a square before it was cut into this grid,
        so the grid is stretched over the whole thumbnail; of a frame in tiles, the grid is that of all of them.
    zoom
        Of a frame in tiles, whose defects are too small for the thumbnail; None for other images.
    n_tiles
        Tiles that the image was cut into.
    """

    thumbnail: bytes
    rarity: NDArray[np.floating[Any]]
    zoom: Zoom | None = None
    n_tiles: int = 1

    @property
    def n_bytes(self) -> int:
        """Bytes of the photographs."""
        return len(self.thumbnail) + (len(self.zoom.picture) if self.zoom else 0)


@dataclass(frozen=True)
class RunReport:
    """One run of one category.

    Attributes
    ----------
    category, run_id, created_at, recipe
        What ran and when (UTC, ISO 8601).
    images
        Every clustered image, in the order of the assignments.
    pictures
        By sha256; the images that are drawn. An image without an entry is listed by name only.
    linkage
        Shape ``(n_images - 1, 4)``, float64, SciPy's layout; leaves in the order of ``images``.
    descriptors
        Shape ``(n_images, dim)``, float32, in the order of ``images``.
    n_clusters, n_clusters_rule
        How many clusters were cut, and a sentence that says why.
    n_clusters_suggested, next_best
        Number that the merge tree suggests without labels, and the numbers that come next, the better one first.
    tau, tau_text
        Temperature in the unit of the scores, and as it was asked for (``0.3sd``).
    protocol
        Name of the evaluation protocol; every score names it.
    scores, scores_defect_only
        None where no labels are given.
    trivial
        Scores of trivial partitions by name, to read the others against (``one cluster``, ``good against defect``).
    counts
        ``total, clustered, normals, duplicates, quarantined, deferred``.
    quarantine
        ``(path, reason)`` of each image that could not be used.
    duplicates
        Groups of paths with identical bytes.
    near_duplicates
        Groups of images that show one part, exposed several times; copies are among them.
    config, seconds, work, versions
        Shown as tables.
    notes
        Sentences that a reader must not miss.
    f1_average
        ``weighted`` or ``micro``: the F1 that the protocol prints first.
    from_maps
        Whether scores and heat are those of anomaly maps, not the rarity of patches.
    score_unit, compared_with
        Otherwise, in words: the unit of the scores, and which images a patch is compared with.
    deferred
        ``(path, reason)`` of each image that is left to the next run.
    unit
        ``image`` or ``part``: what is clustered and counted.
    """

    category: str
    run_id: str
    created_at: str
    recipe: str
    images: Sequence[ImageEntry]
    pictures: Mapping[str, Picture]
    linkage: NDArray[np.float64]
    descriptors: NDArray[np.float32]
    n_clusters: int
    n_clusters_rule: str
    n_clusters_suggested: int
    next_best: tuple[int, ...]
    tau: float
    tau_text: str
    protocol: str
    scores: Scores | None
    scores_defect_only: Scores | None
    trivial: Mapping[str, Scores]
    counts: Mapping[str, int]
    quarantine: Sequence[tuple[str, str]]
    duplicates: Sequence[Sequence[str]]
    config: Mapping[str, object]
    seconds: Mapping[str, float]
    work: Mapping[str, int]
    versions: Mapping[str, str]
    notes: Sequence[str] = ()
    from_maps: bool = False
    score_unit: str = "embedding units"
    compared_with: str = "the other images, on average"
    f1_average: str = "weighted"
    deferred: Sequence[tuple[str, str]] = ()
    unit: str = "image"
    near_duplicates: Sequence[Sequence[ImageEntry]] = ()
