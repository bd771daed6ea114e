"""What a check finds: of each category, and of a run over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anoclust_core.errors import AnoclustError
from anoclust_core.records import SetAside

if TYPE_CHECKING:
    from tasks.check.pictures import Seen


@dataclass(frozen=True)
class Taken:
    """One setting that a run would take: its name, its value, and why, in words."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class Forecast:
    """What a run over one category would take.

    Attributes
    ----------
    seconds
        By what takes them, without what a command takes once; empty where they cannot be told.
    memory
        Bytes of each stage, on top of what the process has before; empty where it cannot be told.
    why_not
        Why something is left out; empty where nothing is.
    compiles
        Whether the kernel of image pairs is compiled.
    """

    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    why_not: str = ""
    compiles: bool = False


@dataclass(frozen=True)
class CategoryCheck:
    """What was seen of one category.

    Attributes
    ----------
    category
        Name of the product.
    n_files, n_looked_at
        Image files, and those of them that were read: a sample.
    kinds
        Number of files by role (``cluster`` or ``normal``), split and label.
    n_labelled, n_masks
        Files to cluster that have a label; files with a mask.
    bad
        Files that cannot be used, with reasons: of the sample, and those that need no reading to be told.
    seen
        What the pictures are like; None where none could be decoded.
    settings
        That a run would take.
    notes
        What else is to be told.
    forecast
        None where no run could start.
    error
        Why no run could start.
    """

    category: str
    n_files: int
    n_looked_at: int
    kinds: Mapping[tuple[str, str | None, str | None], int]
    n_labelled: int
    n_masks: int
    bad: tuple[SetAside, ...] = ()
    seen: Seen | None = None
    settings: tuple[Taken, ...] = ()
    notes: tuple[str, ...] = ()
    forecast: Forecast | None = None
    error: AnoclustError | None = None


@dataclass(frozen=True)
class DataCheck:
    """What was seen of a data set.

    Attributes
    ----------
    categories
        One each, in order of their names.
    seconds
        Of a run over all categories that could start, by what takes them; empty where they cannot be told.
    base_bytes
        Memory of the process before any stage.
    """

    categories: tuple[CategoryCheck, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    base_bytes: int = 0

    @property
    def total_seconds(self) -> float | None:
        """Seconds of the whole run, or None where they cannot be told."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def peak_bytes(self) -> int | None:
        """Largest memory of the run, or None where it cannot be told."""
        stages = [size for one in self.categories if one.forecast for size in one.forecast.memory.values()]
        return self.base_bytes + max(stages) if stages else None
