"""Symbolic links among the images: followed inside of the data, told where they lead out of it or nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.builders import config_of, flat_folder, mvtec_category, write_manifest_csv

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest
from tasks.images.listing import check_enough, list_datasets

pytestmark = pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights on Windows")


def only(data: Path, **settings: str) -> DatasetManifest:
    (manifest,) = list_datasets(data, config_of(**settings))
    return manifest


def paths(manifest: DatasetManifest) -> list[str]:
    return [image.path for image in manifest.images]


def reasons(manifest: DatasetManifest) -> dict[str, str]:
    return {entry.path: entry.reason for entry in manifest.quarantine}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return flat_folder(tmp_path / "outside", range(50, 52))


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return flat_folder(tmp_path / "data" / "board", range(2))


def test_links_inside_the_data(board):
    """Links to images and to folders inside the data are followed; what they show counts as further images."""
    flat_folder(board / "day1", [5])
    (board / "again.png").symlink_to("000.png")
    (board / "link").symlink_to(board / "day1")
    manifest = only(board)
    assert paths(manifest) == ["000.png", "001.png", "again.png", "day1/005.png", "link/005.png"]
    assert manifest.quarantine == ()
    assert len(manifest.duplicates) == 2


def test_links_out_of_the_data(board, outside):
    """A link out of the data, to an image or to a folder, is one entry in quarantine that says where it leads."""
    (board / "secret.png").symlink_to(outside / "050.png")
    (board / "folder").symlink_to(outside)
    (board / "sub").mkdir()
    (board / "sub" / "up").symlink_to("../../../outside")
    manifest = only(board)
    assert paths(manifest) == ["000.png", "001.png"]
    assert list(reasons(manifest)) == ["folder", "secret.png", "sub/up"]
    for reason in reasons(manifest).values():
        assert reason.startswith(f"is a symbolic link to {outside}")
        assert f"outside of {board}; copy what it leads to" in reason


def test_link_to_another_category(tmp_path, board, outside):
    """The data as a whole is the root: one category may link to another, none out of it."""
    nut = flat_folder(tmp_path / "data" / "nut", range(5, 7))
    (nut / "shared").symlink_to(board)
    (tmp_path / "data" / "screw").symlink_to(outside)
    found = {manifest.category: manifest for manifest in list_datasets(tmp_path / "data", RunConfig())}
    assert paths(found["nut"]) == ["005.png", "006.png", "shared/000.png", "shared/001.png"]
    assert paths(found["screw"]) == []
    with pytest.raises(DatasetError, match=r"screw has 0 usable images .*screw: is a symbolic link to .*outside of"):
        check_enough(found["screw"], max_bad_share=1)


def test_data_given_through_a_link(tmp_path, board):
    """DATA itself may be a link: where it leads is the root, and gives the category its name."""
    (tmp_path / "today").symlink_to(board)
    manifest = only(tmp_path / "today")
    assert (manifest.category, paths(manifest)) == ("board", ["000.png", "001.png"])


@pytest.mark.timeout(20)
def test_web_of_links_comes_to_an_end(tmp_path):
    """Folders that all link to each other and to their parents are walked once, and the surplus links are told."""
    data = tmp_path / "data"
    names = "abcdefgh"
    for number, name in enumerate(names):
        flat_folder(data / name, [number])
    for name in names:
        for other in names:
            (data / name / f"to-{other}").symlink_to(data / other)
        (data / name / "up").symlink_to(data)
    found = list_datasets(data, RunConfig())
    assert [manifest.category for manifest in found] == list(names)
    for manifest in found:
        assert f"{ord(manifest.category) - ord('a'):03d}.png" in paths(manifest)
        assert "up" in reasons(manifest)
        assert "a folder that it lies in" in reasons(manifest)["up"]
        assert len(paths(manifest)) <= len(names)


@pytest.mark.timeout(20)
def test_circle_of_files(board):
    """Files that link to each other in a circle are told, and so is a link to nothing."""
    (board / "a.png").symlink_to("b.png")
    (board / "b.png").symlink_to("a.png")
    (board / "c.png").symlink_to("/no/such\nplace.png")
    assert reasons(only(board)) == {
        "a.png": "is a symbolic link that leads back to itself",
        "b.png": "is a symbolic link that leads back to itself",
        "c.png": "is a symbolic link to /no/such\\nplace.png, which does not exist",
    }


def test_split_that_is_a_link(tmp_path, outside):
    """A split of the MVTec layout that leads out of the data is told as what it would have been."""
    nut = mvtec_category(tmp_path / "nut", {"test/good": 2})
    (nut / "train").symlink_to(outside)
    manifest = only(nut)
    assert list(reasons(manifest)) == ["train"]
    with pytest.raises(DatasetError, match=r"none of the 1 normal images.*train: is a symbolic link"):
        check_enough(manifest, max_bad_share=1)


def test_manifest_stays_in_its_folder(board, outside):
    """A relative path of a manifest must not leave the manifest's folder through a link; an absolute one may."""
    (board / "link.png").symlink_to(outside / "050.png")
    (board / "folder").symlink_to(outside)
    (board / "inner.png").symlink_to("000.png")
    rows = [
        {"path": path, "category": "nut"}
        for path in ("000.png", "inner.png", "link.png", "folder/051.png", str(board / "link.png"))
    ]
    manifest = only(write_manifest_csv(board / "m.csv", rows))
    assert paths(manifest) == [str(board / "link.png"), "000.png", "inner.png"]
    assert reasons(manifest)["link.png"].startswith(f"is a symbolic link to {outside / '050.png'}, outside of {board}")
    assert reasons(manifest)["folder/051.png"].startswith(f"leads through a symbolic link to {outside / '051.png'}")
    assert all(reason.endswith("write its absolute path") for reason in reasons(manifest).values())


