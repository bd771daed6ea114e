"""Anomaly maps that another program made: found by the image's name, read, or refused."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.builders import digest
from helpers.deep_files import tiff, written
from PIL import Image

from anoclust_core.embedding.deep_images import turned
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest, ImageRecord
from tasks.images.anomaly_maps import maps_digest, maps_of, read_map

VALUES = np.random.default_rng(0).random((6, 8)).astype(np.float32)


def images(*paths: str) -> DatasetManifest:
    return DatasetManifest("tile", tuple(ImageRecord(path, f"/data/{path}", digest(path), "cluster") for path in paths))


def image_of(path: str) -> ImageRecord:
    return images(path).images[0]


def save(file: Path, values: np.ndarray = VALUES) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, values)
    else:
        Image.fromarray(values).save(file)
    return file


@pytest.mark.parametrize(
    "name",
    [
        "tile/test/hole/1.png.npy",
        "tile/test/hole/1.npy",
        "tile/test/hole/1.tiff",
        "tile/test/hole/1.png.tif",
        "test/hole/1.npy",
    ],
)
def test_map_is_found_by_the_name_of_its_image(tmp_path, name):
    """With or without the image's ending, below a folder of the category's name or the folder itself."""
    file = save(tmp_path / name)
    found = maps_of(str(tmp_path), images("test/hole/1.png"))
    assert found == {"test/hole/1.png": file}
    np.testing.assert_array_equal(read_map(str(tmp_path), image_of("test/hole/1.png"), found), VALUES)


@pytest.mark.parametrize("values", [(VALUES * 255).astype(np.uint8), (VALUES * 60000).astype(np.uint16), VALUES > 0.5])
def test_grey_pictures_are_maps(tmp_path, values):
    """A grey PNG of 1, 8 or 16 bits keeps its numbers."""
    save(tmp_path / "1.png", values)
    found = maps_of(str(tmp_path), images("1.jpg"))
    np.testing.assert_array_equal(read_map("", image_of("1.jpg"), found), values)


def test_a_name_that_leaves_no_room_for_that_of_its_map(tmp_path):
    """An image whose name is as long as names may be has no map beside the others, and stops nothing."""
    file = save(tmp_path / "1.npy")
    assert maps_of(str(tmp_path), images("1.png", f"{'n' * 250}.png")) == {"1.png": file}


def test_an_image_is_not_its_own_map(tmp_path):
    """Where maps are looked for among the images themselves, a grey image is not taken for a map."""
    file = save(tmp_path / "1.png", (VALUES * 255).astype(np.uint8))
    own = images("1.png")
    own = replace(own, images=(replace(own.images[0], file=str(file)),))
    with pytest.raises(DatasetError, match="no image of tile has a map"):
        maps_of(str(tmp_path), own)


def test_digest_follows_contents_not_places(tmp_path):
    """The same maps elsewhere are the same; one changed number, or one map less, is another key."""
    both = images("1.png", "2.png")
    for folder in ("a", "b"):
        for name in ("1.npy", "2.npy"):
            save(tmp_path / folder / name)
    before = maps_digest(str(tmp_path / "a"), both)
    assert maps_digest(str(tmp_path / "b"), both) == before
    save(tmp_path / "a" / "1.npy", VALUES + 1)
    (tmp_path / "b" / "2.npy").unlink()
    assert len({before, maps_digest(str(tmp_path / "a"), both), maps_digest(str(tmp_path / "b"), both)}) == 3


def test_missing_maps(tmp_path):
    """No folder, no map at all, one image without: each is told with the name that was looked for."""
    with pytest.raises(DatasetError, match="is not a folder"):
        maps_of(str(tmp_path / "none"), images("1.png"))
    with pytest.raises(DatasetError, match=r"for 1\.png it would be .*1\.png\.npy"):
        maps_of(str(tmp_path), images("1.png"))
    save(tmp_path / "1.npy")
    found = maps_of(str(tmp_path), images("1.png", "2.png"))
    with pytest.raises(DatasetError, match=r"2\.png has no map"):
        read_map("maps", image_of("2.png"), found)


def test_one_map_for_two_images_is_refused(tmp_path):
    """Two images of one name but their ending need maps of their own."""
    save(tmp_path / "1.npy")
    with pytest.raises(DatasetError, match=r"the map of both 1\.jpg and 1\.png"):
        maps_of(str(tmp_path), images("1.png", "1.jpg"))


def test_paths_never_leave_the_folder(tmp_path):
    """A manifest's path that climbs is looked for below the folder."""
    save(tmp_path / "outside.npy")
    (tmp_path / "maps").mkdir()
    with pytest.raises(DatasetError, match="no image of tile has a map"):
        maps_of(str(tmp_path / "maps"), images("../outside.png"))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full((2, 2), np.nan), "finite numbers"),
        (np.full((2, 2), np.inf), "finite numbers"),
        (np.zeros((2, 2, 3)), r"shape \(2, 2, 3\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.array([["a"]]), "finite numbers"),
        (np.array([[1j]]), "finite numbers"),
        (np.array([[None]], dtype=object), "cannot be read"),
    ],
)
def test_arrays_that_are_no_maps(tmp_path, values, why):
    """What is not a finite number per pixel is refused with the file's name; no pickle is ever opened."""
    save(tmp_path / "1.npy", values)
    with pytest.raises(DatasetError, match=why):
        read_map("", image_of("1.png"), maps_of(str(tmp_path), images("1.png")))


