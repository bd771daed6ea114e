"""The images that rarity is measured against: all of them, or a random subset that stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from anoclust_core.arrays import checked_sequence
from anoclust_core.errors import ConfigError, ResourceError
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.records import DatasetManifest, Reference, Role, unique_contents

DISTANCE_BYTES: Final = 2
"""Bytes of one nearest distance at rest, half precision."""

MIN_BLIND: Final = 2
"""Smallest reference among the clustered images: an image of it still has another one to be measured against."""


def reference_contents(reference: Reference, images: DatasetManifest) -> tuple[list[str], list[int]]:
    r"""Distinct contents that the expectation of [SOHN23] eq. (5), or the minimum of eq. (6), runs over.

    With a size they are the random subset :math:`Z_{sub}` of eq. (7).

    Returns
    -------
    hashes, counts
        Content hashes in ascending order, and how many images have each.
    """
    hashes, counts = unique_contents(images.compared if reference.role == "cluster" else images.normals)
    if reference.size is None:
        return hashes, counts
    drawn = set(draw(hashes, reference.size, seed=reference.seed))
    kept = [(sha256, count) for sha256, count in zip(hashes, counts, strict=True) if sha256 in drawn]
    return [sha256 for sha256, _ in kept], [count for _, count in kept]


def draw(hashes: Sequence[str], size: int, *, seed: int) -> list[str]:
    """Draw a random subset of contents, the same whatever their order.

    The ``size`` contents with the smallest digest of (seed, content) are taken. So a set that grows keeps most of its
    reference: one image more replaces at most one.

    Parameters
    ----------
    hashes
        Distinct content hashes.
    size
        At least 1; where there are no more, all are taken.
    seed
        Another one gives another subset.

    Examples
    --------
    >>> draw(["a", "b", "c"], 2, seed=0) == draw(["c", "a", "b"], 2, seed=0)
    True
    """
    hashes = checked_sequence("hashes", hashes, (str,))
    ranked = sorted(hashes, key=lambda sha256: hashlib.sha256(f"{seed} {sha256}".encode()).digest())
    return sorted(ranked[:size])


def choose_reference(images: DatasetManifest, *, size: int | None, budget: int, n_patches: int, seed: int) -> Reference:
    """Decide how many images rarity is measured against.

    Parameters
    ----------
    images
        The data set; its normals are the reference where there are any.
    size
        Number asked for, or None: all while their distances fit the budget, else as many as fit.
    budget
        Bytes that the nearest distances, ``(n_images, n_reference, n_patches)`` in half precision, may take.
    n_patches
        Patches a bag.
    seed
        Seed of the draw.

    Raises
    ------
    ResourceError
        If the number asked for, or the smallest possible one, does not fit the budget.
    ConfigError
        If one image is asked for in a blind run, which leaves that image nothing to be measured against.
    """
    role: Role = "normal" if images.normals else "cluster"
    n_images = len(unique_contents(images.compared)[0])
    n_all = len(reference_contents(Reference(role), images)[0])
    smallest = 1 if role == "normal" else min(MIN_BLIND, n_all)
    if size is not None and size < smallest:
        raise ConfigError(f"--reference {size}: a blind run needs a reference of at least {smallest} images")
    bytes_each = max(1, n_images * n_patches * DISTANCE_BYTES)
    fitting = budget // bytes_each
    wanted = min(size, n_all) if size is not None else max(smallest, min(n_all, fitting))
    if fitting < wanted:
        raise ResourceError(
            f"the nearest distances of {n_images:,} images of {images.category} to {wanted:,} others take "
            f"{readable_bytes(wanted * bytes_each)}, --store-budget is {readable_bytes(budget)}; "
            + (f"lower --reference to {fitting} or " if fitting >= smallest else "")
            + f"raise --store-budget to {-(-wanted * bytes_each // (1 << 20))}MiB; with a smaller --image-size or "
            "fewer --tiles there are fewer distances"
        )
    return Reference(role) if wanted == n_all else Reference(role, wanted, seed)


def reference_note(reference: Reference, images: DatasetManifest) -> list[str]:
    """What a reader must know of a reference that is not everything."""
    if reference.size is None:
        return []
    n_all = len(reference_contents(Reference(reference.role), images)[0])
    of = "normal images" if reference.role == "normal" else "images"
    return [
        f"Rarity is measured against {reference.size:,} of {n_all:,} {of}, drawn at random with seed {reference.seed} "
        "(--reference, --store-budget)."
    ]