def test_normals_that_are_links_into_the_data(tmp_path, board, outside):
    """A folder of normals may be made of links into the data, but not out of both."""
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / "n.png").symlink_to(board / "001.png")
    (golden / "m.png").symlink_to(outside / "050.png")
    manifest = only(board, normals=str(golden))
    assert [image.path for image in manifest.normals] == [str(golden / "n.png")]
    assert list(reasons(manifest)) == [str(golden / "m.png")]


def test_folder_that_cannot_be_read(board, monkeypatch):
    """A folder that the system does not open is one entry in quarantine; the others are read."""
    flat_folder(board / "locked", [7])
    honest = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return honest(path)

    monkeypatch.setattr(os, "scandir", refuse)
    manifest = only(board)
    assert paths(manifest) == ["000.png", "001.png"]
    assert reasons(manifest) == {"locked": "is a folder that cannot be read: Permission denied"}


def test_data_that_cannot_be_read(board, monkeypatch):
    """Where DATA itself cannot be opened the message says so."""

    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DatasetError, match="board cannot be read: Permission denied"):
        list_datasets(board, RunConfig())


def test_folder_named_like_an_image(board):
    """A folder whose name ends like an image's is a folder: the images in it are listed."""
    flat_folder(board / "x.png", [7])
    assert paths(only(board)) == ["000.png", "001.png", "x.png/007.png"]


def test_image_beside_the_splits_is_told(tmp_path):
    """An image beside the splits of the MVTec layout is left out with a note, or clustered where all splits are."""
    nut = mvtec_category(tmp_path / "nut", {"test/good": 2, "train/good": 2})
    flat_folder(nut, [7])
    assert "1 images left out: split unknown, label unknown." in only(nut).notes
    assert "007.png" in paths(only(nut, splits="all"))


def test_broken_link_beside_categories_is_told(tmp_path, board):
    """A broken link named like an image beside the categories is counted in a note, and makes no category of them."""
    (tmp_path / "data" / "x.png").symlink_to("nowhere")
    manifest = only(tmp_path / "data")
    assert manifest.category == "board"
    assert any("1 of .png that is a broken link" in note for note in manifest.notes)
