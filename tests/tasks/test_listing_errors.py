from __future__ import annotations

from pathlib import Path

import pytest
from builders import config_of, digest, flat_folder, manifest_of, mvtec_category, write_manifest_csv

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from tasks.stores.listing import check_enough, list_datasets


def test_missing_folder(tmp_path):
    """A folder that does not exist is named, with what would be accepted."""
    with pytest.raises(DatasetError, match=r"gone is neither a folder nor a manifest \(\.csv\)"):
        list_datasets(tmp_path / "gone", RunConfig())


@pytest.mark.parametrize("inside", [(), ("notes.txt",), ("board/readme.md",)])
def test_folder_without_images(tmp_path, inside):
    """A folder without any image says which endings were looked for and where."""
    for name in inside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"no image in .*\.bmp \.jpeg \.jpg \.png"):
        list_datasets(tmp_path, RunConfig())


def test_unknown_category_names_the_known_ones(tmp_path):
    """A misspelt category is answered with the names that exist."""
    for name in ("board", "nut"):
        flat_folder(tmp_path / name, range(2))
    with pytest.raises(ConfigError, match=r"no category bord, screw in .*; found board, nut"):
        list_datasets(tmp_path, RunConfig(), categories=["nut", "screw", "bord"])


def test_contradicting_options(tmp_path):
    """Clustering the train split and leaving it out at once is refused, naming both options."""
    flat_folder(tmp_path / "board", range(2))
    with pytest.raises(ConfigError, match=r"--splits all .*--normals none"):
        list_datasets(tmp_path, config_of(splits="all", normals="none"))


def test_missing_normals_folder(tmp_path):
    """A folder of normals that is not there is named, with the words that would be accepted."""
    flat_folder(tmp_path / "board", range(2))
    with pytest.raises(ConfigError, match=r"--normals takes auto, none or a folder .*no folder golden"):
        list_datasets(tmp_path / "board", config_of(normals="golden"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no normal image in .*empty"):
        list_datasets(tmp_path / "board", config_of(normals=str(tmp_path / "empty")))


@pytest.mark.parametrize("missing", ["path", "category"])
def test_manifest_lacks_a_column(tmp_path, missing):
    """A manifest without a needed column names it and the columns that it has."""
    row = {"path": "000.png", "category": "nut", "label": "good"}
    del row[missing]
    found = ", ".join(row)
    with pytest.raises(DatasetError, match=f"lacks the column {missing}; found {found}"):
        list_datasets(write_manifest_csv(tmp_path / "m.csv", [row]), RunConfig())


@pytest.mark.parametrize("column", ["path", "mask"])
@pytest.mark.parametrize("written", ["../secret.png", "a/../../secret.png", "./../secret.png"])
def test_path_out_of_the_folder(tmp_path, column, written):
    """A relative path that climbs out of the manifest's folder is refused with its line."""
    flat_folder(tmp_path / "lists", range(2))
    rows = [{"path": "000.png", "category": "nut", "mask": ""}, {"path": "001.png", "category": "nut", "mask": ""}]
    rows[1][column] = written
    with pytest.raises(DatasetError, match=r"m\.csv, line 3: .*secret\.png' leads out of .*absolute path"):
        list_datasets(write_manifest_csv(tmp_path / "lists" / "m.csv", rows), RunConfig())


def test_sibling_of_a_like_name_is_outside(tmp_path):
    """A folder whose name only begins like the manifest's folder is outside of it."""
    rows = [{"path": "../lists-2/000.png", "category": "nut"}]
    (tmp_path / "lists").mkdir()
    with pytest.raises(DatasetError, match="leads out of"):
        list_datasets(write_manifest_csv(tmp_path / "lists" / "m.csv", rows), RunConfig())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the column path and category; found nothing"),
        ("path,category\n", "lists no image"),
        ("path,category\n000.png,\n", "line 2: path and category must not be empty"),
        ('path,category\n"unclosed,nut\n', "cannot be read as a manifest"),
        ("path,category\na.png,nut\nb.png,nut,too,many\n", "line 3: has more cells than the header has columns"),
    ],
    ids=["empty", "header only", "empty cell", "open quote", "too many cells"],
)
def test_broken_manifest(tmp_path, text, reason):
    """A broken manifest is told from a missing image, with the file named."""
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"m\.csv.*{reason}"):
        list_datasets(tmp_path / "m.csv", RunConfig())


def test_binary_manifest(tmp_path):
    """A file that is no text at all is refused as a manifest, not with a decoder's traceback."""
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00\x81binary")
    with pytest.raises(DatasetError, match=r"cannot be read as a manifest|lacks the column"):
        list_datasets(tmp_path / "m.csv", RunConfig())


def test_file_that_is_no_manifest(tmp_path):
    """Pointing at an image instead of a folder says what was expected."""
    flat_folder(tmp_path, range(1))
    with pytest.raises(DatasetError, match=r"is a file but no manifest; expected a \.csv"):
        list_datasets(tmp_path / "000.png", RunConfig())


def test_too_few_images_of_one_category():
    """One image cannot be clustered; the message counts what there is."""
    with pytest.raises(DatasetError, match="tile has 1 usable images to cluster, at least 2"):
        check_enough(manifest_of([digest("a")], normals=[digest("b")]))
    check_enough(manifest_of([digest("a"), digest("b")]))


def test_too_few_images_says_what_would_help(tmp_path):
    """Where the images are all in split train, the message says how to cluster them; it quotes quarantine reasons."""
    flat_folder(tmp_path, range(3))
    rows = [{"path": f"{n:03d}.png", "category": "nut", "split": "train"} for n in range(3)]
    rows += [{"path": "gone.png", "category": "nut", "split": "test"}]
    (manifest,) = list_datasets(write_manifest_csv(tmp_path / "m.csv", rows), RunConfig())
    with pytest.raises(DatasetError, match=r"3 of split train: --splits all .*gone\.png: cannot be read"):
        check_enough(manifest)


def test_duplicate_line_of_a_manifest_is_not_silent(tmp_path):
    """The same path twice in one category counts as two images, told as duplicates."""
    flat_folder(tmp_path, range(2))
    rows = [{"path": name, "category": "nut"} for name in ("000.png", "001.png", "000.png")]
    (manifest,) = list_datasets(write_manifest_csv(Path(tmp_path) / "m.csv", rows), RunConfig())
    assert manifest.duplicates == (("000.png", "000.png"),)


def test_pictures_beside_mvtec_folders_are_refused(tmp_path):
    """One stray picture beside MVTec folders does not turn masks and labels into one flat category."""
    mvtec_category(tmp_path / "nut", {"test/good": 2})
    flat_folder(tmp_path, [0])
    with pytest.raises(DatasetError, match="MVTec layout and 1 images beside them"):
        list_datasets(tmp_path, RunConfig())
