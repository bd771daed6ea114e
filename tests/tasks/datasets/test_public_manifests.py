from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from anoclust_core.errors import DatasetError
from tasks.datasets.public import (
    COLUMNS,
    STRESSES,
    first_of_each_label,
    leaves_manifest,
    mtd_manifest,
    mvtec_manifest,
    write_manifest,
    xsdd_manifest,
)

SHARED_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def real(name: str) -> Path:
    """Folder of a real public data set, or a skip where it was not fetched."""
    if not (SHARED_DATA / name).is_dir():
        pytest.skip(f"the public data set {name} is not on this machine")
    return SHARED_DATA / name


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def cells(frame: pd.DataFrame, *columns: str) -> dict[str, tuple[str, ...]]:
    """Get the named columns of each image, by file name."""
    return {
        Path(row.path).name: tuple(getattr(row, column) for column in columns) for row in frame.itertuples(index=False)
    }


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "mtd",
        *("MT_Free/Imgs/f1.jpg", "MT_Free/Imgs/f1.png", "MT_Free/Imgs/f2.JPG", "MT_Free/Imgs/f2.png"),
        *("MT_Blowhole/Imgs/b1.jpg", "MT_Blowhole/Imgs/b1.png", "MT_Crack/Imgs/c1.jpg", "MT_Crack/Imgs/Thumbs.db"),
    )


def test_tiles_of_the_literature():
    """With the published list, Magnetic Tile Defect has 761 training images and 191 + 392 test images with masks."""
    source = real("mtd")
    manifest = mtd_manifest(source, train_list=source / "train_filenames.txt")
    frame = manifest.frame
    assert frame.groupby(["split", frame["label"] == "good"]).size().to_dict() == {
        ("test", False): 392,
        ("test", True): 191,
        ("train", True): 761,
    }
    labels = {"good": 952, "blowhole": 115, "uneven": 103, "break": 85, "crack": 57, "fray": 32}
    assert frame["label"].value_counts().to_dict() == labels
    assert ((frame["mask"] != "") == (frame["label"] != "good")).all()
    assert all(Path(file).is_file() for file in [*frame["path"], *frame["mask"][frame["mask"] != ""]])
    assert manifest.left_out == {}


def test_tiles_without_a_list(tiles):
    """Without a list every tile is a test image; masks belong to defects only, and are empty where there is none."""
    manifest = mtd_manifest(tiles, train_list=None)
    assert cells(manifest.frame, "category", "split", "label", "mask") == {
        "b1.jpg": ("magnetic_tile", "test", "blowhole", str(tiles / "MT_Blowhole" / "Imgs" / "b1.png")),
        "c1.jpg": ("magnetic_tile", "test", "crack", ""),
        "f1.jpg": ("magnetic_tile", "test", "good", ""),
        "f2.JPG": ("magnetic_tile", "test", "good", ""),
    }
    assert manifest.left_out == {"not an image": 1}


