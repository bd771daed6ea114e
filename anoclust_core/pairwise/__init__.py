"""Distances from every patch to its nearest patch in other images, on a CPU or a GPU, and which pairs are missing."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from anoclust_core.pairwise.cpu import mutual_nearest_distances as mutual_nearest_distances
    from anoclust_core.pairwise.cpu import nearest_distances as nearest_distances
    from anoclust_core.pairwise.cpu import nearest_distances_within as nearest_distances_within

# what the modules need, a compiler for example, is loaded with the first name that is asked for
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"cpu": ["mutual_nearest_distances", "nearest_distances", "nearest_distances_within"]}
)
