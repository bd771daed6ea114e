"""Groups of bags as the kernels of image pairs take them, and room for what is found between two of them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_array

Group: TypeAlias = NDArray[np.float32]
"""Shape ``(n_bags, n_patches, dim)``, at least one patch and one feature; the norms were checked by the caller."""


def checked_group(bags: Group, *, name: str = "bags", count: str = "n_images") -> Group:
    """Check type and shape of a group; ``count`` is what a message calls the number of its images.

    Raises
    ------
    ArrayContractError
        If it is no `Group`.
    """
    return checked_array(name, bags, f"({count}, n_patches, dim)", dtype=np.float32, least=(0, 1, 1))


def with_room(bags: Group, others: Group) -> tuple[Group, Group, NDArray[np.float32], NDArray[np.float32]]:
    """Check two groups that are to be compared, and make room for one value a patch there and back.

    Returns
    -------
    bags, others
        As they came; see `checked_group`.
    there, back
        Shapes ``(n_bags, n_others, n_patches)`` and ``(n_others, n_bags, n_other_patches)``, float32, not set yet.
    """
    bags, others = checked_group(bags), checked_group(others, name="others", count="n_others")
    there = np.empty((len(bags), len(others), bags.shape[1]), np.float32)
    back = np.empty((len(others), len(bags), others.shape[1]), np.float32)
    return bags, others, there, back
