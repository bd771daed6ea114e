from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.builders import config_of, flat_folder, mvtec_category, save_image, surface, write_manifest_csv

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest
from tasks.images import file_check
from tasks.images.listing import check_enough, list_datasets

COUNTS = {"train/good": 3, "test/good": 2, "test/hole": 2}


def only(data: Path, **settings: str) -> DatasetManifest:
    (manifest,) = list_datasets(data, config_of(**settings))
    return manifest


def roles(manifest: DatasetManifest) -> Counter[tuple[str | None, str | None, str]]:
    """Count images by split, label and role."""
    return Counter((image.split, image.label, image.role) for image in manifest.images)


def test_one_category_in_the_mvtec_layout(tmp_path):
    """One category is named by its folder; splits and labels come from the folders, paths start below it."""
    manifest = only(mvtec_category(tmp_path / "nut", COUNTS))
    assert manifest.category == "nut"
    assert roles(manifest) == {
        ("train", "good", "normal"): 3,
        ("test", "good", "cluster"): 2,
        ("test", "hole", "cluster"): 2,
    }
    assert [image.path for image in manifest.images] == sorted(image.path for image in manifest.images)
    assert manifest.images[0].path == "test/good/000.png"
    assert all(Path(image.file).is_file() for image in manifest.images)


def test_folder_of_categories_of_both_kinds(tmp_path):
    """A folder may hold MVTec categories and flat ones side by side; each is listed by its own layout, by name."""
    mvtec_category(tmp_path / "nut", COUNTS)
    flat_folder(tmp_path / "board", range(3))
    (tmp_path / ".cache").mkdir()
    flat_folder(tmp_path / ".cache", range(2))
    board, nut = list_datasets(tmp_path, RunConfig())
    assert (board.category, nut.category) == ("board", "nut")
    assert roles(board) == {(None, None, "cluster"): 3}
    assert len(nut.normals) == 3


def test_flat_folder(tmp_path):
    """Images in a folder without splits are one category, all clustered, without labels; other files are ignored."""
    flat_folder(tmp_path / "board", range(3))
    (tmp_path / "board" / "notes.txt").write_text("no image")
    save_image(tmp_path / "board" / ".hidden.png", surface(9))
    manifest = only(tmp_path / "board")
    assert [image.path for image in manifest.images] == ["000.png", "001.png", "002.png"]
    assert roles(manifest) == {(None, None, "cluster"): 3}


def test_nested_flat_folder(tmp_path):
    """Folders below a flat folder belong to it; their names stay part of the path."""
    flat_folder(tmp_path / "board", range(2))
    flat_folder(tmp_path / "board" / "day1" / "cam2", range(5, 7))
    manifest = only(tmp_path / "board")
    assert [image.path for image in manifest.images] == ["000.png", "001.png", "day1/cam2/005.png", "day1/cam2/006.png"]


def test_endings_in_any_case(tmp_path):
    """JPG, Tiff and the like are images too, whatever the case of the ending."""
    for name in ("a.PNG", "b.JPG", "c.jpeg", "d.Tiff", "e.bmp", "f.webp"):
        save_image(tmp_path / "board" / name, surface(len(name)))
    assert len(only(tmp_path / "board").images) == 6


def test_symbolic_name_is_resolved(tmp_path, monkeypatch):
    """`anoclust run .` names the category by the folder, not by the dot."""
    flat_folder(tmp_path / "board", range(2))
    monkeypatch.chdir(tmp_path / "board")
    assert only(Path()).category == "board"


def test_masks_are_found(tmp_path):
    """A mask is found by its MVTec name where there is one, and good images have none."""
    mvtec_category(tmp_path / "nut", COUNTS)
    save_image(tmp_path / "nut" / "ground_truth" / "hole" / "001_mask.png", surface(0)[:, :, 0])
    masks = {image.path: image.mask for image in only(tmp_path / "nut").images if image.mask}
    assert masks == {"test/hole/001.png": str(tmp_path / "nut" / "ground_truth" / "hole" / "001_mask.png")}


@pytest.mark.parametrize(
    ("settings", "clustered", "normals", "left_out"),
    [
        ({}, {"test"}, {"train"}, ["1 images left out: split train, label hole."]),
        (
            {"normals": "none"},
            {"test"},
            set(),
            ["1 images left out: split train, label hole.", "3 images left out: split train, label good."],
        ),
        ({"splits": "all"}, {"train", "test", "validation"}, set(), []),
    ],
    ids=["default", "blind", "all"],
)
def test_roles_and_what_is_left_out(tmp_path, settings, clustered, normals, left_out):
    """Good training images are the normals, the test split is clustered, and a note counts whatever is left out."""
    mvtec_category(tmp_path / "nut", {**COUNTS, "train/hole": 1, "validation/good": 1})
    manifest = only(tmp_path / "nut", **settings)
    assert {image.split for image in manifest.clustered} == clustered
    assert {image.split for image in manifest.normals} == normals
    unused = [] if settings.get("splits") == "all" else ["1 images left out: split validation, label good."]
    assert sorted(manifest.notes) == sorted([*left_out, *unused])


