from __future__ import annotations

import numpy as np
import pytest
from helpers.partitions import quick
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.drift import grown_share, rarity_shift


@pytest.mark.parametrize("n_nights", [5, 30])
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_no_more_false_alarms_than_promised(n_nights: int, share: float) -> None:
    """A share that never changes raises an alarm in no more nights than asked for, with few nights of history too."""
    draws = np.random.default_rng(0)
    alarms = 0
    for _ in range(1500):
        totals = draws.integers(10, 40, size=n_nights + 1)
        counts = draws.binomial(totals, share)
        alarms += grown_share(
            counts[-1], totals[-1], past_counts=counts[:-1], past_totals=totals[:-1], false_alarms=0.02
        ).alarm
    assert alarms <= 1500 * 0.02 + 3 * np.sqrt(1500 * 0.02)


def test_shares_that_vary_by_themselves_raise_few_alarms() -> None:
    """Nights that differ more than chance explains widen the limit."""
    draws = np.random.default_rng(0)
    alarms = {"varying": 0, "as if by chance": 0}
    for _ in range(800):
        counts = draws.binomial(50, draws.beta(2, 8, size=13))
        found = grown_share(counts[-1], 50, past_counts=counts[:-1], past_totals=[50] * 12, false_alarms=0.01)
        alarms["varying"] += found.alarm
        # the same sum of history, evenly dealt: only chance is left to explain tonight
        even = np.diff(np.linspace(0, counts[:-1].sum(), 13).astype(int))
        chance = grown_share(counts[-1], 50, past_counts=even, past_totals=[50] * 12, false_alarms=0.01)
        alarms["as if by chance"] += chance.alarm
    assert alarms["varying"] <= 0.03 * 800 < alarms["as if by chance"]


def test_growth_is_found() -> None:
    """Three times as many as usual is an alarm at once."""
    usual = {"past_counts": [4, 5, 3, 4, 4, 6], "past_totals": [40] * 6}
    assert grown_share(14, 40, **usual).alarm
    assert not grown_share(6, 40, **usual).alarm


@quick
@given(st.integers(0, 20), st.lists(st.integers(0, 20), min_size=5, max_size=9))
def test_the_exact_limit_is_fishers(count, past) -> None:
    """The alarm is on where Fisher's exact test of tonight against history says so, or later where nights vary."""
    found = grown_share(count, 20, past_counts=past, past_totals=[20] * len(past), false_alarms=0.05)
    total = 20 * len(past)
    table = [[count, 20 - count], [sum(past), total - sum(past)]]
    fisher = fisher_exact(table, alternative="greater").pvalue <= 0.05
    assert found.alarm <= fisher
    assert found.alarm == (found.value >= found.limit)
    if max(past) - min(past) <= 1:
        assert found.alarm == fisher


@quick
@given(st.lists(st.integers(0, 20), max_size=4))
def test_short_histories_raise_no_alarm(past) -> None:
    """There is no limit before there is a history, whatever tonight brings; empty nights are no history."""
    found = grown_share(20, 20, past_counts=[*past, 0, 0], past_totals=[20] * len(past) + [0, 0])
    assert (found.alarm, found.limit, found.n_nights) == (False, None, len(past))
    nights = [np.full(3, float(value)) for value in past] + [np.empty(0)]
    shift = rarity_shift(np.full(3, 99.0), nights)
    assert (shift.alarm, shift.limit, shift.n_nights) == (False, None, len(past))


def test_a_night_without_images_raises_no_alarm() -> None:
    """Nothing came, so nothing grew or shifted."""
    assert not grown_share(0, 0, past_counts=[1] * 9, past_totals=[9] * 9).alarm
    assert not rarity_shift(np.empty(0), [np.ones(3)] * 9).alarm


@pytest.mark.parametrize("n_nights", [5, 30])
def test_rarity_has_its_rate_of_false_alarms(n_nights: int) -> None:
    """Nights that differ by themselves raise as many alarms as promised: no test between images would do that."""
    draws = np.random.default_rng(1)
    alarms = 0
    for _ in range(1500):
        nights = [draws.normal(draws.normal(0.5, 0.05), 0.1, size=25) for _ in range(n_nights + 1)]
        alarms += rarity_shift(nights[-1], nights[:-1], false_alarms=0.02).alarm
    assert 0.2 * 30 <= alarms <= 30 + 3 * np.sqrt(30)


def test_a_shift_of_rarity_is_found() -> None:
    """Rarer and more common images are both told, with the direction, in embedding units."""
    draws = np.random.default_rng(0)
    past = [draws.normal(0.5, 0.1, size=30) for _ in range(10)]
    up, down = (rarity_shift(draws.normal(middle, 0.1, size=30), past) for middle in (0.8, 0.2))
    assert up.alarm
    assert up.value == pytest.approx(0.3, abs=0.06)
    assert down.alarm
    assert down.value == pytest.approx(-0.3, abs=0.06)
    assert not rarity_shift(draws.normal(0.5, 0.1, size=30), past).alarm


def test_equal_nights_leave_room_for_chance() -> None:
    """A history without any spread does not make every difference an alarm."""
    tonight = np.linspace(0.4, 0.62, 20)
    assert not rarity_shift(tonight, [np.full(20, 0.5)] * 8).alarm


def test_impossible_input_is_refused() -> None:
    """Counts beyond their totals, histories of two lengths, odd settings, NaN."""
    for arguments in ((5, 4, [1], [2]), (-1, 4, [1], [2]), (1, 4, [1, 1], [2])):
        with pytest.raises(ArrayContractError, match="one count"):
            grown_share(*arguments[:2], past_counts=arguments[2], past_totals=arguments[3])
    with pytest.raises(ConfigError, match="false_alarms"):
        grown_share(1, 2, past_counts=[], past_totals=[], false_alarms=0.5)
    with pytest.raises(ConfigError, match="min_nights"):
        rarity_shift(np.ones(2), [], min_nights=1)
    with pytest.raises(ArrayContractError, match=r"finite rarity|to be an array"):
        rarity_shift(np.array([np.nan]), [])
