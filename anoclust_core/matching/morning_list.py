"""What people are asked in the morning: the order of the questions, and which images of many are asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, Literal, get_args

from anoclust_core.errors import ConfigError
from anoclust_core.matching.prototypes import Groups, heights_between

QuestionKind = Literal[
    "camera",
    "new",
    "growing",
    "surge",
    "drift",
    "lost",
    "again",
    "unnamed",
    "unknown",
    "between",
    "telling",
]
"""Kinds of questions, in the order that they are asked: first what may make all others void, the camera; then what is
news; what a re-clustering left open; clusters without a name; single images last."""

ORDER: Final = {kind: at for at, kind in enumerate(get_args(QuestionKind))}

BETWEEN: Final = 0.6
"""Confidence below which an image lies between two clusters: at 0.5 one is as good as the other."""

MOST_IMAGES: Final = 20
"""Images of a kind that are asked about in one morning: with the clusters, some ten minutes of work."""

N_EACH: Final = 3
"""Telling images asked about for each cluster: from three labels a class on, learning from them can be relied on."""


def nearest_others(asked: Groups, own: Mapping[str, str], clusters: Groups) -> dict[str, str]:
    """Find for images, or for clusters, the nearest cluster that is not their own.

    Near is the height at which Ward's tree would merge the two, as nights measure it: see
    `anoclust_core.matching.prototypes.heights_between`.

    Parameters
    ----------
    asked
        Images as groups of one, or clusters.
    own
        Cluster that each is in or is, where there is one: that does not count.
    clusters
        Those that count.

    Returns
    -------
    nearest
        By name of what was asked; without those that there is no other cluster for.

    Raises
    ------
    ArrayContractError
        If descriptors of the two are of another length.
    """
    best: dict[str, tuple[float, str]] = {}
    for (name, cluster), height in heights_between(asked, clusters).items():
        if cluster != own.get(name):
            best[name] = min(best.get(name, (height, cluster)), (height, cluster))
    return {name: cluster for name, (_, cluster) in best.items()}


def in_turn(groups: Sequence[Hashable], *, most: int) -> list[int]:
    """Choose positions so that every group has its turn: the first of each, then the second of each, and so on.

    Parameters
    ----------
    groups
        Group of each thing, the most important things first.
    most
        How many are chosen at most.

    Raises
    ------
    ConfigError
        If ``most`` is negative.

    Examples
    --------
    >>> in_turn(["a", "a", "a", "b", "c", "b"], most=5)
    [0, 3, 4, 1, 5]
    """
    if most < 0:
        raise ConfigError(f"expected at least 0 things to choose, found {most}")
    seen: Counter[Hashable] = Counter()
    turns = []
    for at, group in enumerate(groups):
        turns.append((seen[group], at))
        seen[group] += 1
    return [at for _, at in sorted(turns)[:most]]


def in_order(kinds: Sequence[QuestionKind]) -> list[int]:
    """Positions of questions in the order that they are asked; those of one kind stay as they are.

    Examples
    --------
    >>> in_order(["telling", "new", "unknown", "new"])
    [1, 3, 2, 0]
    """
    return sorted(range(len(kinds)), key=lambda at: ORDER[kinds[at]])
