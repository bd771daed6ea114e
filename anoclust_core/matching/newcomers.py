"""New kinds among the images of the last nights: groups that are more like each other than like anything older.

An image of a new kind is seldom far from every cluster: in descriptors of many dimensions the nearest cluster is never
far. What tells a new kind is that its images find each other nearer than any image that was there before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from anoclust_core.arrays import TRUTHS, checked_array
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.births import MIN_BIRTH
from anoclust_core.matching.keeping import APART, separation

NEW_ALARMS: Final = 0.01
"""Chance that a night's best group is this good by chance alone, before it is asked whether it is rare and apart."""

FEWEST_OLDER: Final = 30
"""Older images below which nothing can be called new."""

RARER_THAN: Final = 0.8
"""Part of the ordinary images that a new kind is rarer than, on average: near copies of good parts are no new kind."""

EACH: Final = 1 / 3
"""Part of its group's score that each image has at least: two images that are alike and a third one are no group."""

MOST_OLDER: Final = 1500
MOST_RECENT: Final = 600
"""Images that are compared at most. Half of the recent ones are those that look most like a new kind, and the nearest
older image of each recent one is there; the others are drawn, of every cluster so many, small clusters whole."""

_AT_ONCE: Final = 512
"""Recent images whose distances to all others are in memory at once."""

_SHUFFLES: Final = 120
_AT_A_TIME: Final = 3
"""New kinds of one night at most."""

_TINY: Final = 1e-12


@dataclass(frozen=True)
class Newcomers:
    """Images of one new kind.

    Attributes
    ----------
    rows
        Their rows, rising, at least ``MIN_BIRTH``.
    closeness
        How many times nearer they are to each other than to the nearest older image, as a geometric mean.
    surprise
        By how much the logarithm of that is larger than in the best groups of shuffled images, in scales of the Gumbel
        distribution of these.
    """

    rows: tuple[int, ...]
    closeness: float
    surprise: float


def find_newcomers(
    descriptors: NDArray[np.floating[Any]],
    *,
    is_recent: NDArray[np.bool_],
    clusters: NDArray[np.integer[Any]],
    is_ordinary: NDArray[np.bool_],
    rarity: NDArray[np.floating[Any]],
    generator: np.random.Generator,
    false_alarms: float = NEW_ALARMS,
) -> list[Newcomers]:
    r"""Find new kinds among recent images.

    Candidates are the groups of the recent images' tree (average linkage). With :math:`o(x)` the distance from an image
    to the nearest older one, and :math:`d(x, G)` its mean distance to the others of its group,

    .. math:: s(G) = \frac{1}{|G|} \sum_{x \in G} \log \frac{o(x)}{d(x, G)}

    The largest :math:`s` is compared with what it is by chance: which images are recent is shuffled, the group itself
    left out, and the quartiles of the largest :math:`s` give its Gumbel distribution. Only groups count that are rarer
    than ``RARER_THAN`` of the ordinary images, on average. Beyond the quantile of ``false_alarms``, a group is new if
    each of its images has its part in the score, ``EACH``, and the group lies ``APART`` from what is left of every
    cluster that its images are in, by `anoclust_core.matching.keeping.separation`. The largest such group that holds
    the best one is taken; then its images count as older, and the next is looked for.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite: those that images are given to clusters by.
    is_recent
        Shape ``(n_images,)``: images among which new kinds are looked for. Those of kinds that are new and known
        already should count as older.
    clusters
        Shape ``(n_images,)``: number of each image's cluster, negative where it has none.
    is_ordinary
        Shape ``(n_images,)``: images in clusters of ordinary parts.
    rarity
        Shape ``(n_images,)``, finite: of each image's rarest patch.
    generator
        Shuffles, and draws images where there are more than ``MOST_RECENT`` or ``MOST_OLDER``.
    false_alarms
        Chance of a group by chance alone, in (0, 0.5).

    Returns
    -------
    newcomers
        The most surprising first; none where there are fewer than ``FEWEST_OLDER`` older images. Depends on the order
        of the rows by the shuffles: order them by content.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or something is not finite.
    ConfigError
        If ``false_alarms`` is out of its range.
    """
    if not 0 < false_alarms < 0.5:
        raise ConfigError(f"expected a rate of false alarms in (0, 0.5), found {false_alarms}; 0.02 is a good number")
    values = checked_descriptors(descriptors, min_rows=1).astype(np.float32)
    of = checked_array("clusters", clusters, "(n_images,)").astype(np.int64)
    rare = checked_array("rarity", rarity, "(n_images,)").astype(np.float64)
    recent = checked_array("is_recent", is_recent, "(n_images,)").astype(np.bool_)
    ordinary = checked_array("is_ordinary", is_ordinary, "(n_images,)").astype(np.bool_)
    lengths = [len(one) for one in (values, of, rare, recent, ordinary)]
    if len(set(lengths)) > 1 or not np.isfinite(rare).all():
        raise ArrayContractError(
            f"expected clusters, finite rarity, is_recent and is_ordinary for each of {len(values)} descriptors, "
            f"found {lengths[1:]} values"
        )
    chosen = _compared(values, recent, of, generator)
    percentile = percentiles(rare, ordinary & ~recent)
    search = _Search(values[chosen], recent[chosen], of[chosen], percentile[chosen], generator, false_alarms)
    return [
        Newcomers(tuple(chosen[list(one.rows)].tolist()), one.closeness, one.surprise) for one in search.newcomers()
    ]


