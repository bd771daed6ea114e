"""What templates say of decisions."""

from __future__ import annotations

from typing import Final

from anoclust_core.matching.identities import id_order
from tasks.stores.catalog.decisions.undoing import BY_PEOPLE, LOSSES
from tasks.stores.catalog.decisions.words import touched
from tasks.stores.catalog.facts import DecisionFact

_UNDOABLE: Final = frozenset({*BY_PEOPLE, *LOSSES})


def can_be_undone(one: DecisionFact) -> bool:
    """Whether a person can take it back."""
    return one.kind in _UNDOABLE and not one.undone


def leads_to(one: DecisionFact) -> list[str]:
    """Clusters that a person may want to see after a decision."""
    return sorted(touched(one.cluster, one.before, one.after), key=id_order)


def when(one: DecisionFact) -> str:
    """The night that did it, or when a person did."""
    return f"night {one.night}" if one.night else f"{one.when:%d %b %Y, %H:%M} UTC"
