"""How the pictures of a category are decoded that are not plain: kept with the store, the same for every run after."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.embedding.deep_images import Decoding, DeepRange, choose_range
from anoclust_core.errors import StoreError
from anoclust_core.records import ImageRecord
from anoclust_core.seeding import generator
from tasks.images.decoding import UnreadableImageError, decode_samples, read_bytes
from tasks.stores import arrays
from tasks.stores.files import DIGEST, read_json, with_digest, without_digest, write_json

SAMPLE_IMAGES: Final = 64
"""Deep images that a range is taken from, at most: chosen by their contents, whatever their names."""

SAMPLE_VALUES: Final = 1 << 16
"""Pixels that are drawn from each."""


def read_decoding(path: Path) -> Decoding | None:
    """Read what a category keeps; None where there is nothing.

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    try:
        content = read_json(path)
        plain = without_digest(content)
        if DIGEST not in content:
            raise ValueError("it has no checksum")  # noqa: TRY301 - told like every other damage
        return Decoding(int(plain["version"]), tuple(DeepRange(**deep) for deep in plain["deep"]))
    except FileNotFoundError:
        return None
    except (IsADirectoryError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged: {error}; it says which values of the category's deep pictures are black and white. "
            "Restore it from a backup; or delete it: then the next run takes a new range, which may differ, and embeds "
            "these pictures again"
        ) from error


def write_decoding(path: Path, decoding: Decoding) -> None:
    """Keep what holds for a category from now on."""
    write_json(path, with_digest(asdict(decoding)))


def sampled_range(kind: str, images: Iterable[ImageRecord], *, max_pixels: int) -> DeepRange | None:
    """Take a range of a category from a seeded sample of its deep images; None where none can be decoded.

    Parameters
    ----------
    kind
        Kind of samples.
    images
        All that have them. Which of them are taken, and which of their pixels, depends on their contents alone.
    max_pixels
        Largest one that there is memory for.
    """
    samples: list[NDArray[Any]] = []
    by_content = {image.sha256: image for image in images}
    for sha256 in sorted(by_content, key=lambda content: hashlib.sha256(f"range {content}".encode()).digest()):
        try:
            data = read_bytes(Path(by_content[sha256].file), sha256=sha256)
            values = decode_samples(data, max_pixels=max_pixels)
        except UnreadableImageError:
            continue
        pixels = values.reshape(values.shape[0] * values.shape[1], -1)
        drawn = pixels
        if len(pixels) > SAMPLE_VALUES:
            drawn = pixels[generator(int(sha256[:8], 16), "range").integers(0, len(pixels), SAMPLE_VALUES)]
        samples.append(np.array(drawn))
        if len(samples) == SAMPLE_IMAGES:
            break
    return choose_range(kind, samples) if samples else None


def take_over(before: Path, now: Path, sides: Collection[str], *, but: Collection[str]) -> None:
    """Let a folder of segments or slabs have those of another one that are about other contents than some.

    Plain pictures are the same whatever becomes of the others: nothing of theirs is computed again, nor takes more
    space, where the file system knows hard links.

    Parameters
    ----------
    before, now
        Folders of one key each.
    sides
        Fields of a segment's or slab's description that list contents.
    but
        Contents that are decoded in another way now.
    """
    for folder in list(_sealed(before)):
        description = arrays.describe(folder) or {}
        contents = {content for side in sides for content in description.get(side, ())}
        target = now / folder.name
        if contents.isdisjoint(but) and not arrays.is_complete(target):
            arrays.discard(target)
            temporary = now / f".{folder.name}.{secrets.token_hex(4)}.partial"
            shutil.copytree(folder, temporary, copy_function=_link)
            temporary.rename(target)


def _sealed(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if arrays.is_complete(path))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
