"""A reference bounded in patches: of every image a few patches that all its others are near to, as a cover.

A patch is compared with so many patches of another image instead of all. Its distance to that image is never smaller
for that, and larger by no more than the cover's radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array
from anoclust_core.bags import check_bags
from anoclust_core.config import RunConfig
from anoclust_core.config.setting import MAX_TILES
from anoclust_core.errors import ArrayContractError
from anoclust_core.pairwise.cpu import nearest_distances
from anoclust_core.records import Cover, EmbeddingSpec

PATCHES_OF_MANY: Final = 4096
"""Patches of an image that others are compared with where frames have more than `MAX_TILES` tiles: comparing two frames
of 192 tiles then takes two fifths of what those of 128 tiles take with all their patches."""


class Covered(NamedTuple):
    """Patches of an image that its others are near to.

    Attributes
    ----------
    places
        Shape ``(size,)``, int64: which patches, each once, in the order in which they were chosen.
    radius
        Largest distance of any patch of the image to the nearest of them, in [0, 2].
    """

    places: NDArray[np.int64]
    radius: float


def greedy_cover(bag: NDArray[np.floating[Any]], size: int, *, rng: np.random.Generator) -> Covered:
    r"""Choose patches of an image one after the other, each time the one that is farthest from those chosen before.

    The first is drawn. With C of the patches chosen, :math:`r(C) = \max_m \min_{n \in C} \| z_m - z_n \|` is at most
    twice the smallest that so many patches can have (Gonzalez 1985), which is the coreset of PatchCore (Roth et al.
    2022, algorithm 1) for one image. By the triangle inequality, a patch z of another image has

    .. math:: \min_m \| z - z_m \| \le \min_{n \in C} \| z - z_n \| \le \min_m \| z - z_m \| + r(C)

    Fewer patches are the first ones of more. One pass over the image for each patch that is chosen.

    Parameters
    ----------
    bag
        Shape ``(n_patches, dim)``, unit L2 norm per patch.
    size
        Patches to choose, from 1 to ``n_patches``.
    rng
        Draws the first patch.

    Returns
    -------
    covered
        The same for the same bag and draw, whatever other images there are.

    Raises
    ------
    ArrayContractError
        If the bag is not two-dimensional or not of unit norm, or has fewer patches than ``size``.
    """
    patches = check_bags(checked_array("bag", bag, "(n_patches, dim)")[None], name="bag")[0]
    if not 1 <= size <= len(patches):
        raise ArrayContractError(f"expected a size from 1 to {len(patches)}, the patches of the bag; found {size}")
    places = np.empty(size, np.int64)
    places[0] = rng.integers(len(patches))
    nearest = np.full(len(patches), np.inf, np.float32)
    for at in range(size):
        if at:
            places[at] = nearest.argmax()
        np.minimum(nearest, 2 - 2 * (patches @ patches[places[at]]), out=nearest)
        nearest[places[at]] = -1  # not a second time, be all patches alike
    return Covered(places, float(nearest_distances(patches[None], patches[places][None]).max()))


def covered_spec(spec: EmbeddingSpec, config: RunConfig) -> EmbeddingSpec:
    """Spec whose images are compared with a part of each other's patches, where that is asked for or ``auto`` does it.

    A part of more than half would take longer than all patches, of which one product gives the distances both ways.

    Parameters
    ----------
    spec
        As frames are cut, and aligned or not.
    config
        What is asked for.
    """
    asked = config.pair.reference_patches
    size = asked if isinstance(asked, int) else min(PATCHES_OF_MANY, spec.n_patches // 2)
    takes_all = asked == "all" or (asked is None and spec.n_tiles <= MAX_TILES)
    is_compared = config.recipe != "blind" and config.group.distance == "weighted_average" and spec.window is None
    if takes_all or not is_compared or 2 * size > spec.n_patches:
        return replace(spec, cover=None)
    return replace(spec, cover=Cover(size, config.seed))


def cover_note(spec: EmbeddingSpec, asked: int | str | None, radii: Sequence[float] = ()) -> str | None:
    """Say how many patches of an image others are compared with; None where nobody asks, and all are.

    Parameters
    ----------
    spec
        From `covered_spec`.
    asked
        Value of ``pair.reference_patches``.
    radii
        Of the images' covers, as far as they are known.
    """
    if spec.cover is not None:
        which = f"A patch is compared with {spec.cover.size:,} of the {spec.n_patches:,} patches of every other image"
        how = f"chosen so that the others are near to them, with seed {spec.cover.seed} (--reference-patches)"
        if not radii:
            return f"{which}, {how}."
        return (
            f"{which}, {how}: distances are up to {median(radii):.3f} larger for that in the median image, up to "
            f"{max(radii):.3f} in the worst."
        )
    if not isinstance(asked, int) or asked >= spec.n_patches:
        return None
    if spec.window is not None:
        return f"--reference-patches {asked} is not used: patches are compared near their own place only."
    return (
        f"A patch is compared with all {spec.n_patches:,} patches of every other image: --reference-patches {asked} is "
        "more than half of them, which would take longer."
    )
