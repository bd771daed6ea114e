"""Which part an image shows: said by its path or by a column of its manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, Literal

from anoclust_core.errors import ConfigError

NAME: Final = "{part}"
"""Stands for the part's name in a pattern."""


@dataclass(frozen=True)
class PartRule:
    """How to tell which part an image shows; ``detail`` is a pattern of paths or the name of a manifest column."""

    source: Literal["path", "column"]
    detail: str

    @classmethod
    def read(cls, text: str) -> PartRule:
        """Read ``column:serial`` or ``path:{part}_*``.

        Raises
        ------
        ConfigError
            If it is neither, or the pattern does not have the part's name once.
        """
        source, _, detail = text.partition(":")
        if source == "column" and detail:
            return cls("column", detail)
        if source == "path" and detail.count(NAME) == 1:
            return cls("path", detail)
        raise ConfigError(
            f"expected column:NAME, or path:PATTERN with {NAME} in it once, to tell which part an image shows, found "
            f"{text!r}; for example, path:{NAME}_* reads 0017 from 0017_cam2.png"
        )

    def part(self, path: str, extra: Mapping[str, str]) -> str | None:
        """Name of the part that an image shows by its path or columns; None where they do not say it."""
        if self.source == "column":
            return extra.get(self.detail, "").strip() or None
        return part_in_path(path, self.detail)

    def __str__(self) -> str:
        """As a person writes it."""
        return f"{self.source}:{self.detail}"


def part_in_path(path: str, pattern: str) -> str | None:
    """Name of a part by the end of a path, its ending left out; None where the pattern does not fit.

    ``{part}`` is the longest text without a slash that fits, ``*`` any text without a slash. Folders before what the
    pattern covers belong to the name: ``000`` in two folders are two parts. Folders that it covers do not.

    Parameters
    ----------
    path
        Of an image, with slashes.
    pattern
        With ``{part}`` in it once.

    Examples
    --------
    >>> part_in_path("scratch/0017_cam2.png", "{part}_*"), part_in_path("cam2/0017.png", "*/{part}")
    ('scratch/0017', '0017')
    >>> part_in_path("0017.png", "{part}_*")
    """
    found = _compiled(pattern).fullmatch(str(PurePosixPath(path).with_suffix("")) if path else "")
    return f"{found['before'] or ''}{found['part']}" if found else None


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> re.Pattern[str]:
    words = {"*": "[^/]*", NAME: "(?P<part>[^/]+)"}
    inner = "".join(words.get(word, re.escape(word)) for word in re.split(r"(\{part\}|\*)", pattern))
    return re.compile(f"(?P<before>.*/)?{inner}")
