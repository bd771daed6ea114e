"""Samples of pictures that Pillow alone would show wrongly: deep ones, and some of 8 bits."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import turned
from tasks.images.tiffs import (
    TiffHeader,
    TiffPackingError,
    check_kind,
    check_layers,
    check_unnamed_channel,
    read_header,
    read_samples,
)

ORIENTATION: Final = 0x0112
"""EXIF tag: which way the camera was held."""

_EXTRA_SAMPLES: Final = 338
"""TIFF tag: what the channels behind the colours are; 0 is not said."""

_IMAGE_DEPTH: Final = 32997
"""TIFF tag: how many layers there are."""

PNG_SAMPLES: Final = "uint16"
"""Kind of samples of a deep PNG."""

PNG_HEAD: Final = 32
"""Bytes of a file that tell whether it is a deep PNG, and more."""

TIFF_HEAD: Final = 4
"""Bytes of a file that tell whether it is a TIFF."""

_TIFF: Final = re.compile(rb"II[*+]\0|MM\0[*+]")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
"""Chunks of a PNG that begin with a keyword."""
_ORIENTED: Final = (b"Raw profile type exif\0", b"exif\0", b"XML:com.adobe.xmp\0")
"""Keywords of texts in which Pillow looks for EXIF, and for XMP."""
_KEYWORD: Final = max(map(len, _ORIENTED))
_CHECKSUM: Final = 4
"""Bytes behind the data of a chunk."""


@dataclass(frozen=True)
class Samples:
    """Samples of a picture, upright.

    Attributes
    ----------
    values
        Shape ``(height, width)`` or ``(height, width, 3)``: larger is brighter. Of 8 bits they are bytes.
    kind
        Kind of samples, as a range is kept for it.
    opacity
        Shape ``(height, width)``, float32 in [0, 1]; None where the picture is opaque.
    """

    values: NDArray[Any]
    kind: str
    opacity: NDArray[np.float32] | None = None

    @property
    def is_deep(self) -> bool:
        """Whether a range has to say what is black and what is white."""
        return self.values.dtype != np.uint8


def is_deep_png(data: bytes) -> bool:
    """Whether a file begins like a PNG of 16 bits a sample; its first 25 bytes are enough."""
    return data.startswith(_PNG) and data[24:25] == b"\x10"


def is_opaque_png(data: bytes) -> bool:
    """Whether a file begins like a PNG of grey or colours without an alpha channel; one colour may be transparent."""
    return data.startswith(_PNG) and data[25:26] in (b"\x00", b"\x02")


def is_tiff(data: bytes) -> bool:
    """Whether a file begins like a TIFF; its first `TIFF_HEAD` bytes are enough."""
    return _TIFF.match(data) is not None


def special_tiff(file: Path | bytes, image: Image.Image | None) -> TiffHeader | None:
    """Header of a TIFF that has to be read by `tiff_samples`; None of one that Pillow shows rightly.

    Parameters
    ----------
    file
        Its path, or what it holds.
    image
        As Pillow has opened it; None where it cannot.

    Raises
    ------
    TiffKindError, Exception
        As `read_header`.
    """
    if image is not None:
        tags = getattr(image, "tag_v2", {})
        is_plain = max(_numbers_of(image, 258, 1)) <= 8 and set(_numbers_of(image, 339, 1)) <= {1, 4}
        if is_plain and not (tags.get(262) == 3 and max(_numbers_of(image, 320, 256), default=256) < 256):
            return None
    return read_header(file.read_bytes() if isinstance(file, Path) else file)


def _numbers_of(image: Image.Image, tag: int, *default: int) -> tuple[int, ...]:
    """Numbers that a tag of a TIFF has, as Pillow has read it; ``default`` where it has none."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def check_plain_tiff(data: bytes, image: Image.Image) -> None:
    """Refuse a TIFF of 8 bits with what Pillow leaves out: layers, and channels that hold a picture of their own.

    Raises
    ------
    TiffKindError
        If so.
    """
    check_layers(max(_numbers_of(image, _IMAGE_DEPTH, 1)))
    if 0 not in _numbers_of(image, _EXTRA_SAMPLES):
        return
    header = read_header(data)
    check_kind(header)
    try:
        samples = read_samples(data, header)
    except TiffPackingError:
        return  # as JPEG for example: only Pillow can unpack it
    check_unnamed_channel(samples, header)


