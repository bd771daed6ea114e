"""Deep and odd pictures in every container: written by hand, each with the picture of 8 bits that it must look like."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SIDE = 64


def grey_twin(seed: int, *, spot: bool) -> NDArray[np.uint8]:
    """Noise, and a bright spot on some: the picture in 8 bits."""
    return (_values(seed, spot=spot) >> 4).astype(np.uint8)


def _values(seed: int, *, spot: bool) -> NDArray[np.uint16]:
    """The same in 12 bits."""
    draw = np.random.default_rng(seed)
    values = 1800 + 90 * draw.normal(size=(SIDE, SIDE))
    if spot:
        y, x = draw.integers(12, SIDE - 24, 2)
        values[y : y + 14, x : x + 14] += 1400
    return np.clip(values, 0, 4095).astype(np.uint16)


def colour_twin(seed: int, *, spot: bool) -> NDArray[np.uint8]:
    """The picture in 8-bit colours."""
    return (_colours(seed, spot=spot) >> 4).astype(np.uint8)


def _colours(seed: int, *, spot: bool) -> NDArray[np.uint16]:
    grey = _values(seed, spot=spot)
    return np.dstack([grey, grey // 2, 4095 - grey])


Write = Callable[[int, bool], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    name
        What it is.
    write
        Makes one from a seed and whether it has a spot.
    twin
        Makes the picture in 8 bits.
    tolerance
        Largest difference to the twin in levels.
    suffix
        Of its files.
    """

    name: str
    write: Write
    twin: Callable[..., NDArray[np.uint8]] = grey_twin
    tolerance: int = 0
    suffix: str = ".tif"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: NDArray[np.generic], *, bits: int = 16, extra: bytes = b"", filter_kind: int = 0) -> bytes:
    """Write a PNG of one to four channels; filter 1 stores differences from pixel to pixel."""
    stored = samples if samples.ndim == 3 else samples[:, :, None]
    height, width, channels = stored.shape
    rows = stored.astype(">u2" if bits == 16 else "u1").reshape(height, -1).view("u1")
    if filter_kind == 1:
        step = channels * bits // 8
        rows = np.hstack([rows[:, :step], rows[:, step:] - rows[:, :-step]])
    packed = zlib.compress(b"".join(bytes([filter_kind]) + row.tobytes() for row in rows))
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(
    strips: Sequence[bytes],
    *,
    shape: tuple[int, int],
    bits: Sequence[int],
    order: str = "<",
    tags: Mapping[int, Any] = {},
) -> bytes:
    """Write a TIFF from its strips or tiles as they are, with any tags: numbers (SHORT or LONG), or lists of them."""
    height, width = shape
    entries: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: bits, 259: [1], 262: [1], 277: [len(bits)], 278: [height],
    }  # fmt: skip
    entries |= {tag: value if isinstance(value, (list, tuple)) else [value] for tag, value in tags.items()}
    places = 324 if 322 in entries else 273
    counts = 325 if 322 in entries else 279
    if 322 in entries:
        del entries[278]
    entries[places], entries[counts] = [0] * len(strips), [len(strip) for strip in strips]
    at = 8 + 2 + 12 * len(entries) + 4
    lists = {}
    for tag, values in sorted(entries.items()):
        kind, size = ("I", 4) if max(values) > 65535 or tag in (places, counts) else ("H", 2)
        lists[tag] = (kind, at if size * len(values) > 4 else None)
        at += size * len(values) if size * len(values) > 4 else 0
    entries[places] = np.cumsum([at, *entries[counts][:-1]]).tolist()
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    behind = b""
    for tag, values in sorted(entries.items()):
        kind, place = lists[tag]
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        inline = packed.ljust(4, b"\0") if place is None else struct.pack(f"{order}I", place)
        head += struct.pack(f"{order}HHI", tag, 4 if kind == "I" else 3, len(values)) + inline
        behind += packed if place is not None else b""
    return head + struct.pack(f"{order}I", 0) + behind + b"".join(strips)


def packed(samples: NDArray[np.generic], bits: int) -> bytes:
    """Samples of any number of bits, the highest first; every row begins a byte."""
    rows = samples.reshape(len(samples), -1).astype(np.uint32)
    single = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def grey_tiff(samples: NDArray[np.generic], bits: int, **options: Any) -> bytes:
    return tiff([packed(samples, bits)], shape=samples.shape, bits=[bits], **options)


def written(samples: NDArray[np.generic], **options: Any) -> bytes:
    """What tifffile writes."""
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


