"""Growth and shifts told from chance, from the second night on, with a stated rate of false alarms.

Two things are looked for: a jump of one night, and slow change that only several nights together show. Both are asked
over the windows of ``GAINS``; what the last nights bring is compared with the nights before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, t

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.errors import ArrayContractError, ConfigError

GAINS: Final = MappingProxyType({1: 1.0, 4: 0.25, 8: 0.25})
"""Last nights that are taken together, each against at least as many before, and parts of a chance that a change within
each may have. Most is for one night, for jumps, which must be told at once; over several nights, slow change is far
beyond chance soon."""

FEWEST: Final = 3
LEAST_GROWTH: Final = 1.5
"""Images below which nothing grows, and times the expected ones: less is nothing to act on, however sure it is."""

PRIOR_IMAGES: Final = 10.0
"""Images that the share of the category's usual cluster counts as, before a cluster has a history of its own."""

SURELY: Final = 2.0
"""Standard errors by which nights must vary more than by chance before it is believed that they do."""

PRIOR_NIGHTS: Final = 3.0
"""Nights' worth that the prior spread of a level counts as: that of a level known from ``PRIOR_ERRORS`` errors."""

PRIOR_ERRORS: Final = 1.5
"""Prior spread of nightly levels, in standard errors of tonight's."""

_MEDIAN_ERROR: Final = 1.2533 * 1.4826
"""Standard error of a median over the median absolute deviation, for normal values, times the root of their number."""

_LARGEST: Final = 4.0
_KEPT: Final = 0.9205
"""Squared difference of two nights, over what is usual, that counts at most; and the mean of such squares of normal
values of unit variance."""


@dataclass(frozen=True)
class DriftSignal:
    """One figure of the last nights against those before.

    Attributes
    ----------
    value
        The figure.
    limit
        The figure from which on it is an alarm; None where there is no history to compare with.
    alarm
        Whether ``value`` has reached ``limit``.
    n_nights
        Nights of history that count.
    expected
        What history lets expect; None without history.
    over
        Nights that the figure is of: 1 is tonight.
    """

    value: float
    limit: float | None
    alarm: bool
    n_nights: int
    expected: float | None = None
    over: int = 1


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


