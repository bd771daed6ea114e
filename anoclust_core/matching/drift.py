"""Growth and shifts told from chance, from the second night on, with a stated rate of false alarms.

Two things are looked for: a jump of one night, and slow change that only several nights together show. Both are asked
over the same ``WINDOWS``; what the last nights bring is compared with the nights before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, t

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.errors import ArrayContractError, ConfigError

WINDOWS: Final = (1, 4, 8)
"""Last nights that are taken together, each against at least as many before; a window of one looks for jumps."""

FEWEST: Final = 3
"""Images below which nothing grows."""

PRIOR_IMAGES: Final = 10.0
"""Images that the share of the category's usual cluster counts as, before a cluster has a history of its own."""

PRIOR_VARIATION: Final = 0.02
PRIOR_PAIRS: Final = 10.0
"""How much shares vary from night to night beyond chance, as a correlation of two images of one night, before a history
says so; and as how many pairs of nights in a row that counts."""

PRIOR_NIGHTS: Final = 3.0
"""Nights' worth that the prior spread of a level counts as: that of a level known from ``PRIOR_ERRORS`` errors."""

PRIOR_ERRORS: Final = 1.5
"""Prior spread of nightly levels, in standard errors of tonight's."""

_MEDIAN_ERROR: Final = 1.2533 * 1.4826
"""Standard error of a median over the median absolute deviation, for normal values, times the root of their number."""

_LARGEST: Final = 9.0
"""Squared difference of two nights, over what is usual, that counts at most: jumps are no variation."""


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


def night_variation(counts: Mapping[str, Sequence[int]], totals: Sequence[int]) -> float:
    r"""How much shares of clusters vary from night to night beyond chance: the correlation of two images of one night.

    From differences of nights in a row, so that slow change is no variation. With shares :math:`p` and a correlation
    :math:`\rho`, the squared difference of two nights of n images is, on average,

    .. math:: p (1 - p) \Big(\frac{1}{n_1} + \frac{1}{n_2}\Big) \big(1 + (\bar n - 1) \rho\big)

    and :math:`\rho` is the mean over clusters and nights, each cut off where it is a jump, averaged with the prior.

    Parameters
    ----------
    counts
        Images of every cluster, night by night.
    totals
        Images of every night.

    Returns
    -------
    variation
        In [0, 0.5]; 0 is chance alone.

    Raises
    ------
    ArrayContractError
        If a count is negative or larger than its total, or the histories are of different length.
    """
    found, size = [], []
    for history in counts.values():
        values, nights = _checked_counts(history, totals)
        seen = nights > 0
        values, nights = values[seen], nights[seen]
        if len(nights) < 2:
            continue
        pooled = (values[1:] + values[:-1]) / (nights[1:] + nights[:-1])
        by_chance = pooled * (1 - pooled) * (1 / nights[1:] + 1 / nights[:-1])
        usable = (values[1:] + values[:-1] >= FEWEST) & (by_chance > 0)
        differences = values[1:] / nights[1:] - values[:-1] / nights[:-1]
        found.append(differences[usable] ** 2 / by_chance[usable])
        size.append(((nights[1:] + nights[:-1]) / 2)[usable])
    squares = np.concatenate(found) if found else np.empty(0)
    if not len(squares):
        return PRIOR_VARIATION
    usual = 1.0
    for _ in range(3):
        usual = max(float(np.minimum(squares, _LARGEST * usual).mean()), 1e-3)
    own = (usual - 1) / max(float(np.concatenate(size).mean()) - 1, 1.0)
    variation = (len(squares) * own + PRIOR_PAIRS * PRIOR_VARIATION) / (len(squares) + PRIOR_PAIRS)
    return float(np.clip(variation, 0.0, 0.5))


