"""Manifests as people and spreadsheets write them: understood, or one bad row told with its line."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.builders import config_of, flat_folder, save_image, surface

from anoclust_core.config import RunConfig
from anoclust_core.errors import DatasetError
from anoclust_core.records import DatasetManifest
from tasks.images.choosing import list_categories
from tasks.images.listing import list_datasets

SIX = [f"teil/{number:03d}.png" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    flat_folder(tmp_path / "teil", range(6))
    return tmp_path


def csv_bytes(rows: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    return end.join(separator.join(row) for row in rows) + end


def rows(*columns: str, note: str = "") -> list[list[str]]:
    """Header and a row for each of the six images."""
    names = list(columns or ("path", "category"))
    return [names, *([path, "teil", *([note] * (len(names) - 2))] for path in SIX)]


def only(path: Path, data: bytes | str, **settings: str) -> DatasetManifest:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (manifest,) = list_datasets(path, config_of(**settings))
    return manifest


def paths(manifest: DatasetManifest) -> list[str]:
    return [image.path for image in manifest.images]


PLAIN = csv_bytes(rows())
READ_AS_PLAIN: dict[str, tuple[str | bytes, str]] = {
    "commas": (PLAIN, ""),
    "semicolons": (csv_bytes(rows(), ";"), "m.csv was read with semicolons between its cells."),
    "tabs": (csv_bytes(rows(), "\t"), "m.csv was read with tabs between its cells."),
    "bars": (csv_bytes(rows(), "|"), "m.csv was read with the sign | between its cells."),
    "excel's first line": ("sep=;\r\n" + csv_bytes(rows(), ";", "\r\n"), ""),
    "excel's first line in quotes": ('"sep=;"\r\n' + csv_bytes(rows(), ";", "\r\n"), ""),
    "any sign that excel's first line tells": ("sep=:\n" + csv_bytes(rows(), ":"), ""),
    "utf-8 with a mark": (PLAIN.encode("utf-8-sig"), ""),
    "utf-8 with a mark and semicolons": (csv_bytes(rows(), ";", "\r\n").encode("utf-8-sig"), "m.csv was read with"),
    "utf-16": (PLAIN.encode("utf-16"), ""),
    "utf-16, the other order": (codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"), ""),
    "utf-16 without a mark": (PLAIN.encode("utf-16-le"), "m.csv was read as UTF-16, which is a guess"),
    "utf-16 without a mark, the other order": (PLAIN.encode("utf-16-be"), "m.csv was read as UTF-16, which is a guess"),
    "utf-32": (PLAIN.encode("utf-32"), ""),
    "excel's unicode text": (csv_bytes(rows(), "\t", "\r\n").encode("utf-16"), "m.csv was read with tabs"),
    "lines of Windows": (csv_bytes(rows(), end="\r\n"), ""),
    "lines of an old Mac": (csv_bytes(rows(), end="\r"), ""),
    "capitals": (csv_bytes([["Path", "CATEGORY"], *rows()[1:]]), ""),
    "spaces around names": (csv_bytes([[" path ", " Category"], *rows()[1:]]), ""),
    "spaces around cells": (csv_bytes([[f" {cell} " for cell in row] for row in rows()]), ""),
    "quotes": (csv_bytes([[f'"{cell}"' for cell in row] for row in rows()]), ""),
    "quotes behind blanks": (csv_bytes([[f'"{cell}"' for cell in row] for row in rows()], ", "), ""),
    "quotes behind blanks and semicolons": (
        csv_bytes([[f'"{cell}"' for cell in row] for row in rows()], ";  ", "\r\n"),
        "m.csv was read with semicolons between its cells.",
    ),
    "one quote behind blanks": (csv_bytes([["path", "category"], *([path, '"teil"'] for path in SIX)], ", "), ""),
    "the number of each row first, without a name": (
        csv_bytes([["", *rows()[0]], *([str(n), *row] for n, row in enumerate(rows()[1:]))]),
        "m.csv: columns without a name were passed over.",
    ),
    "rows of separators at the end": (PLAIN + ",\n,\n", "m.csv: 2 rows without any content were passed over."),
    "blank lines": ("\n\n" + PLAIN.replace("\n", "\n\n"), ""),
    "back slashes": (PLAIN.replace("/", "\\"), "m.csv: 6 paths are written with \\; they were read with /."),
    "./ in front": (PLAIN.replace("teil/", "./teil/"), ""),
}


@pytest.mark.parametrize("case", READ_AS_PLAIN, ids=str)
def test_it_is_read_as_if_it_were_plain(folder: Path, case: str) -> None:
    """However a spreadsheet writes it: the same images, none lost; a note says so where something was guessed."""
    data, note = READ_AS_PLAIN[case]
    manifest = only(folder / "m.csv", data)
    assert manifest.category == "teil"
    assert [Path(path) for path in paths(manifest)] == [Path(path) for path in SIX]
    assert manifest.quarantine == ()
    if note:
        assert any(told.startswith(note) for told in manifest.notes), manifest.notes
    else:
        assert manifest.notes == ()


def test_windows_1252(folder):
    """A manifest in Windows' own encoding is read, and a note says that this is a guess and what cures it."""
    data = csv_bytes(rows("path", "category", "note", "label"), end="\r\n").replace(
        ",teil,,", ",teil,Prüfling,gut – 20 °"
    )
    manifest = only(folder / "m.csv", data.encode("cp1252"))
    assert paths(manifest) == SIX
    assert {(image.label, image.extra["note"]) for image in manifest.images} == {("gut – 20 °", "Prüfling")}
    assert manifest.notes == (
        "m.csv was read as Windows-1252, which is a guess; where letters are wrong, save it as UTF-8.",
    )


