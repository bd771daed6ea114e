"""What the last night told of a category, from the summary beside its report: computed once, at night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from anoclust_core.errors import DamagedError
from tasks.stores.files import read_checked
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep.inventory import NIGHT_SUMMARY


@dataclass(frozen=True)
class TellsOf:
    """What a night told of a cluster: whether it was new, grew more than chance explains, or holds ordinary parts.

    ``severity`` is how rare its images are, above those of ordinary parts, in the unit of rarity; None where that is
    not known.
    """

    is_new: bool = False
    is_growing: bool = False
    is_ordinary: bool = False
    severity: float | None = None


@dataclass(frozen=True)
class Told:
    """What a night told.

    Attributes
    ----------
    night
        Which one.
    to_do
        Kind, text and cluster of everything to look at; the cluster is None where it is about none.
    clusters
        By identity.
    quarantine
        Path and reason of every file that could not be used.
    trouble
        What is wrong with the night itself, or None.
    """

    night: date
    to_do: Sequence[tuple[str, str, str | None]] = ()
    clusters: Mapping[str, TellsOf] = field(default_factory=dict)
    quarantine: Sequence[tuple[str, str]] = ()
    trouble: str | None = None


def read_told(layout: StoreLayout, category: str, night: date, *, is_done: bool) -> Told:
    """Read what a night told; what cannot be read is told as trouble.

    Parameters
    ----------
    layout, category, night
        Which.
    is_done
        Whether the catalog says that the night ended.
    """
    if not is_done:
        return Told(night, trouble=f"the night of {night} has not ended: it failed, or is still going on")
    try:
        content = read_checked(layout.night(category, night) / NIGHT_SUMMARY)
        return _told(night, content)
    except FileNotFoundError:
        return Told(night, trouble=f"the summary of the night of {night} is gone")
    except (DamagedError, KeyError, TypeError, ValueError):
        return Told(night, trouble=f"the summary of the night of {night} is damaged; the next night writes a new one")


def _told(night: date, content: Mapping[str, Any]) -> Told:
    return Told(
        night,
        to_do=[(one["kind"], one["text"], one["cluster"]) for one in content.get("to_do", [])],
        clusters={
            one["cluster"]: TellsOf(one["is_new"], one["alarm"], one.get("is_ordinary", False), one.get("severity"))
            for one in content["clusters"]
        },
        quarantine=[(one["path"], one["reason"]) for one in content["quarantine"]],
    )