def test_tiles_of_the_list_are_for_training(tiles, tmp_path):
    """The named tiles become training images, whatever the white space of the list."""
    names = tmp_path / "train.txt"
    names.write_text("\n  f2.JPG \r\n\n")
    frame = mtd_manifest(tiles, train_list=names).frame
    assert list(frame.loc[frame["split"] == "train", "path"]) == [str(tiles / "MT_Free" / "Imgs" / "f2.JPG")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_a_list_as_windows_writes_it(tiles, tmp_path, encoding):
    """The list may be in any usual encoding, with lines of any system, and with folders in front of the names."""
    image = tiles / "MT_Free" / "Imgs" / "f2.JPG"
    image.rename(image.with_name("früh2.jpg"))
    names = tmp_path / "train.txt"
    names.write_bytes("MT_Free\\Imgs\\früh2.jpg\r\nMT_Free/Imgs/f1.jpg\r".encode(encoding))
    frame = mtd_manifest(tiles, train_list=names).frame
    training = [Path(path).name for path in frame.loc[frame["split"] == "train", "path"]]
    assert training == ["f1.jpg", "früh2.jpg"]


def test_unknown_names_in_the_list_are_refused(tiles, tmp_path):
    """Names of no defect-free tile are an error that says how many and which."""
    names = tmp_path / "train.txt"
    names.write_text("f1.jpg\nb1.jpg\nx1.jpg\nx2.jpg\nx3.jpg\n")
    with pytest.raises(DatasetError, match=r"found 4 of 5 that are not: b1\.jpg, x1\.jpg, x2\.jpg, \.\.\."):
        mtd_manifest(tiles, train_list=names)
    with pytest.raises(DatasetError, match="check the path"):
        mtd_manifest(tiles, train_list=tmp_path / "absent.txt")


def test_stray_masks_are_counted(tiles):
    """A mask without its image is left out and counted."""
    touch(tiles, "MT_Crack/Imgs/c9.png")
    assert mtd_manifest(tiles, train_list=None).left_out["mask without an image"] == 1


def write_leaf_table(root: Path, rows: list[tuple[object, ...]]) -> Path:
    columns = ["id", "predominant_stress", *STRESSES, "severity"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "dataset.csv", index=False)
    return root


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    root = touch(tmp_path / "leaves", *(f"leaf/{number}.jpg" for number in (1, 2, 3, 10, 77, 78)))
    rows = [(1, 0, 0, 0, 0, 0, 0), (2, 2, 0, 1, 0, 0, 3), (3, 2, 0, 1, 1, 0, 4), (10, 4, 0, 0, 0, 1, 1)]
    return write_leaf_table(root, [*rows, (500, 1, 1, 0, 0, 0, 2)])


def test_leaves_of_the_literature():
    """The coffee leaves with at most one stress are counted as published, and what was left out is told."""
    manifest = leaves_manifest(real("leaves"))
    labels = {"good": 272, "miner": 322, "rust": 348, "phoma": 341, "cercospora": 87}
    assert manifest.frame["label"].value_counts().to_dict() == labels
    assert manifest.left_out == {"image without a row": 62, "two or more stresses": 315}
    assert all(Path(file).is_file() for file in manifest.frame["path"])


def test_leaves_keep_what_the_table_knows(leaves):
    """A leaf has its stress as label, its severity and stresses as columns; nothing is left out in silence."""
    manifest = leaves_manifest(leaves)
    assert cells(manifest.frame, "category", "split", "label", "mask", "severity", *STRESSES) == {
        "1.jpg": ("coffee_leaves", "test", "good", "", 0, 0, 0, 0, 0),
        "2.jpg": ("coffee_leaves", "test", "rust", "", 3, 0, 1, 0, 0),
        "10.jpg": ("coffee_leaves", "test", "cercospora", "", 1, 0, 0, 0, 1),
    }
    assert manifest.left_out == {"image without a row": 2, "row without an image": 1, "two or more stresses": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, 0, 0, 0, 0, 0, 0), (1, 1, 1, 0, 0, 0, 0)], "one row per id"),
        ([(1, 0, 2, 0, 0, 0, 0)], "0 or 1 for every stress"),
        ([(1, 0, 0, 0, 0, 0, None)], "severity from 0 to 4"),
    ],
)
def test_broken_leaf_table_is_refused(leaves, rows, message):
    """A table that contradicts itself is refused, not guessed at."""
    write_leaf_table(leaves, rows)
    with pytest.raises(DatasetError, match=message):
        leaves_manifest(leaves)


@pytest.mark.parametrize("text", ["", "id,miner\n1,0\n", 'id\n"1'], ids=["empty", "columns", "malformed"])
def test_unreadable_leaf_table_is_refused(leaves, text):
    """A table that is empty, malformed or lacks columns is refused with the way out."""
    (leaves / "dataset.csv").write_text(text)
    with pytest.raises(DatasetError, match="download it again"):
        leaves_manifest(leaves)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "products",
        *("nut/train/good/000.png", "nut/test/good/000.PNG", "nut/test/bent/000.png", "nut/test/bent/001.jpeg"),
        *("nut/ground_truth/bent/000_mask.png", "nut/test/loose.png", "nut/test/bent/deep/0.png", "nut/license.txt"),
        *("nut/test/bent/notes.txt", "cable/test/cut/a.b.tif", "cable/ground_truth/cut/a.b_mask.png", "papers/x.pdf"),
    )


def test_strip_of_the_literature():
    """X-SDD has 1,360 images of seven types, all of one product."""
    frame = xsdd_manifest(real("xsdd")).frame
    assert len(frame) == 1360
    assert set(frame["category"]) == {"steel_strip"}
    assert frame["label"].value_counts().to_dict() == {
        "red iron": 397,
        "slag inclusion": 238,
        "finishing roll printing": 203,
        "oxide scale of temperature system": 203,
        "surface scratch": 134,
        "iron sheet ash": 122,
        "oxide scale of plate system": 63,
    }


