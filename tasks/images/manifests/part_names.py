"""Candidates get the names of their parts; what does not say its part, though it was asked, is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from anoclust_core.config import COUNT_ONCE, DataConfig, RunConfig
from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.matching.part_names import NAME, PartRule
from anoclust_core.records import DatasetManifest
from tasks.images.folders import one_line
from tasks.images.layouts import Candidate

COLUMN: Final = "part"
"""Column of our tables; one of that name in a manifest is the same."""

_DEFAULT: Final = DataConfig().part


def with_parts(found: Sequence[Candidate], config: RunConfig) -> list[Candidate]:
    """Candidates of one category with the names of their parts."""
    rule = PartRule.read(config.data.part)
    return [_named(candidate, rule) for candidate in found]


def part_notes(clustered: Sequence[Candidate], config: RunConfig) -> list[str]:
    """Say how many images of a category do not say which part they show, where that was asked for and others do."""
    rule = PartRule.read(config.data.part)
    usable = [candidate for candidate in clustered if not candidate.refused]
    without = sorted(candidate.path for candidate in usable if candidate.part is None)
    if len(without) in (0, len(usable)) or not _is_asked(rule, config):
        return []
    return [
        f"--part {rule} fits {len(usable) - len(without):,} of {len(usable):,} images; each of the other "
        f"{len(without):,} counts as a part of its own (first: {one_line(without[0])})."
    ]


def check_parts(listed: DatasetManifest, config: RunConfig) -> None:
    """Refuse a category none of whose images says which part it shows, where that was asked for.

    Raises
    ------
    ConfigError
        If near-duplicates are to count once besides: a part counts once already.
    DatasetError
        If so.
    """
    if config.group.by == "part" and config.pair.near_duplicates == COUNT_ONCE:
        raise ConfigError("--by part counts every part once already; omit --near-duplicates count-once")
    rule, clustered = PartRule.read(config.data.part), listed.clustered
    if not clustered or not _is_asked(rule, config) or any(image.part is not None for image in clustered):
        return
    first = one_line(min(image.path for image in clustered))
    raise DatasetError(
        f"--part {rule} fits none of the {len(clustered):,} images of category {listed.category}; the first is "
        f"{first}; {_advice(rule)}" + (", or cluster images with --by image" if config.group.by == "part" else "")
    )


def _is_asked(rule: PartRule, config: RunConfig) -> bool:
    return config.group.by == "part" or str(rule) != _DEFAULT


def shared_names(by_category: Mapping[str, Sequence[Candidate]], config: RunConfig) -> dict[str, list[str]]:
    """Notes on names of parts that another category has too, for the categories that are clustered by part."""
    where: dict[str, set[str]] = {}
    for category, found in by_category.items():
        for candidate in found:
            if candidate.part is not None:
                where.setdefault(candidate.part, set()).add(category)
    notes: dict[str, list[str]] = {}
    for category in by_category:
        if config.of(category).group.by != "part":
            continue
        shared = sorted(part for part, found in where.items() if len(found) > 1 and category in found)
        if shared:
            others = ", ".join(sorted(where[shared[0]] - {category}))
            notes[category] = [
                f"{len(shared):,} names of parts are in another category too (first: {one_line(shared[0])}, also in "
                f"{others}); views are grouped within a category only, so these are different parts."
            ]
    return notes


def _named(candidate: Candidate, rule: PartRule) -> Candidate:
    part = rule.part(candidate.path, candidate.extra)
    if part is None:
        return candidate
    extra = {name: cell for name, cell in candidate.extra.items() if name != COLUMN}
    return replace(candidate, part=part, extra=extra if str(rule) == _DEFAULT else candidate.extra)


def _advice(rule: PartRule) -> str:
    if rule.source == "column":
        return (
            f"give the manifest a column {rule.detail} that names the part of each image, or write a pattern of paths, "
            f"such as --part path:{NAME}_* for 0017_cam2.png"
        )
    return f"write a pattern that fits the end of that path without its ending, such as --part path:{NAME}_*"
