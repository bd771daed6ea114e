"""Image files that a manifest lists: a row that is of no use is one bad row, told with its line."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from anoclust_core.errors import DatasetError
from anoclust_core.records import REGION_COLUMN, SetAside, by_reason
from tasks.images.decoding import IMAGE_SUFFIXES
from tasks.images.folders import is_there, leads_out, one_line
from tasks.images.layouts import TEST, TRAIN, Candidate
from tasks.images.manifests.tables import Row, Table, read_table
from tasks.images.manifests.texts import is_damaged
from tasks.stores.addresses import path_of_url, why_no_path

ENDINGS: Final = (".csv", ".tsv")
"""Of a manifest, in any case."""

NEEDED: Final = ("path", "category")
OPTIONAL: Final = ("split", "label", "mask", REGION_COLUMN)

SPLITS: Final = frozenset({TRAIN, TEST, "validation", "val", "valid", "dev", "holdout"})
"""Splits that data sets have; another one that stands in one row alone is taken for a mistake."""

MAX_CATEGORY: Final = 200
"""Most characters of a category: its name goes into names of folders, runs, deployments and rows of databases."""

_LONGEST: Final = 1000
"""Most characters of a path that is shown as it is."""

_EMPTY: Final = "path and category must not be empty"
_ZERO: Final = "\0"


def read_manifest(path: Path, *, any_split: bool = False) -> tuple[list[Candidate], list[str]]:
    """Candidates of a manifest, and what is to be told of how it was read.

    Relative paths start at its folder and stay inside it. A row that cannot be used is a candidate that is refused; if
    its category is not known, it counts with the category of the row before it.

    Parameters
    ----------
    path
        The manifest.
    any_split
        Whether splits do not matter, so that none is wrong.

    Raises
    ------
    DatasetError
        If the table as a whole is of no use, or none of its rows.
    """
    if path.suffix.lower() not in ENDINGS:
        raise DatasetError(
            f"{path} is a file but not a manifest; expected a .csv or .tsv with the columns path and category"
        )
    root = path.parent.resolve()

    def is_row(cells: Mapping[str, str], whole: bool) -> bool:
        file = root / cells["path"]
        return file.suffix.lower() in IMAGE_SUFFIXES and (whole or os.path.lexists(file))

    table = read_table(path, needed=NEEDED, known=OPTIONAL, is_row=is_row)
    if not table.rows:
        raise DatasetError(f"{path} lists no image")
    extra = [column for column in table.columns if column not in (*NEEDED, *OPTIONAL)]
    found = [_candidate(row, root, table.encoding, extra) for row in table.rows]
    found = _with_splits(found, any_split=any_split)
    known = {candidate.category for candidate in found if not candidate.refused}
    if not known:
        told = by_reason([SetAside(one.path, one.refused or "", one.line) for one in found])[0]
        raise DatasetError(f"{path} lists no image that can be used: {told.sentence(one_line)}; correct its rows")
    return _with_categories(found, known), [*table.notes, *_notes(path, found, table)]


def _candidate(row: Row, root: Path, encoding: str, extra: Sequence[str]) -> Candidate:
    """Candidate of a row, be it that it is refused."""
    cells = {name: row.cells.get(name, "") for name in (*NEEDED, *OPTIONAL, *extra)}
    name = cells["category"].strip()
    no_name = _bad_category(name)
    category = "" if no_name else name
    bad = row.bad or _bad_cell(cells, encoding) or no_name or ("" if cells["path"] else _EMPTY)
    if bad:
        return Candidate(
            path=_shown(cells["path"]) or f"row {row.line}",
            file=root,
            category=category,
            refused=bad,
            split=cells["split"].strip().casefold() if cells["split"].strip().casefold() in SPLITS else None,
            line=row.line,
        )
    written, file, refused = _located(cells["path"], root)
    mask, mask_refused = _beside(cells["mask"], root, "mask")
    region, region_refused = _beside(cells[REGION_COLUMN], root, REGION_COLUMN)
    return Candidate(
        path=written if not refused else _shown(written),
        file=file,
        category=category,
        refused=refused or mask_refused or region_refused,
        split=cells["split"].strip() or None,
        label=cells["label"].strip() or None,
        mask=mask,
        extra={column: cells[column] for column in extra} | ({REGION_COLUMN: region} if region else {}),
        line=row.line,
    )


def _beside(written: str, root: Path, what: str) -> tuple[str | None, str | None]:
    """File that a row names beside its image, and why the row is refused for it."""
    if not written.strip():
        return None, None
    _, file, refused = _located(written, root)
    if not refused and not is_there(file):
        refused = "is no file that is there"
    return str(file), f"its {what} {_shown(one_line(written))} {refused}" if refused else None


def _bad_cell(cells: Mapping[str, str], encoding: str) -> str:
    """Why no database or report could keep what is in a row, or nothing."""
    for column, cell in cells.items():
        if _ZERO in cell:
            return f"holds a zero byte in the column {one_line(column)}, which no name has; write that cell again"
        if is_damaged(cell):
            return (
                f"holds bytes in the column {one_line(column)} that are no {encoding}; save the manifest as UTF-8, and "
                "let names be UTF-8 too"
            )
    return ""


def _bad_category(name: str) -> str:
    if not name:
        return _EMPTY
    if _ZERO in name or is_damaged(name) or any(ord(character) < ord(" ") for character in name):
        return "has a category with control characters, which is no name"
    if len(name) > MAX_CATEGORY:
        return f"has a category of {len(name):,} characters; at most {MAX_CATEGORY} make a name"
    return ""


def _located(written: str, root: Path) -> tuple[str, Path, str | None]:
    """Path as it is to be told, its file, and why it is refused; a file of the very name comes first."""
    variants = _variants(written)
    if len(variants) > 1:
        there = [variant for variant in variants if os.path.lexists(root / variant)]
        if there:
            written = there[0]
        else:
            written = variants[-1]
            why = why_no_path(written)
            if why is not None:
                return written, root, why
            if "\\" in variants[0]:
                inside = _inside(root, written)
                return (
                    written,
                    inside[0],
                    inside[1] or "is no file that is there, neither with \\ as written nor with /",
                )
    file, refused = _inside(root, written)
    if refused is None and not Path(written).is_absolute():
        refused = leads_out(file, (root,), "copy the file there, or write its absolute path")
    return written, file, refused


def _variants(written: str) -> list[str]:
    """What a path may mean, as it is written first; only one that looks like those of other systems has several."""
    plain = written.strip()
    if not plain:
        return [written]
    found = [written, plain]
    url = path_of_url(plain)
    if url is not None:
        found.append(url)
    elif why_no_path(plain) is not None:
        return [written, plain, plain]
    elif "\\" in plain:
        found.append(plain.replace("\\", "/"))
    return list(dict.fromkeys(found))


def _inside(root: Path, written: str) -> tuple[Path, str | None]:
    """File of a path, and why it is refused: a relative one must not climb out of the manifest's folder."""
    if Path(written).is_absolute():
        return Path(written), None
    file = Path(os.path.normpath(root / written))
    if not file.is_relative_to(root):
        return root, f"leads out of {root}; write an absolute path if that is meant"
    return file, None


