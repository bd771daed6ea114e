"""Growth of clusters told from chance, from the second night on, with a stated rate of false alarms.

Two things are looked for: a jump of one night, and slow growth that only several nights together show. Both are asked
over the windows of `anoclust_core.matching.drift.GAINS`; what the last nights bring is compared with the nights before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from anoclust_core.arrays import checked_sequence
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.drift import GAINS, DriftSignal

FEWEST: Final = 3
LEAST_GROWTH: Final = 1.5
"""Images below which nothing grows, and times the expected ones: less is nothing to act on, however sure it is."""

PRIOR_IMAGES: Final = 10.0
"""Images that the share of the category's usual cluster counts as, before a cluster has a history of its own."""

SURELY: Final = 2.0
"""Standard errors by which nights must vary more than by chance before it is believed that they do."""

PRIOR_VOLUME: Final = 0.5
PRIOR_PAIRS: Final = 2.0
"""Spread of the volume of a night around the usual one, and the pairs of nights that it counts as."""

LEAST_VOLUME: Final = 0.03
"""Least spread of the volume: no camera sees the same number of parts every night."""

OTHER_VOLUME: Final = 2.0
"""Times the usual images, or as many times fewer, from which on a night surely is of another volume."""

_LARGEST: Final = 4.0
_KEPT: Final = 0.9205
"""Squared difference of two nights, over what is usual, that counts at most; and the mean of such squares of normal
values of unit variance."""


def night_variations(counts: Mapping[str, Sequence[int]], totals: Sequence[int]) -> dict[str, float]:
    r"""How much shares of clusters vary from night to night beyond chance: the correlation of two images of one night.

    From differences of nights in a row, so that slow change is no variation. With shares :math:`p` and a correlation
    :math:`\rho`, the squared difference of two nights of n images is, on average,

    .. math:: p (1 - p) \Big(\frac{1}{n_1} + \frac{1}{n_2}\Big) \big(1 + (\bar n - 1) \rho\big)

    Nights are taken to vary by chance alone until they show more: of each :math:`\rho`, ``SURELY`` standard errors are
    taken off. A cluster's is the larger of its own and of the median over the category's clusters. A squared difference
    counts at most ``_LARGEST`` times what is usual: jumps are no variation.

    Parameters
    ----------
    counts
        Images of every cluster, night by night, without the night that is to be judged; a history that is shorter
        began later.
    totals
        All images of every night.

    Returns
    -------
    variations
        By cluster, in [0, 0.5]; 0 is chance alone.

    Raises
    ------
    ArrayContractError
        If a count is negative or larger than its total, or a history is longer than ``totals``.
    """
    totals = checked_sequence("totals", totals, (int, np.integer))
    squares, sizes = {}, {}
    for name, history in counts.items():
        values, nights = _checked_counts(history, totals)
        seen = nights > 0
        values, nights = values[seen], nights[seen]
        pooled = (values[1:] + values[:-1]) / (nights[1:] + nights[:-1])
        by_chance = pooled * (1 - pooled) * (1 / nights[1:] + 1 / nights[:-1])
        usable = (values[1:] + values[:-1] >= FEWEST) & (by_chance > 0)
        differences = values[1:] / nights[1:] - values[:-1] / nights[:-1]
        squares[name] = differences[usable] ** 2 / by_chance[usable]
        sizes[name] = ((nights[1:] + nights[:-1]) / 2)[usable]
    if not squares:
        return {}
    own = {name: _correlation(squares[name], sizes[name]) for name in squares}
    pairs = {name: len(found) for name, found in squares.items()}
    errors = {name: _error(pairs[name], sizes[name]) for name in squares}
    of_all = _error(sum(pairs.values()), np.concatenate(list(sizes.values())))
    usual = _weighted_median(list(own.values()), list(pairs.values())) - SURELY * of_all
    return {name: float(np.clip(max(usual, own[name] - SURELY * errors[name]), 0.0, 0.5)) for name in own}


def volume_variance(totals: Sequence[int]) -> float:
    r"""How much the volume varies from night to night beyond chance: the variance of its logarithm.

    From nights in a row of :math:`n_1` and :math:`n_2` images, so that slow change is no variation,

    .. math:: \tfrac{1}{2} \log^2 \frac{n_1}{n_2} - \tfrac{1}{2} \Big(\frac{1}{n_1} + \frac{1}{n_2}\Big)

    averaged with a prior: ``PRIOR_VOLUME`` squared, as ``PRIOR_PAIRS`` pairs. A night of another volume counts at most
    as one of ``OTHER_VOLUME`` times as many images.

    Parameters
    ----------
    totals
        All images of every night; nights without any do not count.

    Returns
    -------
    variance
        At least ``LEAST_VOLUME`` squared.

    Raises
    ------
    ArrayContractError
        If a total is negative.
    """
    values = np.array(checked_sequence("totals", totals, (int, np.integer)), dtype=np.float64)
    if (values < 0).any():
        raise ArrayContractError(f"expected totals of at least 0, found {values.min():g}")
    values = values[values > 0]
    squares = np.minimum(np.diff(np.log(values)) ** 2, np.log(OTHER_VOLUME) ** 2) / 2
    by_chance = (1 / values[1:] + 1 / values[:-1]) / 2
    learnt = float((squares - by_chance).sum())
    return max((learnt + PRIOR_PAIRS * PRIOR_VOLUME**2) / (len(squares) + PRIOR_PAIRS), LEAST_VOLUME**2)