@pytest.mark.parametrize("splits", ["test", "all"])
def test_folder_of_normals(tmp_path, splits):
    """With a folder of normal images these are the only normals, told apart by their whole path."""
    mvtec_category(tmp_path / "nut", COUNTS)
    flat_folder(tmp_path / "golden", range(50, 54))
    manifest = only(tmp_path / "nut", normals=str(tmp_path / "golden"), splits=splits)
    assert [image.path for image in sorted(manifest.normals, key=lambda image: image.path)] == [
        str(tmp_path / "golden" / f"{number:03d}.png") for number in range(50, 54)
    ]
    assert {image.label for image in manifest.normals} == {"good"}
    assert len(manifest.clustered) == (4 if splits == "test" else 7)


def test_image_in_both_roles_is_noted(tmp_path):
    """A clustered image that is also a normal is used as both, and a note says that nothing in it is rare."""
    flat_folder(tmp_path / "board", range(4))
    flat_folder(tmp_path / "golden", range(3, 6))
    manifest = only(tmp_path / "board", normals=str(tmp_path / "golden"))
    assert (len(manifest.clustered), len(manifest.normals)) == (4, 3)
    assert any("1 clustered images are also among the normals" in note for note in manifest.notes)


def test_manifest_with_relative_and_absolute_paths(tmp_path):
    """Relative paths start at the manifest's folder; absolute ones may lead anywhere; both are kept as written."""
    flat_folder(tmp_path / "lists" / "images", range(2))
    flat_folder(tmp_path / "elsewhere", range(5, 6))
    rows = [
        {"path": "images/000.png", "category": "nut", "split": "", "label": "", "mask": ""},
        {"path": "./images/../images/001.png", "category": "nut", "label": "hole", "mask": "images/000.png"},
        {"path": str(tmp_path / "elsewhere" / "005.png"), "category": "nut", "label": "good"},
    ]
    manifest = only(write_manifest_csv(tmp_path / "lists" / "m.csv", rows))
    by_path = {image.path: image for image in manifest.images}
    assert set(by_path) == {row["path"] for row in rows}
    assert {image.label for image in manifest.images} == {None, "hole", "good"}
    assert by_path[rows[1]["path"]].mask == str(tmp_path / "lists" / "images" / "000.png")
    assert all(Path(image.file).is_file() for image in manifest.images)


def test_extra_columns_are_carried(tmp_path):
    """Columns that Anoclust does not know are kept as text, digits and all; a name like NA stays a name."""
    flat_folder(tmp_path, range(2))
    rows = [
        {"path": "000.png", "category": "NA", "line": "007", "shift": "night"},
        {"path": "001.png", "category": "NA", "line": "1e3", "shift": ""},
    ]
    manifest = only(write_manifest_csv(tmp_path / "m.csv", rows))
    assert manifest.category == "NA"
    assert [dict(image.extra) for image in manifest.images] == [
        {"line": "007", "shift": "night"},
        {"line": "1e3", "shift": ""},
    ]


def test_only_the_named_categories(tmp_path):
    """Only the categories asked for are read."""
    for name in ("a", "b", "c"):
        flat_folder(tmp_path / name, range(2))
    assert [manifest.category for manifest in list_datasets(tmp_path, RunConfig(), categories=["c", "a"])] == ["a", "c"]


def test_unreadable_file_is_quarantined(tmp_path, monkeypatch):
    """A file that the system refuses to open goes into quarantine with the system's reason; the others are listed."""
    flat_folder(tmp_path / "board", range(3))
    honest = file_check.sha256_file

    def refuse_one(file: Path) -> str:
        if file.name == "001.png":
            raise PermissionError(13, "Permission denied")
        return honest(file)

    monkeypatch.setattr(file_check, "sha256_file", refuse_one)
    manifest = only(tmp_path / "board")
    assert [image.path for image in manifest.images] == ["000.png", "002.png"]
    assert [(entry.path, entry.reason) for entry in manifest.quarantine] == [
        ("001.png", "cannot be read: Permission denied")
    ]
    assert manifest.n_total == 3


