"""Decisions and re-clusterings in plain words, and which clusters each of them touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from anoclust_core.wording import counted
from tasks.stores.catalog.facts import DecisionFact

_ONE: Final = ("cluster", "merged_into")
_SEVERAL: Final = ("from", "parts", "clusters")
"""What a decision says that are clusters: one, or several (a list, or numbers by cluster)."""


def touched(cluster: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """Clusters that a decision changed: its own, and those that it names.

    Parameters
    ----------
    cluster, before, after
        Of the decision; one that undoes another has in ``before`` what that one did.
    """
    found = {cluster}
    for said in (before, after):
        found |= {said[name] for name in _ONE if isinstance(said.get(name), str)}
        found |= {one for name in _SEVERAL for one in said.get(name) or ()}
    return found


def when(one: DecisionFact) -> str:
    """The night that did it, or when a person did."""
    return f"night {one.night}" if one.night else f"{one.when:%Y-%m-%d %H:%M} UTC"


def in_words(one: DecisionFact) -> str:
    """What happened, for a sentence that begins with who did it: ``named c7 edge chip``."""
    after, cluster = one.after, one.cluster
    match one.kind:
        case "rename":
            return f"named {cluster} {after['name']}" if after["name"] else f"removed the name of {cluster}"
        case "note":
            return f"wrote a note on {cluster}" if after["note"] else f"removed the note of {cluster}"
        case "merge" | "merged":
            return f"merged {cluster} into {after['merged_into']}"
        case "split":
            return f"split {_images(after)} off {cluster} as {after['cluster']}"
        case "retire" | "retired":
            return f"retired {cluster}"
        case "undo":
            return f"undid decision {after['undone']} about {cluster}"
        case "move" if after.get("started"):
            return f"started {cluster} with {_images(after)}{_origin(after)}"
        case "move" if not after["from"] and not after.get("unknown"):
            return f"confirmed {_images(after)} in {cluster}"
        case "move":
            return f"moved {_images(after)} to {cluster}{_origin(after)}"
        case "wrong":
            return f"said that {_images(after)} {'is' if len(after['contents']) == 1 else 'are'} wrong in {cluster}"
        case "ordinary":
            return f"marked {cluster} as {'no defect' if after['ordinary'] else 'a defect'}"
        case "cut":
            return f"cut all images into {after['number']} groups"
        case "adopt":
            return f"started from the {len(after['clusters'])} clusters of run {after['run']}"
        case "answer":
            return f"answered a question about {cluster}"
        case "dismiss":
            return f"set aside: {after['text']}"
        case "was_split":
            return f"split {cluster} into {', '.join(after['parts'])}"
        case "born":
            return f"started {cluster}{_learnt(after)}"
        case "kept":
            return f"clustered the images of {cluster} again{_learnt(after)}"


def _images(after: Mapping[str, Any]) -> str:
    return counted(len(after["contents"]), "image")


def _learnt(after: Mapping[str, Any]) -> str:
    """What a re-clustering moved to a cluster because of decisions, if it did."""
    learnt = after.get("learnt")
    if not learnt:
        return ""
    told = counted(learnt["decisions"], "decision")
    return f" and moved {_images(learnt)} to it by learning from {told}{_origin(learnt)}"


def _origin(after: Mapping[str, Any]) -> str:
    origins = [
        f"{count:,} unknown" if name == "unknown" else f"{count:,} of {name}"
        for name, count in {**after["from"], "unknown": after.get("unknown") or after["from"].get("unknown")}.items()
        if count
    ]
    return f" ({', '.join(origins)})" if origins else ""