def grown_counts(
    counts: Mapping[str, Sequence[int]],
    totals: Sequence[int],
    *,
    usual: float,
    variations: Mapping[str, float],
    false_alarms: float,
) -> dict[str, DriftSignal]:
    r"""Which clusters have more of the last nights' images than their history explains.

    A night has a volume :math:`V`, 1 on a usual night: where twice as many parts are made, twice as many of every
    cluster are usual. What the other clusters have tells it: they have :math:`m` images tonight and :math:`\hat m` on a
    usual night, and where volumes vary little from night to night (:math:`\sigma^2` of `volume_variance`), it is
    believed only in part that their number comes from it,

    .. math:: V = \frac{1/\sigma^2 + m}{1/\sigma^2 + \hat m}

    Where :math:`m` is more than ``OTHER_VOLUME`` times :math:`\hat m`, or as many times fewer, it surely does:
    :math:`V = m / \hat m`. The cluster has :math:`\lambda` images on a usual night: those of its history over the
    volumes of its nights, with ``PRIOR_IMAGES`` images of the usual share besides, so that one night of history is
    enough. Its count in a window of :math:`w` nights is negative binomial, of mean :math:`\lambda \sum V` and a
    relative variance beyond Poisson's that adds up what is not known of the volume, of :math:`\lambda` (of :math:`S`
    images) and of the usual night (of :math:`k` nights), and what nights vary,

    .. math:: \overline{\mathrm{var}\, V} + \frac{1}{S} + \frac{\sigma^2}{k} + \frac{v}{w}\, \frac{1 - p}{p}

    Every limit is the smallest count with :math:`P(X \ge c) \le q\, g_w`, where :math:`g_w` are ``GAINS``, and
    :math:`q` is the largest number for which the chances of all clusters and windows to reach their limits add up to
    no more than ``false_alarms``. Counts are whole numbers, so equal parts of the rate would leave half of it unused.
    No limit is below ``LEAST_GROWTH`` times the expected count, nor times the share :math:`p` of the window's images.
    Of a cluster's windows with an alarm the shortest counts.

    Parameters
    ----------
    counts
        Images of every cluster, night by night, tonight last; a history that is shorter began later.
    totals
        All images of every night. Nights without an image do not count.
    usual
        Share of a usual cluster of the category, in (0, 1): the mean of the prior.
    variations
        By cluster, of `night_variations`.
    false_alarms
        Probability of an alarm about any of the clusters on a night without change; in (0, 0.5).

    Returns
    -------
    signals
        By cluster; ``value``, ``limit`` and ``expected`` are counts of images in the window. No alarm below ``FEWEST``
        images.

    Raises
    ------
    ArrayContractError
        If a count is negative or larger than its total, or a history is longer than ``totals``.
    ConfigError
        If ``usual``, ``false_alarms`` or a variation is out of its range, or a cluster has none.
    """
    if not 0 < false_alarms < 0.5 or not 0 < usual < 1:
        raise ConfigError(f"expected a rate of false alarms below 0.5 and a share, found {false_alarms} and {usual}")
    if not all(0 <= variations.get(name, -1) < 1 for name in counts):
        raise ConfigError(f"expected a variation from 0 to below 1 for every cluster, found {dict(variations)}")
    totals = checked_sequence("totals", totals, (int, np.integer))
    volume = volume_variance(totals[:-1])
    found: dict[str, DriftSignal] = {}
    asked: dict[str, list[_Window]] = {}
    for name, history in counts.items():
        values, nights = _checked_counts(history, totals)
        found[name] = DriftSignal(float(values[-1]) if len(values) else 0.0, None, False, 0)
        seen = nights > 0
        if len(nights) and seen[-1]:
            values, nights = values[seen], nights[seen]
            windows = [window for window in GAINS if len(nights) >= 2 * window]
            asked[name] = [_Window.of(values, nights, window, usual, variations[name], volume) for window in windows]
    quantile = _shared_quantile([window for windows in asked.values() for window in windows], false_alarms)
    for name, of_cluster in asked.items():
        signals = [window.signal(quantile) for window in of_cluster]
        if signals:
            found[name] = next((signal for signal in signals if signal.alarm), signals[0])
    return found


