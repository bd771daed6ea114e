"""Samples of TIFF files of any depth: tifffile reads what a file says of itself, LibTIFF (in Pillow) unpacks bytes."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_COMPRESSIONS: Final = frozenset({1, 5, 8, 32773, 32946, 50000})
"""How strips and tiles are packed whatever a sample is: not at all, LZW, Deflate, PackBits, Deflate, Zstandard."""

_NAMES: Final = {
    **dict.fromkeys((2, 3, 4), "fax"),
    **dict.fromkeys((6, 7), "JPEG"),
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
    34887: "LERC",
    34925: "LZMA",
    50001: "WebP",
}
_COLOURS: Final = {
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    **dict.fromkeys((8, 9, 10), "Lab"),
    **dict.fromkeys((32844, 32845), "logarithmic"),
    **dict.fromkeys((32803, 34892), "raw camera"),
}

_WHICH_CHANNELS: Final = "so nobody can know which to show; save one channel as grey, or three as RGB"

_KINDS: Final = {"u": "uint", "i": "int", "f": "float"}

UNPACKED_BYTES: Final = 64 << 20
"""Bytes that LibTIFF unpacks at a time; Pillow takes more than 178 MB in one go for a bomb."""

_UNPACK_ROWS_BYTES: Final = 1 << 20
"""Bytes of packed samples that are unpacked at a time: sixteen times as much is needed for it."""


class TiffKindError(Exception):
    """A TIFF of a kind that cannot be read, in words for a person: the message continues "has ...", advice follows."""

    def __init__(self, message: str, advice: str = "which cannot be read; save it as a plain PNG or TIFF") -> None:
        super().__init__(message)
        self.advice = advice


class TiffPackingError(TiffKindError):
    """A TIFF whose samples are packed in a way that cannot be unpacked here; Pillow may, where they have 8 bits."""


@dataclass(frozen=True)
class TiffHeader:
    """What a TIFF file says of its one picture.

    Attributes
    ----------
    width, height, channels
        Of the stored picture; ``channels`` counts alpha.
    bits
        Bits of a sample.
    kind
        ``u``, ``i`` or ``f``: whole numbers without or with a sign, or floating-point numbers.
    photometric
        0 is grey from white to black, 1 from black to white, 2 colours, 3 a palette; the others cannot be read here.
    alpha
        ``none``, ``straight`` or ``premultiplied``.
    orientation
        As EXIF has it.
    pages
        Pictures in the file.
    colormap
        Shape ``(3, 2**bits)``, uint16, or None.
    """

    width: int
    height: int
    channels: int
    bits: int
    kind: str
    photometric: int
    alpha: str
    orientation: int
    pages: int
    colormap: NDArray[np.uint16] | None

    @property
    def is_deep(self) -> bool:
        """Whether samples are anything but whole numbers of up to 8 bits."""
        return self.bits > 8 or self.kind != "u"

    @property
    def colours(self) -> int:
        """Channels of the picture itself: three of colours, else one."""
        return 3 if self.photometric == 2 else 1

    @property
    def samples(self) -> str:
        """Kind of samples, as ``uint12`` or ``float32``."""
        return f"{_KINDS.get(self.kind, self.kind)}{self.bits}"

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample once it is unpacked."""
        return next(size for size in (1, 2, 4, 8) if self.bits <= 8 * size)


