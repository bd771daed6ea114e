"""How a check looks in the terminal: a table for each category, and the forecast of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from anoclust_core.memory.plan import readable_bytes
from anoclust_core.records import by_reason
from flows.terminal.tables import new_table
from tasks.images.folders import one_line
from tasks.images.shrinking import MOST, longest_side

if TYPE_CHECKING:
    from anoclust_core.config import RunConfig
    from flows.check.found import CategoryCheck, DataCheck
    from tasks.check.pictures import Seen

TOO_DARK: Final = 30
TOO_BRIGHT: Final = 225
"""Median grey levels, of 255, from which on pictures are called dark or bright."""

CLIPPED: Final = 0.05
"""Part of the pixels that are black or white from which on that is told."""

_KINDS_TOLD: Final = 8
_REASONS_TOLD: Final = 8
"""Labels and reasons that are printed at most; JSON has all."""


def category_table(one: CategoryCheck, config: RunConfig) -> Table:
    """What was seen of a category, and the settings that a run would take."""
    table = new_table(escape(one.category), "found")
    for name, text in _rows(one, config):
        table.add_row(name, escape(text))
    for taken in one.settings:
        table.add_row(taken.name, escape(f"{taken.value}: {taken.why}"))
    return table


def forecast_table(found: DataCheck) -> Table:
    """Seconds and memory of a run over all categories that could start."""
    table = new_table("forecast of a run", "", numbers=("",))
    for name, seconds in found.seconds.items():
        table.add_row(name, f"{seconds:,.0f} s")
    if found.total_seconds is not None:
        table.add_row("in all", _duration(found.total_seconds), style="bold")
    if found.peak_bytes is not None:
        table.add_row("memory", readable_bytes(found.peak_bytes), style="bold")
    return table


def note_lines(one: CategoryCheck) -> Iterator[str]:
    """What else is to be told of a category."""
    yield from (f"  {note}" for note in one.notes)
    if one.forecast is not None and one.forecast.why_not:
        yield f"  {one.forecast.why_not}"


def _rows(one: CategoryCheck, config: RunConfig) -> Iterator[tuple[str, str]]:
    sample = "all" if one.n_looked_at == one.n_files else f"{one.n_looked_at:,}, drawn at random,"
    yield "files", f"{one.n_files:,}; {sample} looked at"
    for role, name in (("cluster", "to cluster"), ("normal", "known normals")):
        kinds = {(split, label): n for (of, split, label), n in one.kinds.items() if of == role}
        if kinds or role == "normal":
            yield name, _kinds(kinds)
    n_images = sum(n for (role, _, _), n in one.kinds.items() if role == "cluster")
    labelled = "all have one" if one.n_labelled == n_images else f"{one.n_labelled:,} of {n_images:,} have one"
    yield "labels", f"{labelled if one.n_labelled else 'none'}; masks: {one.n_masks:,}"
    first, *others = _reasons(one)
    yield "cannot be used", first
    yield from (("", reason) for reason in others)
    if one.seen is not None:
        yield from _picture_rows(one.seen, config)


def _kinds(kinds: Mapping[tuple[str | None, str | None], int]) -> str:
    if not kinds:
        return "none"
    told = [
        f"{n:,} {label or 'without a label'}" + (f" ({split})" if split else "")
        for (split, label), n in sorted(kinds.items(), key=lambda item: -item[1])
    ]
    more = [f"{len(told) - _KINDS_TOLD} more kinds"] if len(told) > _KINDS_TOLD else []
    return f"{sum(kinds.values()):,}: {', '.join([*told[:_KINDS_TOLD], *more])}"


def _reasons(one: CategoryCheck) -> list[str]:
    if not one.bad:
        return ["none" if one.n_looked_at == one.n_files else "none of those looked at"]
    groups = by_reason(one.bad)
    more = sum(len(group.entries) for group in groups[_REASONS_TOLD:])
    told = [group.sentence(one_line) for group in groups[:_REASONS_TOLD]]
    return [
        f"{len(one.bad):,} file{'s' * (len(one.bad) > 1)}",
        *told,
        *([f"{more:,} for other reasons"] if more else []),
    ]


def _picture_rows(seen: Seen, config: RunConfig) -> Iterator[tuple[str, str]]:
    (small_width, small_height), (width, height) = seen.sizes
    size = f"{width:,} x {height:,} pixels"
    if seen.n_sizes > 1:
        size = f"{small_width:,} x {small_height:,} to {size}, {seen.n_sizes:,} sizes"
    is_part = config.embed.has_tiles or config.embed.resize == "crop"
    longest = longest_side((height, width), config) if is_part else seen.longest
    times = longest / config.image_size
    shrunk = f"shrunk up to {times:.1f} times" if times > 1 else "not shrunk"
    yield "size", f"{size}; {shrunk} for the network" + (", see below" if times > MOST else "")
    yield "stored as", "; ".join(_counts(kinds, seen.n_pictures) for kinds in (seen.formats, seen.depths, seen.colours))
    extras = [
        f"{n:,} with {what}" for n, what in ((seen.n_alpha, "transparency"), (seen.n_turned, "an EXIF rotation")) if n
    ]
    if extras:
        yield "also", ", ".join(extras)
    yield "light", _light(seen)
    yield "copies", _copies(seen)
    yield "camera", _camera(seen)


def _counts(kinds: Mapping[str, int], n_all: int) -> str:
    return ", ".join(kind if n == n_all else f"{n:,} {kind}" for kind, n in kinds.items())


def _light(seen: Seen) -> str:
    darkest, median, brightest = seen.brightness
    told = f"mean grey level {median:.0f} of 255 (from {darkest:.0f} to {brightest:.0f})"
    if median < TOO_DARK:
        told += "; the pictures are dark: expose longer, or say which values are black and white"
    if median > TOO_BRIGHT:
        told += "; the pictures are very bright"
    for share, name in ((seen.black, "black"), (seen.white, "white")):
        if share > CLIPPED:
            told += f"; {share:.0%} of a picture is plain {name}: a background, or clipped by the exposure"
    return told


def _copies(seen: Seen) -> str:
    exact = f"{seen.n_copies:,} exact" if seen.n_copies else "no exact ones"
    if seen.near_duplicates is None:
        return f"{exact}; too few pictures to look for near-duplicates"
    n_all = seen.n_pictures - seen.n_copies
    among = f" among the {seen.n_compared:,} of {n_all:,} that were compared" if seen.n_compared < n_all else ""
    if not seen.near_duplicates:
        return f"{exact}; no near-duplicates{among}"
    first = " and ".join(map(one_line, seen.near_duplicates[0][:2]))
    n_files = sum(map(len, seen.near_duplicates))
    return f"{exact}; {n_files:,} pictures are near-duplicates of each other{among} (such as {first})"


def _camera(seen: Seen) -> str:
    found = seen.alignment
    if found is None:
        return "too few pictures to tell whether they are aligned"
    if found.verdict == "aligned":
        return f"aligned: pictures agree pixel by pixel (correlation {found.as_they_lie:.2f})"
    if found.verdict == "shifted":
        return (
            f"shifted by up to {seen.shift:.0f} pixels: then pictures agree (correlation {found.shifted:.2f}, "
            f"{found.as_they_lie:.2f} as they lie)"
        )
    return f"not aligned: pictures do not show the same at the same place (correlation {max(found.shifted, 0):.2f})"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.1f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


def total_lines(checks: Sequence[CategoryCheck]) -> Iterator[str]:
    """What the forecast stands for."""
    started = sum(one.error is None for one in checks)
    if started:
        of = (
            "all categories"
            if started == len(checks)
            else f"the {started:,} of {len(checks):,} categories that can run"
        )
        yield (
            f"The forecast is of {of}, in a new store, on this machine as it is now: expect it to be right within a "
            "factor of two. Images that a store already holds take next to no time."
        )