def _correlation(squares: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Correlation within nights by squared differences over what chance makes of them; below 0 where it makes more."""
    if not len(squares):
        return 0.0
    usual = 1.0
    for _ in range(5):
        usual = max(float(np.minimum(squares, _LARGEST * usual).mean()) / _KEPT, 1e-3)
    return (usual - 1) / max(float(sizes.mean()) - 1, 1.0)


def _error(n_pairs: int, sizes: NDArray[np.float64]) -> float:
    """Standard error of a correlation from so many pairs of nights in a row, where chance alone is at work."""
    return float(np.sqrt(3 / n_pairs) / max(float(sizes.mean()) - 1, 1.0)) if n_pairs else 1.0


def _weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    order = np.argsort(values)
    below = np.cumsum(np.asarray(weights, dtype=np.float64)[order])
    return float(np.asarray(values)[order][np.searchsorted(below, below[-1] / 2)])


@dataclass(frozen=True)
class _Window:
    """Images of a cluster in the last nights, and the chance of each higher count if nothing has changed."""

    count: int
    expected: float
    n_nights: int
    over: int
    least: int
    tails: NDArray[np.float64]
    """Chance of ``least`` images or more, of one more than that, ... divided by the window's gain; falling."""

    @staticmethod
    def of(
        values: NDArray[np.int64],
        nights: NDArray[np.int64],
        over: int,
        usual: float,
        variation: float,
        volume: float,
    ) -> _Window:
        past, total = nights[:-over], int(nights[-over:].sum())
        usual_night = float(np.median(past))
        volumes, _ = _volumes(past, usual_night, volume)
        seen = float(values[:-over].sum()) + PRIOR_IMAGES * usual
        rate = seen / (float(volumes.sum()) + PRIOR_IMAGES / usual_night)
        share = seen / (float(past.sum()) + PRIOR_IMAGES)
        others = nights[-over:] - values[-over:]
        volumes, variances = _volumes(others, max(usual_night - rate, 0.5), volume)
        expected = rate * float(volumes.sum())
        spread = float((volumes**2 * variances).sum() / volumes.sum() ** 2) + 1 / seen + volume / len(past)
        shape = 1 / (spread + variation / over * (1 - share) / share)
        tails = nbinom.sf(np.arange(total + 1) - 1, shape, shape / (shape + expected))
        least = max(FEWEST, int(np.ceil(LEAST_GROWTH * max(expected, share * total))))
        return _Window(int(values[-over:].sum()), expected, len(past), over, least, tails[least:] / GAINS[over])

    def chance(self, quantile: float) -> float:
        """Chance of an alarm with this quantile."""
        below = self.tails[self.tails <= quantile]
        return float(below[0]) * GAINS[self.over] if len(below) else 0.0

    def signal(self, quantile: float) -> DriftSignal:
        limit = self.least + int((self.tails > quantile).sum())
        return DriftSignal(
            float(self.count), float(limit), self.count >= limit, self.n_nights, self.expected, self.over
        )


def _volumes(
    images: NDArray[np.int64], usual: float, variance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volume of some nights by how many images they have and usually have, and the relative variance of each."""
    prior = 1 / variance
    ratios = (images + 0.5) / (usual + 0.5)
    is_other = (ratios > OTHER_VOLUME) | (ratios < 1 / OTHER_VOLUME)
    volumes = np.where(is_other, ratios, (prior + images) / (prior + usual))
    return volumes, np.where(is_other, 1 / (images + 1), 1 / (prior + images))


def _shared_quantile(windows: Sequence[_Window], false_alarms: float) -> float:
    """Largest quantile with which the chances of an alarm add up to no more than asked for."""
    levels = np.unique(np.concatenate([window.tails for window in windows])) if windows else np.empty(0)
    low, high = 0, len(levels)
    while low < high:
        middle = (low + high) // 2
        if sum(window.chance(float(levels[middle])) for window in windows) <= false_alarms:
            low = middle + 1
        else:
            high = middle
    return float(levels[low - 1]) if low else 0.0


def _checked_counts(counts: Sequence[int], totals: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values = checked_sequence("counts", counts, (int, np.integer))
    nights = checked_sequence("totals", totals, (int, np.integer))
    nights = nights[max(len(nights) - len(values), 0) :]
    if len(values) != len(nights) or any(not 0 <= one <= all_ for one, all_ in zip(values, nights, strict=True)):
        raise ArrayContractError(
            f"expected one count between 0 and the total for every night, found {list(values)} of {list(nights)}"
        )
    return np.array(values, dtype=np.int64), np.array(nights, dtype=np.int64)
