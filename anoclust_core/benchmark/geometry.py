"""The images of one category as the papers' methods see them: descriptors, or distances between images.

Everything follows from arrays that a run has stored. Nothing here compares patches: sweeps and subsets cost no
pairwise pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.arrays import WHOLE, checked_array, checked_sequence
from anoclust_core.bags import check_bags
from anoclust_core.benchmark.published import AVERAGE, MASK, MAX_HAUSDORFF, SEMI, WEIGHTED
from anoclust_core.clustering.distances import HausdorffVariant, PairStatistics, hausdorff_distances
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weighting.pooling import average_pool, bag_of_words, gem_pool, max_pool, spoc_pool
from anoclust_core.weighting.rarity import expected_rarity, maximum_rarity, minimum_rarity, rarity_against_normals
from anoclust_core.weighting.weights import hard_weights, hybrid_weights, mask_weights, soft_weights, temperature

Floats: TypeAlias = NDArray[np.floating[Any]]
RarityKind: TypeAlias = Literal["expectation", "maximum", "minimum", "normals"]

HOLISTIC: Final = "holistic"
HAUSDORFF_VARIANTS: Final[tuple[HausdorffVariant, ...]] = get_args(HausdorffVariant)


@dataclass(frozen=True)
class CategoryArrays:
    """What is known of the images of one category, one row per image.

    Attributes
    ----------
    name
        Of the category.
    labels
        One per image, or None.
    bags
        Shape ``(n_images, n_patches, dim)``, float32, unit norm per patch.
    grid
        Patches down and across.
    nearest
        Shape ``(n_images, n_images, n_patches)``: nearest distances to every image, 0 to itself and to its copies.
    to_normals
        Shape ``(n_images, n_normals, n_patches)``, or None without normals.
    statistics
        What the Hausdorff distances follow from.
    masks
        Ground truth, ``(n_images, side, side)``, True where the defect is, or None without masks.
    holistic
        Shape ``(n_images, width)``: the network's last embedding of the whole image, or None.
    deeper, deeper_grid
        Bags of the deeper level, ``(n_images, n_cells, width)``, for recipe auto; or None.
    normal_means
        Of every level the mean patches of the known normals, ``(n_normals, dim)``; or None.
    """

    name: str
    labels: Sequence[str | None]
    bags: Floats
    grid: tuple[int, int]
    nearest: Floats
    to_normals: Floats | None
    statistics: PairStatistics
    masks: NDArray[np.bool_] | None = None
    holistic: Floats | None = None
    deeper: Floats | None = None
    deeper_grid: tuple[int, int] = (0, 0)
    normal_means: tuple[Floats, ...] | None = None

    def __post_init__(self) -> None:
        """Check that all arrays are of the same images.

        Raises
        ------
        ArrayContractError
            If a shape does not fit, patches are not of unit norm, or there are fewer than two images.
        """
        n, patches = self.n_images, self.grid[0] * self.grid[1]
        if n < 2:
            raise ArrayContractError(f"a benchmark needs at least 2 images; found {n} of category {self.name}")
        check_bags(self.bags)
        shapes = {
            "bags": (self.bags.shape[:2], (n, patches)),
            "nearest": (self.nearest.shape, (n, n, patches)),
            "statistics": (self.statistics.largest.shape, (n, n)),
        }
        if self.to_normals is not None:
            shapes["to_normals"] = (self.to_normals.shape, (n, max(1, self.to_normals.shape[1]), patches))
        if self.masks is not None:
            shapes["masks"] = (self.masks.shape[:1], (n,))
        if self.holistic is not None:
            shapes["holistic"] = (self.holistic.shape[:1], (n,))
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ArrayContractError(f"{name} of category {self.name} must have shape {expected}; found {found}")

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class Geometry:
    """Images of one method: descriptors ``(n_images, dim)``, or distances ``(n_images, n_images)``; one of the two."""

    descriptors: Floats | None = None
    distances: NDArray[np.float64] | None = None

    def subset(self, rows: NDArray[np.int64]) -> Geometry:
        """Keep some images."""
        if self.descriptors is not None:
            return Geometry(descriptors=self.descriptors[rows])
        assert self.distances is not None  # noqa: S101 - one of the two, for the type checker
        return Geometry(distances=self.distances[np.ix_(rows, rows)])


def rarity_of(category: CategoryArrays, kind: RarityKind) -> NDArray[np.float64]:
    """Rarity of every patch, shape ``(n_images, n_patches)``, see `anoclust_core.weighting.rarity`.

    Raises
    ------
    ConfigError
        If the rarity against normals is asked for and there are none.
    """
    if kind == "normals":
        if category.to_normals is None:
            raise ConfigError(f"{category.name} has no normals to measure rarity against")
        return rarity_against_normals(category.to_normals)
    counts = np.ones(category.n_images, np.int64)
    return _OVER_OTHERS[kind](category.nearest, counts)


_OVER_OTHERS: Final[Mapping[RarityKind, Callable[[Floats, NDArray[np.int64]], NDArray[np.float64]]]] = MappingProxyType(
    {"expectation": expected_rarity, "maximum": maximum_rarity, "minimum": minimum_rarity}
)


def pooled(bags: Floats, weights: Floats) -> NDArray[np.float32]:
    """Weighted averages of patches for many weights at once, [SOHN23] eq. (1).

    Parameters
    ----------
    bags
        Shape ``(n_images, n_patches, dim)``, float32.
    weights
        Shape ``(n_settings, n_images, n_patches)``.

    Returns
    -------
    descriptors
        Shape ``(n_settings, n_images, dim)``, float32; sums of at most 1 in single precision.
    """
    bags = checked_array("bags", bags, "(n_images, n_patches, dim)")
    weights = checked_array("weights", weights, "(n_settings, n_images, n_patches)")
    if weights.shape[1:] != bags.shape[:2]:
        raise ArrayContractError(f"expected a weight per patch of bags {bags.shape}, found weights {weights.shape}")
    by_image = np.ascontiguousarray(weights.transpose(1, 0, 2), dtype=np.float32)
    return np.ascontiguousarray(np.matmul(by_image, bags).transpose(1, 0, 2))


def weighted(category: CategoryArrays, rarity: NDArray[np.float64], taus: Sequence[str]) -> list[Geometry]:
    """Soft weights at every temperature, [SOHN23] eq. (5), (6)."""
    taus = checked_sequence("taus", taus, (str,), least=1)
    weights = np.stack([soft_weights(rarity, tau=temperature(tau, rarity)) for tau in taus])
    return [Geometry(descriptors=found) for found in pooled(category.bags, weights)]


def top_weighted(
    category: CategoryArrays, rarity: NDArray[np.float64], top_ks: Sequence[int], tau: str | None
) -> list[Geometry]:
    """Hard weights on the top k patches, [SOHN23] eq. (8); with a temperature soft ones on them, eq. (9)."""
    top_ks = checked_sequence("top_ks", top_ks, (int, np.integer), least=1)
    weights = [
        hard_weights(rarity, top_k=k) if tau is None else hybrid_weights(rarity, tau=temperature(tau, rarity), top_k=k)
        for k in top_ks
    ]
    return [Geometry(descriptors=found) for found in pooled(category.bags, np.stack(weights))]


def hausdorff(category: CategoryArrays, variant: HausdorffVariant) -> Geometry:
    """Distances by one variant of the Hausdorff distance, [SOHN23] appendix C."""
    return Geometry(distances=hausdorff_distances(category.statistics, variant=variant))


def baseline(category: CategoryArrays, name: str, generator: np.random.Generator) -> Geometry:
    """One of the pooling baselines of [SOHN23] Tables 1 and 9, by its name there.

    Raises
    ------
    ConfigError
        If there is no such baseline.
    """
    if name not in BASELINES:
        raise ConfigError(f"the pooling baselines are {', '.join(BASELINES)}; found {name!r}")
    return Geometry(descriptors=BASELINES[name](category, generator))


BASELINES: Final[Mapping[str, Callable[[CategoryArrays, np.random.Generator], Floats]]] = MappingProxyType(
    {
        AVERAGE: lambda category, _: average_pool(category.bags),
        "max": lambda category, _: max_pool(category.bags),
        "GeM": lambda category, _: gem_pool(category.bags),
        "SPoC": lambda category, _: spoc_pool(category.bags, category.grid),
        "bag of words": lambda category, generator: bag_of_words(category.bags, generator=generator),
    }
)


def main_methods(category: CategoryArrays, tau: str, tau_normals: str) -> dict[str, Geometry]:
    """Rows of [SOHN23] Tables 1 and 7, as far as the category has normals and masks."""
    found = {
        AVERAGE: Geometry(descriptors=average_pool(category.bags)),
        MAX_HAUSDORFF: hausdorff(category, "max_min_max"),
        WEIGHTED: weighted(category, rarity_of(category, "expectation"), [tau])[0],
    }
    if category.to_normals is not None:
        found[SEMI] = weighted(category, rarity_of(category, "normals"), [tau_normals])[0]
    if category.masks is not None:
        oracle = mask_weights(list(category.masks), category.grid)
        found[MASK] = Geometry(descriptors=pooled(category.bags, oracle[None])[0])
    return found


def enlarged(maps: Floats, side: int) -> NDArray[np.float32]:
    """Enlarge maps on the patch grid, ``(n_images, height, width)``, to ``(n_images, side, side)``, bilinearly."""
    maps = checked_array("maps", maps, "(n_images, height, width)", least=1)
    return np.stack(
        [
            np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
            for values in maps
        ]
    )


def subset_rarities(category: CategoryArrays, subsets: NDArray[np.int64]) -> NDArray[np.float32]:
    r"""Expected rarity within every subset of the images, [SOHN23] eq. (5), from one product per image.

    Parameters
    ----------
    category
        Its ``nearest`` has every pair.
    subsets
        Shape ``(n_subsets, n_kept)``: positions of the images kept, at least two.

    Returns
    -------
    rarity
        Shape ``(n_subsets, n_images, n_patches)``, float32; rows of images outside of a subset mean nothing.
    """
    subsets = checked_array("subsets", subsets, "(n_subsets, n_kept)", kinds=WHOLE, least=1)
    n_subsets, n_kept = subsets.shape
    shares = np.zeros((n_subsets, category.n_images), np.float32)
    np.put_along_axis(shares, subsets, np.float32(1 / (n_kept - 1)), axis=1)
    return np.stack([shares @ row.astype(np.float32) for row in category.nearest], axis=1)
