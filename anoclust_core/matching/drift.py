"""Growth and shifts told from chance, with few nights of history and a known rate of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, t

from anoclust_core.arrays import checked_array, checked_arrays, checked_sequence
from anoclust_core.errors import ArrayContractError, ConfigError

FALSE_ALARMS: Final = 0.00135
"""Share of nights without any change that raise an alarm, at most: one in 740, like 3 sigma on one side."""

MIN_NIGHTS: Final = 5
"""Nights of history below which nothing raises an alarm."""

_MEDIAN_ERROR: Final = 1.2533 * 1.4826
"""Standard error of a median over the median absolute deviation, for normal values, times the root of their number."""


@dataclass(frozen=True)
class DriftSignal:
    """One figure of tonight against its past.

    Attributes
    ----------
    value
        Tonight's figure.
    limit
        The figure from which on it is an alarm; None where the history is too short to have one.
    alarm
        Whether ``value`` is beyond ``limit``.
    n_nights
        Nights of history that count.
    """

    value: float
    limit: float | None
    alarm: bool
    n_nights: int


def grown_share(
    count: int,
    total: int,
    *,
    past_counts: Sequence[int],
    past_totals: Sequence[int],
    false_alarms: float = FALSE_ALARMS,
    min_nights: int = MIN_NIGHTS,
) -> DriftSignal:
    r"""Whether a cluster, or the unknown, has a larger share of tonight's images than its history explains.

    A p-chart on the upper side that has its rate of false alarms with any length of history. If the share never
    changed, tonight's count, given its sum C with that of all past nights, is hypergeometric: the exact limit is the
    smallest count c with

    .. math:: P(X \ge c) \le \text{false\_alarms}, \quad X \sim \text{Hypergeometric}(N + n, C, n)

    for n images tonight and N before. Real shares also vary from night to night. Where the past shows it, by Pearson's
    :math:`\phi > 1`, the limit is at least

    .. math:: n \big(\bar p + t_{k-1} \sqrt{\phi\, \bar p (1 - \bar p) (1/n + 1/N)}\big)

    with Student's quantile for the k - 1 degrees of freedom that :math:`\phi` is estimated with. It only raises
    the limit.

    Parameters
    ----------
    count, total
        Images tonight: of the cluster, and of all. ``total`` may be 0: then there is no alarm.
    past_counts, past_totals
        The same of each past night since the cluster was born; nights without an image do not count.
    false_alarms
        Probability of an alarm on a night without change, at most; in (0, 0.5).
    min_nights
        Fewest nights of history, at least 2.

    Returns
    -------
    signal
        ``value`` and ``limit`` are counts of images; the alarm is on at ``value >= limit``. The limit may be beyond
        ``total``: so few images cannot be too many.

    Raises
    ------
    ArrayContractError
        If a count is negative or larger than its total, or the two histories are of different length.
    ConfigError
        If ``false_alarms`` or ``min_nights`` is out of its range.
    """
    past_counts = checked_sequence("past_counts", past_counts, (int, np.integer))
    past_totals = checked_sequence("past_totals", past_totals, (int, np.integer))
    _check_settings(false_alarms, min_nights)
    counts, totals = _checked_counts([*past_counts, count], [*past_totals, total])
    seen = totals[:-1] > 0
    past, nights = counts[:-1][seen], totals[:-1][seen]
    k = len(nights)
    if k < min_nights or total == 0:
        return DriftSignal(float(count), None, False, k)
    everything = int(nights.sum()) + total
    tails = hypergeom.sf(np.arange(total + 1) - 1, everything, int(past.sum()) + np.arange(total + 1), total)
    likely = np.flatnonzero(tails > false_alarms)
    exact = int(likely[-1]) + 1 if len(likely) else 0
    limit = max(exact, _limit_of_varying_shares(past, nights, total, false_alarms))
    return DriftSignal(float(count), float(limit), count >= limit, k)


def rarity_shift(
    tonight: NDArray[np.floating[Any]],
    past: Sequence[NDArray[np.floating[Any]]],
    *,
    false_alarms: float = FALSE_ALARMS,
    min_nights: int = MIN_NIGHTS,
) -> DriftSignal:
    r"""Whether tonight's images are rarer, or more common, than one night differs from another: a new camera.

    The median of tonight against the medians of the k past nights, with the prediction interval

    .. math:: |m - \bar m| > t_{k-1}\, s \sqrt{1 + 1/k}

    for their mean and standard deviation s, which is at least the standard error of tonight's median. The unit of
    history is the night: images of one night are alike, so a test between all images would raise an alarm every night.
    The rate of false alarms is exact for normal medians, with any length of history.

    Parameters
    ----------
    tonight
        Shape ``(n_images,)``, finite: one rarity for each image, in embedding units.
    past
        The same of each past night; nights without an image do not count.
    false_alarms
        Probability of an alarm on a night without change, both directions together; in (0, 0.5).
    min_nights
        Fewest nights of history, at least 2.

    Returns
    -------
    signal
        ``value`` is the shift of the median in embedding units, positive where tonight is rarer; the alarm is on at
        ``abs(value) > limit``.

    Raises
    ------
    ArrayContractError
        If an array is not one-dimensional or not finite.
    ConfigError
        If ``false_alarms`` or ``min_nights`` is out of its range.
    """
    tonight = checked_array("tonight", tonight, "(n_images,)")
    past = checked_arrays("past", past, "(n_images,)")
    _check_settings(false_alarms, min_nights)
    values, *nights = [_checked_rarity(array) for array in (tonight, *past)]
    medians = np.array([np.median(night) for night in nights if len(night)])
    k = len(medians)
    if k < min_nights or not len(values):
        shift = float(np.median(values) - medians.mean()) if k and len(values) else 0.0
        return DriftSignal(shift, None, False, k)
    middle = np.median(values)
    error = _MEDIAN_ERROR * np.median(np.abs(values - middle)) / np.sqrt(len(values))
    spread = max(float(medians.std(ddof=1)), float(error))
    limit = float(t.isf(false_alarms / 2, k - 1)) * spread * float(np.sqrt(1 + 1 / k))
    shift = float(middle - medians.mean())
    return DriftSignal(shift, limit, abs(shift) > limit, k)


def _limit_of_varying_shares(
    past: NDArray[np.int64], nights: NDArray[np.int64], total: int, false_alarms: float
) -> int:
    """Count beyond what a share that varies like this explains; 0 where it varies no more than chance does."""
    share = past.sum() / nights.sum()
    variance = share * (1 - share)
    if variance == 0:
        return 0
    phi = float((np.square(past - nights * share) / (nights * variance)).sum() / (len(nights) - 1))
    if phi <= 1:
        return 0
    quantile = float(t.isf(false_alarms, len(nights) - 1))
    return int(np.ceil(total * (share + quantile * np.sqrt(phi * variance * (1 / total + 1 / nights.sum())))))


def _check_settings(false_alarms: float, min_nights: int) -> None:
    if not 0 < false_alarms < 0.5:
        raise ConfigError(f"expected false_alarms between 0 and 0.5, found {false_alarms}; {FALSE_ALARMS} is usual")
    if min_nights < 2:
        raise ConfigError(f"expected min_nights of at least 2, found {min_nights}; {MIN_NIGHTS} is usual")


def _checked_counts(counts: Sequence[int], totals: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if len(counts) != len(totals) or any(not 0 <= count <= total for count, total in zip(counts, totals, strict=True)):
        raise ArrayContractError(
            f"expected one count between 0 and the total for every night, found {list(counts)} of {list(totals)}"
        )
    return np.array(counts, dtype=np.int64), np.array(totals, dtype=np.int64)


def _checked_rarity(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ArrayContractError(f"expected finite rarity of shape (n_images,), found {values.shape}")
    return values.astype(np.float64)
