"""Decisions in the words of the pages."""

from __future__ import annotations

from typing import Final

from tasks.stores.catalog.decisions import BY_PEOPLE, LOSSES
from tasks.stores.catalog.facts import DecisionFact

_UNDOABLE: Final = frozenset({*BY_PEOPLE, *LOSSES})


def in_words(one: DecisionFact) -> str:
    """What happened, for a sentence that begins with who did it."""
    after, cluster = one.after, one.cluster
    match one.kind:
        case "rename":
            return f"named {cluster} {after['name']}" if after["name"] else f"removed the name of {cluster}"
        case "note":
            return f"wrote a note on {cluster}" if after["note"] else f"removed the note of {cluster}"
        case "merge" | "merged":
            return f"merged {cluster} into {after['merged_into']}"
        case "split":
            n_images = len(after["contents"])
            return f"split {n_images:,} image{'' if n_images == 1 else 's'} off {cluster} as {after['cluster']}"
        case "retire" | "retired":
            return f"retired {cluster}"
        case "undo":
            return f"undid decision {after['undone']} about {cluster}"
        case "was_split":
            return f"split {cluster} into {', '.join(after['parts'])}"
        case "born":
            return f"started {cluster}"
        case "kept":
            return f"clustered the images of {cluster} again"


def can_be_undone(one: DecisionFact) -> bool:
    """Whether a person can take it back."""
    return one.kind in _UNDOABLE and not one.undone


def leads_to(one: DecisionFact) -> list[str]:
    """Clusters that a person may want to see after a decision."""
    found = [one.cluster, one.after.get("cluster"), one.after.get("merged_into")]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))
