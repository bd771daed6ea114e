"""Memory planned in bytes before a stage runs: what it will need at its peak, and a refusal where that is too much.

A prediction counts what a stage adds to the process on top of the imported libraries. It is a bound: the tests hold
every stage's measured peak to it over several sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from anoclust_core.errors import ResourceError

DECODE_BYTES_PER_PIXEL: Final = 12
"""Decoding a plain picture to RGB: four bytes of the decoder, as many where it is turned upright, three of the result,
and what a progressive JPEG keeps. Measured: 2 of grey, 7 to 10 of colours. Other kinds take more, see
`tasks.images.decoding`."""

READ_BYTES: Final = 256 << 20
"""Nearest distances that are read back at a time."""

WARD_VALUES: Final = 1 << 22
"""Distances that Ward's rounds hold at a time: 32 MiB, and as much for the sizes that they are weighed with."""

CACHED_BYTES: Final = 256 << 20
"""Bags that were read and will be needed again by other blocks."""

_SMALLER: Final = "lower --image-size or the number of --tiles"
"""What makes bags smaller."""

_MIB: Final = 1 << 20
_FIXED: Final = 64 * _MIB
"""What a stage takes however little there is to do: arenas of the allocator, an engine that starts."""

_FIGURES: Final = 96 * _MIB
"""Matplotlib with its fonts, and a picture sheet."""


_OPTIMISERS: Final = 160 * _MIB
"""Torch's compiler, which its optimisers import with their first step."""

_MAPPED: Final = 256 * _MIB
"""Of a mapped file, while a head is trained: 64 KiB around each of 190 cells of 20 steps."""

_COMPILING: Final = 128 * _MIB
"""Numba and the kernel of image pairs that it compiles, where no kept one can be loaded."""


@dataclass(frozen=True)
class MemoryPlan:
    """Predicted peak of one stage: bytes by what needs them, in words, and what a user can change to need less."""

    stage: str
    parts: Mapping[str, int]
    knob: str

    @property
    def total(self) -> int:
        """Predicted bytes at the peak."""
        return sum(self.parts.values())

    def check(self, budget: int) -> None:
        """Refuse what does not fit.

        Parameters
        ----------
        budget
            Bytes that the stage may use.

        Raises
        ------
        ResourceError
            If the prediction is larger; the message has the numbers and the knob.
        """
        if self.total <= budget:
            return
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:2]
        why = ", ".join(f"{readable_bytes(size)} for {what}" for what, size in largest)
        raise ResourceError(
            f"stage {self.stage} needs {readable_bytes(self.total)} of memory ({why}); it may use "
            f"{readable_bytes(budget)}; {self.knob}, or raise --memory"
        )