def grown_shares(
    counts: Mapping[str, Sequence[int]],
    totals: Sequence[int],
    *,
    usual: float,
    variations: Mapping[str, float],
    false_alarms: float,
) -> dict[str, DriftSignal]:
    r"""Which clusters have a larger share of the last nights' images than their history explains.

    The share :math:`p` of a cluster has a Beta distribution: that of its history, with ``PRIOR_IMAGES`` images of the
    usual share besides, so that one night of history is enough. The count :math:`c` of :math:`n` images in a window of
    :math:`w` nights is then beta-binomial, of mean :math:`m` and a correlation of two images that is the sum of what is
    not known of the share and of what nights vary,

    .. math:: \rho = \frac{1}{N + N_0 + 1} + \frac{v}{w}

    Every limit is the smallest count with :math:`P(X \ge c) \le q\, g_w`, where :math:`g_w` are ``GAINS``, and
    :math:`q` is the largest number for which the chances of all clusters and windows to reach their limits add up to
    no more than ``false_alarms``. Counts are whole numbers, so equal parts of the rate would leave half of it unused.
    No limit is below ``LEAST_GROWTH`` times the expected count.
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
    found: dict[str, DriftSignal] = {}
    asked: dict[str, list[_Window]] = {}
    for name, history in counts.items():
        values, nights = _checked_counts(history, totals)
        found[name] = DriftSignal(float(values[-1]) if len(values) else 0.0, None, False, 0)
        seen = nights > 0
        if len(nights) and seen[-1]:
            values, nights = values[seen], nights[seen]
            windows = [window for window in GAINS if len(nights) >= 2 * window]
            asked[name] = [_Window.of(values, nights, window, usual, variations[name]) for window in windows]
    quantile = _shared_quantile([window for windows in asked.values() for window in windows], false_alarms)
    for name, of_cluster in asked.items():
        signals = [window.signal(quantile) for window in of_cluster]
        if signals:
            found[name] = next((signal for signal in signals if signal.alarm), signals[0])
    return found


def level_shift(levels: Sequence[float], *, error: float, false_alarms: float, two_sided: bool = True) -> DriftSignal:
    r"""Whether a level that is measured once a night, such as median rarity or brightness, has moved.

    The mean of the last w nights against that of the k before, by Student's t,

    .. math:: |\bar m_w - \bar m_k| > t_{\nu}\; s \sqrt{1/w + 1/k}

    with :math:`s` the spread of the k nights, averaged with a prior: ``PRIOR_ERRORS`` standard errors of a night's
    level, as ``PRIOR_NIGHTS`` nights. The unit of history is the night: images of one night are alike, so a test
    between all images would raise an alarm every night. Of the windows with an alarm the shortest counts.

    Parameters
    ----------
    levels
        One value a night, tonight last, finite.
    error
        Standard error of tonight's level, at least 0.
    false_alarms
        Probability of an alarm on a night without change; in (0, 0.5).
    two_sided
        Whether a lower level is a shift too.

    Returns
    -------
    signal
        ``value`` is the shift, ``limit`` its size from which on it is an alarm, ``expected`` the level before; an
        alarm needs three nights of history.

    Raises
    ------
    ArrayContractError
        If a level is not finite.
    ConfigError
        If ``error`` or ``false_alarms`` is out of its range.
    """
    values = checked_array("levels", list(levels), "(n_nights,)").astype(np.float64)
    if not np.isfinite(values).all():
        raise ArrayContractError("expected finite levels; leave nights without images out")
    if not 0 < false_alarms < 0.5 or not error >= 0:
        raise ConfigError(f"expected a rate of false alarms below 0.5 and an error of at least 0, found {false_alarms}")
    signals = []
    for window in GAINS:
        past, last = values[: len(values) - window], values[len(values) - window :]
        if len(past) < max(3, window) or len(values) < window:
            continue
        freedom = len(past) - 1 + PRIOR_NIGHTS
        squares = float(((past - past.mean()) ** 2).sum()) + PRIOR_NIGHTS * (PRIOR_ERRORS * error) ** 2
        spread = np.sqrt(squares / freedom * (1 / window + 1 / len(past)))
        part = GAINS[window] / sum(GAINS.values()) / (2 if two_sided else 1)
        quantile = float(t.isf(false_alarms * part, freedom))
        shift, limit = float(last.mean() - past.mean()), float(quantile * spread)
        alarm = limit > 0 and (abs(shift) if two_sided else shift) > limit
        signals.append(DriftSignal(shift, limit, bool(alarm), len(past), float(past.mean()), window))
    if not signals:
        return DriftSignal(0.0, None, False, max(len(values) - 1, 0))
    return next((signal for signal in signals if signal.alarm), signals[0])


def median_and_error(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Median of a night's images, and its standard error from the median absolute deviation, as for normal values.

    Parameters
    ----------
    values
        Shape ``(n_images,)``, finite, at least one.

    Raises
    ------
    ArrayContractError
        If ``values`` is not one-dimensional, empty or not finite.
    """
    values = checked_array("values", values, "(n_images,)")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ArrayContractError(f"expected at least one finite value in one dimension, found shape {values.shape}")
    middle = float(np.median(values))
    deviation = float(np.median(np.abs(values - middle)))
    return middle, _MEDIAN_ERROR * deviation / float(np.sqrt(len(values)))


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
    def of(values: NDArray[np.int64], nights: NDArray[np.int64], over: int, usual: float, variation: float) -> _Window:
        count, total = int(values[-over:].sum()), int(nights[-over:].sum())
        seen, images = int(values[:-over].sum()), int(nights[:-over].sum())
        mean = (seen + PRIOR_IMAGES * usual) / (images + PRIOR_IMAGES)
        correlation = min(1 / (images + PRIOR_IMAGES + 1) + variation / over, 0.99)
        concentration = 1 / correlation - 1
        chances = betabinom.pmf(np.arange(total + 1), total, mean * concentration, (1 - mean) * concentration)
        tails = np.cumsum(chances[::-1])[::-1]
        least = max(FEWEST, int(np.ceil(LEAST_GROWTH * total * mean)))
        return _Window(count, total * mean, len(nights) - over, over, least, tails[least:] / GAINS[over])

    def chance(self, quantile: float) -> float:
        """Chance of an alarm with this quantile."""
        below = self.tails[self.tails <= quantile]
        return float(below[0]) * GAINS[self.over] if len(below) else 0.0

    def signal(self, quantile: float) -> DriftSignal:
        limit = self.least + int((self.tails > quantile).sum())
        return DriftSignal(
            float(self.count), float(limit), self.count >= limit, self.n_nights, self.expected, self.over
        )


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
