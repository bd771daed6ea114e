"""Files of regions: masks, and polygons of LabelMe and COCO; what is no region is refused in words."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import EmbeddingSpec
from tasks.images import thumbnails
from tasks.images.regions import read_region_file, region_beside
from tasks.images.thumbnails import picture_of

WIDTH, HEIGHT = 20, 10
SQUARE = [[4.0, 2.0], [12.0, 2.0], [12.0, 8.0], [4.0, 8.0]]


def square() -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[2:8, 4:12] = True
    return mask


def labelme(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "5.4.1", "shapes": list(shapes), "imagePath": "a.png", "imageData": None} | {
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **more,
    }


def shape(points: list[list[float]], *, label: str = "part", kind: str = "polygon") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def coco(names: list[str], annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": at, "file_name": name, "height": HEIGHT, "width": WIDTH} for at, name in enumerate(names, start=1)
        ],
        "categories": [{"id": 1, "name": "part"}, {"id": 2, "name": "ignore"}],
        "annotations": annotations,
        **more,
    }


def outline(points: list[list[float]], *, image: int = 1, category: int = 1) -> dict[str, Any]:
    flat = [value for point in points for value in point]
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": [flat], "iscrowd": 0}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def mask_of(path: Path, image: str = "a.png") -> NDArray[np.bool_]:
    return read_region_file(path).mask_of(image)


def test_polygons_of_labelme(tmp_path: Path) -> None:
    """Polygon, rectangle and circle; what is labelled ``ignore`` is cut out, of the whole picture if that is all."""
    path = written(tmp_path / "a.json", labelme(shape(SQUARE)))
    assert np.array_equal(mask_of(path, "whatever.png"), square())
    path = written(tmp_path / "b.json", labelme(shape([[4, 2], [12, 8]], kind="rectangle")))
    assert np.array_equal(mask_of(path), square())
    path = written(tmp_path / "c.json", labelme(shape(SQUARE, label="ignore")))
    assert np.array_equal(mask_of(path), ~square())
    inner = shape([[6, 4], [8, 4], [8, 6], [6, 6]], label="ignore")
    both = mask_of(written(tmp_path / "d.json", labelme(shape(SQUARE), inner)))
    assert square().sum() - both.sum() == 4
    disk = mask_of(written(tmp_path / "e.json", labelme(shape([[10, 5], [10, 9]], kind="circle"))))
    assert disk.sum() == pytest.approx(np.pi * 16, rel=0.1)


def test_polygons_of_coco(tmp_path: Path) -> None:
    """Of one picture they are the region of all; of several, each image has those of the picture with its name."""
    path = written(tmp_path / "one.json", coco(["ref.png"], [outline(SQUARE)]))
    assert np.array_equal(mask_of(path, "other/b.png"), square())
    two = coco(["x/a.png", "y/a.png", "b.png"], [outline(SQUARE), outline([[0, 0], [20, 0], [20, 10]], image=2)])
    path = written(tmp_path / "two.json", two)
    assert np.array_equal(mask_of(path, "x/a.png"), square())
    assert mask_of(path, "board/y/a.png").sum() == pytest.approx(100, rel=0.1)
    with pytest.raises(DatasetError, match=r"several pictures that a\.png may be: x/a\.png, y/a\.png"):
        mask_of(path, "a.png")
    with pytest.raises(DatasetError, match=r"polygons for 2 pictures .*and none for b\.png"):
        mask_of(path, "b.png")
    cut = coco(["a.png"], [outline(SQUARE), outline([[4, 2], [8, 2], [8, 8], [4, 8]], category=2)])
    assert mask_of(written(tmp_path / "cut.json", cut)).sum() == 24


def test_two_pictures_of_coco_with_one_name(tmp_path: Path) -> None:
    """Copies with the same polygons are one picture, whoever annotated them; with others nobody knows which count."""
    same = coco(["a.png", "a.png", "b.png"], [outline(SQUARE, image=at) for at in (1, 2, 3)])
    assert np.array_equal(mask_of(written(tmp_path / "same.json", same), "x/a.png"), square())
    other = coco(["a.png", "a.png"], [outline(SQUARE), outline([[0, 0], [20, 0], [20, 10]], image=2)])
    with pytest.raises(DatasetError, match=r"other\.json has two pictures a\.png with different polygons"):
        read_region_file(written(tmp_path / "other.json", other))
    resized = coco(["a.png", "a.png"], [outline(SQUARE), outline(SQUARE, image=2)])
    resized["images"][1]["width"] = 2 * WIDTH
    with pytest.raises(DatasetError, match=r"two pictures a\.png"):
        read_region_file(written(tmp_path / "resized.json", resized))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "holds no polygons: expected a LabelMe file"),
        ([1, 2], "holds no polygons"),
        (labelme(), "has no polygon: nothing would be looked at"),
        (coco(["a.png"], []), "has no polygon: nothing would be looked at"),
        (labelme(shape(SQUARE), imageHeight=None), "does not say how large the picture is"),
        (labelme(shape(SQUARE, kind="linestrip")), "has a shape 'linestrip'"),
        (labelme({"label": "x"}), "not written as LabelMe or COCO"),
        (labelme(shape([[30, 30], [40, 30], [40, 40]])), "leave nothing to look at in 20 x 10 pixels"),
        (coco(["a.png"], [{**outline(SQUARE), "segmentation": {"counts": [1], "size": [1, 1]}}]), "is no polygon"),
        (coco(["a.png"], [outline(SQUARE, image=7)]), "polygons of the picture 7"),
        (labelme(shape([[0, 0], [int("9" * 400), 0], [5, 5]])), "not written as LabelMe or COCO"),
        (labelme(shape([[0, 0], [float("inf"), 0], [5, 5]])), "a corner that is no number, or far outside"),
        (labelme(shape([[0, 0], [1e300, 1e300]], kind="circle")), "a corner that is no number, or far outside"),
        (coco(["a.png", "b.png"], [outline([[0, 0], [float("nan"), 0], [5, 5]])]), "a corner that is no number"),
    ],
)
def test_what_is_no_region_is_refused(tmp_path: Path, content: object, message: str) -> None:
    """Each names the file and what is wrong with it."""
    path = written(tmp_path / "roi.json", content)
    with pytest.raises(DatasetError, match=message) as caught:
        mask_of(path)
    assert str(path) in str(caught.value)


def test_masks_that_are_of_no_use(tmp_path: Path) -> None:
    """A black one, a JPEG, one that is no picture, one that is not there."""
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "mask.jpg")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, message in [
        ("black.png", "is black: nothing would be looked at"),
        ("mask.jpg", "is a JPEG"),
        ("text.png", "cannot be read"),
        ("text.json", "cannot be read"),
        ("deep.json", "cannot be read"),
        ("gone.png", "there is no file"),
    ]:
        with pytest.raises(DatasetError, match=message):
            read_region_file(tmp_path / name)


def test_a_region_beside_the_images(tmp_path: Path) -> None:
    """In the category's folder, be that a folder of the data or the data itself; two of them are one too many."""
    (tmp_path / "data" / "board").mkdir(parents=True)
    assert region_beside(tmp_path / "data", "board") is None
    mask = tmp_path / "data" / "board" / ".roi.png"
    mask.touch()
    assert region_beside(tmp_path / "data", "board") == mask
    assert region_beside(tmp_path / "data" / "board", "board") == mask
    assert region_beside(tmp_path / "data" / "images.csv", "board") is None
    mask.with_suffix(".json").touch()
    with pytest.raises(ConfigError, match=r"\.roi\.png and \.roi\.json"):
        region_beside(tmp_path / "data", "board")


