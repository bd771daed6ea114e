"""Tables that people give as text: which columns there are, and every row with its line, be it that it is broken."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from anoclust_core.errors import DatasetError
from anoclust_core.safe_text.cells import original
from tasks.images.folders import one_line
from tasks.images.manifests.texts import is_damaged, read_given_text

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "the sign |"}
"""What may stand between cells, the commonest first, and what people call it."""

_TOLD: Final = 200
"""Most characters of a header that a message quotes."""

_HEADER_LINES: Final = 20
"""Most lines of a header, whose names may hold line breaks."""

_BROKEN: Final = 'has a quote that is not closed, or one inside of a cell that is not doubled; write "" for it'
_TOO_MANY: Final = "has more cells than the header has columns; put quotes around a cell that holds {}"


@dataclass(frozen=True)
class Row:
    """A row of a table: the line that it begins in, from 1, and its cells by column.

    ``bad`` says why it cannot be used, if so; then the cells are those that could be told.
    """

    line: int
    cells: Mapping[str, str] = field(default_factory=dict)
    bad: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, every row that holds anything, and the name of the encoding it was read in.

    Columns that the reader knows are in lower case. ``notes`` say in sentences what was guessed or passed over.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    encoding: str
    notes: tuple[str, ...]


def read_table(
    path: Path, *, needed: Sequence[str], known: Sequence[str] = (), is_row: Callable[[Mapping[str, str], bool], bool]
) -> Table:
    """Read a table with a header line; encoding and separator are found out.

    Parameters
    ----------
    path
        The file.
    needed
        Columns that must be there. Names are taken in any case, with spaces around them.
    known
        Columns that may be there, likewise; all others keep their names as they are written.
    is_row
        Whether cells look like a row, given them and whether there are as many as columns. Asked about lines inside of
        a quoted cell: where one is a row, a quote is not closed.

    Raises
    ------
    DatasetError
        If it is no such table as a whole; a row that is broken is told as such.
    """
    try:
        text = read_given_text(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a manifest: {error}") from error
    lines = list(text.lines)
    skipped, separator, is_told = 0, _told_separator(lines[0] if lines else ""), True
    if separator:
        skipped = 1
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    header = lines[skipped : skipped + _HEADER_LINES]
    names = tuple(dict.fromkeys((*needed, *known)))
    if not separator:
        separator, is_told = _found_separator(header, needed, names), False
    columns, n_lines = _columns(header, separator, names)
    _check_columns(path, skipped + 1, columns, needed)
    rows, notes = _rows(lines, skipped + n_lines, columns, separator, needed, is_row)
    guesses = [*text.guesses(path.name)]
    if separator != "," and not is_told:
        guesses.append(f"{path.name} was read with {SEPARATORS[separator]} between its cells.")
    return Table(
        tuple(column for column in columns if column),
        tuple(rows),
        text.encoding,
        (*guesses, *(f"{path.name}: {note}" for note in notes)),
    )


def _told_separator(line: str) -> str:
    """Separator that the first line of a file from Excel names, as in ``sep=;``."""
    told = re.fullmatch(r'"?sep=(.)"?\s*', line, re.IGNORECASE)
    return told[1] if told else ""


def _found_separator(lines: Sequence[str], needed: Sequence[str], names: Sequence[str]) -> str:
    """The separator that gives the columns that are needed, or else the most that are known."""

    def fits(separator: str) -> tuple[int, int]:
        columns, _ = _columns(lines, separator, names)
        return len(set(needed) & set(columns)), len(set(names) & set(columns))

    return max(SEPARATORS, key=fits)


def _columns(lines: Sequence[str], separator: str, names: Sequence[str]) -> tuple[list[str], int]:
    """Names of columns, those that are known in lower case; and how many lines they take."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        cells = next(reader, [])
    except csv.Error:
        return [], 1
    written = [original(cell).strip().removeprefix("\ufeff").strip() for cell in cells]
    return [name.casefold() if name.casefold() in names else name for name in written], reader.line_num


