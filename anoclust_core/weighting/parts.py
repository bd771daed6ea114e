"""Parts that several images show: which view of a part decides for it, and which label a part has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import LABELS, checked_array, checked_sequence
from anoclust_core.errors import ArrayContractError
from anoclust_core.records import GOOD, DatasetManifest, ImageRecord


def deciding_rows(scores: NDArray[np.floating[Any]], parts: Sequence[str | None]) -> NDArray[np.int64]:
    """Rows of the images that decide: of every part the view with the highest score.

    An image of no part decides for itself. Of views with the same score the first row decides.

    Parameters
    ----------
    scores
        Shape ``(n_images,)``, finite: how rare each image is, the larger the rarer.
    parts
        Name of the part that each image shows, or None.

    Returns
    -------
    rows
        Ascending, one for each part and each image of no part.

    Raises
    ------
    ArrayContractError
        If there is not one name for each score, or a score is not finite.

    Examples
    --------
    >>> deciding_rows(np.array([0.2, 0.9, 0.4, 0.3]), ["p1", "p1", None, "p2"])
    array([1, 2, 3])
    """
    scores = checked_array("scores", scores, "(n_images,)")
    parts = checked_sequence("parts", parts, LABELS)
    if len(parts) != len(scores):
        raise ArrayContractError(f"expected one part or None for each of {len(scores)} scores, found {len(parts)}")
    if not np.isfinite(scores).all():
        raise ArrayContractError("expected finite scores, found some that are not")
    best: dict[object, int] = {}
    for row, part in enumerate(parts):
        unit: object = row if part is None else part
        if unit not in best or scores[row] > scores[best[unit]]:
            best[unit] = row
    return np.array(sorted(best.values()), dtype=np.int64)


def decided(images: DatasetManifest, scores: NDArray[np.floating[Any]]) -> DatasetManifest:
    """Let the rarest view of every part stand for it: the other views get the role ``view``.

    Parameters
    ----------
    images
        In which no view has decided yet.
    scores
        Shape ``(n_images,)``, in the order of ``images.clustered``.

    Raises
    ------
    ArrayContractError
        As `deciding_rows`.
    """
    clustered = images.clustered
    deciding = {id(clustered[row]) for row in deciding_rows(scores, [image.part for image in clustered])}
    return replace(
        images,
        images=tuple(
            replace(image, role="view") if image.role == "cluster" and id(image) not in deciding else image
            for image in images.images
        ),
    )


def label_of_part(labels: Sequence[str | None]) -> str | None:
    """Label of a part whose views have these: that of its defect, whichever view decides.

    One defect makes a part defective. Of several defects the one that most views show counts, of equally many the
    first by alphabet. Views without a label say nothing.

    Parameters
    ----------
    labels
        Of the views of one part.

    Returns
    -------
    label
        None where no view has one.

    Examples
    --------
    >>> label_of_part(["good", None, "scratch", "good"])
    'scratch'
    """
    counts = Counter(label for label in checked_sequence("labels", labels, LABELS) if label is not None)
    defects = {label: count for label, count in counts.items() if label != GOOD} or counts
    return min(defects, key=lambda label: (-defects[label], label), default=None)


def one_of_each_part(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    """First image of every part, and every image of no part: as many as there are to cluster."""
    seen: set[str] = set()
    found = []
    for image in images:
        if image.part is None or image.part not in seen:
            found.append(image)
            seen.update(() if image.part is None else (image.part,))
    return found


def labels_by_part(images: Sequence[ImageRecord], among: Sequence[ImageRecord]) -> list[str | None]:
    """Label of what each of some images stands for: its part, whose views are ``among``, or the image itself."""
    of: dict[str, list[str | None]] = {}
    for image in among:
        if image.part is not None:
            of.setdefault(image.part, []).append(image.label)
    labels = {part: label_of_part(found) for part, found in of.items()}
    return [image.label if image.part is None else labels[image.part] for image in images]
