"""Text files that people give: in which encoding they are, and their lines."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
"""Byte order marks, the longer first where one begins with another, with Python's and people's names."""

_OTHERS: Final = (
    (b"PK\x03\x04", "a workbook or ZIP archive; save the table as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the table as CSV UTF-8"),
    (b"PAR1", "a Parquet file; save the table as CSV UTF-8"),
    (b"\x1f\x8b", "a file packed with gzip; unpack it"),
)
"""How files begin that are no text, and what they are."""

_STRAY: Final = "anoclust-stray"
"""How wide encodings are decoded: what is damaged becomes a lone surrogate, as "surrogateescape" does for others."""

codecs.register_error(_STRAY, lambda error: ("\udcff", error.end if isinstance(error, UnicodeDecodeError) else 0))

_WESTERN: Final = "Windows-1252"
_HEAD: Final = 32
"""Bytes that are looked at for zeros: names of columns, which are plain letters."""

_WIDE_SHARE: Final = 0.7
"""Share of zeros at every second byte from which on plain letters are UTF-16."""

_IN_A_WORD: Final = re.compile(rb"[0-9A-Za-z] ?[\x80-\xff]|[\x80-\xff] ?[0-9A-Za-z]")
"""A byte beyond ASCII beside a letter or a digit, as in a word of a Western language; a stray byte has none."""


@dataclass(frozen=True)
class GivenText:
    """Lines of a text file.

    Attributes
    ----------
    lines
        With their ends, whichever system wrote them. Bytes that the encoding does not have are lone surrogates, so that
        whoever reads the line can refuse it alone: see `is_damaged`.
    encoding
        Its name for people.
    is_guess
        Whether nothing in the file says that this is the encoding.
    """

    lines: tuple[str, ...]
    encoding: str
    is_guess: bool = False

    def guesses(self, name: str) -> tuple[str, ...]:
        """What a reader of the result must know, if the encoding was guessed; ``name`` is the file's."""
        if not self.is_guess:
            return ()
        return (f"{name} was read as {self.encoding}, which is a guess; where letters are wrong, save it as UTF-8.",)


def read_given_text(path: Path) -> GivenText:
    """Read a text file in UTF-8, UTF-16, UTF-32 or, where it is none of these, Windows-1252.

    A file of which only some lines are not UTF-8 is UTF-8 with damaged lines.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no text; the message says what it is.
    """
    data = path.read_bytes()
    for begin, what in _OTHERS:
        if data.startswith(begin):
            raise ValueError(f"it is {what}")
    for mark, codec, name in _MARKS:
        if data.startswith(mark):
            errors = "surrogateescape" if mark == codecs.BOM_UTF8 else _STRAY
            return GivenText(_lines(data.decode(codec, errors)), name)
    wide = _wide(data)
    if wide:
        return GivenText(_lines(data.decode(wide, _STRAY)), "UTF-16", is_guess=True)
    if _is_western(data):
        return GivenText(_lines(data.decode("cp1252", "surrogateescape")), _WESTERN, is_guess=True)
    return GivenText(_lines(data.decode("utf-8", "surrogateescape")), "UTF-8")


def is_damaged(text: str) -> bool:
    """Whether a text holds bytes that its encoding does not have."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(io.StringIO(text, newline=""))


def _wide(data: bytes) -> str | None:
    """Codec of text in UTF-16 that has no mark: plain letters have a zero at every second byte."""
    head = data[:_HEAD]
    pairs = len(head) // 2
    if pairs < 2:
        return None
    first, second = head[0 : 2 * pairs : 2].count(0) / pairs, head[1 : 2 * pairs : 2].count(0) / pairs
    if second >= _WIDE_SHARE and first == 0:
        return "utf-16-le"
    if first >= _WIDE_SHARE and second == 0:
        return "utf-16-be"
    return None


def _is_western(data: bytes) -> bool:
    """Whether text is rather Windows-1252 than UTF-8 of which some lines are damaged."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        n_unicode = n_western = 0
        for line in data.splitlines():
            if not line.isascii():
                if _is_unicode(line):
                    n_unicode += 1
                elif _IN_A_WORD.search(line):
                    n_western += 1
        return n_western > n_unicode
    return False


def _is_unicode(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
