"""Handles of what stages have written: they pass between stages, and Prefect keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anoclust_core.records.embedding import Reference


@dataclass(frozen=True)
class ArrayHandle:
    """Handle of arrays at rest.

    Attributes
    ----------
    uri
        Folder that holds them.
    key
        Content key of the stage that made them.
    shapes
        Shape by array name.
    """

    uri: str
    key: str
    shapes: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class NearestDistances:
    """Handle of the nearest-patch distances of a data set.

    Attributes
    ----------
    uri
        Folder of the immutable slabs; it may cover more pairs than this data set has.
    key
        Content key of data set and embedding.
    reference
        Images that distances are measured to.
    shape
        ``(n_images, n_reference, n_patches)`` of the distinct contents.
    once
        Folder of the near-duplicates that count as one image; empty where every image counts.
    """

    uri: str
    key: str
    reference: Reference
    shape: tuple[int, int, int]
    once: str = ""


@dataclass(frozen=True)
class BagWeights:
    """Handle of rarity, weights and descriptors, and the temperature in embedding units that made them.

    ``once`` is that of `NearestDistances`.
    """

    arrays: ArrayHandle
    tau: float
    once: str = ""


@dataclass(frozen=True)
class ClusterTree:
    """Handle of the linkage and the cluster of each image, and how the number of clusters came about."""

    arrays: ArrayHandle
    n_clusters: int
    n_clusters_rule: str
    n_clusters_suggested: int
    next_best: Sequence[int] = ()