def test_folders_of_the_strip_are_labels(tmp_path):
    """Every folder is a type of one product; what is no image is counted, files beside the folders are passed over."""
    strip = touch(tmp_path / "strip", "red iron/a 1.jpg", "red iron/notes.txt", "slag/b.png", "LICENSE")
    made = xsdd_manifest(strip)
    assert cells(made.frame, "category", "split", "label") == {
        "a 1.jpg": ("steel_strip", "test", "red iron"),
        "b.png": ("steel_strip", "test", "slag"),
    }
    assert made.left_out == {"not an image": 1}


def test_the_first_of_each_label_are_taken(tmp_path):
    """By path, of test images only; how many were left out is told."""
    files = [f"{label}/{number}.jpg" for label in ("slag", "ash") for number in range(3)]
    made = first_of_each_label(xsdd_manifest(touch(tmp_path / "strip", *files)), 2)
    kept = [Path(path).relative_to(tmp_path / "strip").as_posix() for path in made.frame["path"]]
    assert kept == ["ash/0.jpg", "ash/1.jpg", "slag/0.jpg", "slag/1.jpg"]
    assert made.left_out == {"more than 2 of a label": 2}
    made.frame.loc[:, "split"] = ["train", "train", "test", "test"]
    again = first_of_each_label(made, 1).frame
    assert list(again["split"]) == ["train", "train", "test"]


def test_mvtec_root(products):
    """A folder of categories is listed with labels, splits and those masks that exist; the rest is counted."""
    manifest = mvtec_manifest(products)
    masks = [
        str(products / "nut/ground_truth/bent/000_mask.png"),
        str(products / "cable/ground_truth/cut/a.b_mask.png"),
    ]
    rows = [tuple(row) for row in manifest.frame[list(COLUMNS)].itertuples(index=False)]
    assert rows == [
        (str(products / "cable/test/cut/a.b.tif"), "cable", "test", "cut", masks[1]),
        (str(products / "nut/test/bent/000.png"), "nut", "test", "bent", masks[0]),
        (str(products / "nut/test/bent/001.jpeg"), "nut", "test", "bent", ""),
        (str(products / "nut/test/good/000.PNG"), "nut", "test", "good", ""),
        (str(products / "nut/train/good/000.png"), "nut", "train", "good", ""),
    ]
    assert manifest.left_out == {
        "folder that is not a category": 1,
        "image outside a folder of its type": 2,
        "not an image": 1,
    }


def test_mvtec_category_alone(products, monkeypatch):
    """The folder of one category gives its rows of the whole set, also when it is named by a relative path."""
    whole = mvtec_manifest(products).frame
    expected = whole[whole["category"] == "nut"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mvtec_manifest(products / "nut").frame, expected)
    monkeypatch.chdir(products / "nut" / "test")
    pd.testing.assert_frame_equal(mvtec_manifest(Path("..")).frame, expected)


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    """A folder of another layout, an absent one, a file and an empty layout are told apart in words."""
    touch(tmp_path, "pictures/a.png", "hollow/train/good/readme.txt")
    reads = [mvtec_manifest, leaves_manifest, lambda source: mtd_manifest(source, train_list=None)]
    for read in reads:
        with pytest.raises(DatasetError, match=r"found n|found nothing"):
            read(tmp_path / "pictures")
        with pytest.raises(DatasetError, match="found nothing"):
            read(tmp_path / "absent")
        with pytest.raises(DatasetError, match="found a file"):
            read(tmp_path / "pictures" / "a.png")
    with pytest.raises(DatasetError, match="expected images"):
        mvtec_manifest(tmp_path / "hollow")


def test_manifest_survives_the_file(products, tmp_path):
    """A manifest reads back from its CSV as it was, paths with commas and quotes too; an earlier file is replaced."""
    touch(products, 'nut/test/bent/a, "b".png')
    frame = mvtec_manifest(products).frame
    out = tmp_path / "new" / "manifest.csv"
    for part in (frame.head(1), frame):
        assert write_manifest(part, out) == out
        pd.testing.assert_frame_equal(pd.read_csv(out, keep_default_na=False, dtype=str), part)
    assert list(out.parent.iterdir()) == [out]


def test_failed_write_keeps_the_earlier_manifest(products, tmp_path):
    """A manifest with relative paths or without a column is refused, and the earlier file stays as it is."""
    frame, out = mvtec_manifest(products).frame, tmp_path / "manifest.csv"
    write_manifest(frame, out)
    before = out.read_bytes()
    with pytest.raises(DatasetError, match=r"absolute.*a\.png"):
        write_manifest(frame.assign(path="a.png"), out)
    with pytest.raises(DatasetError, match="none named split"):
        write_manifest(frame.drop(columns="split"), out)
    assert out.read_bytes() == before
