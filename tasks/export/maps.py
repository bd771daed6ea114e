"""Heat maps for other programs: how rare every patch of every clustered image is, as NumPy files and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.embedding.resizing import Resize, over_frame, seen_box
from anoclust_core.errors import StoreError
from anoclust_core.records import ImageRecord
from anoclust_core.reporting.figures import rarity_overlay_png, rarity_scale
from tasks.images.anomaly_maps import SCALE, map_names
from tasks.images.decoding import UnreadableImageError, read_image
from tasks.images.headers import geometry_of
from tasks.stores import arrays, runs
from tasks.stores.files import safe_name, write_bytes, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import VIEW_RARITY

MAX_SIDE: Final = 2048
"""Longest side of a picture; a larger image is shown smaller."""

_LONELY_SIDE: Final = 512
"""Longest side of a picture whose image is gone."""


@dataclass(frozen=True)
class ExportedMaps:
    """What was written: maps of so many images into a folder.

    ``n_without_source`` of the images were gone or changed: their pictures show the heat alone.
    """

    folder: Path
    n_images: int
    n_without_source: int


def export_maps(
    layout: StoreLayout, run: Path, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> ExportedMaps:
    """Write the rarity of every clustered image of a run, by part of all views.

    For an image ``a/b.png``, ``OUT/<category>/a/b.png.npy`` holds its rarity, float32, on the patch grid
    ``(height, width)``, in the unit that ``scale.json`` tells; where pictures are padded or cropped, on as many patches
    of that size as cover the image, those that the network does not see with the least value.
    ``a/b.png.png`` shows it over the image, at the image's
    own size up to 2,048 pixels a side. All pictures of a category share one scale of colours, told in ``scale.json``
    with the names of all files.

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
        manifest = load_manifest(parts.manifest)
    except FileNotFoundError as error:
        raise StoreError(f"{parts.manifest} is gone; delete {run} and run again to make its maps") from error
    images, kept = manifest.compared, VIEW_RARITY if manifest.views else "rarity"
    grid = (int(summary["embedding"]["grid"][0]), int(summary["embedding"]["grid"][1]))
    maps: NDArray[np.float32] = arrays.read(parts.weights, kept).reshape(-1, *grid).astype(np.float32)
    rows, columns = summary["embedding"].get("tiles") or (1, 1)
    resize = summary["embedding"].get("resize", "squash")
    low, high = rarity_scale(maps, n_tiles=int(rows) * int(columns))
    folder = out / safe_name(str(summary["category"]))
    names = map_names(image.path for image in images)
    lonely = 0
    for done, (image, seen) in enumerate(zip(images, maps, strict=True), start=1):
        rarity = _over_frame(seen, image, resize=resize, tiles=(int(rows), int(columns)))
        picture, has_source = _picture(image, _heat(rarity, low, high), runs.deep_ranges(summary))
        lonely += not has_source
        target = folder / names[image.path]
        write_bytes(target.with_name(f"{target.name}.npy"), _npy(rarity))
        write_bytes(target.with_name(f"{target.name}.png"), picture)
        if progress:
            progress(done, len(images))
    scale = {
        "category": summary["category"],
        "run_id": summary["run_id"],
        "unit": _unit(summary),
        "transparent_up_to": low,
        "red_from": high,
        "grid": list(grid),
        "tau": summary["tau"],
        "files": {image.path: names[image.path] for image in images},
    }
    write_json(folder / SCALE, scale)
    return ExportedMaps(folder, len(images), lonely)


def _over_frame(
    seen: NDArray[np.float32], image: ImageRecord, *, resize: Resize, tiles: tuple[int, int]
) -> NDArray[np.float32]:
    """Rarity over the whole image; where its file is gone, over what the network saw of it."""
    geometry = geometry_of(Path(image.file))
    if geometry is None:
        return seen
    shape = geometry.upright
    return over_frame(seen, shape, seen_box(shape, resize=resize, tiles=tiles))


def _unit(summary: Mapping[str, Any]) -> str:
    """Unit of a run's rarity: recipe auto adds up three distances to the normals, each in standard deviations."""
    is_summed = summary["recipe"] == "auto" and summary["reference"] == "normal"
    return "standard deviations" if is_summed else "embedding units"


def _heat(rarity: NDArray[np.float32], low: float, high: float) -> Image.Image:
    """Heat colours, one pixel per patch."""
    return Image.open(io.BytesIO(rarity_overlay_png(rarity, vmin=low, vmax=high))).convert("RGBA")


def _picture(image: ImageRecord, heat: Image.Image, deep: Sequence[DeepRange]) -> tuple[bytes, bool]:
    """PNG of the heat over the image, or alone where the image is gone; and whether it was there."""
    try:
        shown = Image.fromarray(read_image(Path(image.file), sha256=image.sha256, deep=deep))
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