def place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_file_of_that_name_comes_first(folder):
    """On Linux a name may hold a back slash, spaces around it or a separator: it is taken as it is written."""
    for name in ("teil\\000.png", " a.png ", "b;c.png", "s3:/bucket/x.png"):
        save_image(folder / "a.png", surface(len(name), "hole")).rename(place(folder, name))
    written = ["teil\\000.png", " a.png ", "b;c.png", "s3://bucket/x.png"]
    manifest = only(folder / "m.csv", "path,category\n" + "".join(f"{path},teil\n" for path in written))
    assert sorted(paths(manifest)) == sorted(written)
    assert manifest.quarantine == ()
    assert next(image.file for image in manifest.images if "\\" in image.path) == str(folder / "teil\\000.png")


def test_file_addresses_are_paths(folder):
    """A path may be written as a file: address."""
    (folder / "teil" / "000.png").rename(folder / "teil" / "a b.png")
    text = f"path,category\nfile://{folder}/teil/a%20b.png,teil\nteil/001.png,teil\n"
    assert paths(only(folder / "m.csv", text)) == [str(folder / "teil" / "a b.png"), "teil/001.png"]


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.png")
    return "pipe.png,teil,,test"


BAD_ROWS: dict[str, tuple[str | bytes | Callable[[Path], str], str]] = {
    "a name that is too long": (f"{'x' * 300}.png,teil,,test", "cannot be read: File name too long"),
    "a path that is too long": (f"{'x/' * 4000}x.png,teil,,test", "cannot be read: File name too long"),
    "a missing file": ("gone.png,teil,,test", "cannot be read: No such file or directory"),
    "a folder": ("teil,teil,,test", "is a folder"),
    "a pipe": (pipe, "is no regular file but a pipe, a socket or a device"),
    "a path out of the folder": ("../x.png,teil", "leads out of"),
    "a path of Windows out of the folder": ("..\\x.png,teil", "leads out of"),
    "a path of Windows that is not there": ("teil\\x.png,teil", "neither with \\ as written nor with /"),
    "a drive": ("C:\\teil\\000.png,teil", "is a path of Windows with a letter for a drive; give the path"),
    "a share": ("\\\\server\\teil\\000.png,teil", "is a share of another machine; mount it"),
    "an object store": ("s3://bucket/000.png,teil", "is an address in an object store"),
    "a web address": ("https://example.org/000.png,teil", "is an address on the web"),
    "zero byte in the path": ("a\0.png,teil", "holds a zero byte in the column path"),
    "zero byte in the category": ("teil/000.png,te\0il", "holds a zero byte in the column category"),
    "zero byte in the label": ("teil/000.png,teil,la\0bel", "holds a zero byte in the column label"),
    "zero byte in another column": ("teil/000.png,teil,,,,no\0te", "holds a zero byte in the column note"),
    "bytes that are no text": (b"teil/000.png,teil,\xff", "holds bytes in the column label that are no UTF-8"),
    "a path that is no text": (b"\xff\xfe.png,teil", "holds bytes in the column path that are no UTF-8"),
    "no path": (",teil", "path and category must not be empty"),
    "no category": ("teil/000.png,", "path and category must not be empty"),
    "one cell": ("teil/000.png", "has 1 cells where the header has 6 columns"),
    "too many cells": ("teil/000.png,teil,a,test,,b,c", "has more cells than the header has columns"),
    "open quote": ('"teil/000.png,teil', "has a quote that is not closed"),
    "open quote in the last cell": ('teil/000.png,teil,,,,"', "has a quote that is not closed"),
    "a quote that is not doubled": ('"a "b" c.png",teil', "has a quote that is not closed, or one inside of a cell"),
    "a split that is none": ("teil/000.png,teil,,tset", "has the split tset (did you mean test?), which no other row"),
    "a mask that is missing": ("teil/000.png,teil,,,gone.png", "its mask gone.png is no file that is there"),
    "a mask that is too long": (f"teil/000.png,teil,,,{'x' * 300}.png", "is no file that is there"),
    "a mask out of the folder": ("teil/000.png,teil,,,../x.png", "its mask ../x.png leads out of"),
    "a mask that is a folder": ("teil/000.png,teil,,,teil", "its mask teil is no file that is there"),
    "a category that is no name": (f"teil/000.png,{'x' * 5000}", "has a category of 5,000 characters"),
    "a category of two lines": ('teil/000.png,"te\nil"', "has a category with control characters"),
}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("case", BAD_ROWS, ids=str)
def test_one_bad_row_is_one_bad_row(folder: Path, case: str, place: str) -> None:
    """A row that is of no use is quarantined with its line and a reason, counted once; all others are clustered."""
    row, reason = BAD_ROWS[case]
    if callable(row):
        row = row(folder)
    bad = row.encode() if isinstance(row, str) else row
    good = [f"{path},teil,,test,,x".encode() for path in SIX[1:]]
    at = {"first": 0, "middle": 3, "last": 5}[place]
    lines = [b"path,category,label,split,mask,note", *good[:at], bad, *good[at:]]
    manifest = only(folder / "m.csv", b"\n".join(lines))
    assert paths(manifest) == SIX[1:]
    (entry,) = manifest.quarantine
    assert (entry.line, manifest.n_total) == (at + 2, 6)
    assert reason in entry.reason
    assert entry.told.startswith(f"line {at + 2}: ")
    assert "\0" not in json.dumps(manifest.as_json(), ensure_ascii=False).encode().decode()


