"""Growth of clusters: how many false alarms there are, and what is found, with little history too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.partitions import quick
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.drift import GAINS, DriftSignal
from anoclust_core.matching.growth import grown_counts, night_variations, volume_variance

RATE = 0.02


def grown(counts: Sequence[int], totals: Sequence[int], *, variation: float = 0.0, rate: float = RATE) -> DriftSignal:
    """Signal of one cluster, alone."""
    found = grown_counts({"c1": counts}, totals, usual=0.1, variations={"c1": variation}, false_alarms=rate)
    return found["c1"]


@pytest.mark.parametrize("n_nights", [3, 12, 30])
@pytest.mark.parametrize("share", [0.05, 0.25])
def test_no_more_false_alarms_than_promised(n_nights: int, share: float) -> None:
    """A share that never changes raises an alarm in no more nights than asked for, with few nights of history too."""
    draws = np.random.default_rng(0)
    alarms = 0
    for _ in range(800):
        totals = draws.integers(10, 40, size=n_nights + 1)
        alarms += grown(draws.binomial(totals, share).tolist(), totals.tolist()).alarm
    assert alarms <= 800 * RATE + 3 * np.sqrt(800 * RATE)


@pytest.mark.parametrize("n_nights", [3, 12, 30])
def test_several_clusters_share_the_rate(n_nights: int) -> None:
    """Of five clusters together no more nights have an alarm than promised, and not far fewer: the rate is used."""
    draws = np.random.default_rng(0)
    shares = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    alarms = 0
    for _ in range(600):
        counts = np.array([draws.multinomial(20, shares) for _ in range(n_nights + 1)])
        histories = {str(at): counts[:, at].tolist() for at in range(5)}
        found = grown_counts(
            histories, [20] * (n_nights + 1), usual=0.15, variations=dict.fromkeys(histories, 0.0), false_alarms=0.05
        )
        alarms += any(signal.alarm for signal in found.values())
    assert 0.2 * 600 * 0.05 <= alarms <= 600 * 0.05 + 3 * np.sqrt(600 * 0.05)


@pytest.mark.parametrize("correlation", [0.02, 0.05])
def test_nights_that_vary_by_themselves(correlation: float) -> None:
    """Variation from night to night is learnt from all clusters; alarms stay within three times the promised rate.

    It is believed only as far as it is sure, so that 24 nights teach about half of it.
    """
    draws = np.random.default_rng(0)
    alarms, learnt = 0, []
    for _ in range(400):
        shares = draws.dirichlet(np.array([0.5, 0.3, 0.2]) * (1 / correlation - 1), size=25)
        counts = np.array([draws.multinomial(40, share) for share in shares])
        histories = {str(at): counts[:, at].tolist() for at in range(3)}
        found = night_variations({name: history[:-1] for name, history in histories.items()}, [40] * 24)
        learnt.append(found["2"])
        alarms += grown(histories["2"], [40] * 25, variation=found["2"]).alarm
    assert 0.3 * correlation <= np.mean(learnt) <= 1.1 * correlation
    assert alarms <= 3 * 400 * RATE


def test_slow_change_and_jumps_are_no_variation() -> None:
    """A cluster that grows night by night leaves the variation near that of nights that only chance tells apart."""
    totals = [40] * 24
    growing = {"c1": [2 + at for at in range(24)], "c2": [38 - at for at in range(24)]}
    assert all(value <= 0.01 for value in night_variations(growing, totals).values())
    calm = [4, 5, 3, 4, 6, 4, 3, 5, 4, 4, 5, 3]
    once = [*calm[:6], 25, *calm[7:]]
    assert night_variations({"c1": once}, [40] * 12)["c1"] <= 0.01
    assert night_variations({}, totals) == {}
    assert night_variations({"c1": []}, totals) == {"c1": 0}


def test_what_varies_is_one_cluster() -> None:
    """One cluster that comes in bursts does not hide the growth of others: each has its own variation."""
    draws = np.random.default_rng(0)
    calm = {f"c{at}": draws.poisson(4, size=24).tolist() for at in range(3)}
    bursts = {"c9": [0, 12] * 12}
    found = night_variations(calm | bursts, [40] * 24)
    assert found["c9"] > 3 * max(found[name] for name in calm)


def test_growth_of_less_than_half_is_nothing_to_act_on() -> None:
    """However sure it is that a large cluster has a few more images, that is no alarm."""
    counts = [200] * 29 + [260]
    assert not grown(counts, [400] * 30).alarm
    assert grown([*counts[:-1], 320], [400] * 30).alarm


def test_a_surge_is_found_from_the_second_night_on() -> None:
    """Many more than the one night before are an alarm; the expected number is told."""
    found = grown([3, 15], [30, 30])
    assert found.alarm
    assert (found.over, found.n_nights) == (1, 1)
    assert found.expected == pytest.approx(2, abs=0.3)  # the others are fewer than usual
    assert not grown([3, 6], [30, 30]).alarm


def test_slow_growth_is_found_over_several_nights() -> None:
    """A share that has doubled is no alarm on any one night, and is one over some nights together."""
    counts = [4, 3, 5, 4, 4, 3, 5, 4, 4, 3, 7, 8, 8, 9]
    found = grown(counts, [40] * 14)
    assert found.alarm
    assert found.over in list(GAINS)[1:]
    assert (found.value, found.expected) == (32, pytest.approx(15, abs=1))
    assert not grown(counts[:11], [40] * 11).alarm


@quick
@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_more_images_are_never_less_of_an_alarm(counts: list[int]) -> None:
    """The alarm is on at the limit and above; one image more tonight keeps it on; the limit is at least three."""
    totals = [20] * len(counts)
    found = grown(counts, totals)
    if found.limit is None:
        assert len(counts) == 1
        assert not found.alarm
        return
    assert found.alarm == (found.value >= found.limit >= 3)
    if found.alarm and counts[-1] < 20:
        assert grown([*counts[:-1], counts[-1] + 1], totals).alarm


def test_more_parts_of_every_kind_are_no_growth() -> None:
    """A second line, or a bulk delivery: everything doubles, or comes ten times; a kind that doubles alone is told."""
    usual = [6, 4, 5, 5, 6, 4, 5, 5, 6, 4, 5, 5]
    assert not grown([*usual, 11], [*[40] * 12, 88]).alarm
    assert not grown([*usual, 55], [*[40] * 12, 440]).alarm
    assert grown([*usual, 16], [*[40] * 12, 51]).alarm


def test_the_volume_is_learnt_from_nights_in_a_row() -> None:
    """Nights of one size vary little, those that halve and double much; slow change is no variation."""
    assert volume_variance([40] * 30) < volume_variance(list(range(20, 50))) * 1.2 < 0.05
    assert volume_variance([20, 40] * 15) > 0.15
    assert volume_variance([]) == volume_variance([40]) == 0.25


def test_nights_without_images_do_not_count() -> None:
    """Empty nights are no history, and on one nothing grows."""
    assert grown([3, 0, 15], [30, 0, 30]) == grown([3, 15], [30, 30])
    assert grown([3, 3, 0], [30, 30, 0]) == DriftSignal(0, None, False, 0)
    assert grown([], []).limit is None


def test_impossible_counts_are_refused() -> None:
    """Counts beyond their totals, histories of two lengths, odd settings."""
    for counts, totals in (([5], [4]), ([-1], [4]), ([1, 1], [4])):
        with pytest.raises(ArrayContractError, match="one count"):
            grown(counts, totals)
        with pytest.raises(ArrayContractError, match="one count"):
            night_variations({"c1": counts}, totals)
    with pytest.raises(ConfigError, match="rate of false alarms"):
        grown([1], [2], rate=0.5)
    with pytest.raises(ArrayContractError, match="totals of at least 0"):
        volume_variance([-1])
