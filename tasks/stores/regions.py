"""Regions of interest at rest: masks of frames, each under the digest of what it holds, whatever file it was read from.

A region never changes; another mask is another region. Images, specs and keys name it by its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import DamagedError, DatasetError, StoreError
from anoclust_core.keys import content_key
from anoclust_core.records import EmbeddingSpec, ImageRecord
from anoclust_core.weighting.regions import Regions, patches_inside
from tasks.stores.files import read_checked, told_as_damage, with_digest, write_json
from tasks.stores.layout import StoreLayout

_NAME: Final = "region-{}"


def keep_region(layout: StoreLayout, mask: NDArray[np.bool_]) -> str:
    """Keep a mask, shape ``(height, width)`` of a frame as it is seen; gives its digest."""
    content = _as_runs(mask)
    digest = _NAME.format(content_key("region", content))
    path = layout.region(digest)
    try:
        read_region(path)
    except (FileNotFoundError, DamagedError):
        write_json(path, with_digest(content))
    return digest


def read_region(path: Path) -> NDArray[np.bool_]:
    """Read a mask, shape ``(height, width)``, bool: true where it is looked at.

    Raises
    ------
    DamagedError
        If it is not what was written: its name is the digest of that.
    """
    kept = read_checked(path)
    with told_as_damage(path):
        shape, runs = (int(kept["height"]), int(kept["width"])), np.array(kept["runs"], np.int64)
        values = np.arange(len(runs)) % 2 == 1
        mask = np.repeat(values, runs).reshape(shape)
        if _NAME.format(content_key("region", _as_runs(mask))) != path.stem:
            raise ValueError("its checksum does not match its name")
    return mask


def _as_runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Height, width and lengths of runs, row by row: first of what is not looked at, perhaps 0, then of what is."""
    flat = np.concatenate([[False], mask.ravel()])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return {
        "height": mask.shape[0],
        "width": mask.shape[1],
        "runs": np.diff(np.concatenate([[0], edges, [mask.size]])).tolist(),
    }


def regions_of(layout: StoreLayout, images: Sequence[ImageRecord], spec: EmbeddingSpec) -> tuple[Regions | None, ...]:
    """Which patches of images count, level by level; None where all patches of all of them do.

    Parameters
    ----------
    layout
        The store.
    images
        The images: one with a region of its own is looked at there, the others in that of the spec.
    spec
        Their spec, with all its levels.

    Raises
    ------
    DatasetError
        If a region covers half of no patch.
    StoreError
        If what is kept of a region is gone or damaged.
    """
    of = {image.sha256: digest for image in images if (digest := image.region or spec.region) is not None}
    if not of:
        return (None,) * len(spec.levels)
    masks = {digest: _kept(layout, digest) for digest in set(of.values())}
    found = []
    for level in spec.levels:
        patches = {digest: patches_inside(mask, level, never_none=level is not spec) for digest, mask in masks.items()}
        found.append(Regions(level.grid, patches, of))
    for digest, inside in found[0].patches.items():
        if not inside.any():
            height, width = masks[digest].shape
            raise DatasetError(
                f"no patch remains in the region of {_example(images, of, digest)}: it has {masks[digest].mean():.2%} "
                f"of {width} x {height} pixels, and half of none of the {spec.grid[1]} x {spec.grid[0]} patches; "
                "draw it larger, or take smaller patches with --tiles or --image-size"
            )
    return tuple(found)


def region_mask(layout: StoreLayout, digest: str | None) -> NDArray[np.bool_] | None:
    """Mask of a region by its digest, shape ``(height, width)``; None of none."""
    return None if digest is None else _kept(layout, digest)


@lru_cache(maxsize=4)
def _kept(layout: StoreLayout, digest: str) -> NDArray[np.bool_]:
    """Read a mask, which never changes; nobody writes into it."""
    path = layout.region(digest)
    try:
        return read_region(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is gone; run again to write it from the file of the region") from error


def _example(images: Sequence[ImageRecord], of: dict[str, str], digest: str) -> str:
    return next(image.path for image in images if of.get(image.sha256) == digest)
