"""Names of clusters that are never given twice, and who a merged cluster belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from anoclust_core.errors import ConfigError

_NUMBERED: Final = re.compile(r"c([1-9][0-9]*)")


def id_order(name: str) -> tuple[int, str]:
    """Sort key that puts c9 before c10.

    Examples
    --------
    >>> sorted(["c10", "c9", "c1"], key=id_order)
    ['c1', 'c9', 'c10']
    """
    return len(name), name


def fresh_ids(taken: Iterable[str], count: int) -> list[str]:
    """Identities that no cluster has or ever had: ``c1``, ``c2``, ... beyond the highest taken.

    Parameters
    ----------
    taken
        Every identity of the category, those of retired and merged clusters too.
    count
        How many.

    Examples
    --------
    >>> fresh_ids(["c1", "c7", "edge"], 2), fresh_ids([], 1)
    (['c8', 'c9'], ['c1'])
    """
    highest = max((int(match[1]) for match in map(_NUMBERED.fullmatch, taken) if match), default=0)
    return [f"c{highest + at}" for at in range(1, count + 1)]


def owner_of(name: str, merged_into: Mapping[str, str]) -> str:
    """Cluster that a cluster was merged into, and that one perhaps into another; itself if it was not.

    Raises
    ------
    ConfigError
        If the merges lead back to where they began.

    Examples
    --------
    >>> owner_of("c1", {"c1": "c2", "c2": "c5"}), owner_of("c5", {"c1": "c5"})
    ('c5', 'c5')
    """
    seen = [name]
    while seen[-1] in merged_into:
        seen.append(merged_into[seen[-1]])
        if seen[-1] in seen[:-1]:
            raise ConfigError(f"the merges {' -> '.join(seen)} lead back to where they began; undo one of them")
    return seen[-1]