def embed_plan(
    *,
    n_values: int,
    image_size: int,
    weight_bytes: int,
    activation_bytes: int,
    images_at_once: int,
    batch: int,
    threads: int,
    segment_images: int,
    decode_bytes: int,
    n_tiles: int = 1,
) -> MemoryPlan:
    """Predict the peak of embedding.

    Parameters
    ----------
    n_values
        Numbers that the bags of one image hold, on all levels.
    image_size
        Side of a picture as the network sees it.
    weight_bytes
        Of the network's weights in single precision.
    activation_bytes
        Live at the peak of the forward pass of one image.
    images_at_once
        Images that networks compute at the same time.
    batch, threads
        Pictures that the network is given at once, and such batches side by side; of frames in tiles, a picture is one
        tile, and a batch has no more frames than there are tiles in it.
    segment_images
        Images that are held until they are written.
    decode_bytes
        Of all pictures that are being decoded at a time.
    n_tiles
        Pictures that the network sees of one image.
    """
    at_rest = 2 * n_values
    frames = max(1, batch // n_tiles)
    pictures = min(batch, frames * n_tiles)
    prepared = 3 * image_size**2 * 4
    return MemoryPlan(
        stage="embed",
        parts={
            "the network": 3 * weight_bytes,
            "its activations": 2 * images_at_once * activation_bytes,
            "decoding the largest images": decode_bytes,
            "prepared images": 3 * threads * batch * prepared,
            "new embeddings": threads * pictures * 16 * n_values // n_tiles,
            "finished embeddings": at_rest * (4 * segment_images + (5 * threads + 1) * frames),
            "the rest": _FIXED,
        },
        knob=f"{_SMALLER} or choose a smaller --backbone",
    )


def detect_plan(
    *,
    map_values: int,
    input_pixels: int,
    weight_bytes: int,
    activation_bytes: int,
    threads: int,
    segment_maps: int,
    decode_bytes: int,
) -> MemoryPlan:
    """Predict the peak of making maps with a detector.

    Parameters
    ----------
    map_values
        Numbers of one map.
    input_pixels
        Of one picture as the detector sees it.
    weight_bytes, activation_bytes
        Of the model's constants, and of all that it computes for one picture, in one thread.
    threads
        Pictures that are looked at side by side.
    segment_maps
        Maps that are held until they are written.
    decode_bytes
        Of all pictures that are being decoded at a time.
    """
    return MemoryPlan(
        stage="detect",
        parts={
            "the detector": 3 * weight_bytes,
            "its activations": threads * activation_bytes,
            "decoding the largest images": decode_bytes,
            "resized images": threads * input_pixels * 3 * 12,
            "new maps": 4 * map_values * (3 * segment_maps + 4 * threads),
            "the rest": _FIXED,
        },
        knob="export the detector for a smaller picture",
    )


def training_plan(*, picture_bytes: int, kept_bytes: int, network_bytes: int) -> MemoryPlan:
    """Predict the peak of training a detector.

    Parameters
    ----------
    picture_bytes
        Of all pictures that it is trained on, as it sees them.
    kept_bytes
        Of the features that it remembers.
    network_bytes
        Of its network, and of what a step computes.
    """
    return MemoryPlan(
        stage="detector train",
        parts={
            "the pictures": picture_bytes,
            "features that are remembered": kept_bytes,
            "the network": network_bytes,
            "the rest": 8 * _FIXED,
        },
        knob="lower --image-size, or give fewer images",
    )


def pair_plan(
    *,
    block_bytes: int,
    side: int,
    n_patches: int,
    dim: int,
    threads: int,
    n_images: int,
    n_pairs: int,
    is_aligned: bool = False,
) -> MemoryPlan:
    """Predict the peak of the pairwise stage in this process.

    Parameters
    ----------
    block_bytes
        Of one block task, see `anoclust_core.pairwise.tiling.block_bytes`.
    side
        Images per side of a block.
    n_patches, dim
        Of the bags.
    threads
        Blocks side by side in this process; 0 where other machines compute them.
    n_images
        Distinct images on both sides.
    n_pairs
        Pairs of the run, computed or not.
    is_aligned
        Whether patches are compared within a window: nothing is compiled for that, and nothing copied.
    """
    group = side * n_patches * dim * 4
    n_blocks = -(-n_pairs // side**2) + 1
    # as they are read; aligned ones are compared as they lie, without copies
    groups = 2 * group if is_aligned else 6 * group
    return MemoryPlan(
        stage="pair",
        parts={
            "blocks of image pairs": threads * (block_bytes + groups),
            "embeddings kept in memory": min(CACHED_BYTES + group, n_images * n_patches * dim * 4) if threads else 0,
            "the list of pairs": 6 * n_pairs + 24_000 * n_blocks,
            "compiling": _COMPILING if threads and not is_aligned else 0,
            "the rest": _FIXED,
        },
        knob=f"{_SMALLER}, choose a deeper layer with --layers or a smaller --reference",
    )


def cover_plan(
    *, block_bytes: int, n_patches: int, dim: int, size: int, images_at_once: int, images_kept: int, threads: int
) -> MemoryPlan:
    """Predict the peak of choosing the patches of images that others are compared with.

    Parameters
    ----------
    block_bytes
        Of comparing one image with its own chosen patches, see `anoclust_core.pairwise.tiling.block_bytes`.
    n_patches, dim, size
        Of the bags, and patches that are chosen.
    images_at_once, images_kept
        Images that a thread reads at a time, and whose patches it holds until they are written.
    threads
        Images side by side in this process; 0 where other machines choose.
    """
    one = n_patches * dim
    return MemoryPlan(
        stage="pair",
        parts={
            "images whose patches are chosen": threads * (4 * images_at_once * one + 20 * one + block_bytes),
            "chosen patches": threads * 6 * images_kept * size * dim,
            "compiling": _COMPILING if threads else 0,
            "the rest": _FIXED,
        },
        knob=f"{_SMALLER}, choose a deeper layer with --layers or a smaller --reference-patches",
    )


def weigh_plan(*, n_images: int, n_contents: int, n_reference: int, n_patches: int, dim: int, bags: int) -> MemoryPlan:
    """Predict the peak of weighing.

    Parameters
    ----------
    n_images, n_contents
        Clustered images, and distinct ones among them.
    n_reference
        Distinct images that distances are measured to.
    n_patches, dim
        Of the bags.
    bags
        Bags pooled at a time.
    """
    read = min(max(READ_BYTES, n_reference * n_patches * 2), n_contents * n_reference * n_patches * 2)
    slab = min(256, n_contents) * min(256, n_reference) * n_patches * 2
    return MemoryPlan(
        stage="weigh",
        parts={
            "nearest distances": 2 * read + 4 * slab + 8 * n_reference * n_patches,
            "rarity and weights": 72 * n_images * n_patches,
            "embeddings being pooled": min(bags, n_contents) * n_patches * dim * 26,
            "descriptors": 16 * n_images * dim,
            "the rest": _FIXED,
        },
        knob=f"{_SMALLER} or --reference",
    )


def near_duplicates_plan(*, n_contents: int, n_patches: int, dim: int, is_stored: bool) -> MemoryPlan:
    """Predict the peak of looking for near-duplicates.

    Parameters
    ----------
    n_contents
        Distinct clustered images.
    n_patches, dim
        Of the bags.
    is_stored
        Whether the distances of all pairs are read; else bags are held, and some of their pairs compared.
    """
    reading = min(max(READ_BYTES, 2 * n_contents * n_patches), 2 * n_contents**2 * n_patches)
    distances = {"distances of all pairs": 24 * n_contents**2, "nearest distances": 3 * reading}
    bags = {"embeddings": 9 * n_contents * n_patches * dim + 256 * n_patches * (dim + 16), "the kernel": _COMPILING}
    return MemoryPlan(
        stage="near_duplicates",
        parts={
            **(distances if is_stored else bags),
            "nearest images": 1200 * n_contents,
            "the rest": _FIXED,
        },
        knob=f"{_SMALLER} or --reference",
    )


def whiten_plan(
    *, n_contents: int, n_reference: int, n_patches: int, n_scores: int, dims: Sequence[int], n_pooled: int
) -> MemoryPlan:
    """Predict the peak of weighing and describing by recipe auto: distances are read first, and let go of.

    Parameters
    ----------
    n_contents, n_reference
        Distinct clustered images, and distinct ones that distances are measured to.
    n_patches, n_scores, dims
        Of the bags: the first level's patches, scores of a patch, and the length of a patch on each level.
    n_pooled
        Values of the bags that are pooled at a time, on the level where these are most.
    """
    read = min(max(READ_BYTES, n_reference * n_patches * 2), n_contents * n_reference * n_patches * 2)
    slab = min(256, n_contents) * min(256, n_reference) * n_patches * 2
    total = 3 * sum(dims)
    drawn = min(n_contents, 1000)
    fixed = {"whitenings": 64 * sum(dim * dim for dim in dims), "the rest": _FIXED}
    reading = {
        "nearest distances": 2 * read + 4 * slab + 24 * n_reference * n_patches,
        "scores": 16 * n_scores * n_contents * n_patches,
        **fixed,
    }
    describing = {
        "scores and weights": (24 * n_scores + 48) * n_contents * n_patches,
        "embeddings being pooled": 26 * n_pooled,
        "descriptors": 26 * n_contents * total,
        "random parts of the images": 40 * drawn * drawn + 40 * drawn * total,
        **fixed,
    }
    parts = max(reading, describing, key=lambda one: sum(one.values()))
    return MemoryPlan(stage="whiten", parts=parts, knob=f"{_SMALLER} or --reference")


def localize_plan(
    *, n_contents: int, n_patches: int, dim: int, sampled: int, batch: int, threads: int, at_once: int
) -> MemoryPlan:
    """Predict the peak of blind localisation.

    Parameters
    ----------
    n_contents
        Distinct images.
    n_patches, dim
        Of the feature maps.
    sampled
        Cells that the VAE is trained on.
    batch
        Cells a training step.
    threads
        Images whose maps are made side by side.
    at_once
        Images that are read together.
    """
    one = 4 * n_patches * dim
    training = {"sampled cells": 4 * sampled * dim, "a training step": 60 * 4 * batch * max(dim, 128)}
    making = {"residuals and ranks": (12 * one + (16 << 20)) * threads, "maps": 12 * n_contents * n_patches}
    larger = max(training, making, key=lambda parts: sum(parts.values()))
    return MemoryPlan(
        stage="localize",
        parts={
            "images being read": 4 * at_once * one,
            **larger,
            "torch's optimisers": _OPTIMISERS,
            "the rest": 4 * _FIXED,
        },
        knob="lower --image-size, or use recipe sohn",
    )


def describe_plan(*, n_images: int, n_contents: int, n_patches: int, dim: int, threads: int) -> MemoryPlan:
    """Predict the peak of pooling around anomaly maps, and of training a head.

    While a head is trained, all feature maps are mapped from a file, and let go after some steps.

    Parameters
    ----------
    n_images, n_contents
        Clustered images, and distinct ones among them.
    n_patches, dim
        Of the feature maps.
    threads
        Images that are described side by side.
    """
    one = 4 * n_patches * dim
    return MemoryPlan(
        stage="describe",
        parts={
            "feature maps": min(n_contents * one // 2, _MAPPED) + 4 * 16 * one,
            "feature maps and their projections": threads * (8 * one + 12 * n_patches * 512),
            "maps and weights": 60 * n_images * n_patches,
            "distances between images": 24 * n_contents**2,
            "descriptors": 16 * n_images * max(dim, 512),
            "the rest": 4 * _FIXED,
        },
        knob="lower --image-size, or use recipe sohn",
    )


def group_plan(*, n_images: int, dim: int, n_patches: int, has_matrix: bool, has_distances: bool) -> MemoryPlan:
    """Predict the peak of clustering: linear in the images for Ward and single linkage over descriptors.

    Parameters
    ----------
    n_images, dim
        Number and length of the descriptors.
    n_patches
        Patches a bag.
    has_matrix
        Whether the linkage needs the distances of all pairs: complete and average linkage.
    has_distances
        Whether distances between images, read from what the pairwise stage stored, are clustered.
    """
    read = min(max(READ_BYTES, 2 * n_images * n_patches), 2 * n_images**2 * n_patches)
    return MemoryPlan(
        stage="group",
        parts={
            "descriptors": 40 * n_images * dim,
            "the tree": 400 * n_images,
            "distances of some to all": 16 * min(WARD_VALUES, n_images**2),
            "distances between images": (48 if has_distances else 8 if has_matrix else 0) * n_images**2,
            "nearest distances": 3 * read if has_distances else 0,
            "the rest": _FIXED,
        },
        knob="cluster fewer images at once",
    )


def report_plan(
    *, n_images: int, n_patches: int, dim: int, n_drawn: int, thumbnail_bytes: int, largest_pixels: int
) -> MemoryPlan:
    """Predict the peak of the report.

    Parameters
    ----------
    n_images, n_patches, dim
        Of the run.
    n_drawn
        Images drawn at most.
    thumbnail_bytes
        Of one drawn picture, in the page, its zoom included.
    largest_pixels
        Pixels of the largest image.
    """
    return MemoryPlan(
        stage="report",
        parts={
            "rarity and descriptors": n_images * (5 * n_patches + 40 * dim),
            "the rows of the tables": 8_000 * n_images,
            "pictures": n_drawn * 3 * thumbnail_bytes,
            "decoding the largest image": DECODE_BYTES_PER_PIXEL * largest_pixels,
            "figures": _FIGURES,
            "the rest": _FIXED,
        },
        knob="cluster fewer images at once",
    )


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
            "the rest": _FIXED,
        },
        knob=f"benchmark fewer images, or {_SMALLER}",
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
            "the rest": 2 * _FIXED,
        },
        knob="benchmark fewer images",
    )


def readable_bytes(size: int) -> str:
    """Write a number of bytes for a person, rounded up.

    Examples
    --------
    >>> readable_bytes(900), readable_bytes(1 << 20), readable_bytes((3 << 30) + 1)
    ('900 B', '1.0 MiB', '3.1 GiB')
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{-(-size * 10 // unit) / 10:,.1f} {name}"
    return f"{size} B"
