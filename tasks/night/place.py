"""Where the stages of a night work: the category, its store and catalog, the night."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from tasks.stages.category_run import CategoryRun
from tasks.stages.runner import STAGE
from tasks.stores.layout import StoreLayout

UNTRACKED: Final[dict[str, Any]] = {**STAGE, "cache_policy": None, "persist_result": False}
"""Options of a task whose result is what it records."""


@dataclass(frozen=True)
class Place:
    """Where a night works.

    Attributes
    ----------
    run
        The category: its store, settings and backbone.
    catalog
        File or URL of the catalog.
    night
        The night.
    began
        When the work on it began.
    """

    run: CategoryRun
    catalog: Path | str = field(repr=False)  # a URL may hold a password
    night: date
    began: datetime

    @property
    def layout(self) -> StoreLayout:
        """The store."""
        return self.run.layout

    @property
    def category(self) -> str:
        """Name of the product."""
        return self.run.category

    @property
    def report(self) -> str:
        """Path of the night's report."""
        return str(self.layout.night(self.category, self.night) / "report.html")
