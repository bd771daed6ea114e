"""How sure it is that an image belongs to its cluster: about as often right as it says.

What is right shows later: the next re-clustering, with more images, leaves the image in its cluster or does not.
Until then a snapshot is asked itself: each of its images is taken out of its cluster and given to the nearest one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError

OPTIMISM: Final = 0.5
"""Part of the log odds that is believed: clusters were cut around the very images that are asked. Chosen on two of the
made streams and checked on others: `docs/nights.md`."""

UNFITTED: Final = 1.0
"""Log odds per unit of margin where no image has a margin."""

_LOOSE: Final = 100.0
"""Inverse strength of the regression's penalty: the one image that counts as wrong does its work."""


def confidence(margins: NDArray[np.floating[Any]], *, slope: float) -> NDArray[np.float64]:
    r"""Probability that an image belongs to its cluster.

    .. math:: p = \frac{1}{1 + \exp(-\text{OPTIMISM}\; s\, m)}, \qquad m = \log \frac{h_\text{rival}}{h}

    with the heights at which Ward's tree would merge the image with its cluster, and with the nearest other one. At no
    margin one is as good as the other: 0.5.

    Parameters
    ----------
    margins
        Shape ``(n_images,)``: :math:`m`. Negative where the other cluster is nearer; ``inf`` where there is no other.
    slope
        :math:`s \ge 0`, of `fit_slope`.

    Returns
    -------
    confidence
        Shape ``(n_images,)``, in [0, 1].

    Raises
    ------
    ArrayContractError
        If ``margins`` is not one-dimensional or has NaN.
    ConfigError
        If ``slope`` is negative, or no number.
    """
    values = _checked(margins)
    if not (np.isfinite(slope) and slope >= 0):
        raise ConfigError(f"expected a slope of at least 0, found {slope}")
    odds = np.multiply(OPTIMISM * slope, values, where=np.isfinite(values), out=values.copy())
    return np.asarray(expit(odds), dtype=np.float64)


def fit_slope(margins: NDArray[np.floating[Any]]) -> float:
    r"""Fit how fast the odds that the nearest cluster is the right one rise with the margin.

    Logistic regression without a constant (after Platt, 1999) of :math:`m_i > 0` on :math:`|m_i|`, where :math:`m_i` is
    the margin of a member that was taken out of its cluster: where it is negative, the member would have gone
    elsewhere. Besides, one image at the mean margin counts as wrong, so that no fit is sure of everything.

    Parameters
    ----------
    margins
        Shape ``(n_images,)``, not NaN, as in `confidence`; those that are ``inf`` say nothing. Their order changes
        nothing, to the last bit.

    Returns
    -------
    slope
        At least 0; ``UNFITTED`` where no image has a margin.

    Raises
    ------
    ArrayContractError
        If ``margins`` is not one-dimensional or has NaN.
    """
    from sklearn.linear_model import LogisticRegression  # a second with all of scikit-learn: only nights come here

    values = _checked(margins)
    values = np.sort(values[np.isfinite(values)])
    unit = float(np.abs(values).mean()) if len(values) else 0.0
    if not unit:
        return UNFITTED
    asked = np.concatenate([np.abs(values) / unit, [1.0, 1.0]])[:, None]
    right = np.concatenate([values > 0, [True, False]])
    fitted = LogisticRegression(C=_LOOSE, fit_intercept=False).fit(asked, right)
    return max(float(fitted.coef_[0, 0]) / unit, 0.0)


def _checked(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    values = checked_array("margins", margins, "(n_images,)").astype(np.float64)
    if np.isnan(values).any():
        raise ArrayContractError("expected margins, found NaN; a margin is the logarithm of a positive ratio")
    return values