SPEC = EmbeddingSpec("x", "x", "0", (2,), 64, "bilinear", (0.5,) * 3, (0.5,) * 3, 1, (4, 4), 3)


def test_a_picture_of_another_size_is_shown_as_it_is(tmp_path: Path) -> None:
    """A picture that is older than the region is drawn without grey, and not at all refused."""
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)).save(path)
    asked = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "side": 64, "spec": SPEC}
    rarity = np.zeros((4, 4), np.float32)
    plain = picture_of(path, rarity=rarity, **asked)
    found = picture_of(path, rarity=rarity, looked_at=np.zeros((64, 64), np.bool_), **asked)
    assert plain is not None
    assert found is not None
    assert found.thumbnail == plain.thumbnail


@pytest.mark.parametrize("is_grey", [False, True])
def test_what_is_not_looked_at_is_greyed_out_some_rows_at_a_time(
    is_grey: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pale grey levels as of the whole picture at once; the memory is that of one copy, and a few rows."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1500, 1000, 3), np.uint8)
    if is_grey:
        pixels = np.broadcast_to(pixels[:, :, :1], pixels.shape)
    looked_at = rng.random(pixels.shape[:2]) < 0.5
    expected = pixels.copy()
    grey = pixels[~looked_at].mean(axis=1, keepdims=True)
    expected[~looked_at] = (205 + 0.3 * (grey - 205)).round().astype(np.uint8)
    monkeypatch.setattr(thumbnails, "_ROWS_PIXELS", 1 << 14)
    tracemalloc.start()
    try:
        found = thumbnails._greyed_out(pixels, looked_at)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    assert peak < 4 * 1500 * 1000
