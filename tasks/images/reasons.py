"""Why a file is no picture that can be read, in words for a person: by how it begins, and by what a decoder says."""

from __future__ import annotations

import re
from typing import Final

_OURS: Final = {
    b"\x89PNG": "PNG",
    b"\xff\xd8": "JPEG",
    b"BM": "BMP",
    rb"II[*+]\x00": "TIFF",
    rb"MM\x00[*+]": "TIFF",
    b"RIFF....WEBP": "WebP",
}
_OTHERS: Final = {
    b"GIF8": "a GIF image; save it as PNG",
    b"....ftyp(heic|heix|hevc|mif1|msf1)": "an HEIC photograph; save it as PNG or JPEG",
    b"....ftypavif": "an AVIF image; save it as PNG or JPEG",
    b"\0\0\0\x0cjP": "a JPEG 2000 image; save it as PNG or TIFF",
    b"\xffO\xffQ": "a JPEG 2000 image; save it as PNG or TIFF",
    b"v/1\x01": "an OpenEXR image; save it as TIFF",
    b"8BPS": "a Photoshop document; save it as PNG or TIFF",
    b".{128}DICM": "a DICOM file; save its picture as PNG or TIFF of 16 bits, as DICOM viewers and DCMTK's dcm2pnm do",
    rb"P[1-7]\s": "a PGM or PPM image; save it as PNG or TIFF",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a compressed archive (gzip); unpack it",
    rb"\s*(<\?xml|<svg)": "a drawing or document in XML",
    rb"(?i)\s*(<!doctype html|<html)": "a web page, perhaps the error page of a download",
}
"""How files begin, as patterns, and what they are."""


def what_it_is(data: bytes) -> str:
    """Reason for a file that no decoder takes, by how it begins."""
    if data.startswith(b"\xff\xd8") and (bits := _jpeg_bits(data)) not in (None, 8):
        return f"is a JPEG of {bits} bits a sample, which cannot be read; save it as PNG or TIFF of 16 bits"
    for pattern, name in _OURS.items():
        if re.match(pattern, data, re.DOTALL):
            return f"begins like a {name} image, but is cut off, damaged or of a kind that cannot be read"
    no_image = "is not a PNG, JPEG, BMP, TIFF or WebP image"
    for pattern, what in _OTHERS.items():
        if re.match(pattern, data, re.DOTALL):
            return f"{no_image} but {what}"
    if not data.strip(b"\0"):
        return f"{no_image}; it holds nothing but zeros, as after a failed copy"
    try:
        text = data[:1000].decode(errors="strict" if len(data) <= 1000 else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    is_text = all(character.isprintable() or character.isspace() for character in text)
    return f"{no_image} but text" if is_text else f"{no_image}, whatever its ending says"


def _jpeg_bits(data: bytes) -> int | None:
    """Bits of a sample of a JPEG, from the segment that its picture begins with; None where there is none."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 4]
        at += 2 + length
    return None


def too_large(pixels: str, limit: int) -> str:
    """Reason for a picture of too many pixels; the number as a decoder wrote it."""
    size = f"{int(pixels):,}" if pixels.isdecimal() else "too many"
    return f"has {size} pixels; the limit is {limit:,} (decompression bomb?)"


def damage(error: Exception) -> str:
    """Reason for an image whose decoder fails; the decoder's own words are for programmers."""
    said = str(error).lower()
    if "truncated" in said or "unexpected end" in said:
        return "is damaged: the file is cut off before the picture ends"
    if "decompressed data too large" in said:
        return "holds metadata that unpacks to more than is safe (decompression bomb?)"
    return "is damaged or cut off and cannot be decoded"
