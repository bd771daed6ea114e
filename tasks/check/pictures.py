"""What the pictures of a category are like: sizes, depth, colour, light, copies, and whether the camera is fixed."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding import alignment
from anoclust_core.embedding.alignment import Alignment, align, laid_together
from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.near_duplicates import near_duplicates
from anoclust_core.records import ImageRecord
from tasks.images.category_frames import SMALL_SIDE, grey_rows, small_grey, spread_over
from tasks.images.decoding import FORMATS, UnreadableImageError, decode_image, decode_samples, read_bytes, silence
from tasks.images.headers import geometry_of, look_at
from tasks.images.samples import is_tiff
from tasks.images.tiffs import read_header

MOST_ALIGNED: Final = 48
"""Pictures that are laid on each other, spread over the sample."""

GREY_WITHIN: Final = 2
"""Grey levels by which the channels of a grey picture may differ: JPEG rounds them."""

_BLACK, _WHITE = 1, 254
"""Grey levels up to which a pixel is black, and from which on it is white."""

_GREY_MODES: Final = frozenset({"1", "L", "LA", "La", "I", "F"})
_ALPHA_MODES: Final = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes
    ----------
    width, height
        In pixels, upright.
    format, depth, colour
        In words; ``depth`` is the kind of samples of a deep picture, else ``8 bits``.
    has_alpha, is_turned
        Whether there is an alpha channel, and an EXIF orientation that turns the picture.
    highest
        Largest value of a deep picture; 0 of a plain one.
    brightness
        Mean grey level, 0 to 255.
    black, white
        Parts of the pixels, in [0, 1].
    small
        Shape ``(SMALL_SIDE, SMALL_SIDE)``, float64 grey levels: the picture squeezed to a square.
    """

    width: int
    height: int
    format: str
    depth: str
    colour: str
    has_alpha: bool
    is_turned: bool
    highest: float
    brightness: float
    black: float
    white: float
    small: NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What the pictures of a category are like.

    Attributes
    ----------
    n_pictures
        That were decoded.
    sizes
        Smallest and largest, ``(width, height)`` in pixels, by area.
    n_sizes, longest
        Different sizes, and the longest side of all pictures in pixels.
    formats, depths, colours
        Number of pictures of each kind.
    n_alpha, n_turned
        With an alpha channel; with an EXIF orientation that turns them.
    brightness
        Darkest, median and brightest mean grey level, 0 to 255.
    black, white
        Parts of all pixels, in [0, 1]: the median picture's.
    n_copies
        Files whose bytes another one has.
    near_duplicates
        Paths of each group; None where there are too few pictures to tell.
    n_compared
        Pictures that were compared to find these: a part of a sample of a camera that moves a little.
    alignment
        None where there are too few pictures to tell.
    shift
        Largest shift of pictures that agree, along either axis, in pixels of the median size.
    largest_pixels
        Pixels of every picture, the largest first.
    """

    n_pictures: int
    sizes: tuple[tuple[int, int], tuple[int, int]]
    n_sizes: int
    longest: int
    formats: Mapping[str, int]
    depths: Mapping[str, int]
    colours: Mapping[str, int]
    n_alpha: int
    n_turned: int
    brightness: tuple[float, float, float]
    black: float
    white: float
    n_copies: int
    near_duplicates: tuple[tuple[str, ...], ...] | None
    n_compared: int
    alignment: Alignment | None
    shift: float
    largest_pixels: tuple[int, ...]


def look_at_pictures(
    images: Sequence[ImageRecord],
    *,
    deep: Sequence[DeepRange],
    max_pixels: int,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Seen | None, dict[str, str]]:
    """Decode pictures and say what they are like.

    Parameters
    ----------
    images
        Files to look at.
    deep, max_pixels
        As `decode_image` takes them.
    progress
        Hears how many have been looked at.

    Returns
    -------
    seen
        None where no picture can be decoded.
    bad
        By content hash, why a picture cannot be used.
    """
    found: dict[str, Picture] = {}
    bad: dict[str, str] = {}
    for n, image in enumerate(images, start=1):
        if image.sha256 not in found and image.sha256 not in bad:
            try:
                found[image.sha256] = _look(image, deep, max_pixels)
            except UnreadableImageError as error:
                bad[image.sha256] = str(error)
        progress(n)
    usable = [image for image in images if image.sha256 in found]
    return (_summed_up(usable, found) if usable else None), bad


def _look(image: ImageRecord, deep: Sequence[DeepRange], max_pixels: int) -> Picture:
    file = Path(image.file)
    data = read_bytes(file, sha256=image.sha256)
    pixels = decode_image(data, max_pixels=max_pixels, deep=deep)
    kind = look_at(file)
    is_deep = any(one.samples == kind for one in deep)
    light = np.sum([(grey.sum(), (grey <= _BLACK).sum(), (grey >= _WHITE).sum()) for grey in grey_rows(pixels)], axis=0)
    brightness, black, white = (light / (pixels.shape[0] * pixels.shape[1])).tolist()
    stored_as, colour, has_alpha = _stored(data, pixels)
    geometry = geometry_of(file)
    return Picture(
        width=pixels.shape[1],
        height=pixels.shape[0],
        format=stored_as,
        depth=kind if is_deep else "8 bits",
        colour=colour,
        has_alpha=has_alpha,
        is_turned=geometry is not None and geometry.orientation > 1,
        highest=float(decode_samples(data, max_pixels=max_pixels).max()) if is_deep else 0.0,
        brightness=brightness,
        black=black,
        white=white,
        small=small_grey(pixels),
    )


def _stored(data: bytes, pixels: NDArray[np.uint8]) -> tuple[str, str, bool]:
    """Format, colours in words, and whether there is an alpha channel; the picture has been decoded before."""
    with silence:
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                named, mode, info = opened.format or "", opened.mode, opened.info
        except OSError:
            named, mode, info = "TIFF", "", {}
    if is_tiff(data) and not mode:  # a TIFF that Pillow cannot open
        header = read_header(data)
        mode = {2: "RGB", 3: "P"}.get(header.photometric, "L") + ("A" if header.alpha != "none" else "")
    has_alpha = mode in _ALPHA_MODES or "transparency" in info
    if mode.startswith("P"):
        return named, "palette", has_alpha
    if mode.partition(";")[0] in _GREY_MODES:
        return named, "grey", has_alpha
    step = max(1, min(pixels.shape[:2]) // 256)
    some = pixels[::step, ::step].astype(np.int16)
    is_grey = bool((np.ptp(some, axis=2) <= GREY_WITHIN).all())
    return named, "grey stored as colour" if is_grey else "colour", has_alpha


def _summed_up(images: Sequence[ImageRecord], found: Mapping[str, Picture]) -> Seen:
    pictures = [found[image.sha256] for image in images]
    by_area = sorted({(one.width, one.height) for one in pictures}, key=lambda size: (size[0] * size[1], size))
    distinct = list({image.sha256: image for image in images}.values())
    small = np.stack([found[image.sha256].small for image in distinct])
    some = spread_over(len(small), MOST_ALIGNED)
    aligned = align(small[some]) if len(small) >= alignment.FEWEST else None
    paths = [image.path for image in distinct]
    if aligned is not None and aligned.verdict == "shifted":  # only what lies on each other can be compared
        paths, small = [paths[at] for at in some], laid_together(small[some], aligned)
    width, height = (float(np.median([getattr(one, side) for one in pictures])) for side in ("width", "height"))
    shifts = np.abs(aligned.shifts[aligned.agrees]) * (height / SMALL_SIDE, width / SMALL_SIDE) if aligned else None
    brightness = [one.brightness for one in pictures]
    return Seen(
        n_pictures=len(pictures),
        sizes=(by_area[0], by_area[-1]),
        n_sizes=len(by_area),
        longest=max(max(size) for size in by_area),
        formats=_counted([one.format for one in pictures]),
        depths=_counted(_depths(pictures)),
        colours=_counted([one.colour for one in pictures]),
        n_alpha=sum(one.has_alpha for one in pictures),
        n_turned=sum(one.is_turned for one in pictures),
        brightness=(min(brightness), float(np.median(brightness)), max(brightness)),
        black=float(np.median([one.black for one in pictures])),
        white=float(np.median([one.white for one in pictures])),
        n_copies=len(images) - len(distinct),
        near_duplicates=_near_duplicates(paths, small),
        n_compared=len(paths),
        alignment=aligned,
        shift=0.0 if shifts is None else float(shifts.max(initial=0.0)),
        largest_pixels=tuple(sorted((one.width * one.height for one in pictures), reverse=True)),
    )


def _counted(kinds: Sequence[str]) -> dict[str, int]:
    return dict(Counter(kinds).most_common())


def _depths(pictures: Sequence[Picture]) -> list[str]:
    """Depth of every picture in words; whole numbers with how many of their bits the category uses."""
    highest: dict[str, float] = {}
    for one in pictures:
        highest[one.depth] = max(highest.get(one.depth, 0.0), one.highest)
    words = {}
    for depth, top in highest.items():
        kind, bits = depth.rstrip("0123456789"), depth[len(depth.rstrip("0123456789")) :]
        used = int(top).bit_length()
        if kind == "float":
            words[depth] = f"{bits} bits, floating point"
        elif kind == "uint" and used < int(bits):
            words[depth] = f"{bits} bits, of which {used} are used"
        else:
            words[depth] = f"{bits} bits" if bits else depth
    return [words[one.depth] for one in pictures]


def _near_duplicates(paths: Sequence[str], small: NDArray[np.float64]) -> tuple[tuple[str, ...], ...] | None:
    """Groups of paths; None where there are too few pictures to tell."""
    from anoclust_core.embedding import near_duplicates as measure

    if len(small) < measure.FEWEST:
        return None
    half = small[:, : small.shape[1] // 2 * 2, : small.shape[2] // 2 * 2]
    half = half.reshape(len(half), half.shape[1] // 2, 2, half.shape[2] // 2, 2).mean(axis=(2, 4))
    return tuple(tuple(paths[row] for row in rows) for rows in near_duplicates(half))