def tiff_samples(data: bytes, header: TiffHeader) -> Samples:
    """Samples of a TIFF that `special_tiff` has found; raises what `read_samples` does."""
    stored = turned(read_samples(data, header), header.orientation)
    check_unnamed_channel(stored, header)
    if header.photometric == 3:
        assert header.colormap is not None  # noqa: S101 - for the type checker
        # LibTIFF takes a map without any larger entry for one of bytes, as careless programs write it
        scale = 1 if header.colormap.max() < 256 else 256
        return Samples((header.colormap // scale).astype(np.uint8).T[stored[:, :, 0]], header.samples)
    values = stored[:, :, :3] if header.photometric == 2 else stored[:, :, 0]
    opacity = None
    if header.alpha != "none":
        full = 1.0 if header.kind == "f" else float(2 ** (header.bits - (header.kind == "i")) - 1)
        opacity = _opacity(stored[:, :, -1], full)
        if opacity is not None and header.alpha == "premultiplied":
            part = opacity if values.ndim == 2 else opacity[:, :, None]
            straight = values / np.where(part > 0, part, 1)
            values = np.minimum(straight, full).astype(values.dtype if header.bits <= 8 else np.float32)
    if header.photometric == 0:
        values = -values if header.kind != "u" else (2**header.bits - 1 - values).astype(values.dtype)
    if header.bits < 8:
        values = np.rint(values * (255 / (2**header.bits - 1))).astype(np.uint8)
    return Samples(values, header.samples, opacity)


def png_samples(data: bytes, image: Image.Image) -> Samples:
    """Samples of a PNG of 16 bits; Pillow, which has opened it, keeps the low byte of grey ones only.

    Raises
    ------
    Exception
        Of any kind, if the file is damaged.
    """
    orientation = orientation_of(image)
    if image.mode.startswith("I"):
        return Samples(turned(np.asarray(image).astype(np.uint16), orientation), PNG_SAMPLES)
    import torch
    from torchvision.io import decode_png

    planes = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8)).numpy()
    stored = turned(planes.transpose(1, 2, 0), orientation)
    opacity = _opacity(stored[:, :, -1], 65535.0) if stored.shape[2] in (2, 4) else None
    return Samples(stored[:, :, 0] if stored.shape[2] < 3 else stored[:, :, :3], PNG_SAMPLES, opacity)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation of a picture that Pillow has opened; 1 where it has none."""
    try:
        if image.format == "PNG" and not _may_tell_orientation(image):
            return 1  # Pillow would decode the picture to look behind it
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged metadata leaves the picture as it lies
        return 1


def _may_tell_orientation(image: Image.Image) -> bool:
    """Whether a PNG has a chunk that an EXIF orientation may stand in; the picture's data are skipped."""
    file: Any = getattr(image, "fp", None)
    if file is None:  # it has been decoded
        return True
    before = file.tell()
    try:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            begin = file.read(min(size, _KEYWORD)) if kind in _TEXTS else b""
            if kind == b"eXIf" or begin.startswith(_ORIENTED):
                return True
            file.seek(size - len(begin) + _CHECKSUM, os.SEEK_CUR)
    finally:
        file.seek(before)
    return False


def _opacity(alpha: NDArray[Any], full: float) -> NDArray[np.float32] | None:
    """Alpha as parts of 1; None where it is the same for all that can be seen: 0 everywhere means nothing."""
    if not alpha.any() or (alpha >= full).all():
        return None
    parts: NDArray[np.float32] = np.clip(alpha.astype(np.float32) / np.float32(full), 0, 1)
    return parts
