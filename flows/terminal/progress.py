"""How a run looks in the terminal: a progress bar per stage, a table at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from anoclust_core.embedding.deep_images import outside_note, range_note
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.wording import counted
from flows.run import CategoryOutcome
from flows.terminal.runs import aside_lines
from tasks.stores import runs

_STAGES: Final = {
    "list": "reading files",
    "look": "looking at pictures",
    "trial": "timing the network, images",
    "settle": "files were changed just now; waiting until no more changes come, seconds",
    "wait": "waiting for another run, seconds",
    "embed": "embedding images",
    "detect": "maps of the detector, images",
    "cover": "choosing patches, images",
    "pair": "pairs of images",
    "sample": "sampling cells, images",
    "train": "training, steps",
    "maps": "anomaly maps",
    "head": "training the head, epochs",
    "descriptors": "describing images",
    "experiments": "experiments by category",
    "temperatures": "pooling at every temperature",
    "holistic": "embedding whole images",
    "views": "features of varied views, images",
    "iic": "training IIC, epochs",
    "gatcluster": "training GATCluster, epochs",
    "scan": "training SCAN, epochs",
    "spice": "training SPICE, epochs",
    "report": "drawing the report",
    "demo": "making images",
    "heat": "drawing maps",
    "check": "checking, MiB",
    "rebuild": "reading the journal, bytes",
}


class StageBars:
    """One progress bar per category and stage; plain lines where the output is no terminal.

    Parameters
    ----------
    console
        Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, category: str, stage: str, done: int, total: int) -> None:
        """Move the bar of a stage."""
        if (category, stage) not in self._bars:
            name = f"{escape(category)} {_STAGES[stage]}".strip()
            self._bars[category, stage] = self._progress.add_task(name, total=total)
            if not self._console.is_terminal and total > 0:
                self._console.print(f"{name}: {total:,}", highlight=False)
        self._progress.update(self._bars[category, stage], completed=done, total=total)


def results_table(outcomes: Sequence[CategoryOutcome]) -> Table:
    """One row per category: what went in, what came out, how well it agrees with the labels."""
    table = Table(title="Anoclust", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("category", overflow="ellipsis", no_wrap=True, min_width=14)
    for name in ("images", "clusters", "NMI", "ARI", "F1", "NMI*", "ARI*", "F1*"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        if outcome.error is not None:
            table.add_row(escape(outcome.category), "failed")
            continue
        summary = outcome.summary
        metrics, images = summary["metrics"], summary["images"]
        table.add_row(
            escape(outcome.category),
            f"{images['clustered']:,}",
            str(summary["n_clusters"]),
            *_scores(metrics["full"], summary["protocol"]),
            *_scores(metrics["defect_only"], summary["protocol"]),
        )
    protocols = sorted({outcome.summary["protocol"] for outcome in outcomes if outcome.summary})
    if protocols:
        named = ", ".join(f"{name}, F1 {protocol_named(name).f1_average}" for name in protocols)
        table.caption = f"Scores by protocol {named}; * defects only; – no labels."
        table.caption_justify = "left"
    return table


def outcome_lines(outcome: CategoryOutcome) -> str:
    """What was done for a category, and where its report is."""
    if outcome.run is None:
        return f"{outcome.category}: failed: {outcome.error}"
    if not outcome.is_new:
        done = "nothing to do, this run is finished"
    else:
        embedded, pairs = outcome.work["images_embedded"], outcome.work["pair_products"]
        compared = f"{counted(embedded, 'image')} embedded, {counted(pairs, 'image pair')} compared"
        done = f"{compared}, {outcome.seconds:.0f} s"
    bad = outcome.summary["images"]["quarantined"]
    later = outcome.summary["images"].get("deferred", 0)  # a run of an earlier version counts none
    warning = f"\n  {counted(bad, 'file')} could not be used; see the report for which and why" if bad else ""
    aside = [(entry["path"], entry["reason"]) for entry in outcome.summary.get("quarantine", ())]
    warning += "".join(f"\n{line}" for line in aside_lines(aside, outcome.notes))
    warning += f"\n  {counted(later, 'file')} deferred to the next run" if later else ""
    warning += "".join(f"\n  {range_note(deep)}" for deep in runs.deep_ranges(outcome.summary))
    outside = outside_note(runs.outside_range(outcome.summary), outcome.summary["images"]["clustered"])
    warning += f"\n  {outside}" if outside else ""
    warning += "".join(f"\n  {repair}" for repair in outcome.repairs)
    report, here = outcome.run / "report.html", Path.cwd()
    shown = report.relative_to(here) if report.is_relative_to(here) else report
    return f"{outcome.category}: {done}{warning}\n  {shown}"


def outcomes_json(outcomes: Sequence[CategoryOutcome]) -> str:
    """What became of every category, for scripts: one object each, with the run's whole summary."""
    return json.dumps(
        [
            {
                "category": outcome.category,
                "run": str(outcome.run) if outcome.run else None,
                "is_new": outcome.is_new,
                "work": outcome.work,
                "seconds": outcome.seconds,
                "repairs": list(outcome.repairs),
                "error": str(outcome.error) if outcome.error else None,
                "exit_code": outcome.error.exit_code if outcome.error else 0,
                "summary": outcome.summary or None,
            }
            for outcome in outcomes
        ],
        indent=2,
        ensure_ascii=False,
    )


def _scores(scores: dict[str, float] | None, protocol: str) -> list[str]:
    """NMI, ARI and the F1 that a protocol prints."""
    names = ("nmi", "ari", protocol_named(protocol).f1_name)
    return ["–" if scores is None else f"{scores[name]:.3f}" for name in names]
