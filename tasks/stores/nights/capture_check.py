"""Whether images say when they were taken in the way that was asked for: where none does, the nights would be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from anoclust_core.errors import CaptureError
from tasks.stores.catalog.capture import CaptureRule, fitting_pattern

_EXAMPLE: Final = "path:%Y-%m-%d/*_%H%M%S"


def check_capture(
    category: str,
    new: Sequence[tuple[str, CaptureRule]],
    rules: Sequence[CaptureRule],
    *,
    known: Iterable[CaptureRule],
) -> list[str]:
    """Say for how many new images no rule that was asked for tells when they were taken.

    Parameters
    ----------
    category
        Name of the product.
    new
        Path of every new image, and the rule that told when it was taken.
    rules
        All rules.
    known
        The rule that tells when each of the other files was taken; only looked at where none fits a new one.

    Returns
    -------
    notes
        Sentences; none where everything is as it was asked for.

    Raises
    ------
    CaptureError
        If there are images, and none of them says when it was taken: their files' times were not asked for.
    """
    asked = ",".join(str(rule) for rule in rules if rule.is_asked)
    others = sorted(path for path, rule in new if not rule.is_asked)
    if others and len(others) == len(new) and not any(rule.is_asked for rule in known):
        raise CaptureError(
            f"--captured {asked} fits none of the {len(new):,} new images of category {category}; the first is "
            f"{others[0]}; {_advice(others[0], rules)}, or --captured {asked},file to go by the time at which each "
            "file was last changed; nothing of this night was recorded"
        )
    if others:
        return [
            f"--captured {asked} fits {len(new) - len(others):,} of {len(new):,} new images; the nights of the other "
            f"{len(others):,} are those in which their files were last changed (first: {others[0]})."
        ]
    patterns = [rule for rule in rules if rule.source == "path"]
    if new and patterns and not any(rule in patterns for rule in chain((rule for _, rule in new), known)):
        path, rule = min(new, key=lambda one: one[0])
        names = " and ".join(map(str, patterns))
        return [
            f"--captured {names} fits none of {len(new):,} new images (first: {path}); {_advice(path, rules)}; their "
            f"nights were told by {rule}."
        ]
    return []


def _advice(path: str, rules: Sequence[CaptureRule]) -> str:
    pattern = fitting_pattern(path)
    if pattern is not None:
        return f"write --captured path:{pattern}, which fits it"
    if any(rule.source == "path" for rule in rules):
        return f"write a pattern that fits a part of that path, such as --captured {_EXAMPLE}"
    columns = " and ".join(rule.detail for rule in rules if rule.source == "column")
    if columns:
        return f"see that the manifest has times such as 2026-11-20T07:30 in the column {columns}"
    return "see why the pictures have no time of their own"
