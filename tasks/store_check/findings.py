"""What a check of a store finds, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from anoclust_core.errors import DamagedError
from tasks.stores.layout import StoreLayout

REBUILT: Final = "the next run that needs it puts it aside and computes it again"
SWEPT: Final = "left by a run that was killed or is still running; the next run of the category removes it"
COLLECTED: Final = "left by a run that was killed or is still running; `anoclust store gc` removes it in time"
GONE_ROUND: Final = "it is computed again where it is needed; `anoclust store gc` removes it in time"
KEPT: Final = "a run has put it aside and computed it again; `anoclust store gc` removes it in time"


class Fault(StrEnum):
    """Kinds of fault, the worst first."""

    DAMAGED = "damaged"
    MISSING = "missing"
    OTHER_VERSION = "of another version"
    LEFTOVER = "left by killed runs"
    UNUSED = "no longer used"
    PUT_ASIDE = "put aside"


@dataclass(frozen=True)
class Finding:
    """A fault that a check has found: at which path of the store, what it is, what to do, and of which kind."""

    path: str
    what: str
    advice: str
    kind: Fault = Fault.DAMAGED

    @property
    def is_harmless(self) -> bool:
        """Whether no result depends on it: what killed runs leave behind, cached results of a store that was moved."""
        return self.kind in {Fault.LEFTOVER, Fault.UNUSED, Fault.PUT_ASIDE}


def finding(layout: StoreLayout, path: Path, what: str, advice: str, kind: Fault = Fault.DAMAGED) -> Finding:
    """Say what was found at a path of a store."""
    return Finding(path.relative_to(layout.root).as_posix(), what, advice, kind)


def told(path: Path, error: Exception) -> str:
    """An error's words without the path that stands before them anyway."""
    damage = error if isinstance(error, DamagedError) else error.__cause__
    text = damage.found if isinstance(damage, DamagedError) else str(error) or type(error).__name__
    return text.replace(f"{path}/", "").removeprefix(f"{path} ")