def _check_columns(path: Path, line: int, columns: list[str], needed: Sequence[str]) -> None:
    """Refuse a header without the columns that are needed, with one of them twice, or that is no text."""
    if any(is_damaged(column) or "\0" in column for column in columns):
        raise DatasetError(
            f"{path} cannot be read as a manifest: its header is not UTF-8 text; save the table as CSV UTF-8"
        )
    missing = [column for column in needed if column not in columns]
    if missing:
        found = one_line(", ".join(column for column in columns if column))[:_TOLD] or "nothing"
        hint = ""
        if len(columns) == 1 and all(name in found.casefold() for name in needed):
            hint = "; put a comma, a semicolon, a tab or | between columns"
        raise DatasetError(f"{path} lacks the column {' and '.join(missing)}; found {found}{hint}")
    for name, count in Counter(column.casefold() for column in columns if column).items():
        if count > 1:
            at = [str(number) for number, column in enumerate(columns, start=1) if column.casefold() == name]
            raise DatasetError(
                f"{path}, line {line}: the column {one_line(name)} appears {count} times, as columns "
                f"{', '.join(at[:-1])} and {at[-1]}; it is unclear which one counts: rename or remove the others"
            )


def _rows(
    lines: Sequence[str],
    start: int,
    columns: Sequence[str],
    separator: str,
    needed: Sequence[str],
    is_row: Callable[[Mapping[str, str], bool], bool],
) -> tuple[list[Row], list[str]]:
    """Rows below the header, and what is to be told of all of them together."""
    n_needed = max(columns.index(name) for name in needed) + 1

    def looks_like_row(line: str) -> bool:
        cells = [cell.strip("\r\n\"' ") for cell in line.split(separator)]
        return len(cells) >= n_needed and is_row(dict(zip(columns, cells, strict=False)), len(cells) >= len(columns))

    # blanks before quotes are not part of a cell; elsewhere they are, because names may begin with them
    is_spaced = any(map(_spaced_quote(separator).search, lines[start:]))
    read = partial(csv.reader, delimiter=separator, strict=True, skipinitialspace=is_spaced)
    rows, empty, short, nameless = [], 0, [], 0
    for line, cells in _records(lines, start, read, n_needed, looks_like_row):
        if cells is None:
            rows.append(Row(line, bad=_BROKEN))
            continue
        cells = [original(cell) for cell in cells]
        if not any(cell.strip() for cell in cells):
            empty += bool(cells)
            continue
        named = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
        nameless += any(cell.strip() for name, cell in zip(columns, cells, strict=False) if not name)
        row = Row(line, {**dict.fromkeys(filter(None, columns), ""), **named})
        if any(cell.strip() for cell in cells[len(columns) :]):
            row = Row(line, row.cells, _TOO_MANY.format(_sign(separator)))
        elif len(cells) < n_needed:
            row = Row(line, row.cells, f"has {len(cells)} cells where the header has {len(columns)} columns")
        elif len(cells) < len(columns):
            short.append(line)
        rows.append(row)
    notes = []
    if empty:
        notes.append(f"{empty:,} rows without any content were passed over.")
    if short:
        notes.append(
            f"{len(short):,} rows have fewer cells than the header has columns (first: line {short[0]}); what they "
            "lack was taken as empty."
        )
    if nameless:
        notes.append("columns without a name were passed over.")
    return rows, notes


def _spaced_quote(separator: str) -> re.Pattern[str]:
    """How a quoted cell with blanks before it begins; inside of quotes a quote is doubled, which is none."""
    sign = re.escape(separator)
    return re.compile(rf'{sign} +"(?!"(?! *(?:{sign}|[\r\n]|$)))')


def _records(
    lines: Sequence[str],
    start: int,
    read: Callable[[Iterator[str]], Iterator[list[str]]],
    n_needed: int,
    looks_like_row: Callable[[str], bool],
) -> Iterator[tuple[int, list[str] | None]]:
    """Line and cells of every row; None where quotes are wrong, and then the next line is a row again."""
    source = _Lines(lines, start)
    reader = read(source)
    while source.at < len(lines):
        begin = source.at
        try:
            cells = next(reader, None)
            if cells is None:
                return
            inner = lines[begin + 1 : source.at]
            is_broken = bool(inner) and (len(cells) < n_needed or any(map(looks_like_row, inner)))
        except csv.Error:
            is_broken, cells = True, None
        if is_broken:
            source.at = begin + 1
            reader = read(source)
        yield begin + 1, None if is_broken else cells


class _Lines:
    """Lines that a reader takes one after the other; ``at`` is the next one, and may be set back."""

    def __init__(self, lines: Sequence[str], at: int) -> None:
        self._lines, self.at = lines, at

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.at >= len(self._lines):
            raise StopIteration
        self.at += 1
        return self._lines[self.at - 1]


def _sign(separator: str) -> str:
    return "a tab" if separator == "\t" else f"a {separator}"