def read_header(data: bytes) -> TiffHeader:
    """Read what a TIFF file says of its first picture; no sample is read.

    Raises
    ------
    TiffKindError
        If its samples are of a kind that cannot be read.
    Exception
        Of any kind, if the file is damaged.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        bits = _one(page, "BitsPerSample", 1, "bits a sample that differ from channel to channel")
        sample_format = _one(page, "SampleFormat", 1, "kinds of numbers that differ from channel to channel")
        channels = int(page.samplesperpixel)
        extra = [int(kind) for kind in page.extrasamples]
        colormap = page.tags.get("ColorMap")
        orientation = page.tags.get("Orientation")
        described = re.search(r"^images=(\d+)", page.description or "", re.MULTILINE)
        stacked = int(described[1]) if described and page.description.startswith("ImageJ=") else 1
        return TiffHeader(
            width=int(page.imagewidth),
            height=int(page.imagelength),
            channels=channels,
            bits=bits,
            kind={1: "u", 2: "i", 3: "f", 4: "u"}.get(sample_format, "complex"),
            photometric=int(page.photometric),
            alpha={1: "premultiplied", 2: "straight"}.get(extra[-1] if extra else 0, "none"),
            orientation=int(orientation.value) if orientation is not None else 1,
            pages=max(len(file.pages), stacked),
            colormap=np.asarray(colormap.value, np.uint16).reshape(3, -1) if colormap is not None else None,
        )


def check_kind(header: TiffHeader) -> None:
    """Refuse what `read_samples` cannot read.

    Raises
    ------
    TiffKindError
        If so.
    """
    if header.kind == "complex":
        raise TiffKindError("complex numbers for samples")
    if header.kind == "f" and header.bits not in (16, 32, 64):
        raise TiffKindError(f"floating-point numbers of {header.bits} bits")
    if not 1 <= header.bits <= 64 or (header.bits > 32 and header.bits != 64):
        raise TiffKindError(f"{header.bits} bits a sample")
    if header.photometric in _COLOURS or header.photometric > 3:
        named = _COLOURS.get(header.photometric, f"unknown ({header.photometric})")
        raise TiffKindError(f"{named} colours of {header.bits} bits a sample")
    if header.photometric == 3 and (header.colormap is None or header.bits > 8 or header.channels != 1):
        raise TiffKindError("a palette of another kind than 256 colours")
    if header.channels not in (header.colours, header.colours + 1):
        raise TiffKindError(f"{header.channels} channels, which are not said to be colours", _WHICH_CHANNELS)


def check_layers(depth: int) -> None:
    """Refuse a file with several layers, as the tag ImageDepth tells; raises `TiffKindError`."""
    if depth > 1:
        raise TiffKindError(f"{depth} layers", "each a picture of its own; save them one by one")


def check_unnamed_channel(samples: NDArray[Any], header: TiffHeader) -> None:
    """Refuse a further channel that is neither a colour nor transparency, and holds a picture of its own.

    Parameters
    ----------
    samples
        From `read_samples`.
    header
        Of the file.

    Raises
    ------
    TiffKindError
        If so. A channel of one value shows nothing, and is left out.
    """
    further = samples[:, :, header.colours :]
    if header.alpha == "none" and further.size and bool((further != further[0, 0]).any()):
        what = f"{header.channels} channels, the last of which is said to be neither a colour nor transparency"
        raise TiffKindError(what, _WHICH_CHANNELS)


def _one(page: Any, tag: str, default: int, differ: str) -> int:
    """Value of a tag that is given once or for every channel."""
    found = page.tags.get(tag)
    values = {default} if found is None else set(np.atleast_1d(found.value).tolist())
    if len(values) != 1:
        raise TiffKindError(differ)
    return int(values.pop())


def read_samples(data: bytes, header: TiffHeader) -> NDArray[Any]:
    """Read the samples of the first picture as they were stored, unturned.

    Returns
    -------
    samples
        Shape ``(height, width, channels)``, in the byte order of this machine.

    Raises
    ------
    TiffKindError, Exception
        As `read_header`, or if there are several layers; `TiffPackingError` if they cannot be unpacked.
    """
    import tifffile

    check_kind(header)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        check_layers(int(page.imagedepth))
        reader = _Segments(data, page, header, file.byteorder)
        return reader.read()


class _Segments:
    """Strips or tiles of one picture, put together."""

    def __init__(self, data: bytes, page: Any, header: TiffHeader, byteorder: str) -> None:
        self._data = data
        self._header = header
        self._compression = int(page.compression)
        # like LibTIFF, which knows predictors of these schemes only
        self._predictor = int(page.predictor) if self._compression not in (1, 32773) else 1
        self._fill_order = int(page.fillorder)
        self._order: Literal["<", ">"] = "<" if byteorder == "<" else ">"
        self._offsets = [int(offset) for offset in page.dataoffsets]
        self._counts = [int(count) for count in page.databytecounts]
        self._is_planar = int(page.planarconfig) == 2 and header.channels > 1
        self._is_tiled = bool(page.is_tiled)
        if self._is_tiled:
            self._across, self._down = int(page.tilewidth), int(page.tilelength)
        else:
            self._across, self._down = header.width, min(int(page.rowsperstrip or header.height), header.height)
        if self._compression not in _COMPRESSIONS:
            name = _NAMES.get(self._compression, f"unknown ({self._compression})")
            raise TiffPackingError(f"{header.bits} bits a sample in {name} compression")
        if self._predictor not in (1, 2, 3) or (self._predictor > 1 and header.bits not in (8, 16, 32, 64)):
            raise TiffKindError(f"a predictor that does not go with {header.bits} bits a sample")
        if self._predictor == 3 and header.kind != "f":
            raise TiffKindError("a predictor for floating-point numbers, and none")
        if not (0 < self._across <= 2 * header.width + 1024 and 0 < self._down <= 2 * header.height + 1024):
            raise ValueError("strips or tiles without a size, or far larger than the picture")

    def read(self) -> NDArray[Any]:
        """Everything, ``(height, width, channels)``."""
        header = self._header
        kind = np.dtype(f"{header.kind}{header.sample_bytes}")
        per_pixel = 1 if self._is_planar else header.channels
        columns, rows = -(-header.width // self._across), -(-header.height // self._down)
        n_planes = header.channels if self._is_planar else 1
        if len(self._offsets) < n_planes * rows * columns or len(self._counts) < n_planes * rows * columns:
            raise ValueError("truncated: strips or tiles are missing")
        found = np.empty((header.height, header.width, header.channels), kind)
        for plane in range(n_planes):
            channels = slice(plane, plane + 1) if self._is_planar else slice(None)
            first = plane * rows * columns
            if not self._is_tiled:
                at_once = max(1, UNPACKED_BYTES // (self._down * self._row_bytes(per_pixel)))
                for at in range(0, rows, at_once):
                    top, bottom = at * self._down, min((at + at_once) * self._down, header.height)
                    strips = range(first + at, first + min(at + at_once, rows))
                    packed = self._unpacked(strips, bottom - top, per_pixel)
                    self._place(packed, per_pixel, kind, found[top:bottom, :, channels])
                continue
            for at in range(rows * columns):
                y, x = at // columns * self._down, at % columns * self._across
                packed = self._unpacked(range(first + at, first + at + 1), self._down, per_pixel)
                tile = np.empty((self._down, self._across, per_pixel), kind)
                self._place(packed, per_pixel, kind, tile)
                into = found[y : y + self._down, x : x + self._across, channels]
                into[...] = tile[: into.shape[0], : into.shape[1]]
        return found

    def _row_bytes(self, per_pixel: int) -> int:
        return -(-self._across * per_pixel * self._header.bits // 8)

    def _unpacked(self, segments: range, n_rows: int, per_pixel: int) -> NDArray[np.uint8]:
        """Bytes of consecutive strips, or of one tile, ``(n_rows, row_bytes)``."""
        row_bytes = self._row_bytes(per_pixel)
        parts = []
        for at in segments:
            start, count = self._offsets[at], self._counts[at]
            if start + count > len(self._data):
                raise ValueError("truncated: a strip or tile lies behind the end of the file")
            parts.append(self._data[start : start + count])
        if self._compression == 1:
            together = b"".join(
                part[: min(self._down, n_rows - at * self._down) * row_bytes] for at, part in enumerate(parts)
            )
            if len(together) < n_rows * row_bytes:
                raise ValueError("truncated: a strip or tile is too short")
            plain = np.frombuffer(together, np.uint8, n_rows * row_bytes).reshape(n_rows, row_bytes)
            return _REVERSED[plain] if self._fill_order == 2 and self._header.bits % 8 else plain
        with Image.open(io.BytesIO(self._as_bytes(parts, row_bytes, n_rows)), formats=["TIFF"]) as image:
            return np.asarray(image)

    def _as_bytes(self, parts: list[bytes], row_bytes: int, n_rows: int) -> bytes:
        """Write packed strips as a TIFF of bytes, whatever they stand for: LibTIFF unpacks them all the same."""
        n, strips = len(parts), b"".join(parts)
        tags = [(256, row_bytes), (257, n_rows), (258, 8), (259, self._compression), (262, 1), (266, self._fill_order),
                (277, 1), (278, self._down)]  # fmt: skip
        after = 8 + 2 + 12 * (len(tags) + 2) + 4
        offsets = np.cumsum([after + (8 * n if n > 1 else 0), *(len(part) for part in parts[:-1])])
        counts = [len(part) for part in parts]
        entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags}
        entries[273] = struct.pack("<HHII", 273, 4, n, after if n > 1 else int(offsets[0]))
        entries[279] = struct.pack("<HHII", 279, 4, n, after + 4 * n if n > 1 else counts[0])
        lists = struct.pack(f"<{2 * n}I", *offsets.tolist(), *counts) if n > 1 else b""
        head = b"II*\0" + struct.pack("<IH", 8, len(entries))
        return head + b"".join(entries[tag] for tag in sorted(entries)) + struct.pack("<I", 0) + lists + strips

    def _place(self, packed: NDArray[np.uint8], per_pixel: int, kind: np.dtype[Any], into: NDArray[Any]) -> None:
        """Turn bytes into samples, some rows at a time."""
        bits, per_row = self._header.bits, self._across * per_pixel
        step = max(1, _UNPACK_ROWS_BYTES // max(1, packed.shape[1]))
        for start in range(0, len(packed), step):
            rows = np.ascontiguousarray(packed[start : start + step])
            if bits not in (8, 16, 32, 64):
                samples = _unpack_bits(rows, bits, per_row, kind)
            elif self._predictor == 3:
                samples = _undo_float_predictor(rows, per_pixel, kind)
            else:
                samples = rows.view(kind.newbyteorder(self._order)).astype(kind, copy=False)
                if self._predictor == 2:
                    samples = _undo_predictor(samples, per_pixel)
            into[start : start + step] = samples.reshape(len(rows), self._across, per_pixel)


_REVERSED: Final = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1).ravel()
"""Bytes with their bits in the other order."""


def _unpack_bits(rows: NDArray[np.uint8], bits: int, per_row: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Samples of any number of bits up to 32, the highest bit first; every row begins a byte."""
    single = np.unpackbits(rows, axis=1)[:, : per_row * bits].reshape(len(rows), per_row, bits)
    padded = np.zeros((len(rows), per_row, 8 * kind.itemsize), np.uint8)
    padded[:, :, -bits:] = single
    if kind.kind == "i":
        padded[:, :, :-bits] = single[:, :, :1]
    return np.packbits(padded, axis=2).view(kind.newbyteorder(">")).astype(kind).reshape(len(rows), per_row)


def _undo_predictor(samples: NDArray[Any], per_pixel: int) -> NDArray[Any]:
    """Sum up differences from pixel to pixel, as whole numbers that wrap around."""
    whole = samples.view(f"u{samples.dtype.itemsize}").reshape(len(samples), -1, per_pixel)
    summed: NDArray[Any] = np.cumsum(whole, axis=1, dtype=whole.dtype)
    return summed.view(samples.dtype)


def _undo_float_predictor(rows: NDArray[np.uint8], per_pixel: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Sum up differences from byte to byte; the bytes of all samples' exponents come first in a row, and so on."""
    summed = np.cumsum(rows.reshape(len(rows), -1, per_pixel), axis=1, dtype=np.uint8).reshape(len(rows), -1)
    by_place = summed.reshape(len(rows), kind.itemsize, -1).swapaxes(1, 2)
    return np.ascontiguousarray(by_place).view(kind.newbyteorder(">")).astype(kind).reshape(len(rows), -1)
