"""How the pictures of a category are decoded that are not plain: kept with the store, the same for every run after."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class KeptDecoding:
    """What a category keeps.

    Attributes
    ----------
    decoding
        Ranges as they were taken from its images, whatever a setting asks for now.
    seen
        By the kind of samples, contents that a range that may still be widened was held against.
    """

    decoding: Decoding
    seen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_kept(path: Path) -> KeptDecoding | None:
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
        seen = {kind: tuple(contents) for kind, contents in plain.get("seen", {}).items()}
        deep = (DeepRange(**one, n_seen=len(seen.get(one["samples"], ()))) for one in plain["deep"])
        return KeptDecoding(Decoding(int(plain["version"]), tuple(deep)), seen)
    except FileNotFoundError:
        return None
    except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged: {error}; it says which values of the category's deep pictures are black and white. "
            "Restore it from a backup; or delete it: then the next run takes a new range, which may differ, and embeds "
            "these pictures again"
        ) from error


def read_decoding(path: Path) -> Decoding | None:
    """Decoding that a category keeps; None where there is nothing. Raises what `read_kept` does."""
    kept = read_kept(path)
    return kept.decoding if kept else None


def write_kept(path: Path, kept: KeptDecoding) -> None:
    """Keep what holds for a category from now on."""
    seen = {kind: sorted(contents) for kind, contents in sorted(kept.seen.items())}
    write_json(path, with_digest({**kept.decoding.identity, **({"seen": seen} if seen else {})}))


def deep_samples(images: Iterable[ImageRecord], *, max_pixels: int | None) -> dict[str, NDArray[Any]]:
    """Values of a seeded sample of deep images, by content: up to `SAMPLE_IMAGES` of those that can be decoded.

    Parameters
    ----------
    images
        All that have one kind of samples. Which of them are taken, and which of their pixels, depends on their contents
        alone.
    max_pixels
        Largest one that there is memory for; None is no limit.

    Returns
    -------
    samples
        Shape ``(n_values, channels)`` each.
    """
    samples: dict[str, NDArray[Any]] = {}
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
        samples[sha256] = np.array(drawn)
        if len(samples) == SAMPLE_IMAGES:
            break
    return samples


def sampled_range(kind: str, images: Iterable[ImageRecord], *, max_pixels: int | None) -> DeepRange | None:
    """Take a range of a category from a sample of its deep images; None where none can be decoded.

    Parameters
    ----------
    kind
        Kind of samples.
    images, max_pixels
        As `deep_samples` takes them.
    """
    samples = deep_samples(images, max_pixels=max_pixels)
    return choose_range(kind, list(samples.values())) if samples else None


def take_over(before: Path, now: Path, sides: Collection[str], *, fits: Callable[[set[str]], bool]) -> None:
    """Let a folder of segments or slabs have those of another one whose contents are decoded as they were.

    Plain pictures are the same whatever becomes of the others: nothing of theirs is computed again, nor takes more
    space, where the file system knows hard links.

    Parameters
    ----------
    before, now
        Folders of one key each.
    sides
        Fields of a segment's or slab's description that list contents.
    fits
        Whether all contents of a segment or slab are decoded as they were.
    """
    for folder in list(_sealed(before)):
        description = arrays.describe(folder) or {}
        contents = {content for side in sides for content in description.get(side, ())}
        target = now / folder.name
        if fits(contents) and not arrays.is_complete(target):
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