@pytest.mark.parametrize("name", ["1.npy", "1.tiff", "1.png"])
def test_files_that_are_no_maps(tmp_path, name):
    """Rubbish, an empty file, a colour picture."""
    for content in (b"rubbish", b""):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match="cannot be read"):
            read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))
    if name != "1.npy":
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(DatasetError, match="one channel"):
            read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, map=VALUES)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    """A .npy file whose header has any text, and no numbers behind it."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode()


BROKEN = {
    "an archive of arrays": (npz(), "does not begin as .npy files do"),
    "an archive that is cut off": (npz()[:60], "does not begin as .npy files do"),
    "numbers cut off": (npy(VALUES)[:-8], r"an array of shape \(6, 8\) takes 192 bytes, and there are 184"),
    "header cut off": (npy(VALUES)[:20], "is damaged: nothing can be told from its header"),
    "more than any memory": (
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2000000, 4000000)}"),
        "takes 64,000,000,000,000 bytes, and there are 0",
    ),
    "a shape that is none": (
        npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 0)}"),
        "which NumPy cannot read",
    ),
    "brackets that never end": (npy_header("(" * 9000), "is damaged: nothing can be told from its header"),
    "text that never ends": (npy_header("{'descr': (\n'''"), "is damaged: nothing can be told from its header"),
}


@pytest.mark.parametrize(("content", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_arrays_are_refused_before_memory_is_taken(tmp_path, content, why):
    """Whatever a .npy file holds, the message has its name and what is wrong with it; nothing else is raised."""
    (tmp_path / "1.npy").write_bytes(content)
    with pytest.raises(
        DatasetError, match=rf"1\.npy cannot be read \(.*{why}.*; save it as \.npy, or as a TIFF of 32-bit"
    ):
        read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))


WHOLE = np.arange(48).reshape(6, 8)


@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", "int8", "int16", "uint16", "int32", "uint32", "uint64"]
)
@pytest.mark.parametrize("packing", ["plain", "packed"])
def test_maps_of_every_kind_of_numbers(tmp_path, kind, packing):
    """A TIFF keeps its numbers, whichever of NumPy's kinds they are; large ones do not become negative."""
    values = (WHOLE * (2**31 // 24)).astype(kind) if kind in ("uint32", "uint64") else WHOLE.astype(kind)
    options = {"compression": "zlib", "predictor": kind != "uint64"} if packing == "packed" else {}
    tifffile.imwrite(tmp_path / "1.tiff", values, photometric="minisblack", **options)
    found = read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))
    np.testing.assert_array_equal(found, values)


def test_a_map_that_only_pillow_can_unpack(tmp_path):
    """A TIFF of floating-point numbers in LZMA is a map, though such pictures are refused."""
    Image.fromarray(VALUES).save(tmp_path / "1.tif", compression="lzma")
    found = read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))
    np.testing.assert_array_equal(found, VALUES)


NO_MAPS = {
    "pages": (written(np.stack([VALUES] * 3), photometric="minisblack"), "holds 3 pages; a map has one"),
    "pages of 8 bits": (
        written(np.stack([WHOLE.astype(np.uint8)] * 3), photometric="minisblack"),
        "holds 3 pages; a map has one",
    ),
    "channels": (
        written(np.dstack([VALUES] * 2), photometric="minisblack", planarconfig="contig"),
        "has 2 channels; a map has one channel of numbers",
    ),
    "complex": (written(VALUES.astype(np.complex64), photometric="minisblack"), "has complex numbers for samples"),
    "cut off": (written(VALUES, photometric="minisblack")[:-40], "the file is cut off before the picture ends"),
    "a bomb": (tiff([b"\0"], shape=(60_000, 60_000), bits=[16]), "3,600,000,000 pixels; the limit is"),
    "another format": (b"P5\n8 6\n255\n" + bytes(48), "but a PGM or PPM image"),
}


