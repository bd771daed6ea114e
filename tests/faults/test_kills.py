"""kill -9 at any moment of any stage, then the same command: the result of a run that nobody disturbed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from helpers.places import Place, State, check_same_result, everywhere
from helpers.processes import STAGES, Moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVENTS = 12
"""Moments a stage, drawn uniformly among all changes of files that it makes."""

CLOCK = 2
"""Moments a stage, drawn uniformly from the time that it takes."""

PAIRS_OF_A_SLAB = 8 * 8


@dataclass(frozen=True)
class Trial:
    """One kill and what came after it."""

    moment: Moment
    died: bool
    rerun: State | AssertionError
    expected: State


def check(trial: Trial) -> None:
    """Compare what came after a kill with what nobody disturbed."""
    if isinstance(trial.rerun, AssertionError):
        raise trial.rerun
    ours, expected = trial.rerun, trial.expected
    check_same_result(ours, expected)
    assert ours.told["repairs"] == []
    assert ours.told["summary"]["notes"] == expected.told["summary"]["notes"]
    assert ours.files == expected.files
    # a slab that was sealed just before that of the other direction may stay beside the two that come again
    assert ours.pairs <= expected.pairs + PAIRS_OF_A_SLAB
    done = ours.told["work"]
    assert done["images_embedded"] == 0 or trial.moment.stage == "embed"
    assert done["pair_products"] == 0 or trial.moment.stage in ("embed", "pair")


def is_equal(trial: Trial) -> bool:
    """Whether the rerun came to the undisturbed result."""
    try:
        check(trial)
    except AssertionError:
        return False
    return True


def draw_moments(place: Place, seed: int) -> list[Moment]:
    """Draw the moments of every stage."""
    rng = np.random.default_rng(seed)
    moments = []
    for stage in STAGES:
        n_events = place.events[stage]
        events = rng.choice(n_events, size=EVENTS, replace=n_events < EVENTS) + 1
        moments += [Moment(stage, event=int(event)) for event in events]
        moments += [Moment(stage, seconds=float(s)) for s in rng.uniform(0.001, place.seconds[stage], size=CLOCK)]
    return moments


@pytest.fixture(scope="module")
def trials(places: list[Place], print_table: Callable[[list[list[object]]], None]) -> list[Trial]:
    """Every kill of every stage, two at a time."""

    def kill(place: Place, moment: Moment) -> Trial:
        place.restore(moment.stage)
        died = place.kill(moment)
        try:
            rerun = place.finish()
        except AssertionError as error:
            return Trial(moment, died, error, place.expected)
        return Trial(moment, died, rerun, place.expected)

    began = time.monotonic()
    found = [trial for trial in everywhere(places, draw_moments(places[0], seed=3), kill) if isinstance(trial, Trial)]
    seconds = time.monotonic() - began
    names = ["stage", "file changes", "kills at a change", "kills at a time", "died", "reruns equal"]
    print_table([names, *(_row(stage, found, places[0]) for stage in STAGES), _total(found, places[0], seconds)])
    return found


def _row(stage: str, trials: list[Trial], place: Place) -> list[object]:
    own = [trial for trial in trials if trial.moment.stage == stage]
    at_change = sum(trial.moment.event > 0 for trial in own)
    died = sum(trial.died for trial in own)
    return [stage, place.events[stage], at_change, len(own) - at_change, died, f"{sum(map(is_equal, own))}/{len(own)}"]


def _total(trials: list[Trial], place: Place, seconds: float) -> list[object]:
    at_change = sum(trial.moment.event > 0 for trial in trials)
    equal = f"{sum(map(is_equal, trials))}/{len(trials)} in {seconds:.0f} s"
    died = sum(trial.died for trial in trials)
    return ["all", sum(place.events.values()), at_change, len(trials) - at_change, died, equal]


@pytest.mark.parametrize("stage", STAGES)
def test_killed_stage(trials, stage):
    """A run that was killed at any moment of a stage ends, run again, as if it had never been killed."""
    own = [trial for trial in trials if trial.moment.stage == stage]
    assert sum(trial.moment.event > 0 for trial in own) == EVENTS
    for trial in own:
        assert trial.died or trial.moment.seconds, trial.moment
        try:
            check(trial)
        except AssertionError as error:
            error.add_note(f"killed at {trial.moment}")
            raise


def test_killed_again_and_again(places):
    """Ten kills in a row, none followed by a run that ends, leave no more behind than one."""
    place = places[0]
    rng = np.random.default_rng(7)
    place.restore("embed")
    counts = []
    for _ in range(10):
        stage = STAGES[int(rng.integers(len(STAGES)))]
        place.kill(Moment(stage, event=int(rng.integers(place.events[stage])) + 1))
        counts.append(sum(1 for _ in place.store.rglob("*")))
    check(Trial(Moment("embed"), True, place.finish(), place.expected))
    assert max(counts) <= sum(1 for _ in place.store.rglob("*")) + 10


def test_killed_at_the_same_place(places):
    """A run that is killed at the same place every time leaves as much behind the fifth time as the first."""
    place = places[1]
    place.restore("pair")
    left = []
    for _ in range(5):
        assert place.kill(Moment("pair", event=20))
        left.append(sum(1 for _ in place.store.rglob("*")))
    assert max(left) <= left[0] + 1
    check(Trial(Moment("pair"), True, place.finish(), place.expected))