def test_cells_of_several_lines_are_one_row(folder):
    """A cell in quotes may hold line breaks, separators and quotes; the lines of later rows are counted right."""
    note = '"deep, ""long""\nscratch; see 3.png, 4\n"'
    text = f"path,category,note\nteil/000.png,teil,{note}\nteil/001.png,teil,x\ngone.png,teil,\n"
    manifest = only(folder / "m.csv", text)
    assert [image.extra["note"] for image in manifest.images] == ['deep, "long"\nscratch; see 3.png, 4\n', "x"]
    assert [entry.line for entry in manifest.quarantine] == [6]


def test_cells_in_quotes_behind_blanks(folder):
    """As Python's lists are written: separators in quotes part nothing, and no blank or quote is left in a cell."""
    text = 'path, category, label, line\nteil/000.png, "teil", "scratch, deep", A\nteil/001.png, teil, "", A\n'
    manifest = only(folder / "m.csv", text)
    assert [(image.label, image.extra["line"]) for image in manifest.images] == [("scratch, deep", "A"), (None, "A")]
    assert manifest.quarantine == ()


def test_blanks_belong_to_names_where_no_quote_follows(folder):
    """A name may begin with a blank, also beside a cell whose text holds a comma, a blank and a quote."""
    for name in (" a.png", " b.png"):
        save_image(folder / "x.png", surface(len(name), "hole")).rename(folder / name)
    manifest = only(folder / "m.csv", 'path,category,note\n a.png,teil,"deep, ""long"""\n b.png,teil,\n')
    assert paths(manifest) == [" a.png", " b.png"]


def test_open_quotes_swallow_no_rows(folder):
    """Two cells that are one quote sign each, as for inches, do not make one cell of all rows between them."""
    lines = ["path,category,size", *(f"{path},teil,5" for path in SIX)]
    lines[2] = lines[2].replace(",5", ',"')
    lines[5] = lines[5].replace(",5", ',"')
    manifest = only(folder / "m.csv", "\n".join(lines))
    assert paths(manifest) == [SIX[0], SIX[2], SIX[3], SIX[5]]
    assert [entry.line for entry in manifest.quarantine] == [3, 6]


@pytest.mark.timeout(30)
def test_many_open_quotes_are_read_in_time(folder):
    """Twenty thousand rows that each open a quote are twenty thousand bad rows, told once with their number."""
    text = "path,category\n" + "".join(f"{path},teil\n" for path in SIX) + '"x.png,teil\n' * 20_000
    manifest = only(folder / "m.csv", text, max_bad_share="1")
    assert (len(manifest.images), len(manifest.quarantine)) == (6, 20_000)
    assert any(note.startswith("20,000 rows: has a quote that is not closed") for note in manifest.notes)


