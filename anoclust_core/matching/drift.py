"""Shifts of what is measured once a night, told from chance, with a stated rate of false alarms.

Two things are looked for: a jump of one night, and slow change that only several nights together show. Both are asked
over the windows of ``GAINS``; what the last nights bring is compared with the nights before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from anoclust_core.arrays import checked_array, checked_sequence
from anoclust_core.errors import ArrayContractError, ConfigError

GAINS: Final = MappingProxyType({1: 1.0, 4: 0.25, 8: 0.25})
"""Last nights that are taken together, each against at least as many before, and parts of a chance that a change within
each may have. Most is for one night, for jumps, which must be told at once; over several nights, slow change is far
beyond chance soon."""

PRIOR_NIGHTS: Final = 3.0
"""Nights' worth that the prior spread of a level counts as: that of a level known from ``PRIOR_ERRORS`` errors."""

PRIOR_ERRORS: Final = 1.5
"""Prior spread of nightly levels, in standard errors of a level."""

_MEDIAN_ERROR: Final = 1.2533 * 1.4826
"""Standard error of a median over the median absolute deviation, for normal values, times the root of their number."""


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


def level_shift(
    levels: Sequence[float],
    *,
    errors: Sequence[float],
    counts: Sequence[int],
    false_alarms: float,
    two_sided: bool = True,
    least_error: float = 0.0,
) -> DriftSignal:
    r"""Whether a level that is measured once a night, such as median rarity or brightness, has moved.

    The mean of the last w nights against that of the k before, by Student's t,

    .. math:: |\bar m_w - \bar m_k| > t_{\nu} \sqrt{s^2 (1/w + 1/k) + \max(0, \sum_{i=1}^w e_i^2 - e^2) / w^2}

    with :math:`s` the spread of the k nights, averaged with a prior: ``PRIOR_ERRORS`` standard errors of a level, the
    larger of tonight's own and :math:`e`, as ``PRIOR_NIGHTS`` nights. The unit of history is the night: images of one
    night are alike, so a test between all images would raise an alarm every night. Of the windows with an alarm the
    shortest counts.

    A night of fewer images than usual is less sure, and a handful does not tell by how much: of one image the measured
    error is 0. So :math:`e_i = \sigma / \sqrt{n_i}` is what the nights before let expect of :math:`n_i` images, with
    the spread of one image :math:`\sigma^2 = \sum n_j^2 \epsilon_j^2 / \sum n_j` from their measured errors, and
    :math:`e` is its median over them. Where all nights have as many images, the sum is 0.

    Where the k nights are all equal and no error is measured, as of pictures that are all white, ``least_error`` stands
    for :math:`e`: else no shift would be beyond chance, or every one.

    Parameters
    ----------
    levels
        One value a night, tonight last, finite.
    errors
        Measured standard error of every level, at least 0.
    counts
        Images that every level is of, at least 1.
    false_alarms
        Probability of an alarm on a night without change; in (0, 0.5).
    two_sided
        Whether a lower level is a shift too.
    least_error
        Standard error of a level whose history has no spread at all, at least 0; with 0 such a level never shifts.

    Returns
    -------
    signal
        ``value`` is the shift, ``limit`` its size from which on it is an alarm, ``expected`` the level before; an
        alarm needs three nights of history.

    Raises
    ------
    ArrayContractError
        If a level is not finite, an error is negative, a count is below 1, or there is not one of each a night.
    ConfigError
        If ``false_alarms`` or ``least_error`` is out of its range.
    """
    values = checked_array("levels", list(levels), "(n_nights,)").astype(np.float64)
    measured = checked_array("errors", list(errors), "(n_nights,)").astype(np.float64)
    images = np.array(checked_sequence("counts", counts, (int, np.integer)), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ArrayContractError("expected finite levels; leave nights without images out")
    if not len(values) == len(measured) == len(images) or not (measured >= 0).all() or not (images >= 1).all():
        raise ArrayContractError(
            f"expected an error of at least 0 and a count of at least 1 for each of {len(values)} levels, found "
            f"{list(errors)} and {list(counts)}"
        )
    if not 0 < false_alarms < 0.5:
        raise ConfigError(f"expected a rate of false alarms below 0.5, found {false_alarms}")
    if not least_error >= 0:
        raise ConfigError(f"expected a least error of at least 0, found {least_error}")
    if len(values) < 2:
        return DriftSignal(0.0, None, False, 0)
    squared = ((images[:-1] * measured[:-1]) ** 2).sum() / images[:-1].sum() / images
    usual = float(np.median(squared[:-1]))
    least = max(float(measured[-1]) ** 2, usual)
    signals = []
    for window in GAINS:
        past, last = values[: len(values) - window], values[len(values) - window :]
        if len(past) < max(3, window) or len(values) < window:
            continue
        freedom = len(past) - 1 + PRIOR_NIGHTS
        prior = least if least > 0 or np.ptp(past) > 0 else least_error**2
        squares = float(((past - past.mean()) ** 2).sum()) + PRIOR_NIGHTS * PRIOR_ERRORS**2 * prior
        unsure = max(float((squared[-window:] - usual).sum()), 0.0) / window**2
        spread = np.sqrt(squares / freedom * (1 / window + 1 / len(past)) + unsure)
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
