"""What a category's frames are like, once tiles depend on it: kept with the store, the same for every run after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.fixed_camera import Steadiness
from anoclust_core.records import EmbeddingSpec, ImageRecord
from tasks.images.decoding import UnreadableImageError, decode_image, read_bytes
from tasks.images.headers import geometry_of
from tasks.stores.files import read_checked, told_as_damage, with_digest, write_json

SMALL_SIDE: Final = 128
"""Side in pixels of the small grey pictures that are laid on each other."""

MEASURED: Final = 24
"""Pictures that are laid on each other to tell whether the camera is fixed, spread over all."""

_ROWS_PIXELS: Final = 1 << 20

FEWEST: Final = 4
"""Pictures from which on that is asked; `anoclust_core.embedding.alignment` takes no fewer."""


@dataclass(frozen=True)
class CategoryFrames:
    """What is kept of a category's frames.

    Attributes
    ----------
    size
        Height and width in pixels of the largest frame there was the first time; None where nothing depends on it.
    steadiness
        How frames lie on each other; None where it was not asked or could not be measured yet.
    """

    size: tuple[int, int] | None = None
    steadiness: Steadiness | None = None

    def seen_by(self, spec: EmbeddingSpec) -> Steadiness | None:
        """How frames lie on each other, measured by what a network sees of them."""
        return None if self.steadiness is None else self.steadiness.seen_by(spec, self.size)


def read_frames(path: Path) -> CategoryFrames:
    """Read what a category keeps; nothing where there is no file.

    Raises
    ------
    DamagedError
        If the file is not what was written.
    """
    try:
        kept = read_checked(path)
    except FileNotFoundError:
        return CategoryFrames()
    with told_as_damage(path):
        size = (int(kept["height"]), int(kept["width"])) if "height" in kept else None
        return CategoryFrames(size, _steadiness(kept["alignment"]) if "alignment" in kept else None)


def _steadiness(kept: dict[str, Any]) -> Steadiness:
    down, across = kept["spread"]
    return Steadiness(str(kept["verdict"]), float(kept["agreeing"]), (float(down), float(across)))


def write_frames(path: Path, frames: CategoryFrames) -> None:
    """Keep what holds for a category from now on."""
    found: dict[str, Any] = {}
    if frames.size is not None:
        found |= {"height": frames.size[0], "width": frames.size[1]}
    if frames.steadiness is not None:
        one = frames.steadiness
        found["alignment"] = {"verdict": one.verdict, "agreeing": one.agreeing, "spread": list(one.spread)}
    write_json(path, with_digest(found))


def largest_frame(images: Iterable[ImageRecord]) -> tuple[int, int] | None:
    """Height and width of the largest picture as it is seen, from the headers; None where none can be read."""
    shapes = [found.upright for image in images if (found := geometry_of(Path(image.file))) is not None]
    return max(shapes, key=lambda shape: (shape[0] * shape[1], shape), default=None)


def measured_steadiness(
    images: Iterable[ImageRecord], *, deep: Sequence[DeepRange], max_pixels: int
) -> Steadiness | None:
    """Lay some of a category's pictures on each other; None where too few can be decoded."""
    from anoclust_core.embedding.alignment import align  # SciPy, which a run that finds nothing to do never needs

    distinct = list({image.sha256: image for image in images}.values())
    small = []
    for at in spread_over(len(distinct), MEASURED):
        try:
            data = read_bytes(Path(distinct[at].file), sha256=distinct[at].sha256)
            small.append(small_grey(decode_image(data, max_pixels=max_pixels, deep=deep)))
        except UnreadableImageError:
            continue
    if len(small) < FEWEST:
        return None
    return Steadiness.of(align(np.stack(small)), (SMALL_SIDE, SMALL_SIDE))


def spread_over(n_pictures: int, most: int) -> list[int]:
    """Rows of so many pictures at most, the first and the last among them, as far apart as they can be.

    Pictures in the order of their paths are in the order of shifts and labels: the first ones are of one of these.
    """
    found: list[int] = np.unique(np.linspace(0, n_pictures - 1, min(most, n_pictures)).astype(int)).tolist()
    return found


def small_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels ``(SMALL_SIDE, SMALL_SIDE)`` of a decoded picture: each the mean of what it covers."""
    box = Image.Resampling.BOX
    narrow = [
        np.asarray(Image.fromarray(grey.astype(np.float32)).resize((SMALL_SIDE, len(grey)), box))
        for grey in grey_rows(pixels)
    ]
    small = Image.fromarray(np.concatenate(narrow)).resize((SMALL_SIDE, SMALL_SIDE), box)
    return np.asarray(small, dtype=np.float64)


def grey_rows(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.float64]]:
    """Grey levels of a decoded picture, some rows at a time: as numbers, a large one is eight times its bytes."""
    step = max(1, _ROWS_PIXELS // pixels.shape[1])
    for start in range(0, len(pixels), step):
        rows = pixels[start : start + step]
        if rows.strides[2]:  # the mean of three channels, in a sixth of the time that NumPy's takes
            total = np.add(rows[:, :, 0], rows[:, :, 1], dtype=np.uint16)
            total += rows[:, :, 2]
            yield total / 3
        else:
            yield rows[:, :, 0].astype(np.float64)
