"""Images that are most alike, by stored descriptors: read in parts, so that memory stays the same for any number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.review.rarity import Measures
from tasks.stores import arrays

_ROWS: Final = 4096
"""Descriptors that are read at a time."""


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
    places = sorted(measures.plain.items(), key=lambda item: (str(item[1][0]), item[1][2]))
    for (folder, name), group in groupby(places, key=lambda item: item[1][:2]):
        rows = [(place[2], other) for other, place in group]
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            first, last = part[0][0], part[-1][0]
            stored = arrays.read(folder, name, (slice(first, last + 1),)).astype(np.float64)
            found = _distances(stored[[row - first for row, _ in part]], asked)
            best += [(float(d), other) for d, (_, other) in zip(found, part, strict=True) if other != content]
            best = sorted(best)[:n]
    return [(other, distance) for distance, other in best]


def _distances(rows: NDArray[np.float64], asked: NDArray[np.float64]) -> Sequence[float]:
    found: list[float] = np.linalg.norm(rows - asked, axis=1).tolist()
    return found
