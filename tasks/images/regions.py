"""Files that say which part of a picture is looked at: masks, and polygons as LabelMe and COCO write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.errors import ConfigError, DatasetError
from tasks.images.decoding import MAX_PIXELS, UnreadableImageError, decode_mask
from tasks.images.folders import is_folder, is_there

BESIDE: Final = (".roi.png", ".roi.json")
"""Files in a category's folder that hold its region: no walk takes what begins with a point for an image."""

IGNORED: Final = "ignore"
"""Label of polygons that are cut out of what is looked at."""

_JPEG: Final = b"\xff\xd8"
"""How JPEG files begin."""

_FARTHEST: Final = 1e9
"""Pixels from the corner of a picture to a corner of an outline, at most."""

_NO_POLYGON: Final = "{} has no polygon: nothing would be looked at; draw what is to be looked at"


@dataclass(frozen=True)
class Outlines:
    """Outlines on a picture, each as corners ``(n, 2)``, x and y; drawn when they are asked for.

    Attributes
    ----------
    path
        The file that they stand in.
    shape
        Height and width of the picture that they were drawn on.
    looked_at, cut_out
        What lies in any of the first is looked at, all of the picture where there are none; less the others.
    """

    path: Path
    shape: tuple[int, int]
    looked_at: Sequence[NDArray[np.float64]]
    cut_out: Sequence[NDArray[np.float64]]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Mask of the picture."""
        mask = _filled(self.shape, self.looked_at) if self.looked_at else np.ones(self.shape, np.bool_)
        mask &= ~_filled(self.shape, self.cut_out)
        if not mask.any():
            raise DatasetError(
                f"the polygons of {self.path} leave nothing to look at in {self.shape[1]} x {self.shape[0]} pixels"
            )
        return mask


@dataclass(frozen=True)
class RegionFile:
    """What a file says is looked at.

    Attributes
    ----------
    path
        The file.
    mask
        Of every picture, shape ``(height, width)``, bool; None where there is one a picture.
    of_pictures
        Outlines by the names that the file has for pictures.
    """

    path: Path
    mask: NDArray[np.bool_] | None = None
    of_pictures: Mapping[str, Outlines] = field(default_factory=dict)

    def mask_of(self, image: str) -> NDArray[np.bool_]:
        """Mask of an image by its path: that of the picture whose name ends the path, or is ended by it.

        Raises
        ------
        DatasetError
            If the file has polygons of other pictures only, or of several with that name.
        """
        if self.mask is not None:
            return self.mask
        found = sorted((name for name in self.of_pictures if _ends(image, name)), key=len)[-1:]  # the longest name
        found = found or [name for name in self.of_pictures if _ends(name, image)]
        if len(found) == 1:
            return self.of_pictures[found[0]].mask
        if found:
            raise DatasetError(f"{self.path} has several pictures that {image} may be: {', '.join(sorted(found)[:3])}")
        others = ", ".join(sorted(self.of_pictures)[:3])
        raise DatasetError(
            f"{self.path} has polygons for {len(self.of_pictures)} pictures ({others}, ...), and none for {image}; add "
            "it, or give a file with polygons of one picture: these are the region of all"
        )


def _ends(path: str, name: str) -> bool:
    """Whether the parts of a path end with those of a name."""
    parts, wanted = PurePosixPath(path.replace("\\", "/")).parts, PurePosixPath(name.replace("\\", "/")).parts
    return bool(wanted) and parts[-len(wanted) :] == wanted


def region_beside(data: Path, category: str) -> Path | None:
    """File in the folder of a category that holds its region, or None.

    Raises
    ------
    ConfigError
        If there are two.
    """
    folder = data / category if is_folder(data / category) else data
    found = [folder / name for name in BESIDE if is_there(folder / name)]
    if len(found) > 1:
        raise ConfigError(f"{folder} has both {' and '.join(BESIDE)}; remove one, or name it with --roi")
    return found[0] if found else None


def read_region_file(path: Path) -> RegionFile:
    """Read what is looked at: a mask where it is not black, or the inside of polygons.

    Raises
    ------
    DatasetError
        If the file is not there, cannot be read, or holds no such thing.
    """
    if not is_there(path):
        raise DatasetError(f"there is no file {path} with a region; check the path of --roi, or of the column roi")
    if path.suffix.lower() == ".json":
        return _from_json(path)
    mask = _from_picture(path)
    if not mask.any():
        raise DatasetError(f"the mask {path} is black: nothing would be looked at; what is looked at is white")
    return RegionFile(path, mask)


def _from_picture(path: Path) -> NDArray[np.bool_]:
    try:
        data = path.read_bytes()
        mask = decode_mask(data)
    except (OSError, UnreadableImageError) as error:
        raise DatasetError(
            f"the mask {path} cannot be read ({error}); save it as PNG, or give polygons as .json"
        ) from error
    if data.startswith(_JPEG):
        raise DatasetError(f"the mask {path} is a JPEG, whose black is not quite black; save it as PNG")
    return mask


def _from_json(path: Path) -> RegionFile:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"the polygons {path} cannot be read: {error}") from error
    try:
        if isinstance(found, dict) and "shapes" in found:
            return RegionFile(path, _of_labelme(path, found).mask)
        if isinstance(found, dict) and "annotations" in found and "images" in found:
            return _of_coco(path, found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(f"the polygons {path} are not written as LabelMe or COCO write them ({error!r})") from error
    raise DatasetError(
        f"{path} holds no polygons: expected a LabelMe file (with shapes) or a COCO file (with images and annotations)"
    )


def _of_labelme(path: Path, found: Mapping[str, Any]) -> Outlines:
    shape = _shape(path, found.get("imageHeight"), found.get("imageWidth"))
    return _outlines(path, shape, [(_outline(path, one), one.get("label") == IGNORED) for one in found["shapes"]])


def _outline(path: Path, shape: Mapping[str, Any]) -> NDArray[np.float64]:
    """Corners ``(n, 2)`` of a LabelMe shape as x and y."""
    kind, points = shape.get("shape_type") or "polygon", _corners(path, shape["points"])
    if kind == "polygon":
        return points
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if kind == "circle" and len(points) == 2:
        turns = np.linspace(0, 2 * np.pi, 256, endpoint=False)
        around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.asarray(points[0] + np.linalg.norm(points[1] - points[0]) * around)
    raise DatasetError(f"{path} has a shape {kind!r}; a region is made of polygons, rectangles and circles")


def _of_coco(path: Path, found: Mapping[str, Any]) -> RegionFile:
    names = {one["id"]: str(one["name"]) for one in found.get("categories", ())}
    parts: dict[Any, list[tuple[NDArray[np.float64], bool]]] = {one["id"]: [] for one in found["images"]}
    for one in found["annotations"]:
        if one["image_id"] not in parts:
            raise DatasetError(f"{path} has polygons of the picture {one['image_id']}, which its images do not name")
        outlines = one["segmentation"]
        if not isinstance(outlines, list):
            raise DatasetError(f"{path} has a segmentation that is no polygon (RLE); export polygons, or give a mask")
        is_cut_out = names.get(one.get("category_id")) == IGNORED
        parts[one["image_id"]] += [(_corners(path, flat), is_cut_out) for flat in outlines]
    of_pictures: dict[str, Outlines] = {}
    for one in found["images"]:
        if not parts[one["id"]]:
            continue
        name = str(one["file_name"])
        outlines = _outlines(path, _shape(path, one.get("height"), one.get("width")), parts[one["id"]])
        before = of_pictures.setdefault(name, outlines)
        if before is not outlines and not np.array_equal(before.mask, outlines.mask):
            raise DatasetError(
                f"{path} has two pictures {name} with different polygons, and nobody can know which count; write the "
                "folder into their file_name, or leave one out"
            )
    if not of_pictures:
        raise DatasetError(_NO_POLYGON.format(path))
    return RegionFile(path, next(iter(of_pictures.values())).mask if len(parts) == 1 else None, of_pictures)


def _corners(path: Path, numbers: object) -> NDArray[np.float64]:
    """Corners ``(n, 2)`` of an outline as x and y."""
    points = np.array(numbers, np.float64).reshape(-1, 2)
    if not (np.abs(points) <= _FARTHEST).all():
        raise DatasetError(f"{path} has a corner that is no number, or far outside of any picture; draw it again")
    return points


def _shape(path: Path, height: object, width: object) -> tuple[int, int]:
    """Height and width of the picture that polygons were drawn on."""
    if not (isinstance(height, int) and isinstance(width, int) and 0 < height * width <= MAX_PIXELS):
        raise DatasetError(
            f"{path} does not say how large the picture is that its polygons were drawn on (found height {height}, "
            f"width {width})"
        )
    return height, width


def _outlines(path: Path, shape: tuple[int, int], parts: Sequence[tuple[NDArray[np.float64], bool]]) -> Outlines:
    """Outlines of a picture, each with whether it is cut out."""
    if not parts:
        raise DatasetError(_NO_POLYGON.format(path))
    looked_at, cut_out = ([outline for outline, is_out in parts if is_out == wanted] for wanted in (False, True))
    return Outlines(path, shape, looked_at, cut_out)


def _filled(shape: tuple[int, int], outlines: Iterable[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Pixels whose centres lie in any of the outlines, given as x and y from the corner of the picture."""
    from skimage.draw import polygon  # not needed where there is no region

    mask = np.zeros(shape, np.bool_)
    for outline in outlines:
        rows, columns = polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, shape)  # type: ignore[no-untyped-call]
        mask[rows, columns] = True
    return mask
