"""Where the stages of a night work: store, catalog, category, night."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from tasks.stages.runner import STAGE
from tasks.stores.layout import StoreLayout

UNTRACKED: Final[dict[str, Any]] = {**STAGE, "cache_policy": None, "persist_result": False}
"""Options of a task whose result is what it records."""


@dataclass(frozen=True)
class Place:
    """Where a night works.

    Attributes
    ----------
    layout
        The store.
    catalog
        File or URL of the catalog.
    category, night
        What it works on.
    """

    layout: StoreLayout
    catalog: Path | str = field(repr=False)  # a URL may hold a password
    category: str
    night: date

    @property
    def report(self) -> str:
        """Path of the night's report."""
        return str(self.layout.night(self.category, self.night) / "report.html")