@pytest.mark.parametrize(("content", "why"), NO_MAPS.values(), ids=NO_MAPS.keys())
def test_pictures_that_are_no_maps(tmp_path, content, why):
    """Nobody can know which page or channel is the map; a decoder's own words are in no message."""
    (tmp_path / "1.tif").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"1\.tif cannot be read \(.*{why}"):
        read_map("", image_of("1.jpg"), maps_of(str(tmp_path), images("1.jpg")))


def stored_picture(folder: Path, shape: tuple[int, int], orientation: int) -> ImageRecord:
    """A JPEG as a camera stores it, with the tag that says how it is seen."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "1.jpg", exif=exif)
    return ImageRecord("1.jpg", str(folder / "1.jpg"), digest("1.jpg"), "cluster")


def read_laid(folder: Path, image: ImageRecord, values: np.ndarray) -> np.ndarray:
    save(folder / "maps" / "1.npy", values)
    maps = str(folder / "maps")
    return read_map(maps, image, maps_of(maps, DatasetManifest("tile", (image,))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("shape", "resolution"), [((60, 100), 1), ((60, 100), 4), ((64, 64), 1)])
def test_map_of_the_stored_pixels_is_turned_with_its_picture(tmp_path, orientation, shape, resolution):
    """However the camera was held, and at any resolution: the map follows the picture, square ones too."""
    image = stored_picture(tmp_path, shape, orientation)
    values = np.random.default_rng(0).random((shape[0] // resolution, shape[1] // resolution))
    np.testing.assert_array_equal(read_laid(tmp_path, image, values), turned(values, orientation))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_map_of_the_upright_picture_stays_as_it_is(tmp_path, orientation):
    """A map whose shape is that of the picture as it is seen has been turned before."""
    image = stored_picture(tmp_path, (60, 100), orientation)
    values = np.random.default_rng(0).random((100, 60))
    np.testing.assert_array_equal(read_laid(tmp_path, image, values), values)


@pytest.mark.parametrize("orientation", [1, 3])
def test_map_that_fits_only_turned_is_refused(tmp_path, orientation):
    """Swapped sides that no EXIF orientation explains are an error that names both shapes."""
    image = stored_picture(tmp_path, (60, 100), orientation)
    with pytest.raises(
        DatasetError, match=r"50 rows and 30 columns, its picture .* has 60 rows and 100 columns: it fits"
    ):
        read_laid(tmp_path, image, np.zeros((50, 30)))


def test_exported_maps_lie_as_pictures_are_seen(tmp_path):
    """What `--export-maps` has written is not turned again; maps of square grids do not tell."""
    image = stored_picture(tmp_path, (60, 100), 6)
    values = np.random.default_rng(0).random((8, 8))
    np.testing.assert_array_equal(read_laid(tmp_path, image, values), turned(values, 6))
    (tmp_path / "maps" / "scale.json").write_text("{}")
    np.testing.assert_array_equal(read_laid(tmp_path, image, values), values)


def test_digest_follows_the_orientation_of_pictures(tmp_path):
    """Weights from a map that is turned are others than those from the same map as it lies."""
    save(tmp_path / "maps" / "1.npy", np.ones((8, 8)))
    keys = set()
    for orientation in (1, 6):
        image = stored_picture(tmp_path, (60, 100), orientation)
        keys.add(maps_digest(str(tmp_path / "maps"), DatasetManifest("tile", (image,))))
    assert len(keys) == 2
    (tmp_path / "1.jpg").unlink()
    assert maps_digest(str(tmp_path / "maps"), DatasetManifest("tile", (image,))) in keys


def test_digest_of_maps_that_were_laid_wrongly_once(tmp_path):
    """Weights that an earlier version took from a map on its side, of a TIFF, are not used again."""
    save(tmp_path / "maps" / "1.npy", np.ones((8, 8)))
    camera = stored_picture(tmp_path, (60, 100), 6)
    Image.fromarray(np.zeros((60, 100), np.uint8)).save(tmp_path / "1.tif", tiffinfo={0x0112: 6})
    both = [camera, replace(camera, file=str(tmp_path / "1.tif"))]
    keys = {maps_digest(str(tmp_path / "maps"), DatasetManifest("tile", (image,))) for image in both}
    assert len(keys) == 2
