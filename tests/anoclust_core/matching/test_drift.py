"""Shifts of nightly levels: how many false alarms there are, and what is found, with little history too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.drift import DriftSignal, level_shift, median_and_error

RATE = 0.02


def shift(levels: Sequence[float], *, error: float, two_sided: bool = True) -> DriftSignal:
    """Judge nights of as many images and the same error each."""
    errors, counts = [error] * len(levels), [25] * len(levels)
    return level_shift(levels, errors=errors, counts=counts, false_alarms=RATE, two_sided=two_sided)


def drawn(draws: np.random.Generator, counts: Sequence[int]) -> DriftSignal:
    """Judge nights without change that have so many images each."""
    nights = [median_and_error(draws.normal(0.5, 0.1, size=count)) for count in counts]
    levels, errors = zip(*nights, strict=True)
    return level_shift(levels, errors=errors, counts=counts, false_alarms=RATE)


@pytest.mark.parametrize("n_nights", [4, 30])
def test_levels_have_their_rate_of_false_alarms(n_nights: int) -> None:
    """Nights that differ by themselves raise as many alarms as promised: no test between images would do that."""
    draws = np.random.default_rng(1)
    alarms = 0
    for _ in range(1500):
        nights = [median_and_error(draws.normal(draws.normal(0.5, 0.02), 0.1, size=25)) for _ in range(n_nights + 1)]
        levels, errors = zip(*nights, strict=True)
        alarms += level_shift(levels, errors=errors, counts=[25] * len(levels), false_alarms=RATE).alarm
    assert alarms <= 1500 * RATE + 3 * np.sqrt(1500 * RATE)


def test_a_jump_of_a_level_is_found_at_once() -> None:
    """After three nights, a jump in either direction is told with its size; a lower level is none if not asked for."""
    up, down = (shift([0.5, 0.52, 0.49, to], error=0.02) for to in (0.9, 0.1))
    assert up.alarm
    assert down.alarm
    assert (up.value, down.value) == (pytest.approx(0.4, abs=0.01), pytest.approx(-0.4, abs=0.01))
    one_sided = shift([0.5, 0.52, 0.49, 0.1], error=0.02, two_sided=False)
    assert not one_sided.alarm
    assert not shift([0.5, 0.52, 0.9], error=0.02).alarm


def test_slow_wear_is_found_over_several_nights() -> None:
    """A level that creeps is told once the last nights together lie above those before."""
    draws = np.random.default_rng(0)
    levels = [*draws.normal(0.5, 0.02, 12), *draws.normal(0.5, 0.02, 8) + np.linspace(0.02, 0.04, 8)]
    found = [shift(levels[:count], error=0.02) for count in range(4, 21)]
    first = next(signal for signal in found if signal.alarm)
    assert first.over > 1
    assert not any(signal.alarm for signal in found[:9])


def test_equal_nights_leave_room_for_chance() -> None:
    """A history without any spread does not make every difference an alarm; without any error nothing is known."""
    assert not shift([0.5] * 8 + [0.51], error=0.02).alarm
    assert not shift([0.5] * 8 + [0.51], error=0.0).alarm


def test_a_level_without_any_spread_shifts_beyond_its_least_error() -> None:
    """Pictures that were all white and are all black have shifted; the same again, or a little less, has not."""
    levels = {to: [255.0] * 20 + [to] for to in (0.0, 254.5, 255.0)}
    errors, counts = [0.0] * 21, [48] * 21
    found = {
        to: level_shift(of, errors=errors, counts=counts, false_alarms=RATE, least_error=0.5)
        for to, of in levels.items()
    }
    assert {to: signal.alarm for to, signal in found.items()} == {0.0: True, 254.5: False, 255.0: False}
    assert found[0.0].limit > 0


@given(
    st.lists(st.floats(0, 255), min_size=4, max_size=20),
    st.lists(st.floats(0, 9), min_size=20, max_size=20),
    st.integers(1, 9),
)
def test_the_least_error_changes_nothing_where_there_is_any(levels, errors, least) -> None:
    """Where a night has an error, it is what it is."""
    errors = [1e-3, *errors[1 : len(levels) - 1], 1e-3]
    counts = list(range(3, 3 + len(levels)))
    first, second = (
        level_shift(levels, errors=errors, counts=counts, false_alarms=RATE, least_error=error) for error in (0, least)
    )
    assert first == second


@pytest.mark.parametrize("last", [(1,), (2,), (3,), (5,), (8,), (3, 3, 3, 3), (1, 60), (1, 60, 60, 60)])
def test_nights_of_few_images_have_the_same_rate(last: tuple[int, ...]) -> None:
    """A handful of images tells little of its own error, and one image nothing; nor is a later night told for it."""
    alarms = sum(drawn(np.random.default_rng(seed), [60] * 20 + list(last)).alarm for seed in range(400))
    assert alarms <= 400 * RATE + 3 * np.sqrt(400 * RATE)


def test_few_images_show_a_large_shift() -> None:
    """Five images that lie four standard deviations of an image away are told."""
    draws = np.random.default_rng(0)
    nights = [median_and_error(draws.normal(0.5, 0.1, size=60)) for _ in range(20)]
    levels, errors = zip(*nights, median_and_error(draws.normal(0.9, 0.1, size=5)), strict=True)
    assert level_shift(levels, errors=errors, counts=[60] * 20 + [5], false_alarms=RATE).alarm


def test_how_many_images_nights_have_does_not_matter_where_all_have_as_many() -> None:
    """What is expected of a night is then what the others had."""
    levels, errors = [0.5, 0.52, 0.49, 0.5, 0.61], [0.02, 0.03, 0.01, 0.02, 0.02]
    first, second = (level_shift(levels, errors=errors, counts=[count] * 5, false_alarms=RATE) for count in (7, 700))
    assert first.limit == pytest.approx(second.limit, rel=1e-12)


def test_the_median_has_its_error() -> None:
    """The standard error of the median of normal values is what draws of them show."""
    draws = np.random.default_rng(0).normal(2, 1, size=(2000, 40))
    found = np.array([median_and_error(row) for row in draws])
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.15)


def test_impossible_input_is_refused() -> None:
    """Odd settings, NaN, nothing at all."""
    with pytest.raises(ConfigError, match="rate of false alarms"):
        level_shift([1.0], errors=[1.0], counts=[3], false_alarms=0.5)
    with pytest.raises(ConfigError, match="least error"):
        level_shift([1.0], errors=[1.0], counts=[3], false_alarms=RATE, least_error=-1.0)
    for errors, counts in (([-1.0], [3]), ([1.0], [0]), ([float("nan")], [3]), ([1.0, 1.0], [3]), ([1.0], [])):
        with pytest.raises(ArrayContractError, match="an error of at least 0 and a count of at least 1"):
            level_shift([1.0], errors=errors, counts=counts, false_alarms=RATE)
    with pytest.raises(ArrayContractError, match="finite"):
        shift([float("nan")], error=1)
    with pytest.raises(ArrayContractError, match="at least one finite"):
        median_and_error(np.empty(0))