def test_equal_reasons_are_told_once(folder):
    """Rows that are bad for one reason are one note, with their number and the first line; each is still listed."""
    text = PLAIN + "".join(f"gone{number}.png,teil\n" for number in range(1204))
    manifest = only(folder / "m.csv", text)
    assert manifest.notes == ("1,204 rows: cannot be read: No such file or directory (first: line 8, gone0.png).",)
    assert len(manifest.quarantine) == 1204


def test_short_rows_lack_what_is_at_their_end(folder):
    """Old spreadsheets leave empty cells at the end of a row out: such a row is taken, and a note counts them."""
    text = "path,category,label,note\nteil/000.png,teil,hole,x\nteil/001.png,teil\nteil/002.png,teil,good,\n"
    manifest = only(folder / "m.csv", text)
    assert [(image.label, image.extra["note"]) for image in manifest.images] == [
        ("hole", "x"),
        (None, ""),
        ("good", ""),
    ]
    assert manifest.notes == (
        "m.csv: 1 rows have fewer cells than the header has columns (first: line 3); what they lack was taken as "
        "empty.",
    )


def test_other_categories_are_not_touched(folder):
    """A bad row counts with its own category; one whose category is not known with that of the row before it."""
    flat_folder(folder / "nut", range(10, 13))
    text = "path,category\n" + "".join(f"{path},teil\n" for path in SIX[:3])
    text += (
        f"{'x' * 300}.png,nut\nteil/004.png,\n" + "".join(f"nut/{n:03d}.png,nut\n" for n in range(10, 13)) + '"open\n'
    )
    (folder / "m.csv").write_text(text)
    nut, teil = list_datasets(folder / "m.csv", RunConfig())
    assert [(entry.line, entry.path) for entry in sorted(nut.quarantine, key=lambda e: e.line or 0)] == [
        (5, f"{'x' * 300}.png"),
        (6, "teil/004.png"),
        (10, "row 10"),
    ]
    assert teil.quarantine == ()
    assert (len(nut.images), len(teil.images)) == (3, 3)
    assert list_categories(folder / "m.csv") == ["nut", "teil"]


def test_splits_in_any_case_and_of_ones_own(folder):
    """Test and TRAIN are the known splits; a split that several rows have is left out and told, as ever."""
    text = "path,category,split\n" + "".join(
        f"{path},teil,{split}\n"
        for path, split in zip(SIX, ["Test", " test", "TRAIN", "train ", "line 7", "line 7"], strict=True)
    )
    manifest = only(folder / "m.csv", text)
    assert [image.role for image in manifest.images] == ["cluster", "cluster", "normal", "normal"]
    assert manifest.notes == ("2 images left out: split line 7, label unknown.",)
    assert len(only(folder / "m.csv", text, splits="all").clustered) == 6


def test_utf8_with_one_damaged_row(folder):
    """Among rows with letters in UTF-8, one that is not is a bad row, and no reason to take the file for another."""
    lines = [f"{path},teil,Prüfling".encode() for path in SIX]
    lines[4] = lines[4].replace("ü".encode(), b"\xfc")
    manifest = only(folder / "m.csv", b"path,category,note\n" + b"\n".join(lines))
    assert {image.extra["note"] for image in manifest.images} == {"Prüfling"}
    assert [(entry.path, entry.line) for entry in manifest.quarantine] == [(SIX[4], 6)]


@pytest.mark.parametrize("cut", [1, 9])
def test_utf16_that_is_cut_off(folder, cut):
    """UTF-16 that ends in the middle of a letter, or of a row, loses that row only."""
    manifest = only(folder / "m.csv", PLAIN.encode("utf-16")[:-cut])
    assert paths(manifest) == SIX[:5] if cut == 1 else len(manifest.images) + len(manifest.quarantine) == 6


def test_no_row_is_of_use(folder):
    """Where no row can be used the manifest is refused, with the first line and its reason."""
    (folder / "m.csv").write_text("path,category\n../a.png,teil\n../b.png,teil\n")
    with pytest.raises(
        DatasetError, match=r"m\.csv lists no image that can be used: 2 rows: leads out of .* \(first: line 2"
    ):
        list_datasets(folder / "m.csv", RunConfig())


def test_names_in_the_mvtec_layout_as_long_as_they_may_be(tmp_path):
    """A file whose name leaves no room for that of its mask has no mask, and stops nothing."""
    name = "n" * 250 + ".png"
    save_image(tmp_path / "nut" / "test" / "hole" / name, surface(1))
    save_image(tmp_path / "nut" / "test" / "hole" / "b.png", surface(2))
    (manifest,) = list_datasets(tmp_path / "nut", RunConfig())
    assert [Path(path).name for path in paths(manifest)] == ["b.png", name]
