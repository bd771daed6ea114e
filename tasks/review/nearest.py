"""Images that are most alike, by stored descriptors: read in parts, so that memory stays the same for any number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.review.rarity import Measures
from tasks.stores import arrays


def nearest_images(measures: Measures, content: str, n: int) -> list[tuple[str, float]]:
    """The ``n`` images whose descriptors are nearest to that of an image, the nearest first.

    Parameters
    ----------
    measures
        What is stored of the category.
    content
        The image; it is none of the result.
    n
        How many at most.

    Returns
    -------
    images
        Content and Euclidean distance, in descriptor units; nothing where the image has no stored descriptor.
    """
    if content not in measures.plain:
        return []
    folder, name, at = measures.plain[content]
    asked = arrays.read(folder, name, (slice(at, at + 1),))[0].astype(np.float64)
    best: list[tuple[float, str]] = []
    for contents, values in measures.parts():
        found = _distances(values, asked)
        best += [(d, other) for d, other in zip(found, contents, strict=True) if other != content]
        best = sorted(best)[:n]
    return [(other, distance) for distance, other in best]


def _distances(rows: NDArray[np.float64], asked: NDArray[np.float64]) -> Sequence[float]:
    found: list[float] = np.linalg.norm(rows - asked, axis=1).tolist()
    return found