def percentiles(rarity: NDArray[np.floating[Any]], is_ordinary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Part of the ordinary images that every image is rarer than; 1 where there are too few to say.

    Parameters
    ----------
    rarity, is_ordinary
        Shape ``(n_images,)``, finite.

    Raises
    ------
    ArrayContractError
        If the shapes do not fit, or a rarity is not finite.
    """
    values = checked_array("rarity", rarity, "(n_images,)").astype(np.float64)
    ordinary = checked_array("is_ordinary", is_ordinary, "(n_images,)", kinds=TRUTHS)
    if len(values) != len(ordinary) or not np.isfinite(values).all():
        raise ArrayContractError(
            f"expected one finite rarity for each of {len(ordinary)} truths, found {len(values)}, "
            f"{int(np.isfinite(values).sum())} of them finite"
        )
    known = np.sort(values[ordinary])
    if len(known) < FEWEST_OLDER:
        return np.ones(len(values))
    return np.asarray(np.searchsorted(known, values) / len(known), dtype=np.float64)


@dataclass(frozen=True)
class _Group:
    """A node of the recent images' tree: its score, and that of its image of the least one."""

    score: float
    least: float
    rows: NDArray[np.int64]


class _Search:
    """Images that are compared, and the kinds found among them."""

    def __init__(
        self,
        values: NDArray[np.float32],
        recent: NDArray[np.bool_],
        clusters: NDArray[np.int64],
        percentile: NDArray[np.float64],
        generator: np.random.Generator,
        false_alarms: float,
    ) -> None:
        self._values, self._recent, self._clusters, self._percentile = values, recent, clusters, percentile
        self._generator = generator
        self._beyond = float(-np.log(-np.log1p(-false_alarms)) - _gumbel(0.5))
        squares = np.einsum("nd,nd->n", values, values)
        products = squares[:, None] + squares - 2 * (values @ values.T)
        self._distances = np.sqrt(np.maximum(products, 0)).astype(np.float64)
        np.fill_diagonal(self._distances, 0)
        self._distances = (self._distances + self._distances.T) / 2

    def newcomers(self) -> Iterator[Newcomers]:
        recent = self._recent.copy()
        for _ in range(_AT_A_TIME):
            inside, older = np.flatnonzero(recent), np.flatnonzero(~recent)
            if len(older) < FEWEST_OLDER or len(inside) < MIN_BIRTH:
                return
            groups = self._groups(inside, older)
            if not groups:
                return
            best = max(groups, key=lambda one: one.score)
            likely = [
                one
                for one in groups
                if one.least >= EACH * one.score > 0 and np.isin(best.rows, one.rows).all() and self._apart(one)
            ]
            if not likely:
                return  # before the shuffles, which take nearly all of the time
            usual, scale = self._by_chance(np.setdiff1d(np.arange(len(recent)), best.rows), len(inside))
            new = [one for one in likely if one.score >= usual + self._beyond * scale]
            if not new:
                return
            taken = max(new, key=lambda one: len(one.rows))
            yield Newcomers(
                tuple(np.sort(taken.rows).tolist()),
                float(np.exp(taken.score)),
                float((best.score - usual) / max(scale, _TINY)),
            )
            recent[taken.rows] = False

    def _groups(self, inside: NDArray[np.int64], older: NDArray[np.int64]) -> list[_Group]:
        """Rare groups of some images by their tree, scored against others."""
        among = self._distances[np.ix_(inside, inside)]
        nearest = np.maximum(self._distances[np.ix_(inside, older)].min(axis=1), _TINY)
        tree = linkage(squareform(among, checks=False), "average")
        members: list[NDArray[np.int64]] = [np.array([at]) for at in range(len(inside))]
        to_own = np.zeros(len(inside))
        found = []
        for first, second, _, size in tree.tolist():
            one, other = members[int(first)], members[int(second)]
            between = among[np.ix_(one, other)]
            to_own[one] += between.sum(axis=1)
            to_own[other] += between.sum(axis=0)
            both = np.concatenate([one, other])
            members.append(both)
            if size >= MIN_BIRTH and self._percentile[inside[both]].mean() >= RARER_THAN:
                ratios = np.log(nearest[both] / np.maximum(to_own[both] / (size - 1), _TINY))
                found.append(_Group(float(ratios.mean()), float(ratios.min()), inside[both]))
        return found

    def _by_chance(self, pool: NDArray[np.int64], n_recent: int) -> tuple[float, float]:
        """Median and scale of the best score's Gumbel distribution, where chance says which images are recent.

        From quartiles: some copies of one picture among the images have scores that are out of all proportion.
        """
        n_inside = max(MIN_BIRTH, round(n_recent * len(pool) / len(self._recent)))
        scores = []
        for _ in range(_SHUFFLES):
            order = self._generator.permutation(pool)
            groups = self._groups(order[:n_inside], order[n_inside:])
            scores.append(max((one.score for one in groups), default=0.0))
        low, middle, high = np.quantile(scores, [0.25, 0.5, 0.75])
        return float(middle), float((high - low) / (_gumbel(0.75) - _gumbel(0.25)))

    def _apart(self, group: _Group) -> bool:
        """Whether a group lies apart from what is left of every cluster that its images are in, and is none of them."""
        outside = np.ones(len(self._recent), np.bool_)
        outside[group.rows] = False
        of = self._clusters
        homes = [number for number in np.unique(of[group.rows]) if number >= 0]
        left = [self._values[(of == number) & outside] for number in homes]
        inside = [int((of[group.rows] == number).sum()) for number in homes]
        if any(len(rest) < count for rest, count in zip(left, inside, strict=True)):
            return False  # most of a cluster is that cluster
        return all(separation(self._values[group.rows], rest) >= APART for rest in left if len(rest) > 1)


def _gumbel(part: float) -> float:
    """Quantile of the Gumbel distribution."""
    return float(-np.log(-np.log(part)))


def _compared(
    values: NDArray[np.float32], recent: NDArray[np.bool_], clusters: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of the images that are compared, rising: all, or a sample in which a new kind is still one.

    Of many recent images chance alone would hardly ever draw three of a kind, and of many older ones it would leave out
    the very images that show that a kind is known.
    """
    inside, older = np.flatnonzero(recent), np.flatnonzero(~recent)
    if len(inside) <= MOST_RECENT and len(older) <= MOST_OLDER:
        return np.arange(len(values))
    if len(older) == 0 or len(inside) < MIN_BIRTH:
        return np.concatenate([inside[:MOST_RECENT], older[:MOST_OLDER]])  # nothing can be new
    score, nearest = _at_first_sight(values, inside, older)
    looked_at = inside
    if len(inside) > MOST_RECENT:
        best = inside[np.argsort(-score, kind="stable")[: MOST_RECENT // 2]]
        looked_at = _with_others(best, inside, clusters, MOST_RECENT, generator)
    beside = np.unique(older[nearest[np.isin(inside, looked_at)]])
    return np.sort(np.concatenate([looked_at, _with_others(beside, older, clusters, MOST_OLDER, generator)]))


def _at_first_sight(
    values: NDArray[np.float32], inside: NDArray[np.int64], older: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each recent image its score in the smallest group that it could be in, and its nearest older image."""
    near = MIN_BIRTH - 1
    score, nearest = np.empty(len(inside)), np.empty(len(inside), np.int64)
    squares = np.einsum("nd,nd->n", values, values)
    for start in range(0, len(inside), _AT_ONCE):
        own = inside[start : start + _AT_ONCE]
        to_older = squares[older] - 2 * (values[own] @ values[older].T)
        to_recent = squares[inside] - 2 * (values[own] @ values[inside].T)
        to_recent[np.arange(len(own)), np.arange(start, start + len(own))] = np.inf
        at = to_older.argmin(axis=1)
        beyond = to_older[np.arange(len(own)), at] + squares[own]
        within = np.partition(to_recent, near - 1, axis=1)[:, :near] + squares[own, None]
        to_own = np.sqrt(np.maximum(within, 0)).astype(np.float64).mean(axis=1)
        score[start : start + len(own)] = np.log(
            np.maximum(np.sqrt(np.maximum(beyond, 0)), _TINY) / np.maximum(to_own, _TINY)
        )
        nearest[start : start + len(own)] = at
    return score, nearest


def _with_others(
    first: NDArray[np.int64],
    rows: NDArray[np.int64],
    clusters: NDArray[np.int64],
    most: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Some rows, and as many others of them as make up ``most``, of every cluster so many."""
    others = np.setdiff1d(rows, first)
    return np.sort(np.concatenate([first, _drawn(others, clusters, most - len(first), generator)]))


def _drawn(
    rows: NDArray[np.int64], clusters: NDArray[np.int64], most: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows, or so many of every cluster that there are no more than ``most``; small clusters are taken whole."""
    if len(rows) <= most:
        return rows
    numbers, sizes = np.unique(clusters[rows], return_counts=True)
    rising = np.sort(sizes)
    left = np.cumsum(rising)
    shares = [(most - (left[at - 1] if at else 0)) // (len(rising) - at) for at in range(len(rising))]
    share = next((one for one, size in zip(shares, rising.tolist(), strict=True) if size > one), most)
    parts = [generator.permutation(rows[clusters[rows] == number])[: max(int(share), 1)] for number in numbers]
    return np.sort(np.concatenate(parts))
