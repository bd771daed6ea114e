from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.builders import (
    config_of,
    digest,
    flat_folder,
    manifest_of,
    mvtec_category,
    save_image,
    surface,
    write_manifest_csv,
)

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.records import DatasetManifest, SetAside
from tasks.images.listing import check_enough, list_datasets


def test_missing_folder(tmp_path):
    """A folder that does not exist is named, with what would be accepted."""
    with pytest.raises(DatasetError, match=r"gone is neither a folder nor a manifest \(\.csv or \.tsv\)"):
        list_datasets(tmp_path / "gone", RunConfig())


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".csv"])
def test_data_of_a_name_that_no_file_has(name):
    """A name that no file system takes is told like one that is not there."""
    with pytest.raises(DatasetError, match=r"is neither a folder nor a manifest"):
        list_datasets(Path(name), RunConfig())


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
    """A relative path that climbs out of the manifest's folder is quarantined with its line; the file is not read."""
    flat_folder(tmp_path / "lists", range(2))
    save_image(tmp_path / "secret.png", surface(7))
    rows = [{"path": "000.png", "category": "nut", "mask": ""}, {"path": "001.png", "category": "nut", "mask": ""}]
    rows[1][column] = written
    (manifest,) = list_datasets(write_manifest_csv(tmp_path / "lists" / "m.csv", rows), RunConfig())
    assert [image.path for image in manifest.images] == ["000.png"]
    (entry,) = manifest.quarantine
    assert (entry.path, entry.line) == (rows[1]["path"], 3)
    assert f"leads out of {tmp_path / 'lists'}; write an absolute path" in entry.reason


def test_sibling_of_a_like_name_is_outside(tmp_path):
    """A folder whose name only begins like the manifest's folder is outside of it."""
    rows = [{"path": "../lists-2/000.png", "category": "nut"}]
    (tmp_path / "lists").mkdir()
    with pytest.raises(DatasetError, match=r"m\.csv lists no image that can be used: line 2, .* leads out of"):
        list_datasets(write_manifest_csv(tmp_path / "lists" / "m.csv", rows), RunConfig())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the column path and category; found nothing"),
        ("path,category\n", "lists no image"),
        (
            "path,category\n000.png,\n",
            "no image that can be used: line 2, 000.png: path and category must not be empty",
        ),
        ('path,category\n"unclosed,nut\n', "no image that can be used: line 2, row 2: has a quote that is not closed"),
        ("path,category\nb.png,nut,too,many\n", "line 2, b.png: has more cells than the header has columns"),
        ("path,category\nb\0.png,nut\n", r"line 2, b\\x00\.png: holds a zero byte in the column path"),
        ("path,category,Path\n000.png,nut,001.png\n", "line 1: the column path appears 2 times, as columns 1 and 3"),
        ("path,category,note,note\n000.png,nut,a,b\n", "line 1: the column note appears 2 times, as columns 3 and 4"),
        ("path:category\n000.png:nut\n", "lacks the column path and category; found path:category; put a comma"),
        ("\0\1\2binary\n", "its header is not UTF-8 text"),
        ("PK\x03\x04 and more\n", "it is a workbook or ZIP archive; save the table as CSV UTF-8"),
    ],
    ids=[
        "empty",
        "header only",
        "empty cell",
        "open quote",
        "too many cells",
        "zero byte",
        "path twice",
        "extra column twice",
        "unknown separator",
        "binary",
        "workbook",
    ],
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
    with pytest.raises(DatasetError, match=r"is a file but not a manifest; expected a \.csv or \.tsv"):
        list_datasets(tmp_path / "000.png", RunConfig())


def test_too_few_images_of_one_category():
    """One image cannot be clustered; the message counts what there is."""
    with pytest.raises(DatasetError, match="tile has 1 usable images to cluster, but at least 2"):
        check_enough(manifest_of([digest("a")], normals=[digest("b")]), max_bad_share=1)
    check_enough(manifest_of([digest("a"), digest("b")]), max_bad_share=0)


