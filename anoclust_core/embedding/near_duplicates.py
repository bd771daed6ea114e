"""Pictures that show the same exposure twice: saved again, resized or recompressed, so that their bytes differ."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError

FEWEST: Final = 8
"""Pictures below which nothing is said: two are near-duplicates only compared with what others look like."""

ALIKE: Final = 0.9
"""Correlation of what sets two pictures apart from others from which on they are near-duplicates."""

NEIGHBOURS: Final = (4, 16)
"""Fewest and most pictures, those most like the two, that these are compared with; in between, a third of all: other
parts under the same light, at the same place."""

_NOTHING: Final = 1e-6
"""Mean square, on the scale of the pictures, that is rounding."""

_CANDIDATES: Final = 3
"""Pictures most like each one that it is compared with."""


def near_duplicates(pictures: NDArray[np.floating[Any]] | NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """Find pictures that are the same exposure, though not the same bytes.

    Two pictures of one kind of part under a fixed camera are nearly the same everywhere. What tells them apart is what
    each has of its own: noise, texture, defects. So the mean of the `NEIGHBOURS` other pictures most like the two is
    fitted to both in brightness and contrast and subtracted, and what is left is compared: a correlation of `ALIKE` or
    more makes near-duplicates. Copies reach that unless they were compressed so hard that nothing of their own is left;
    different pictures stay near 0. Pictures that are shifted have to be laid on each other before, see
    `anoclust_core.embedding.alignment.laid_together`: the same shift is something that two may have in common.

    Parameters
    ----------
    pictures
        Shape ``(n_images, height, width)``, finite grey levels on one scale. Small ones are enough: 64 x 64. Fewer than
        `FEWEST` have no near-duplicates.

    Returns
    -------
    groups
        Rows of pictures that are near-duplicates of each other, ascending, two or more a group; also of identical ones.

    Raises
    ------
    ArrayContractError
        If ``pictures`` is not of that shape, or not finite.
    """
    given = checked_array("pictures", pictures, "(n_images, height, width)", least=1)
    if not np.isfinite(given).all():
        raise ArrayContractError(
            f"expected finite pictures, found {np.count_nonzero(~np.isfinite(given)):,} values that are not"
        )
    if len(given) < FEWEST:
        return []
    flat = given.reshape(len(given), -1).astype(np.float64)
    squares = np.einsum("nd,nd->n", flat, flat)
    distances = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0)
    np.fill_diagonal(distances, np.inf)
    group = list(range(len(flat)))
    for one in range(len(flat)):
        for other in np.argsort(distances[one], kind="stable")[:_CANDIDATES].tolist():
            if _correlation_apart(flat, distances, one, other) >= ALIKE:
                kept, lost = sorted((group[one], group[other]))
                group = [kept if name == lost else name for name in group]
    groups = [tuple(np.flatnonzero(np.array(group) == name).tolist()) for name in sorted(set(group))]
    return [rows for rows in groups if len(rows) > 1]


def _correlation_apart(flat: NDArray[np.float64], distances: NDArray[np.float64], one: int, other: int) -> float:
    """Correlation of two pictures less the mean of those most like them; 0 where nothing is left."""
    nearest = np.minimum(distances[one], distances[other])
    nearest[[one, other]] = np.inf
    fewest, most = NEIGHBOURS
    rows = np.argsort(nearest, kind="stable")[: min(most, max(fewest, len(flat) // 3))]
    usual = flat[rows].mean(axis=0)
    usual = usual - usual.mean()
    first, second = (_left(flat[at], usual) for at in (one, other))
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm > _NOTHING * flat.shape[1] else 0.0


def _left(picture: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a picture once brightness and contrast of the usual one are fitted to it."""
    own = picture - picture.mean()
    power = float(usual @ usual)
    left: NDArray[np.float64] = own - usual * (float(own @ usual) / power) if power > 0 else own
    return left
