"""What benchmarks take."""

from __future__ import annotations

from anoclust_core.memory.plan import FIXED, SMALLER, MemoryPlan


def benchmark_plan(*, n_images: int, n_normals: int, n_patches: int, dim: int, image_size: int) -> MemoryPlan:
    """Predict the peak of one experiment of the benchmark, which holds all distances of a category.

    Parameters
    ----------
    n_images, n_normals
        Clustered images, and normals that distances are measured to.
    n_patches, dim, image_size
        Of the embedding spec.
    """
    return MemoryPlan(
        stage="measure",
        parts={
            "nearest distances": 6 * n_images * (n_images + n_normals) * n_patches,
            "rarity within subsets": 4 * 100 * n_images * n_patches,
            "embeddings": 12 * n_images * n_patches * dim,
            "distances between images": 96 * n_images**2,
            "ground truth and maps": 24 * n_images * image_size**2,
            "the rest": FIXED,
        },
        knob=f"benchmark fewer images, or {SMALLER}",
    )


def blind_benchmark_plan(*, n_images: int, n_patches: int, dim: int, side: int) -> MemoryPlan:
    """Predict the peak of scoring what recipe blind has stored.

    Parameters
    ----------
    n_images
        Clustered images.
    n_patches, dim
        Of the feature maps.
    side
        Of the ground truth in pixels; 0 where none is read.
    """
    return MemoryPlan(
        stage="measure",
        parts={
            "descriptors": 40 * n_images * max(dim, 512),
            "distances between images": 96 * n_images**2,
            "maps": 24 * n_images * n_patches,
            "ground truth and maps": 24 * n_images * side**2,
            "the rest": 2 * FIXED,
        },
        knob="benchmark fewer images",
    )
