"""Files of anomaly maps: the name of every image's map, and reading those that another program made."""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.embedding.deep_images import turned
from anoclust_core.embedding.resizing import seen_values
from anoclust_core.errors import DatasetError
from anoclust_core.keys import KEY_LENGTH
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord
from tasks.images.decoding import FORMATS, MAX_PIXELS, UnreadableImageError, in_words
from tasks.images.folders import is_there
from tasks.images.headers import geometry_of
from tasks.images.reasons import too_large
from tasks.images.samples import TIFF_HEAD, is_tiff
from tasks.images.tiffs import TiffPackingError, read_header, read_samples
from tasks.stores.addresses import with_home
from tasks.stores.files import MAX_NAME, safe_name, sha256_file

MAP_ENDINGS: Final = (".npy", ".tiff", ".tif", ".png")
"""What a map may be, in the order in which they are looked for: a NumPy array, or a picture of one channel."""

SCALE: Final = "scale.json"
"""Beside exported maps: their files' names and scale of colours."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\%]')
"""Characters that some file system takes for something else, and the one that they are written with."""


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


def maps_of(folder: str, images: DatasetManifest) -> dict[str, Path]:
    """Find the maps of the clustered images.

    The map of ``test/hole/000.png`` is ``FOLDER/CATEGORY/test/hole/000.png.npy``, the name that ``--export-maps``
    writes, or ``000.npy``, as anomaly detectors usually write it, or one of the other endings. Where there is no folder
    of the category's name, maps are looked for in ``FOLDER`` itself.

    Parameters
    ----------
    folder
        As given by the user.
    images
        Of one category.

    Returns
    -------
    files
        By the image's path; an image without a map is not there.

    Raises
    ------
    DatasetError
        If the folder is not there, no image has a map, or one map would be that of two images.
    """
    root = with_home(folder)
    own = root / safe_name(images.category)
    base = own if own.is_dir() else root
    if not base.is_dir():
        raise DatasetError(f"--weights maps:{folder} is not a folder; name the folder of the anomaly maps")
    exported = map_names(image.path for image in images.clustered)
    found = {}
    for image in images.clustered:
        file = _map_of(base, image.path, exported[image.path])
        if file is not None and file.resolve() != Path(image.file).resolve():
            found[image.path] = file
    if not found:
        example = images.clustered[0].path if images.clustered else "IMAGE.png"
        raise DatasetError(
            f"no image of {images.category} has a map in {base}; for {example} it would be {base / example}.npy"
        )
    shared = [file for file, n in Counter(found.values()).items() if n > 1]
    if shared:
        both = sorted(path for path, file in found.items() if file == shared[0])
        raise DatasetError(
            f"{shared[0]} would be the map of both {both[0]} and {both[1]}; name maps with the images' endings, as in "
            f"{both[0]}.npy"
        )
    return found


def maps_digest(folder: str, images: DatasetManifest) -> str:
    """Digest of what the maps of all clustered images hold, and how they are turned: where they lie does not matter.

    Raises
    ------
    DatasetError
        As `maps_of`.
    """
    digest = hashlib.sha256()
    files = {image.path: image.file for image in images.clustered}
    for path, file in sorted(maps_of(folder, images).items()):
        digest.update(f"{path} {sha256_file(file)}\n".encode(errors="surrogateescape"))
        geometry = geometry_of(Path(files[path]))
        if geometry is not None and geometry.orientation > 1:  # a map was not turned once, which gave other weights
            digest.update(f"turned by {geometry.orientation}\n".encode())
            if geometry.orientation >= 5 and _is_tiff(Path(files[path])):  # such a map was laid wrongly once
                digest.update(b"as it is stored\n")
    return digest.hexdigest()[:KEY_LENGTH]


def read_map(folder: str, image: ImageRecord, files: Mapping[str, Path]) -> NDArray[Any]:
    """Read the map of one image, upright as the picture is: it follows the picture's EXIF orientation.

    Parameters
    ----------
    folder
        As given by the user, for messages.
    image
        The image.
    files
        From `maps_of`.

    Returns
    -------
    values
        Shape ``(height, width)``, finite.

    Raises
    ------
    DatasetError
        If the image has no map, the file holds no finite two-dimensional array, or one that fits only turned.
    """
    path = image.path
    if path not in files:
        raise DatasetError(
            f"{path} has no map in {folder}; every clustered image needs one: add it, or leave the image out"
        )
    file = files[path]
    try:
        values = _read_array(file) if file.suffix == ".npy" else _read_picture(file.read_bytes())
    except OSError as error:
        raise DatasetError(f"the map {file} cannot be read ({error.strerror or error})") from error
    except UnreadableImageError as error:
        raise DatasetError(
            f"the map {file} cannot be read ({error}); save it as .npy, or as a TIFF of 32-bit floating-point numbers"
        ) from error
    if values.ndim != 2 or values.size == 0:
        raise DatasetError(f"the map {file} has shape {values.shape}; a map has one number per pixel, (height, width)")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise DatasetError(f"the map {file} holds values that are not finite numbers ({values.dtype})")
    return laid_like(np.asarray(values), image.file, f"the map {file}", is_upright=_is_exported(folder, file))


def frame_shape(image: ImageRecord, values: NDArray[Any]) -> tuple[int, int]:
    """Height and width of an image as it is seen; where its file is gone, those of a map or mask of it."""
    geometry = geometry_of(Path(image.file))
    return geometry.upright if geometry is not None else (values.shape[0], values.shape[1])


def seen_map(values: NDArray[Any], image: ImageRecord, spec: EmbeddingSpec) -> NDArray[Any]:
    """Part of an image's map that the network sees; what it sees beyond the image has the map's least value.

    Parameters
    ----------
    values
        From `read_map`.
    image
        The image.
    spec
        How it is resized.

    Returns
    -------
    values
        Shape ``(height, width)``, the map itself where pictures are squashed; else at least eight values a patch each
        way, so that its borders lie where they belong.
    """
    return seen_part(values, frame_shape(image, values), spec)


def seen_part(values: NDArray[Any], shape: tuple[int, int], spec: EmbeddingSpec) -> NDArray[Any]:
    """As `seen_map`, of a map that covers a frame of a height and width."""
    if spec.resize == "squash":
        return values
    return seen_values(values, shape, spec.seen_box(shape), spec.grid, fill=values.min())


def laid_like(values: NDArray[Any], picture: str, what: str, *, is_upright: bool = False) -> NDArray[Any]:
    """Turn a map or mask upright as the picture that it belongs to.

    It lies as the stored pixels do, and is turned with them, unless its shape says that it has been turned before: that
    of the picture as it is seen, or one of the same proportions.

    Parameters
    ----------
    values
        Shape ``(height, width)``, of any resolution.
    picture
        File of the picture; where it is gone, the map is taken as it lies.
    what
        Whose values these are, for messages.
    is_upright
        Whether they are known to lie as the picture is seen.

    Raises
    ------
    DatasetError
        If the sides are those of the picture swapped, and no EXIF orientation explains it.
    """
    geometry = geometry_of(Path(picture))
    if geometry is None or is_upright:
        return values
    shape = (values.shape[0], values.shape[1])
    fits_stored, fits_upright = _fits(shape, geometry.shape), _fits(shape, geometry.upright)
    if not fits_stored and not fits_upright and _fits(shape, geometry.shape[::-1]):
        seen = geometry.upright
        raise DatasetError(
            f"{what} has {shape[0]} rows and {shape[1]} columns, its picture {picture} has {seen[0]} rows and "
            f"{seen[1]} columns: it fits only if rotated, and no EXIF orientation says which way; rotate it like the "
            "picture"
        )
    return values if fits_upright and not fits_stored else turned(values, geometry.orientation)


def _fits(shape: tuple[int, int], picture: tuple[int, int]) -> bool:
    """Whether a map has the proportions of a picture, to a pixel."""
    rows, columns = shape
    return abs(rows * picture[1] - columns * picture[0]) <= max(picture)


def _is_exported(folder: str, file: Path) -> bool:
    """Whether `--export-maps` has written a map: those lie as pictures are seen, beside a file that says so."""
    root = with_home(folder)
    above = [parent for parent in file.parents if parent == root or root in parent.parents]
    return any((parent / SCALE).is_file() for parent in above)


def _map_of(base: Path, path: str, exported: str) -> Path | None:
    # an absolute path, as a manifest may have it, is looked for below the folder too, and never leaves it
    inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..", ".")))
    whole, stem = dict.fromkeys([exported, str(inside)]), inside.with_suffix("")
    # IMAGE.png.png is the picture that `--export-maps` draws beside the map
    candidates = [base / f"{name}{ending}" for name in whole for ending in MAP_ENDINGS if ending != ".png"]
    candidates += [base / f"{stem}{ending}" for ending in MAP_ENDINGS]
    return next((file for file in candidates if is_there(file)), None)


def _is_tiff(file: Path) -> bool:
    with file.open("rb") as opened:
        return is_tiff(opened.read(TIFF_HEAD))


def _read_array(file: Path) -> NDArray[Any]:
    """Array of a .npy file; before memory is taken for it, its header is held against the size of the file.

    Raises
    ------
    UnreadableImageError
        If it is cut off, damaged, or no such file.
    """
    with file.open("rb") as opened:
        try:
            is_old = np.lib.format.read_magic(opened) == (1, 0)
        except ValueError as error:
            raise UnreadableImageError("does not begin as .npy files do, whatever its ending says") from error
        read = np.lib.format.read_array_header_1_0 if is_old else np.lib.format.read_array_header_2_0
        try:
            shape, _, kind = read(opened)
        except Exception as error:  # Python's parser raises anything on damaged headers
            raise UnreadableImageError("is damaged: nothing can be told from its header") from error
        if kind.hasobject:
            raise UnreadableImageError("holds Python objects, which may be programs")
        needed, found = prod(shape) * kind.itemsize, file.stat().st_size - opened.tell()
        if needed > found:
            raise UnreadableImageError(
                f"is cut off or damaged: an array of shape {shape} takes {needed:,} bytes, and there are {found:,}"
            )
        opened.seek(0)
        try:
            values: NDArray[Any] = np.lib.format.read_array(opened, allow_pickle=False)
        except (ValueError, OverflowError, MemoryError) as error:
            raise UnreadableImageError(f"holds an array of shape {shape}, which NumPy cannot read") from error
        return values


def _read_picture(data: bytes) -> NDArray[Any]:
    """Numbers of a picture of one channel, with all their bits.

    Raises
    ------
    UnreadableImageError
        If there are several channels or pages, or it cannot be read.
    """
    with in_words(data):
        if is_tiff(data) and (header := read_header(data)).is_deep:
            if header.width * header.height > MAX_PIXELS:
                raise UnreadableImageError(too_large(str(header.width * header.height), MAX_PIXELS))
            _check_single(header.pages, header.channels, f"{header.channels} channels")
            with suppress(TiffPackingError):  # Pillow can unpack some of these
                return turned(read_samples(data, header)[:, :, 0], header.orientation)
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            channels = 3 if picture.mode == "P" else len(picture.getbands())
            _check_single(getattr(picture, "n_frames", 1), channels, f"the mode {picture.mode}")
            return np.asarray(picture)


def _check_single(n_pages: int, n_channels: int, found: str) -> None:
    """Refuse pictures of which nobody can know what is the map."""
    if n_pages > 1:
        raise UnreadableImageError(f"holds {n_pages} pages; a map has one")
    if n_channels != 1:
        raise UnreadableImageError(f"has {found}; a map has one channel of numbers")


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
