"""Figures: ratios of paired runs, what they should reach, and how they changed since they were last recorded."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from anoclust_core.memory.plan import readable_bytes

FLAGGED: Final = 0.20
"""A median that is worse or better by more than this than the recorded one is told."""

PACKAGES: Final = ("numpy", "torch", "scipy", "scikit-learn", "dask", "zarr", "prefect")


@dataclass(frozen=True)
class Figure:
    """One ratio, measured in paired runs.

    Attributes
    ----------
    section, name
        What was measured; together they name the figure from one record to the next.
    ours, reference
        The two things compared, in words with their median figures.
    ratios
        One a paired run.
    better
        Whether a larger or a smaller ratio is better.
    target
        What the median should reach; None where nothing was promised.
    peak_bytes
        Memory that ours took at its peak above what was there before; None where that says nothing.
    """

    section: str
    name: str
    ours: str
    reference: str
    ratios: tuple[float, ...]
    better: Literal["larger", "smaller"] = "larger"
    target: float | None = None
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """Median of the paired ratios."""
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.median >= self.target if self.better == "larger" else self.median <= self.target


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        flags = next((line.split() for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), [])
        widest = next((name for name in ("avx512f", "avx2") if name in flags), "")
        model = f"{names[0] if names else model} {widest}".strip()
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": readable_bytes(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def as_record(figures: Sequence[Figure]) -> dict[str, Any]:
    """Everything that a later run is compared with, and a page is made from."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "figures": [asdict(figure) | {"median": figure.median, "is_met": figure.is_met} for figure in figures],
    }


def figures_of(record: Mapping[str, Any]) -> list[Figure]:
    """Figures of a record, in its order."""
    names = [field.name for field in fields(Figure)]
    return [
        Figure(**{name: entry[name] for name in names} | {"ratios": tuple(entry["ratios"])})
        for entry in record["figures"]
    ]


def renewed(record: Mapping[str, Any], figures: Iterable[Figure]) -> list[Figure]:
    """Figures of a record, new ones in the place of those of the same name, or behind them."""
    found = {(figure.section, figure.name): figure for figure in (*figures_of(record), *figures)}
    return list(found.values())


def changes(figures: Iterable[Figure], recorded: Mapping[str, Any]) -> list[str]:
    """Figures whose median moved by more than ``FLAGGED`` against a record, each in words."""
    before = {(entry["section"], entry["name"]): entry for entry in recorded["figures"]}
    told = []
    for figure in figures:
        entry = before.get((figure.section, figure.name))
        if entry is None:
            continue
        change = figure.median / entry["median"] - 1
        if abs(change) > FLAGGED:
            is_better = (change > 0) == (figure.better == "larger")
            told.append(
                f"{figure.section}, {figure.name}: {entry['median']:.3g} before, {figure.median:.3g} now "
                f"({change:+.0%}, {'better' if is_better else 'worse'})"
            )
    return told


def table(figures: Sequence[Figure]) -> str:
    """Markdown table of the figures."""
    lines = [
        "| what | ours | against | ratio: median (min to max) | target | met | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for figure in figures:
        sign = "≥" if figure.better == "larger" else "≤"
        wanted = "" if figure.target is None else f"{sign} {figure.target:g}"
        met = {None: "", True: "yes", False: "**no**"}[figure.is_met]
        peak = "" if figure.peak_bytes is None else readable_bytes(figure.peak_bytes)
        lines.append(
            f"| {figure.section}: {figure.name} | {figure.ours} | {figure.reference} | **{figure.median:.3g}** "
            f"({min(figure.ratios):.3g} to {max(figure.ratios):.3g}) | {wanted} | {met} | {peak} |"
        )
    return "\n".join(lines) + "\n"


def read_record(path: Path) -> dict[str, Any]:
    """Read what `as_record` made."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