def test_missing_file_of_a_manifest_is_quarantined(tmp_path):
    """A manifest may name a file that is not there: it is counted and told, and does not stop the run."""
    flat_folder(tmp_path, range(2))
    rows = [{"path": name, "category": "nut"} for name in ("000.png", "001.png", "gone.png")]
    manifest = only(write_manifest_csv(tmp_path / "m.csv", rows))
    assert [entry.path for entry in manifest.quarantine] == ["gone.png"]
    assert len(manifest.images) == 2


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_file_with_an_undecodable_name_is_quarantined(tmp_path):
    """A file whose name is not UTF-8 goes into quarantine: nothing that the run writes could name it."""
    flat_folder(tmp_path / "board", range(2))
    (tmp_path / "board" / "001.png").rename(tmp_path / "board" / os.fsdecode(b"b\xfcrste.png"))
    flat_folder(tmp_path / "board", range(2))
    manifest = only(tmp_path / "board")
    assert len(manifest.images) == 2
    (entry,) = manifest.quarantine
    assert entry.path == "b\\xfcrste.png"
    assert "UTF-8" in entry.reason


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_undecodable_folders_and_endings(tmp_path):
    """Folders and endings whose names are not UTF-8 are told in text that can be written down."""
    nut = mvtec_category(tmp_path / "nut", COUNTS)
    for folder in (b"test/b\xfcrste", b"t\xe4st/good"):
        flat_folder(nut / os.fsdecode(folder), [70])
    (nut / "test" / os.fsdecode(b"notes.t\xfct")).touch()
    manifest = only(nut)
    assert [(entry.path, entry.reason) for entry in manifest.quarantine] == [
        ("test/b\\xfcrste/070.png", "the name of its folder is not UTF-8; rename it")
    ]
    assert "1 images left out: split t\\xe4st, label good." in manifest.notes
    assert json.dumps(asdict(manifest), ensure_ascii=False).encode()


def test_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    """The same files give the same manifest in whatever order the file system lists them."""
    mvtec_category(tmp_path / "nut", COUNTS)
    flat_folder(tmp_path / "board", range(4))
    expected = list_datasets(tmp_path, RunConfig())
    iterdir, scandir = Path.iterdir, os.scandir

    def backwards(folder: Path) -> AbstractContextManager[list[os.DirEntry[str]]]:
        return nullcontext(sorted(scandir(folder), key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(iterdir(folder), reverse=True)))
    monkeypatch.setattr(os, "scandir", backwards)
    assert list_datasets(tmp_path, RunConfig()) == expected


def test_order_of_the_manifest_does_not_matter(tmp_path):
    """Shuffled manifest lines give the same images in the same order."""
    flat_folder(tmp_path, range(5))
    rows = [{"path": f"{number:03d}.png", "category": "nut"} for number in range(5)]
    first = only(write_manifest_csv(tmp_path / "a.csv", rows))
    second = only(write_manifest_csv(tmp_path / "b.csv", [rows[at] for at in (3, 0, 4, 2, 1)]))
    assert first == second


def test_progress_counts_every_file_once(tmp_path):
    """Progress runs from the first file to the last over all categories."""
    flat_folder(tmp_path / "a", range(3))
    flat_folder(tmp_path / "b", range(2))
    heard: list[tuple[int, int]] = []
    list_datasets(tmp_path, RunConfig(), listener=lambda *what: heard.append(what[2:]))
    assert heard == [(done, 5) for done in range(1, 6)]


def test_trailing_comma_shifts_nothing(tmp_path):
    """A manifest whose rows end in a comma, as spreadsheets write them, is read all the same."""
    flat_folder(tmp_path, range(2))
    (tmp_path / "m.csv").write_text("path,category,label\n000.png,nut,good,\n001.png,nut,hole,\n")
    manifest = only(tmp_path / "m.csv")
    assert [(image.path, image.label) for image in manifest.images] == [("000.png", "good"), ("001.png", "hole")]


def test_store_and_hidden_folders_are_no_data(tmp_path):
    """A store inside the data folder and hidden folders are passed over."""
    flat_folder(tmp_path, range(2))
    for folder in ("store/runs", ".thumbnails"):
        flat_folder(tmp_path / folder, [7])
    (manifest,) = list_datasets(tmp_path, RunConfig(), exclude=tmp_path / "store")
    assert [image.path for image in manifest.images] == ["000.png", "001.png"]


def test_other_endings_are_told(tmp_path):
    """Files that do not end like images are not used, and a note says how many there were of which kind."""
    flat_folder(tmp_path, range(2))
    for name in ("a.gif", "b.GIF", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert any("2 of .gif, 1 of .txt" in note for note in only(tmp_path).notes)


def test_unreadable_normals_are_remembered(tmp_path):
    """Where no given normal can be opened, the category is refused: a blind run is not what was asked for."""
    flat_folder(tmp_path, range(2))
    rows = [{"path": f"00{n}.png", "category": "nut", "split": "test"} for n in range(2)]
    rows.append({"path": "gone.png", "category": "nut", "split": "train"})
    with pytest.raises(DatasetError, match=r"none of the 1 normal images.*gone.png.*--normals none"):
        check_enough(only(write_manifest_csv(tmp_path / "m.csv", rows)), max_bad_share=1)
