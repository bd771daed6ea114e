"""A zoo of input files: every kind that a camera, a network drive or a person leaves in a folder of images.

Each specimen says what must become of it. `make` writes them all into a folder; `world` plays what files cannot do by
themselves: a fixed clock, a file that changes while it is read, one that the system refuses.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers.builders import surface
from tasks.images import file_check

CLUSTERED: Final = "clustered"
QUARANTINED: Final = "quarantined"
DEFERRED: Final = "deferred"

CLOCK: Final = 1_900_000_000.0
"""Seconds since 1970 while `world` plays; the specimens are an hour old."""

PICTURE: Final = surface(1, "hole")
"""What every specimen with ``alike`` shows."""

NEWLINE_NAME: Final = "line 1\nline 2.png"
SCRIPT_NAME: Final = "<script>alert('1')</script>".replace("/", "\u2215") + ".png"
"""A name cannot hold a slash; the browser does not need it to be fooled."""

CHANGES_WHILE_HASHED: Final = "growing.png"
CHANGES_BEFORE_DECODING: Final = "overwritten.png"
VANISHES: Final = "moved-away.png"
REFUSED: Final = "locked.png"
BROKEN_DISK: Final = "bad-sector.png"


@dataclass(frozen=True)
class Specimen:
    """One file.

    Attributes
    ----------
    kind, what
        Group and description, as docs/inputs.md shows them.
    name
        Path in the folder of images.
    content
        Bytes, or a function that makes the file at a path.
    becomes
        What a run must do with it.
    alike
        Largest mean difference of its pixels to `PICTURE` or its grey, in levels; None where it shows something else.
    age
        Seconds since it was written.
    """

    kind: str
    what: str
    name: str
    content: bytes | Callable[[Path], None]
    becomes: Literal["clustered", "quarantined", "deferred"]
    alike: float | None = None
    age: float = 3600.0

    @property
    def path(self) -> str:
        """Path as a run tells it."""
        return os.fsencode(self.name).decode(errors="backslashreplace")


def encoded(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    """Save pixels as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, bits: int = 8) -> bytes:
    """Write a grey PNG file of any size from its header and any chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def real_bomb(side: int) -> bytes:
    """Write a PNG of some kilobytes that unpacks to ``side`` x ``side`` pixels of one bit."""
    packer = zlib.compressobj(1)
    row = b"\0" * (1 + side // 8)
    data = b"".join(packer.compress(row * 500) for _ in range(side // 500)) + packer.flush()
    return png(side, side, chunk(b"IDAT", data), bits=1)


def frames(kind: str, **options: object) -> bytes:
    """Save an animation, or a file of several pages."""
    images = [Image.fromarray(surface(seed)) for seed in (301, 302, 303)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], **options)


def flipped(data: bytes, at: float) -> bytes:
    """Flip the bits of eight bytes, at a part of the length."""
    start = int(at * len(data))
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start : start + 8]) + data[start + 8 :]


def turned(orientation: int, turn: Image.Transpose) -> Image.Image:
    """Turn the picture; together with the EXIF tag it shows what it did before."""
    image = Image.fromarray(PICTURE).transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    return image


def with_exif(image: Image.Image, kind: str) -> bytes:
    return encoded(image, kind, exif=image.info["exif"], **({"quality": 95} if kind == "JPEG" else {}))


def sparse(size: int) -> Callable[[Path], None]:
    def make_file(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make_file


def link(target: str) -> Callable[[Path], None]:
    """Make a symbolic link; a target that starts with ELSEWHERE lies beside the folder of images."""

    def make_link(path: Path) -> None:
        elsewhere = path.parent.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        if not (elsewhere / "secret.png").exists():
            (elsewhere / "secret.png").write_bytes(encoded(surface(400), "PNG"))
        path.symlink_to(target.replace("ELSEWHERE", str(elsewhere)))

    return make_link


@cache
def specimens() -> tuple[Specimen, ...]:
    """Every specimen; no two hold the same bytes, unless they are meant to."""
    return (*_odd_but_valid(), *_bad(), *_late())


def _odd_but_valid() -> Iterator[Specimen]:
    rgb = Image.fromarray(PICTURE)
    grey = rgb.convert("L")
    grey16 = np.asarray(grey).astype(np.uint16) * 257
    floats = (np.asarray(grey) / 255).astype(np.float32)
    rgba = rgb.convert("RGBA")
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    jpeg = encoded(rgb, "JPEG", quality=95)

    def shown(kind: str, what: str, name: str, data: bytes, alike: float | None = 0.0) -> Specimen:
        return Specimen(kind, what, name, data, CLUSTERED, alike)

    yield shown("colour", "PNG, 8-bit RGB", "rgb.png", encoded(rgb, "PNG"))
    yield shown("colour", "BMP, 8-bit RGB", "rgb.bmp", encoded(rgb, "BMP"))
    yield shown("colour", "TIFF, 8-bit RGB", "rgb.tif", encoded(rgb, "TIFF"))
    yield shown("colour", "TIFF, 8-bit RGB, LZW", "lzw.tiff", encoded(rgb, "TIFF", compression="tiff_lzw"))
    yield shown("colour", "JPEG", "rgb.jpg", jpeg, 4)
    yield shown(
        "colour", "JPEG, progressive", "progressive.jpeg", encoded(rgb, "JPEG", quality=94, progressive=True), 4
    )
    yield shown("colour", "WebP, lossless", "lossless.webp", encoded(rgb, "WEBP", lossless=True))
    yield shown("colour", "WebP, lossy", "lossy.webp", encoded(rgb, "WEBP", quality=95), 8)
    yield shown("grey", "PNG, 8-bit grey", "grey.png", encoded(grey, "PNG"), 0)
    yield shown("grey", "JPEG, 8-bit grey", "grey.jpg", encoded(grey, "JPEG", quality=95), 4)
    yield shown("grey", "BMP, 8-bit grey", "grey.bmp", encoded(grey, "BMP"), 0)
    yield shown("grey", "TIFF, 8-bit grey", "grey.tif", encoded(grey, "TIFF"), 0)
    yield shown("16-bit grey", "PNG, 16-bit grey: 0 is black, 65,535 white", "grey16.png", encoded(grey16, "PNG"), 0)
    yield shown("16-bit grey", "TIFF, 16-bit grey", "grey16.tif", encoded(grey16, "TIFF"), 0)
    yield shown("16-bit grey", "TIFF, 32-bit whole numbers up to 65,535", "grey32.tif",
                encoded(grey16.astype(np.int32), "TIFF"), 0)  # fmt: skip
    yield shown("float", "TIFF, 32-bit float from 0 to 1", "float.tif", encoded(floats, "TIFF"), 0)
    deep = np.arange(4096, dtype=np.int32).reshape(64, 64)
    yield shown("values", "TIFF of 32-bit numbers above 65,535", "deep.tif", encoded(deep * 1000, "TIFF"), None)
    yield shown("values", "TIFF of numbers below 0", "negative.tif", encoded(deep - 7, "TIFF"), None)
    yield shown("transparency", "PNG, RGBA: laid on white", "rgba.png", encoded(rgba, "PNG"))
    yield shown("transparency", "PNG, grey with transparency", "la.png", encoded(rgb.convert("LA"), "PNG"), 0)
    yield shown("transparency", "WebP, RGBA", "rgba.webp", encoded(rgba, "WEBP", lossless=True, quality=50))
    yield shown("transparency", "TIFF, RGBA", "rgba.tif", encoded(rgba, "TIFF"))
    yield shown("palette", "PNG with a palette", "palette.png", encoded(palette, "PNG"), 0)
    yield shown("palette", "PNG with a palette that has a transparent colour", "palette-clear.png",
                encoded(palette, "PNG", transparency=0), None)  # fmt: skip
    yield shown("palette", "BMP with a palette", "palette.bmp", encoded(palette, "BMP"), 0)
    yield shown("black and white", "PNG, 1 bit", "bits.png", encoded(rgb.convert("1"), "PNG"), None)
    yield shown("black and white", "TIFF, 1 bit, fax compression", "fax.tif",
                encoded(rgb.convert("1"), "TIFF", compression="group4"), None)  # fmt: skip
    yield shown("CMYK", "JPEG, CMYK", "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=95), 4)
    yield shown("CMYK", "TIFF, CMYK", "cmyk.tif", encoded(rgb.convert("CMYK"), "TIFF"), 0)
    for orientation, turn in ((3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90)):
        what = f"JPEG, EXIF orientation {orientation}: turned upright"
        name = f"orientation {orientation}.jpg"
        yield shown("EXIF orientation", what, name, with_exif(turned(orientation, turn), "JPEG"), 4)
    yield shown("EXIF orientation", "PNG, EXIF orientation 8", "orientation 8.png",
                with_exif(turned(8, Image.Transpose.ROTATE_270), "PNG"))  # fmt: skip
    yield shown("EXIF orientation", "JPEG whose EXIF block is damaged: taken as it lies", "exif-damaged.jpg",
                encoded(rgb, "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"), 4)  # fmt: skip
    yield shown("camera file", "JPEG with a preview behind the picture (MPO)", "camera.jpg",
                encoded(rgb, "MPO", quality=95, save_all=True, append_images=[rgb.resize((16, 16))]), 4)  # fmt: skip
    yield shown("ending", "a JPEG named .png: the content decides", "jpeg.png", encoded(rgb, "JPEG", quality=93), 5)
    yield shown("ending", "ending in capitals", "CAPITALS.TIFF", encoded(rgb, "TIFF", compression="tiff_deflate"))
    yield shown("size", "8 x 8 pixels, the smallest", "smallest.png", encoded(PICTURE[:8, :8].copy(), "PNG"), None)
    yield shown("size", "400 x 8 pixels, the longest for its width", "long.png",
                encoded(np.tile(PICTURE[:8], (1, 7, 1))[:, :400].copy(), "PNG"), None)  # fmt: skip
    yield shown("damaged", "JPEG with flipped bits in the picture, which decodes to noise", "flipped.jpg",
                flipped(encoded(surface(310), "JPEG", quality=90), 0.7), None)  # fmt: skip
    names = {
        "spaces": "a  name with   spaces .png",
        "nothing but spaces": "   .png",
        "quotes and a comma": "a \"quoted\", 'name'.png",
        "a line break": NEWLINE_NAME,
        "markup": SCRIPT_NAME,
        "template code and a backslash": "{{ 7 * 7 }} \\n %s.png",
        "emoji and accents": "🙂 Prüfling №7 日本.png",
        "text from right to left": "\u202eעברית\u202c.png",
        "200 characters": "n" * 196 + ".png",
        "a dash in front": "-rf --help.png",
        "a spreadsheet formula": "=HYPERLINK(1).png",
        "the word for a missing value": "NA.png",
        "a folder named like an image": "folder.png/inside.png",
    }
    for number, (what, name) in enumerate(names.items()):
        yield shown("name", what, name, encoded(surface(320 + number, "scratch"), "PNG"), None)
    yield shown("copies", "two files with the same bytes: one embedding, two images", "copy.png", encoded(rgb, "PNG"))
    yield Specimen("link", "symbolic link to an image in the data", "link.png", link("rgb.bmp"), CLUSTERED, 0)
    yield Specimen("link", "symbolic link to a folder in the data: its images", "linked", link("folder.png"), CLUSTERED)
    yield Specimen("file time", "a file dated two hours ahead: its clock is another one", "tomorrow.png",
                   encoded(surface(340), "PNG"), CLUSTERED, age=-7200)  # fmt: skip


def _bad() -> Iterator[Specimen]:
    noise = np.random.default_rng(5)
    pixels = surface(350, "scratch")
    files = {
        "PNG": (encoded(pixels, "PNG"), "png"),
        "JPEG": (encoded(pixels, "JPEG", quality=95), "jpg"),
        "BMP": (encoded(pixels, "BMP"), "bmp"),
        "TIFF": (encoded(pixels, "TIFF"), "tif"),
        "TIFF (LZW)": (encoded(pixels, "TIFF", compression="tiff_lzw"), "tiff"),
        "WebP": (encoded(pixels, "WEBP", lossless=True), "webp"),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("a.png"), files["PNG"][0])

    def bad(kind: str, what: str, name: str, content: bytes | Callable[[Path], None]) -> Specimen:
        return Specimen(kind, what, name, content, QUARANTINED)

    yield bad("empty", "no byte at all", "empty.png", b"")
    yield bad("empty", "4,096 zeros, as after a crash or a failed copy", "zeros.jpg", b"\0" * 4096)
    others = {
        "text": ("text.png", b"shift 3: camera was off\n" * 9),
        "random bytes": ("random.tif", noise.bytes(3000)),
        "a web page, as a failed download leaves it": ("download.jpg", b"<!DOCTYPE html><html><h1>403</h1></html>"),
        "an SVG drawing": ("drawing.png", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
        "a ZIP archive": ("archive.png", archive.getvalue()),
        "a PDF document": ("document.png", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"),
        "a GIF image": ("picture.png", encoded(Image.fromarray(pixels).convert("P"), "GIF")),
        "an HEIC photograph of a telephone": ("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise.bytes(500)),
    }
    for what, (name, data) in others.items():
        yield bad("not an image", f"{what}, named like an image", name, data)
    for kind, (data, ending) in files.items():
        for part, share in (("a tenth", 0.1), ("a half", 0.5), ("all but 2 %", 0.98)):
            name = f"cut {kind} {share}.{ending}"
            yield bad("cut off", f"{kind}, {part} of it there", name, data[: int(share * len(data))])
    yield bad("cut off", "PNG, the first 8 bytes", "signature.png", files["PNG"][0][:8])
    yield bad("cut off", "JPEG, the first 2 bytes", "signature.jpg", files["JPEG"][0][:2])
    yield bad("damaged", "PNG with flipped bits in its header", "header.png", flipped(files["PNG"][0], 0.002))
    yield bad("damaged", "PNG with flipped bits in its picture", "flipped.png", flipped(files["PNG"][0], 0.5))
    yield bad("damaged", "WebP with flipped bits in its header", "header.webp", flipped(files["WebP"][0], 0.001))
    yield bad("damaged", "PNG without a picture", "no-picture.png", png(64, 64))
    yield bad("damaged", "PNG whose picture has no bytes", "no-bytes.png", png(64, 63, chunk(b"IDAT", b"")))
    yield bad("damaged", "JPEG without a picture", "no-scan.jpg", files["JPEG"][0][:20] + b"\xff\xd9")
    yield bad("too small", "1 x 1 pixel", "pixel.png", encoded(np.zeros((1, 1), np.uint8), "PNG"))
    yield bad("too small", "7 pixels wide", "narrow.png", encoded(np.zeros((64, 7), np.uint8), "PNG"))
    yield bad("too long", "30,000 x 1 pixels", "line.png", encoded(np.zeros((1, 30_000), np.uint8), "PNG"))
    yield bad("too long", "8 x 8,000 pixels", "strip.bmp", encoded(np.zeros((8_000, 8), np.uint8), "BMP"))
    yield bad("bomb", "PNG whose header claims 100,000 x 100,000 pixels", "claim.png", png(100_000, 100_000))
    yield bad("bomb", "PNG of 0.2 MB that unpacks to 20,000 x 20,000 pixels", "bomb.png", real_bomb(20_000))
    yield bad("bomb", "PNG with 5 MB of packed text", "text-bomb.png",
              png(64, 62, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 5_000_000))))  # fmt: skip
    yield bad("bomb", "a file of 3 GB", "huge.tif", sparse(3_000_000_000))
    dicom = b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0"
    yield bad("not an image", "a DICOM file", "x-ray.dcm", dicom)
    yield bad("not an image", "a DICOM file, named like an image", "x-ray.png", dicom)
    yield bad("several pictures", "animated PNG", "animated.png", frames("PNG"))
    yield bad("several pictures", "animated WebP", "animated.webp", frames("WEBP"))
    yield bad("several pictures", "TIFF with three pages", "pages.tif", frames("TIFF"))
    yield bad("several pictures", "animated GIF named .png", "animated-gif.png", frames("GIF"))
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        floats = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
        floats[3, 5] = value
        yield bad("values", f"float TIFF with one {name} value", f"{name}.tif", encoded(floats, "TIFF"))
    flat = np.full((64, 64), 0.25, np.float32)
    yield bad("one value", "TIFF, float, all values equal", "flat.tif", encoded(flat, "TIFF"))
    yield bad("one value", "PNG, every pixel white", "white.png", encoded(np.full((64, 64), 255, np.uint8), "PNG"))
    yield bad("colour", "TIFF in LAB colours", "lab.tif", encoded(Image.new("LAB", (64, 64)), "TIFF"))
    yield bad("link", "symbolic link to an image outside of the data", "outside.png", link("ELSEWHERE/secret.png"))
    yield bad("link", "symbolic link to a folder outside of the data", "outside", link("ELSEWHERE"))
    yield bad("link", "symbolic link to a file that is gone", "gone.png", link("nowhere.png"))
    yield bad("link", "symbolic link to itself", "circle.png", link("circle.png"))
    yield bad("link", "symbolic link to the folder that it lies in", "round", link("."))
    yield bad("link", "a second symbolic link to one folder", "relinked", link("folder.png"))
    yield bad("not a file", "a named pipe: never opened, nobody may write to it", "pipe.png", os.mkfifo)
    yield bad("not readable", "no permission", REFUSED, encoded(surface(360), "PNG"))
    yield bad("not readable", "an error of the disk or the network", BROKEN_DISK, encoded(surface(361), "PNG"))
    yield bad("name", "bytes that are no UTF-8", os.fsdecode(b"b\xfcrste.png"), encoded(surface(362), "PNG"))


def _late() -> Iterator[Specimen]:
    def late(what: str, name: str, seed: int, age: float = 3600.0) -> Specimen:
        return Specimen("being written", what, name, encoded(surface(seed), "PNG"), DEFERRED, age=age)

    yield late("changed half a second ago", "fresh.png", 370, 0.5)
    yield late("dated a second ahead", "ahead.png", 371, -1.0)
    yield late("grows while the run reads it", CHANGES_WHILE_HASHED, 372)
    yield late("overwritten before the run decodes it", CHANGES_BEFORE_DECODING, 373)
    yield late("moved away before the run decodes it", VANISHES, 374)


def make(folder: Path, *becomes: str) -> list[Specimen]:
    """Write the specimens that become one of the given things, dated by `CLOCK`; gives them."""
    chosen = [specimen for specimen in specimens() if specimen.becomes in becomes]
    for specimen in chosen:
        path = folder / specimen.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(specimen.content, bytes):
            path.write_bytes(specimen.content)
        else:
            specimen.content(path)
        if not path.is_symlink():
            os.utime(path, (CLOCK - specimen.age,) * 2)
    return chosen


@contextmanager
def world() -> Iterator[None]:
    """Let time stand still at `CLOCK`, files change under the reader, and the system refuse what it should."""
    hash_file, read_bytes = file_check.sha256_file, Path.read_bytes

    def hash_or_fail(path: Path) -> str:
        if path.name == REFUSED:
            raise PermissionError(13, "Permission denied")
        if path.name == BROKEN_DISK:
            raise OSError(5, "Input/output error")
        digest = hash_file(path)
        if path.name == CHANGES_WHILE_HASHED:
            with path.open("ab") as file:
                file.write(b"more")
        return digest

    def read_or_fail(path: Path) -> bytes:
        if path.name == VANISHES:
            raise FileNotFoundError(2, "No such file or directory")
        return read_bytes(path) + (b"more" if path.name == CHANGES_BEFORE_DECODING else b"")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_check, "now", lambda: CLOCK)
        patch.setattr(file_check, "sha256_file", hash_or_fail)
        patch.setattr(Path, "read_bytes", read_or_fail)
        yield
