"""How nights, statuses and clusters look in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from anoclust_core.wording import counted
from flows.nights.outcome import outcome_line
from flows.terminal.runs import aside_lines
from flows.terminal.tables import new_table, short_path
from tasks.stores.catalog.decisions.words import in_words, when

if TYPE_CHECKING:
    from flows.nights.outcome import NightOutcome
    from flows.nights.status import CategoryStatus
    from tasks.stores.catalog.facts import ClusterFact, DecisionFact, QuestionFact
    from tasks.stores.catalog.rebuild import Rebuilt

_COUNTED: Final = {
    "seen": "seen",
    "new": "new",
    "assigned": "assigned",
    "unknown": "unknown",
    "new_clusters": "new clusters",
    "pair_products": "pair products",
}

_MEASURES: Final = ("closeness", "surprise", "height", "separation")
"""Numbers by which a night decided about a cluster, by the names that the catalog keeps them under."""


def nights_table(outcomes: Sequence[NightOutcome]) -> Table:
    """One row per night and category: what came, and what became of it."""
    table = new_table("category", "night", *_COUNTED.values(), numbers=_COUNTED.values())
    for outcome in outcomes:
        if outcome.error is not None:
            table.add_row(escape(outcome.category), outcome.night.isoformat(), "failed")
            continue
        counts = (f"{outcome.counters.get(name, 0):,}" for name in _COUNTED)
        table.add_row(escape(outcome.category), outcome.night.isoformat(), *counts)
    return table


def night_lines(outcome: NightOutcome) -> str:
    """What was done in a night, and where its report is."""
    if outcome.error is not None:
        return outcome_line(outcome)
    lines = [outcome_line(outcome)]
    if outcome.reclustered:
        lines.append(f"  re-clustered: {outcome.reclustered}")
    if outcome.counters.get("quarantined"):
        bad = counted(outcome.counters["quarantined"], "file")
        lines.append(f"  {bad} could not be used; see the report for which and why")
    lines += aside_lines(outcome.quarantine if outcome.counters.get("quarantined") else (), outcome.notes)
    if outcome.counters.get("deferred"):
        lines.append(f"  {counted(outcome.counters['deferred'], 'file')} deferred to the next night")
    lines += [f"  {repair}" for repair in outcome.repairs]
    if outcome.report and outcome.is_new:
        lines.append(f"  {short_path(outcome.report)}")
    return "\n".join(lines)


def status_table(found: Sequence[CategoryStatus]) -> Table:
    """One row per category."""
    numbers = ("images", "clusters", "provisional", "unknown", "unusable")
    table = new_table("category", "last night", *numbers, "clustered", numbers=numbers)
    for one in found:
        night = "never" if one.last_night is None else one.last_night.isoformat()
        unfinished = "" if one.state in {None, "done"} else " (unfinished)"
        clustered = "never" if one.clustered is None else f"{one.clustered}, {counted(one.n_since, 'image')} since"
        counts = (one.n_images, one.n_clusters, one.n_provisional, one.n_unknown, one.n_quarantined)
        table.add_row(escape(one.category), night + unfinished, *(f"{count:,}" for count in counts), clustered)
    return table


def clusters_table(found: Sequence[ClusterFact], *, counted: str) -> Table:
    """One row per cluster; ``counted`` is what it has a number of, ``images`` or ``parts``."""
    table = new_table("cluster", "name", counted, "state", "born", "note", numbers=(counted,))
    for one in found:
        state = one.state if one.merged_into is None else f"merged into {one.merged_into}"
        if one.ordinary is not None:
            state += ", no defect" if one.ordinary else ", a defect"
        table.add_row(one.cluster, escape(one.name or ""), f"{one.n_images:,}", state, str(one.born), escape(one.note))
    return table


def question_lines(found: Sequence[QuestionFact], category: str, *, of: str | None = None) -> list[str]:
    """Open questions with the command that answers them, of all clusters or of one."""
    asked, named = [one for one in found if of in {None, one.cluster, one.of}], quote(category)
    return [
        line
        for one in asked
        for line in (f"\n? {one.text}", f"  anoclust clusters answer {named} {quote(one.question)} --yes, or --no")
    ]


def history_lines(found: Sequence[DecisionFact]) -> list[str]:
    """One line for each thing that happened to clusters: the night that did it, or when a person did.

    Behind what nights did stands why.
    """
    return [
        f"{one.number:>5}  {when(one):<20}  {one.who} {in_words(one)}"
        f"{_evidence(one) if one.night else ''}{' (undone)' if one.undone else ''}"
        for one in found
    ]


def _evidence(one: DecisionFact) -> str:
    """Numbers by which a night decided."""
    after = one.after
    shared = ", ".join(f"{count:,} with {name}" for name, count in (after.get("overlaps") or {}).items())
    parts = [
        *([counted(after["n_images"], "image")] if "n_images" in after else []),
        *([f"images in common: {shared}"] if shared else []),
        *(f"{name} {after[name]:.3g}" for name in _MEASURES if after.get(name) is not None),
    ]
    return f"; {', '.join(parts)}" if parts else ""


def rebuilt_lines(found: Rebuilt, root: Path) -> list[str]:
    """What a rebuild restored, by number, and what it could not."""
    given = {name: count - found.before.get(name, 0) for name, count in found.after.items()}
    changed = ", ".join(f"{count:+,} {name}" for name, count in given.items() if count)
    lines = [
        f"{found.n_changes:,} changes from the journal and the pages of {found.n_nights:,} nights were read into the "
        f"catalog of {root}"
        if found.n_changes or found.n_nights
        else f"the catalog of {root} already has everything from its journal and nights"
    ]
    if changed:
        lines.append(f"restored: {changed}")
    lines.append("it now holds " + ", ".join(f"{count:,} {name}" for name, count in found.after.items()))
    lines += [f"not restored: {what}" for what in found.lacks]
    if found.aside is not None:
        lines.append(f"what was damaged or belongs to another store is kept in {found.aside}")
    return lines
