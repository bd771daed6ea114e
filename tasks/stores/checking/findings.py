"""What a check of a store finds, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tasks.stores.layout import StoreLayout

REBUILD: Final = "the next run that needs it puts it aside and computes it anew"
LEFTOVER: Final = "a run that was killed, or still goes on, left it; the next run of the category removes it"
PUT_ASIDE: Final = "a run has put it aside and computed it anew; `anoclust store gc` removes it in time"
IGNORED: Final = "it is computed anew where it is needed; `anoclust store gc` removes it in time"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes
    ----------
    path
        What it is about, relative to the store.
    what
        What was found.
    advice
        What to do.
    is_harmless
        Whether no result depends on it: what killed runs leave behind, cached results of a store that was moved.
    """

    path: str
    what: str
    advice: str
    is_harmless: bool = False


def finding(layout: StoreLayout, path: Path, what: str, advice: str, *, is_harmless: bool = False) -> Finding:
    """Say what was found at a path of a store."""
    return Finding(path.relative_to(layout.root).as_posix(), what, advice, is_harmless)


def told(path: Path, error: Exception) -> str:
    """An error's words without the path that stands before them anyway."""
    text = str(error) or type(error).__name__
    return text.replace(f"{path}/", "").removeprefix(f"{path} ")