def pillow(samples: NDArray[np.generic] | Image.Image, kind: str = "TIFF", **options: Any) -> bytes:
    file = io.BytesIO()
    image = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    image.save(file, kind, **options)
    return file.getvalue()


def lzw_colours(samples: NDArray[np.uint16]) -> bytes:
    """Deep colours in LZW with a predictor, which no writer here knows: LibTIFF packs them as bytes."""
    height, width, channels = samples.shape
    differences = np.diff(samples.astype("<u2"), axis=1, prepend=np.zeros((height, 1, channels), "<u2")).astype("<u2")
    whole = pillow(differences.reshape(height, -1).view("u1"), compression="tiff_lzw")
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        page = file.pages.first
        strips = [whole[a : a + n] for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        rows = page.rowsperstrip
    tags = {259: 5, 262: 2, 278: rows, 317: 2}
    return tiff(strips, shape=(height, width), bits=[16] * channels, tags=tags)


def float_predicted(samples: NDArray[np.float32]) -> bytes:
    """Floating-point numbers in Deflate with their own predictor."""
    by_place = samples.astype(">f4").view("u1").reshape(len(samples), -1, 4).swapaxes(1, 2).reshape(len(samples), -1)
    differences = np.diff(by_place, axis=1, prepend=np.zeros((len(samples), 1), "u1"))
    strip = zlib.compress(differences.astype("u1").tobytes())
    return tiff([strip], shape=samples.shape, bits=[32], tags={259: 8, 317: 3, 339: 3})


def bmp4(samples: NDArray[np.uint8], alpha: int) -> bytes:
    """Write a BMP of version 4 with an alpha channel of one value."""
    height, width = samples.shape
    pixels = np.dstack([samples, samples, samples, np.full_like(samples, alpha)])[::-1].tobytes()
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + b"\0" * 48
    return b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + info + pixels


def tiles(samples: NDArray[np.uint16], side: int) -> list[bytes]:
    padded = np.zeros([-(-n // side) * side for n in samples.shape], samples.dtype)
    padded[: samples.shape[0], : samples.shape[1]] = samples
    return [
        padded[y : y + side, x : x + side].astype("<u2").tobytes()
        for y in range(0, len(padded), side)
        for x in range(0, padded.shape[1], side)
    ]


def clear(pixels: NDArray[np.uint8], mode: str) -> Image.Image:
    """Picture whose alpha is 0 everywhere."""
    channels = 1 if mode == "LA" else 3
    return Image.fromarray(np.dstack([pixels] * channels + [np.zeros_like(pixels)]), mode)


def _of(seed: int, spot: bool) -> NDArray[np.uint16]:
    return _values(seed, spot=spot)


def _rgb(seed: int, spot: bool) -> NDArray[np.uint16]:
    return _colours(seed, spot=spot)


def _twin(seed: int, spot: bool) -> NDArray[np.uint8]:
    return grey_twin(seed, spot=spot)


_RAMP = np.repeat(np.arange(256, dtype=np.uint16)[None], 3, axis=0)
_OPAQUE = np.full((SIDE, SIDE), 65535, np.uint16)
_EXIF6 = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")

KINDS = (
    Kind("PNG, grey, 12 of 16 bits", lambda s, d: png(_of(s, d)), suffix=".png"),
    Kind("PNG, grey, 12 bits in the high ones of 16", lambda s, d: png(_of(s, d) << 4), suffix=".png"),
    Kind("PNG, grey and opaque alpha, 12 of 16 bits", lambda s, d: png(np.dstack([_of(s, d), _OPAQUE])), suffix=".png"),
    Kind("PNG, grey and alpha 0", lambda s, d: png(np.dstack([_of(s, d), 0 * _OPAQUE])), suffix=".png"),
    Kind("PNG, RGB, 12 of 16 bits", lambda s, d: png(_rgb(s, d)), colour_twin, suffix=".png"),
    Kind("PNG, RGB, differences", lambda s, d: png(_rgb(s, d), filter_kind=1), colour_twin, suffix=".png"),
    Kind("PNG, RGBA, opaque", lambda s, d: png(np.dstack([_rgb(s, d), _OPAQUE])), colour_twin, suffix=".png"),
    Kind("PNG, RGBA, alpha 0", lambda s, d: png(np.dstack([_rgb(s, d), 0 * _OPAQUE])), colour_twin, suffix=".png"),
    Kind("PNG, RGB, turned by EXIF", lambda s, d: png(np.rot90(_rgb(s, d)), extra=_EXIF6), colour_twin, suffix=".png"),
    Kind("TIFF, 12 of 16 bits", lambda s, d: pillow(_of(s, d))),
    Kind("TIFF, big endian", lambda s, d: written(_of(s, d), byteorder=">", photometric="minisblack")),
    Kind("BigTIFF", lambda s, d: written(_of(s, d), bigtiff=True, photometric="minisblack")),
    Kind(
        "TIFF, grey and opaque alpha",
        lambda s, d: written(np.dstack([_of(s, d), _OPAQUE]), photometric="minisblack", extrasamples=["unassalpha"]),
    ),
    Kind(
        "TIFF, RGB and a channel of one value",
        lambda s, d: written(np.dstack([_rgb(s, d), _OPAQUE]), photometric="rgb", extrasamples=["unspecified"]),
        colour_twin,
    ),
    Kind("TIFF, LZW", lambda s, d: pillow(_of(s, d), compression="tiff_lzw")),
    Kind("TIFF, LZW, predictor", lambda s, d: pillow(_of(s, d), compression="tiff_lzw", tiffinfo={317: 2})),
    Kind(
        "TIFF, Deflate, predictor",
        lambda s, d: written(_of(s, d), compression="zlib", predictor=True, photometric="minisblack"),
    ),
    Kind("TIFF, PackBits", lambda s, d: pillow(_of(s, d), compression="packbits")),
    Kind("TIFF, Zstandard", lambda s, d: pillow(_of(s, d), compression="zstd")),
    Kind(
        "TIFF, tiles", lambda s, d: tiff(tiles(_of(s, d), 48), shape=(SIDE, SIDE), bits=[16], tags={322: 48, 323: 48})
    ),
    Kind("TIFF, strips of 5 rows", lambda s, d: written(_of(s, d), rowsperstrip=5, photometric="minisblack")),
    Kind("TIFF, RGB", lambda s, d: written(_rgb(s, d), photometric="rgb"), colour_twin),
    Kind(
        "TIFF, RGB, planes",
        lambda s, d: written(_rgb(s, d).transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        colour_twin,
    ),
    Kind("TIFF, RGB, LZW, predictor", lambda s, d: lzw_colours(_rgb(s, d)), colour_twin),
    Kind(
        "TIFF, RGBA, alpha 0",
        lambda s, d: written(np.dstack([_rgb(s, d), 0 * _OPAQUE]), photometric="rgb", extrasamples=["unassalpha"]),
        colour_twin,
    ),
    Kind("TIFF, white is 0", lambda s, d: grey_tiff(4095 - _of(s, d), 12, tags={262: 0})),
    Kind("TIFF, white is 0, 16 bits", lambda s, d: grey_tiff(65535 - (_of(s, d) << 4), 16, order=">", tags={262: 0})),
    Kind("TIFF, 12 bits packed", lambda s, d: grey_tiff(_of(s, d), 12)),
    Kind("TIFF, 12 bits packed, big endian", lambda s, d: grey_tiff(_of(s, d), 12, order=">")),
    Kind(
        "TIFF, RGB of 12 bits packed",
        lambda s, d: tiff([packed(_rgb(s, d), 12)], shape=(SIDE, SIDE), bits=[12] * 3, tags={262: 2}),
        colour_twin,
    ),
    Kind("TIFF, 10 bits packed", lambda s, d: grey_tiff(_of(s, d) >> 2, 10)),
    Kind("TIFF, 14 bits packed", lambda s, d: grey_tiff(_of(s, d) << 2, 14)),
    Kind(
        "TIFF, RGB of 10 bits packed",
        lambda s, d: tiff([packed(_rgb(s, d) >> 2, 10)], shape=(SIDE, SIDE), bits=[10] * 3, tags={262: 2}),
        colour_twin,
    ),
    Kind("TIFF, 4 bits", lambda s, d: grey_tiff(_of(s, d) >> 8, 4), tolerance=17),
    Kind("TIFF, 4 bits, white is 0", lambda s, d: grey_tiff(15 - (_of(s, d) >> 8), 4, tags={262: 0}), tolerance=17),
    Kind("TIFF, 2 bits", lambda s, d: grey_tiff(_of(s, d) >> 10, 2), tolerance=64),
    Kind("TIFF, 8 bits, white is 0", lambda s, d: grey_tiff(255 - _twin(s, d), 8, tags={262: 0})),
    Kind(
        "TIFF, 8 bits with a sign",
        lambda s, d: written((_twin(s, d) >> 1).astype(np.int8), photometric="minisblack"),
        tolerance=130,
    ),
    Kind("TIFF, 16 bits with a sign", lambda s, d: written(_of(s, d).astype(np.int16), photometric="minisblack")),
    Kind("TIFF, 32 bits", lambda s, d: written(_of(s, d).astype(np.uint32), photometric="minisblack")),
    Kind("TIFF, 32 bits with a sign", lambda s, d: pillow(_of(s, d).astype(np.int32))),
    Kind("TIFF, float from 0 to 1", lambda s, d: pillow((_of(s, d) / np.float32(4096)).astype(np.float32))),
    Kind("TIFF, float from 0 to 255", lambda s, d: pillow(_twin(s, d).astype(np.float32))),
    Kind("TIFF, half precision", lambda s, d: written(_twin(s, d).astype(np.float16), photometric="minisblack")),
    Kind("TIFF, double precision", lambda s, d: written(_of(s, d).astype(np.float64), photometric="minisblack")),
    Kind("TIFF, float, Deflate, predictor", lambda s, d: float_predicted(_of(s, d).astype(np.float32))),
    Kind("TIFF, colour map of bytes", lambda s, d: written(_twin(s, d), photometric="palette", colormap=_RAMP)),
    Kind("TIFF, colour map of 16 bits", lambda s, d: written(_twin(s, d), photometric="palette", colormap=_RAMP * 257)),
    Kind("PNG, 8 bits, RGBA, alpha 0", lambda s, d: pillow(clear(_twin(s, d), "RGBA"), "PNG"), suffix=".png"),
    Kind("PNG, 8 bits, grey and alpha 0", lambda s, d: pillow(clear(_twin(s, d), "LA"), "PNG"), suffix=".png"),
    Kind(
        "PNG, palette whose colours are all transparent",
        lambda s, d: pillow(Image.fromarray(_twin(s, d)).convert("P"), "PNG", transparency=bytes(256)),
        suffix=".png",
    ),
    Kind("BMP of version 4, alpha 0", lambda s, d: bmp4(_twin(s, d), 0), suffix=".bmp"),
    Kind(
        "WebP, alpha 0",
        lambda s, d: pillow(clear(_twin(s, d), "RGBA"), "WEBP", lossless=True, exact=True),
        suffix=".webp",
    ),
    Kind(
        "TIFF, 8 bits, RGBA, alpha 0",
        lambda s, d: written(
            np.dstack([colour_twin(s, spot=d), np.zeros((SIDE, SIDE), np.uint8)]),
            photometric="rgb",
            extrasamples=["unassalpha"],
        ),
        colour_twin,
    ),
)
"""Every kind that is read, each as wide as it is told."""

_OF12 = _values(1, spot=True)
REFUSED = {
    "TIFF, JPEG of 12 bits": (
        tiff([b"\xff\xd8"], shape=(64, 64), bits=[12], tags={259: 7}),
        "12 bits a sample in JPEG",
    ),
    "TIFF, JPEG 2000": (tiff([b"\0"], shape=(64, 64), bits=[16], tags={259: 34712}), "16 bits a sample in JPEG 2000"),
    "TIFF, LERC": (tiff([b"\0"], shape=(64, 64), bits=[16], tags={259: 34887}), "16 bits a sample in LERC"),
    "TIFF, CMYK of 16 bits": (written(np.dstack([_OF12] * 4), photometric="separated"), "CMYK colours of 16 bits"),
    "TIFF, Lab of 16 bits": (written(np.dstack([_OF12] * 3), photometric="cielab"), "Lab colours of 16 bits"),
    "TIFF, five channels": (
        written(np.dstack([_OF12] * 5), photometric="minisblack", planarconfig="contig"),
        "5 channels, which are not said to be colours, so nobody can know which to show; save one channel as grey",
    ),
    "TIFF, two channels": (
        written(np.dstack([_OF12, _OF12[::-1]]), photometric="minisblack", planarconfig="contig"),
        "2 channels, the last of which is said to be neither",
    ),
    "TIFF, RGB and infrared": (
        written(np.dstack([_OF12] * 3 + [_OF12[::-1]]), photometric="rgb", extrasamples=["unspecified"]),
        "4 channels, the last of which is said to be neither",
    ),
    "TIFF, RGB and infrared, 8 bits": (
        written((np.dstack([_OF12] * 3 + [_OF12[::-1]]) >> 4).astype(np.uint8), photometric="rgb", extrasamples=[0]),
        "4 channels, the last of which is said to be neither",
    ),
    "TIFF, RGB and two bands of infrared, 8 bits": (
        written(
            (np.dstack([_OF12] * 3 + [_OF12[::-1]] * 2) >> 4).astype(np.uint8), photometric="rgb", extrasamples=[0, 0]
        ),
        "5 channels, which are not said to be colours",
    ),
    "TIFF, RGB and infrared, 8 bits, LZW": (
        pillow(
            Image.fromarray((np.dstack([_OF12] * 3 + [_OF12[::-1]]) >> 4).astype(np.uint8), "RGBX"),
            compression="tiff_lzw",
        ),
        "4 channels, the last of which is said to be neither",
    ),
    "TIFF, palette and another channel": (
        tiff([bytes(range(256)) * 32], shape=(64, 64), bits=[8, 8], tags={262: 3, 320: [0, 700] * 384, 338: 0}),
        "a palette of another kind",
    ),
    "TIFF, 8 bits, layers": (
        written(
            (np.stack([_OF12] * 3) >> 4).astype(np.uint8), photometric="minisblack", volumetric=True, tile=(1, 16, 16)
        ),
        "3 layers, each a picture of its own",
    ),
    "TIFF, 16 bits, layers": (
        written(np.stack([_OF12] * 3), photometric="minisblack", volumetric=True, tile=(1, 16, 16)),
        "3 layers, each a picture of its own",
    ),
    "TIFF, palette of 16 bits": (
        tiff([bytes(2 * 64 * 64)], shape=(64, 64), bits=[16], tags={262: 3, 320: [0, 7] * 98304}),
        "a palette of another kind",
    ),
    "DICOM": (b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0", "but a DICOM file; save its picture as PNG or TIFF of 16"),
    "JPEG 2000": (
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
        "is not a PNG, JPEG, BMP, TIFF or WebP image but a JPEG 2000 image; save it",
    ),
    "PGM of 16 bits": (b"P5\n64 64\n65535\n" + bytes(8192), "but a PGM or PPM image; save it as PNG or TIFF"),
    "TIFF, complex": (written(_OF12.astype(np.complex64), photometric="minisblack"), "complex numbers"),
    "TIFF, 24-bit float": (
        tiff([bytes(64 * 64 * 3)], shape=(64, 64), bits=[24], tags={339: 3}),
        "floating-point numbers of 24 bits",
    ),
    "TIFF, channels of unlike bits": (
        tiff([bytes(64 * 64 * 4)], shape=(64, 64), bits=[16, 8, 8], tags={262: 2}),
        "bits a sample that differ",
    ),
    "TIFF, 16 bits, pages": (written(np.stack([_OF12] * 3), photometric="minisblack"), "3 frames; save each"),
    "TIFF, 16 bits, a stack of ImageJ": (written(np.stack([_OF12] * 3), imagej=True), "3 frames; save each"),
    "TIFF, 12 bits packed, cut off": (grey_tiff(_OF12, 12)[:4000], "cut off"),
    "TIFF, not a number": (pillow(np.where(_OF12 > 3000, np.nan, _OF12).astype(np.float32)), "NaN"),
    "TIFF, 16 bits, a bomb": (tiff([b"\0"], shape=(60_000, 60_000), bits=[16]), "the limit is 178,000,000"),
    "PNG, 16 bits, a bomb": (
        png(np.zeros((8, 8), np.uint16)).replace(struct.pack(">II", 8, 8), struct.pack(">II", 60_000, 60_000)),
        "damaged|cut off|the limit is",
    ),
    "JPEG of 12 bits": (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x40\0\x40\x01\x01\x11\0", "is a JPEG of 12 bits a sample"),
    "one value, 16 bits": (png(np.full((16, 16), 700, np.uint16)), "shows one single value"),
    "one value, 8 bits": (
        pillow(np.full((16, 16), 128, np.uint8), "PNG"),
        "shows one single value: every pixel is the colour 128",
    ),
    "black": (pillow(np.zeros((16, 16, 3), np.uint8), "PNG"), "every pixel is black"),
    "invisible but for its alpha": (
        pillow(Image.new("RGBA", (16, 16), (255, 255, 255, 0)), "PNG"),
        "every pixel is white",
    ),
}
"""What cannot be read, and how the reason puts it."""