def test_too_few_images_says_what_would_help(tmp_path):
    """Where the images are all in split train, the message says how to cluster them; it quotes quarantine reasons."""
    flat_folder(tmp_path, range(3))
    rows = [{"path": f"{n:03d}.png", "category": "nut", "split": "train"} for n in range(3)]
    rows += [{"path": "gone.png", "category": "nut", "split": "test"}]
    (manifest,) = list_datasets(write_manifest_csv(tmp_path / "m.csv", rows), RunConfig())
    with pytest.raises(DatasetError, match=r"3 of split train: --splits all .*gone\.png: cannot be read"):
        check_enough(manifest, max_bad_share=1)


def set_aside(n_good: int, *bad: str, deferred: Sequence[str] = (), normals: int = 0) -> DatasetManifest:
    """Make a manifest of good images and of files with the given reasons."""
    found = manifest_of([digest(f"{n}") for n in range(n_good)], [digest(f"n{n}") for n in range(normals)])
    return replace(
        found,
        quarantine=tuple(SetAside(f"bad{n}.png", reason) for n, reason in enumerate(bad)),
        deferred=tuple(SetAside(f"late{n}.png", reason) for n, reason in enumerate(deferred)),
    )


@pytest.mark.parametrize(
    ("share", "n_good", "n_bad", "refused"),
    [(0.3, 7, 3, False), (0.3, 6, 3, True), (0.0, 5, 0, False), (0.0, 999, 1, True), (1.0, 3, 997, False)],
)
def test_share_of_bad_files(share, n_good, n_bad, refused):
    """A category runs up to exactly the share of bad files that is put up with, deferred ones and normals apart."""
    found = set_aside(n_good - 1, *["the file is empty"] * n_bad, deferred=["changed"] * 50, normals=1)
    if not refused:
        check_enough(found, max_bad_share=share)
        return
    with pytest.raises(DatasetError, match=f"{n_bad} of the {n_good + n_bad} files of category tile cannot be used"):
        check_enough(found, max_bad_share=share)


def test_too_many_bad_files_names_the_commonest_reasons():
    """The message counts each of the commonest reasons with one example, and the rest."""
    bad = ["is cut off"] * 3 + ["the file is empty"] * 5 + ["a", "b", "c"]
    with pytest.raises(DatasetError) as caught:
        check_enough(set_aside(9, *bad), max_bad_share=0.3)
    assert str(caught.value) == (
        "11 of the 20 files of category tile cannot be used, 55%, and the limit is 30%: bad3.png and 4 more: the "
        "file is empty; bad0.png and 2 more: is cut off; bad8.png: a; 2 for other reasons; repair or remove them, or "
        "raise --max-bad-share"
    )


def test_all_images_are_being_written():
    """Where every image is deferred nothing is wrong: the message says how long to wait, or how not to."""
    with pytest.raises(DatasetError, match=r"all 3 images of category tile .*changed.*run again .*--settle-seconds 0"):
        check_enough(set_aside(0, deferred=["changed, may still be being written"] * 3), max_bad_share=0)
    with pytest.raises(DatasetError, match=r"all 2 images .*run again in a moment$"):
        check_enough(set_aside(0, deferred=["needs more memory"] * 2), max_bad_share=0)


def test_too_few_images_while_others_are_being_written():
    """Too few images to cluster: what is bad and what is deferred is told apart."""
    with pytest.raises(
        DatasetError, match=r"1 usable .*1 could not be used \(bad0.*2 are left for the next run \(late0"
    ):
        check_enough(set_aside(1, "the file is empty", deferred=["changed"] * 2), max_bad_share=1)


def test_message_stays_one_paragraph():
    """A file name with a line break does not break the message."""
    found = replace(set_aside(2), quarantine=(SetAside("a\nb.png", "the file is empty"),))
    with pytest.raises(DatasetError, match=r"a\\nb\.png") as caught:
        check_enough(found, max_bad_share=0)
    assert "\n" not in str(caught.value)


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
