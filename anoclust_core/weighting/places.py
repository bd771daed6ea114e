r"""Frames of a fixed camera: what is usual at a place is taken away before patches are weighted and described.

Every place of the grid shows the same part in all frames. A print, a rim, or the border of a tile has a rarity of its
own there, in every frame, and a patch of its own. What an image has beyond that is

.. math:: \hat s^i_m = s^i_m - (u_m - \bar u), \quad u_m = \operatorname{median}_i s^i_m, \qquad
          \hat z^i_m = z^i_m - \frac{1}{N} \sum_j z^j_m

with the mean :math:`\bar u` over all places, so that scores stay in their unit. The median does not see what few frames
have at a place: their defects stay as rare as they are. Both are learnt from the images of a run, and kept: images that
come later are measured by the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError
from anoclust_core.weighting.regions import checked_inside

_PLACES_AT_ONCE: Final = 4096
"""Places whose median is taken at a time."""


@dataclass(frozen=True)
class Places:
    """What is usual at every place.

    Attributes
    ----------
    scores
        Shape ``(n_patches, n_scores)``, from `usual_scores`.
    patches
        One array a feature level, shape ``(n_patches, dim)`` of that level, float32: the mean patch of each place.
    """

    scores: NDArray[np.float32]
    patches: tuple[NDArray[np.float32], ...]


def usual_scores(scores: NDArray[np.floating[Any]], inside: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    r"""How far the usual score of a place lies above the mean of all places, :math:`u_m - \bar u`.

    Parameters
    ----------
    scores
        Shape ``(n_images, n_patches, n_scores)``, finite, a row for every image, at least one.
    inside
        Shape ``(n_images, n_patches)``, bool: the patches that count, some of every image; None counts all.

    Returns
    -------
    usual
        Shape ``(n_patches, n_scores)``, float32, in the unit of the scores; of mean 0 over the places that count in
        some image, 0 at the others.

    Raises
    ------
    ArrayContractError
        If there is no image, a score is not finite, or as `checked_inside`.

    Examples
    --------
    >>> usual_scores([[[0.2], [0.6]], [[0.2], [0.6]], [[0.9], [0.6]]]).ravel().round(1).tolist()
    [-0.2, 0.2]
    """
    scores = checked_array("scores", scores, "(n_images, n_patches, n_scores)", least=1)
    if not np.isfinite(scores).all():
        raise ArrayContractError("expected finite scores, found NaN or infinity: compute the distances again")
    if inside is None:
        steps = range(0, scores.shape[1], _PLACES_AT_ONCE)
        medians = np.concatenate([np.median(scores[:, at : at + _PLACES_AT_ONCE], axis=0) for at in steps])
        everywhere: NDArray[np.float32] = (medians - medians.mean(axis=0)).astype(np.float32)
        return everywhere
    inside = checked_inside(inside, (scores.shape[0], scores.shape[1]))
    counting = np.flatnonzero(inside.any(axis=0))
    of_places = np.stack([np.median(scores[inside[:, at], at], axis=0) for at in counting.tolist()])
    usual = np.zeros(scores.shape[1:], np.float32)
    usual[counting] = of_places - of_places.mean(axis=0)
    return usual