def _shown(path: str) -> str:
    """Path that can be stored and shown: cut where no file system takes it, zero bytes written out."""
    text = path.encode(errors="backslashreplace").decode().replace(_ZERO, r"\x00")
    if len(text) <= _LONGEST:
        return text
    return f"{text[:80]}… ({len(path):,} characters, {hashlib.sha256(text.encode()).hexdigest()[:8]})"


def _with_splits(found: Sequence[Candidate], *, any_split: bool) -> list[Candidate]:
    """Splits in the words that are known, in whatever case they are written; one that only one row has is a mistake."""
    named = [
        replace(one, split=one.split.casefold()) if one.split and one.split.casefold() in SPLITS else one
        for one in found
    ]
    counts = Counter(one.split for one in named)
    return [
        replace(one, refused=_bad_split(one.split), split=None)
        if not any_split and one.split and not one.refused and one.split not in SPLITS and counts[one.split] == 1
        else one
        for one in named
    ]


def _bad_split(split: str) -> str:
    close = get_close_matches(split.casefold(), SPLITS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"has the split {one_line(split)[:80]}{hint}, which no other row has; expected {TRAIN}, {TEST} or validation"


def _with_categories(found: Sequence[Candidate], known: set[str]) -> list[Candidate]:
    """Let every refused row count with a category that there is: its own, or that of the row before it."""
    last = next(candidate.category for candidate in found if candidate.category in known)
    counted = []
    for candidate in found:
        if candidate.category in known:
            last = candidate.category
        elif not candidate.category or _BY_SHAPE.search(candidate.refused or ""):
            candidate = replace(candidate, category=last)
        counted.append(candidate)
    return counted


_BY_SHAPE: Final = re.compile(r"^has (a quote|more cells|\d+ cells)")
"""Reasons with which cells may stand under the wrong column, a category among them."""


def _notes(path: Path, found: Sequence[Candidate], table: Table) -> list[str]:
    """What was read otherwise than it is written."""
    turned = sum(
        one.path != row.cells.get("path", "") and "\\" in row.cells.get("path", "") and not one.refused
        for one, row in zip(found, table.rows, strict=True)
    )
    return [f"{path.name}: {turned:,} paths are written with \\; they were read with /."] if turned else []
