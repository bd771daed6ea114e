"""Shifts of nightly levels: how many false alarms there are, and what is found, with little history too."""

from __future__ import annotations

import numpy as np
import pytest

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.drift import level_shift, median_and_error

RATE = 0.02


@pytest.mark.parametrize("n_nights", [4, 30])
def test_levels_have_their_rate_of_false_alarms(n_nights: int) -> None:
    """Nights that differ by themselves raise as many alarms as promised: no test between images would do that."""
    draws = np.random.default_rng(1)
    alarms = 0
    for _ in range(1500):
        nights = [median_and_error(draws.normal(draws.normal(0.5, 0.02), 0.1, size=25)) for _ in range(n_nights + 1)]
        levels = [level for level, _ in nights]
        alarms += level_shift(levels, error=nights[-1][1], false_alarms=RATE).alarm
    assert alarms <= 1500 * RATE + 3 * np.sqrt(1500 * RATE)


def test_a_jump_of_a_level_is_found_at_once() -> None:
    """After three nights, a jump in either direction is told with its size; a lower level is none if not asked for."""
    up, down = (level_shift([0.5, 0.52, 0.49, to], error=0.02, false_alarms=RATE) for to in (0.9, 0.1))
    assert up.alarm
    assert down.alarm
    assert (up.value, down.value) == (pytest.approx(0.4, abs=0.01), pytest.approx(-0.4, abs=0.01))
    one_sided = level_shift([0.5, 0.52, 0.49, 0.1], error=0.02, false_alarms=RATE, two_sided=False)
    assert not one_sided.alarm
    assert not level_shift([0.5, 0.52, 0.9], error=0.02, false_alarms=RATE).alarm


def test_slow_wear_is_found_over_several_nights() -> None:
    """A level that creeps is told once the last nights together lie above those before."""
    draws = np.random.default_rng(0)
    levels = [*draws.normal(0.5, 0.02, 12), *draws.normal(0.5, 0.02, 8) + np.linspace(0.02, 0.04, 8)]
    found = [level_shift(levels[:count], error=0.02, false_alarms=RATE) for count in range(4, 21)]
    first = next(signal for signal in found if signal.alarm)
    assert first.over > 1
    assert not any(signal.alarm for signal in found[:9])


def test_equal_nights_leave_room_for_chance() -> None:
    """A history without any spread does not make every difference an alarm; without any error nothing is known."""
    assert not level_shift([0.5] * 8 + [0.51], error=0.02, false_alarms=RATE).alarm
    assert not level_shift([0.5] * 8 + [0.51], error=0.0, false_alarms=RATE).alarm


def test_the_median_has_its_error() -> None:
    """The standard error of the median of normal values is what draws of them show."""
    draws = np.random.default_rng(0).normal(2, 1, size=(2000, 40))
    found = np.array([median_and_error(row) for row in draws])
    assert found[:, 0].std() == pytest.approx(found[:, 1].mean(), rel=0.15)


def test_impossible_input_is_refused() -> None:
    """Odd settings, NaN, nothing at all."""
    with pytest.raises(ConfigError, match="rate of false alarms"):
        level_shift([1.0], error=-1, false_alarms=RATE)
    with pytest.raises(ArrayContractError, match="finite"):
        level_shift([float("nan")], error=1, false_alarms=RATE)
    with pytest.raises(ArrayContractError, match="at least one finite"):
        median_and_error(np.empty(0))
