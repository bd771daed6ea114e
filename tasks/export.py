"""Heat maps for other programs: how rare every patch of every clustered image is, as NumPy files and pictures."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.errors import StoreError
from anoclust_core.records import ImageRecord
from anoclust_core.reporting.figures import rarity_overlay_png, rarity_scale
from tasks.stores import arrays, runs
from tasks.stores.files import MAX_NAME, safe_name, write_bytes, write_json
from tasks.stores.images import UnreadableImageError, read_image
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.parts import parts_of

SCALE: Final = "scale.json"
MAX_SIDE: Final = 2048
"""Longest side of a picture; a larger image is shown smaller."""

_LONELY_SIDE: Final = 512
"""Longest side of a picture whose image is gone."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\%]')
"""Characters that some file system takes for something else, and the one that they are written with."""


@dataclass(frozen=True)
class ExportedMaps:
    """What was written.

    Attributes
    ----------
    folder
        Where.
    n_images
        Number of images with maps.
    n_without_source
        How many of them were gone or changed: their pictures show the heat alone.
    """

    folder: Path
    n_images: int
    n_without_source: int


def export_maps(
    layout: StoreLayout, run: Path, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> ExportedMaps:
    """Write the rarity of every clustered image of a run.

    For an image ``a/b.png``, ``OUT/<category>/a/b.png.npy`` holds its rarity, float32, on the patch grid
    ``(height, width)``, in embedding units; ``a/b.png.png`` shows it over the image, at the image's own size up to
    2,048 pixels a side. All pictures of a category share one scale of colours, told in ``scale.json`` with the names
    of all files.

    Parameters
    ----------
    layout
        Store of the run.
    run
        Its folder.
    out
        Folder to write into; files of that name are replaced.
    progress
        Called with (images done, images in all).

    Raises
    ------
    StoreError
        If the run is of another version of Anoclust, or what it is made of is gone or damaged.
    """
    summary = runs.read_summary(run)
    parts = parts_of(layout, summary)
    try:
        images = load_manifest(parts.manifest).clustered
    except FileNotFoundError as error:
        raise StoreError(f"{parts.manifest} is gone; delete {run} and run again to make its maps") from error
    grid = (int(summary["embedding"]["grid"][0]), int(summary["embedding"]["grid"][1]))
    maps: NDArray[np.float32] = arrays.read(parts.weights, "rarity").reshape(-1, *grid).astype(np.float32)
    low, high = rarity_scale(maps)
    folder = out / safe_name(str(summary["category"]))
    names = map_names(image.path for image in images)
    lonely = 0
    for done, (image, rarity) in enumerate(zip(images, maps, strict=True), start=1):
        picture, has_source = _picture(image, _heat(rarity, low, high))
        lonely += not has_source
        target = folder / names[image.path]
        write_bytes(target.with_name(f"{target.name}.npy"), _npy(rarity))
        write_bytes(target.with_name(f"{target.name}.png"), picture)
        if progress:
            progress(done, len(images))
    scale = {
        "category": summary["category"],
        "run_id": summary["run_id"],
        "unit": "embedding units",
        "transparent_up_to": low,
        "red_from": high,
        "grid": list(grid),
        "tau": summary["tau"],
        "files": {image.path: names[image.path] for image in images},
    }
    write_json(folder / SCALE, scale)
    return ExportedMaps(folder, len(images), lonely)


def map_names(paths: Iterable[str]) -> dict[str, str]:
    """Relative file name for the maps of every image, without ending: inside the folder whatever the path is.

    Two images never share a file, on no file system: where two paths come to the same, or one would be a folder where
    the other is a file, the later one gets a name of its own.

    Examples
    --------
    >>> map_names(["test/hole/1.png", "/data/1.png", "../1.png", "TEST/hole/1.png"])["../1.png"]
    '%2E./1.png'
    """
    names: dict[str, str] = {}
    files, folders = {SCALE}, set[str]()
    for path in paths:
        if path in names:
            continue
        own = name = "/".join(_safe_part(part) for part in path.split("/") if part) or "%"
        attempt = 0
        while _clashes(name, files, folders):
            name = f"{_digest(f'{attempt}{path}')}-{own.rpartition('/')[2]}"
            attempt += 1
        names[path] = name
        plain = _folded(name)
        files |= {f"{plain}.npy", f"{plain}.png"}
        folders.update(_above(plain))
    return names


def _clashes(name: str, files: set[str], folders: set[str]) -> bool:
    plain = _folded(name)
    targets = {f"{plain}.npy", f"{plain}.png"}
    return bool(targets & (files | folders)) or bool(set(_above(plain)) & files)


def _folded(name: str) -> str:
    """One spelling of the names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _above(name: str) -> list[str]:
    """Folders that a relative name lies in."""
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _safe_part(part: str) -> str:
    """One part of a path that is a plain name on every file system: readable, and another for every other part."""
    if part in (".", ".."):
        return safe_name(part)
    name = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", part)
    if len(name.encode(errors="surrogateescape")) > MAX_NAME:
        name = f"{name[: MAX_NAME // 4]}%{_digest(part)}"
    return name


def _heat(rarity: NDArray[np.float32], low: float, high: float) -> Image.Image:
    """Heat colours, one pixel a patch."""
    return Image.open(io.BytesIO(rarity_overlay_png(rarity, vmin=low, vmax=high))).convert("RGBA")


def _picture(image: ImageRecord, heat: Image.Image) -> tuple[bytes, bool]:
    """PNG of the heat over the image, or alone where the image is gone; and whether it was there."""
    try:
        shown = Image.fromarray(read_image(Path(image.file), sha256=image.sha256))
    except UnreadableImageError:
        factor = max(1, _LONELY_SIDE // max(heat.size))
        return _png(heat.resize((heat.width * factor, heat.height * factor), Image.Resampling.BILINEAR)), False
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    over = Image.alpha_composite(shown.convert("RGBA"), heat.resize(shown.size, Image.Resampling.BILINEAR))
    return _png(over.convert("RGB")), True


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _npy(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
