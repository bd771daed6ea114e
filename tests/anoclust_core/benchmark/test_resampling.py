from __future__ import annotations

import numpy as np
import pytest
from helpers.partitions import quicker
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import sem

from anoclust_core.benchmark.resampling import mean_and_standard_error, random_subsets
from anoclust_core.errors import ArrayContractError, ConfigError


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@quicker
@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(1, 5), st.integers(0, 99))
def test_subsets_are_images_without_repetition(n_images, share, n_subsets, seed) -> None:
    """Every subset has the wanted share of the images, each once, in order."""
    subsets = random_subsets(n_images, generator=draws(seed), share=share, n_subsets=n_subsets)
    assert subsets.shape == (n_subsets, max(1, round(share * n_images)))
    assert subsets.dtype == np.int64
    assert (np.diff(subsets, axis=1) > 0).all()
    assert subsets.min() >= 0
    assert subsets.max() < n_images


def test_the_papers_subsets() -> None:
    """By default there are 100 subsets of 90 %, as in the paper; every image is in about 90 of them."""
    subsets = random_subsets(50, generator=draws())
    assert subsets.shape == (100, 45)
    assert (abs(np.bincount(subsets.ravel(), minlength=50) - 90) < 15).all()
    assert len({tuple(rows) for rows in subsets.tolist()}) == 100


def test_more_subsets_begin_with_the_fewer() -> None:
    """The same seed gives the same subsets, however many are drawn; another seed gives others."""
    few, many = random_subsets(30, generator=draws(), n_subsets=3), random_subsets(30, generator=draws(), n_subsets=9)
    np.testing.assert_array_equal(few, many[:3])
    assert (random_subsets(30, generator=draws(1), n_subsets=3) != few).any()


@pytest.mark.parametrize(
    ("n_images", "share", "n_subsets"), [(0, 0.9, 5), (5, 0.0, 5), (5, 1.1, 5), (5, float("nan"), 5), (5, 0.9, 0)]
)
def test_impossible_subsets_are_refused(n_images, share, n_subsets) -> None:
    """No image, no subset or no share is an error."""
    with pytest.raises(ConfigError, match="expected"):
        random_subsets(n_images, generator=draws(), share=share, n_subsets=n_subsets)


@quicker
@given(st.integers(2, 30).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(-1, 1))))
def test_mean_and_error_are_scipys(values) -> None:
    """The standard error of the mean is SciPy's."""
    mean, error = mean_and_standard_error(values)
    assert mean == pytest.approx(sum(values.tolist()) / len(values), abs=1e-12)
    assert error == pytest.approx(sem(values), abs=1e-12)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(1), np.zeros((2, 2)), np.array([0.5, np.nan])])
def test_an_error_needs_two_scores(values) -> None:
    """Fewer than two scores, a table or NaN is an error, never NaN."""
    with pytest.raises(ArrayContractError, match=r"expected at least two|to be an array"):
        mean_and_standard_error(values)