def grown_share(
    counts: Sequence[int],
    totals: Sequence[int],
    *,
    usual: float,
    variation: float,
    false_alarms: float,
) -> DriftSignal:
    r"""Whether a cluster, or the unknown, has a larger share of the last nights' images than its history explains.

    The share :math:`p` has a Beta distribution: that of the history, with ``PRIOR_IMAGES`` images of the usual share
    besides, so that one night of history is enough. The count :math:`c` of :math:`n` images in a window of :math:`w`
    nights is then beta-binomial, of mean :math:`m` and a correlation of two images that is the sum of what is not known
    of the share and of what nights vary,

    .. math:: \rho = \frac{1}{N + N_0 + 1} + \frac{v}{w}

    and the limit is the smallest :math:`c` with :math:`P(X \ge c) \le \text{false\_alarms} / |\text{windows}|`. Of the
    windows with an alarm the shortest counts.

    Parameters
    ----------
    counts, totals
        Images of the cluster, and all, night by night, tonight last. Nights without an image do not count.
    usual
        Share of a usual cluster of the category, in (0, 1): the mean of the prior.
    variation
        Of `night_variation`.
    false_alarms
        Probability of an alarm on a night without change; in (0, 0.5).

    Returns
    -------
    signal
        ``value``, ``limit`` and ``expected`` are counts of images in the window. No alarm below ``FEWEST`` images.

    Raises
    ------
    ArrayContractError
        If a count is negative or larger than its total, or the two histories are of different length.
    ConfigError
        If ``usual``, ``variation`` or ``false_alarms`` is out of its range.
    """
    values, nights = _checked_counts(counts, totals)
    if not 0 < false_alarms < 0.5 or not 0 < usual < 1 or not 0 <= variation < 1:
        raise ConfigError(
            f"expected a rate of false alarms below 0.5, a share and a variation below 1, found {false_alarms}, "
            f"{usual}, {variation}"
        )
    if len(nights) == 0 or nights[-1] == 0:
        return DriftSignal(float(values[-1]) if len(values) else 0.0, None, False, 0)
    seen = nights > 0
    values, nights = values[seen], nights[seen]
    signals = [
        _share_signal(values, nights, window, usual, variation, false_alarms / len(WINDOWS))
        for window in WINDOWS
        if len(nights) >= 2 * window
    ]
    if not signals:
        return DriftSignal(float(values[-1]), None, False, 0)
    return next((signal for signal in signals if signal.alarm), signals[0])


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
    for window in WINDOWS:
        past, last = values[: len(values) - window], values[len(values) - window :]
        if len(past) < max(3, window) or len(values) < window:
            continue
        freedom = len(past) - 1 + PRIOR_NIGHTS
        squares = float(((past - past.mean()) ** 2).sum()) + PRIOR_NIGHTS * (PRIOR_ERRORS * error) ** 2
        spread = np.sqrt(squares / freedom * (1 / window + 1 / len(past)))
        quantile = float(t.isf(false_alarms / len(WINDOWS) / (2 if two_sided else 1), freedom))
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


def _share_signal(
    values: NDArray[np.int64], nights: NDArray[np.int64], window: int, usual: float, variation: float, rate: float
) -> DriftSignal:
    count, total = int(values[-window:].sum()), int(nights[-window:].sum())
    seen, images = int(values[:-window].sum()), int(nights[:-window].sum())
    mean = (seen + PRIOR_IMAGES * usual) / (images + PRIOR_IMAGES)
    correlation = min(1 / (images + PRIOR_IMAGES + 1) + variation / window, 0.99)
    concentration = 1 / correlation - 1
    chances = betabinom.pmf(np.arange(total + 1), total, mean * concentration, (1 - mean) * concentration)
    tails = np.cumsum(chances[::-1])[::-1]
    likely = np.flatnonzero(tails > rate)
    limit = max(int(likely[-1]) + 1 if len(likely) else 0, FEWEST)
    return DriftSignal(float(count), float(limit), count >= limit, len(nights) - window, total * mean, window)


def _checked_counts(counts: Sequence[int], totals: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    values = checked_sequence("counts", counts, (int, np.integer))
    nights = checked_sequence("totals", totals, (int, np.integer))
    if len(values) != len(nights) or any(not 0 <= one <= all_ for one, all_ in zip(values, nights, strict=True)):
        raise ArrayContractError(
            f"expected one count between 0 and the total for every night, found {list(values)} of {list(nights)}"
        )
    return np.array(values, dtype=np.int64), np.array(nights, dtype=np.int64)
