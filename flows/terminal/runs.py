"""Tables of the small commands: settings, runs, sizes, what was removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from anoclust_core.records import SetAside, by_reason
from flows.terminal.tables import new_table, short_path
from tasks.images.folders import one_line
from tasks.stores.runs import REPORT

if TYPE_CHECKING:
    from tasks.stores.upkeep.collect import Removal
    from tasks.stores.upkeep.inventory import StoreSize
    from tasks.stores.upkeep.past_runs import PastRun

_DEFAULT: Final = "default"
_REASONS_TOLD: Final = 3
"""Most reasons of unusable files that are printed; the report has all."""


def settings_table(values: Mapping[str, object], origins: Mapping[str, str]) -> Table:
    """Every setting, its value and where it came from; what is not the default stands out."""
    table = new_table("setting", "value", "from")
    for name, value in values.items():
        style = None if origins[name] == _DEFAULT else "bold"
        table.add_row(escape(name), escape(str(value)), escape(origins[name]), style=style)
    return table


def sizes_table(size: StoreSize) -> Table:
    """Bytes on disk: a row per category, then what belongs to none."""
    parts = ("embeddings", "distances", "weights", "runs", "total")
    table = new_table("category", *parts, numbers=parts)
    for row in size.categories:
        table.add_row(escape(row.category), *(decimal(getattr(row, part)) for part in parts))
    for name, value in (("shared", size.shared), ("damaged", size.damaged), ("not Anoclust's", size.other)):
        if value:
            table.add_row(name, "", "", "", "", decimal(value), style="dim")
    table.add_row("all", "", "", "", "", decimal(size.total), style="bold")
    return table


def removals_table(removals: Sequence[Removal]) -> Table:
    """What goes: a row per category and kind."""
    table = new_table("category", "what", "number", "bytes", numbers=("number", "bytes"))
    for (category, kind), found in groupby(
        sorted(removals, key=lambda r: (r.category, r.kind)), key=lambda r: (r.category, r.kind)
    ):
        group = list(found)
        table.add_row(escape(category), kind, f"{len(group):,}", decimal(sum(removal.bytes for removal in group)))
    return table


def run_lines(run: PastRun) -> str:
    """One run: when, what went in and came out, how well it agrees with the labels, and where its report is."""
    if run.summary is None:
        return f"  {run.folder.name}: {run.error}"
    summary = run.summary
    images, scores = summary["images"], summary["metrics"]["full"]
    agreement = "no labels"
    if scores is not None:
        agreement = f"NMI {scores['nmi']:.3f}, ARI {scores['ari']:.3f}, F1 {scores['f1_weighted']:.3f}"
    aside = [f"{images[name]:,} {name}" for name in ("quarantined", "deferred") if images.get(name)]
    structure = summary.get("structure")
    doubt = ["structure uncertain"] if structure is not None and not structure["is_certain"] else []
    parts = [f"{images['parts']:,} parts"] if "parts" in images else []
    facts = [f"{images['clustered']:,} images", *parts, f"{summary['n_clusters']} clusters", *doubt, agreement, *aside]
    when = datetime.fromisoformat(summary["created_at"])
    mark = " (latest)" if run.is_latest else ""
    return f"  {when:%Y-%m-%d %H:%M} UTC  {', '.join(facts)}{mark}\n    {short_path(run.folder / REPORT)}"


def aside_lines(files: Iterable[tuple[str, str]], notes: Iterable[str]) -> list[str]:
    """Why files could not be used, each reason once with their number, and what else is to be told of the images.

    Parameters
    ----------
    files
        Path and reason of each, as summaries have them.
    notes
        Sentences; one that only says such a reason again is left out.
    """
    groups = by_reason(SetAside.from_told(path, told) for path, told in files)
    said = [group.sentence(one_line) for group in groups]
    more = sum(len(group.entries) for group in groups[_REASONS_TOLD:])
    lines = [f"    {reason}" for reason in said[:_REASONS_TOLD]]
    lines += [f"    {more:,} for other reasons"] if more else []
    repeated = {f"{reason}." for reason in said}
    return lines + [f"  {note}" for note in notes if note not in repeated]
