"""New kinds among recent images: found with three images, and hardly ever by chance."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching import newcomers
from anoclust_core.matching.newcomers import MOST_OLDER, MOST_RECENT, Newcomers, find_newcomers

DIM = 40


def population(rng: np.random.Generator, sizes: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images of several kinds; the first is ordinary, the others lie around it."""
    centres = rng.normal(size=(len(sizes), DIM)) * 1.6
    centres[0] = 0
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return centres[labels] + rng.normal(size=(len(labels), DIM)), labels


def found_in(
    values: NDArray[np.float64],
    labels: NDArray[np.int64],
    recent: NDArray[np.bool_],
    *,
    rarity: NDArray[np.float64] | None = None,
    clusters: NDArray[np.int64] | None = None,
    false_alarms: float = 0.02,
    seed: int = 0,
) -> list[Newcomers]:
    return find_newcomers(
        values,
        is_recent=recent,
        clusters=labels if clusters is None else clusters,
        is_ordinary=labels == 0,
        rarity=np.linalg.norm(values, axis=1) if rarity is None else rarity,
        generator=np.random.default_rng(seed),
        false_alarms=false_alarms,
    )


def with_new_kind(
    rng: np.random.Generator, n_new: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Four kinds, a quarter of the images recent, and a fifth kind with a few recent images."""
    values, labels = population(rng, [120, 30, 25, 20, n_new])
    recent = rng.random(len(labels)) < 0.25
    recent[labels == 4] = True
    return values, labels, recent


@pytest.mark.parametrize("n_new", [3, 6, 20])
def test_a_new_kind_is_found(n_new: int) -> None:
    """Three images of a new kind are told, although each alone lies in the cluster of the ordinary ones."""
    n_found = 0
    for seed in range(5):
        values, labels, recent = with_new_kind(np.random.default_rng(seed), n_new)
        for one in found_in(values, labels, recent, clusters=np.where(labels == 4, 0, labels))[:1]:
            of = labels[list(one.rows)]
            n_found += (of == 4).mean() > 0.8 and (of == 4).sum() >= 3
            assert one.closeness > 1
            assert one.surprise > 0
    assert n_found >= 4


def check_false_alarms(sizes: list[int], *, n_draws: int, recent: float, rate: float = 0.1) -> None:
    """Where images of known kinds are recent at random, a new kind is told no more often than the rate says."""
    alarms = 0
    for seed in range(n_draws):
        rng = np.random.default_rng(100 + seed)
        values, labels = population(rng, sizes)
        alarms += bool(found_in(values, labels, rng.random(len(labels)) < recent, false_alarms=rate))
    assert alarms <= n_draws * rate + 3 * np.sqrt(n_draws * rate)


def test_no_more_false_alarms_than_promised() -> None:
    """Where the recent images are of the kinds that were there before, a new one is told as seldom as asked for."""
    check_false_alarms([120, 30, 25, 20], n_draws=60, recent=0.25)


def test_copies_of_good_parts_are_no_new_kind() -> None:
    """Recent pictures that are alike, and no rarer than most, are not told: rarity says that nothing is wrong."""
    rng = np.random.default_rng(0)
    values, labels, recent = with_new_kind(rng, 4)
    kind = labels == 4
    values[kind] = rng.normal(size=DIM) + 0.01 * rng.normal(size=(4, DIM))
    rarity = rng.normal(size=len(labels))
    rarity[kind] = np.quantile(rarity, 0.3)
    clusters = np.where(kind, 0, labels)
    assert found_in(values, labels, recent, rarity=rarity, clusters=clusters) == []
    rarity[kind] = np.quantile(rarity, 0.9)
    assert found_in(values, labels, recent, rarity=rarity, clusters=clusters)


def test_a_piece_of_a_known_kind_is_no_new_kind() -> None:
    """A tight group that does not lie apart from the rest of its cluster stays in it."""
    rng = np.random.default_rng(3)
    values, labels, recent = with_new_kind(rng, 4)
    kind = labels == 4
    values[kind] = values[labels == 1].mean(axis=0) + 0.3 * rng.normal(size=(4, DIM))
    assert found_in(values, labels, recent, clusters=np.where(kind, 1, labels)) == []


def test_most_of_a_cluster_is_that_cluster() -> None:
    """A group that is all of a cluster, or most of it, is known already."""
    values, labels, recent = with_new_kind(np.random.default_rng(0), 6)
    assert found_in(values, labels, recent, clusters=np.where(labels == 4, 0, labels))
    assert found_in(values, labels, recent, clusters=labels) == []


def test_several_new_kinds_are_told_apart() -> None:
    """Two kinds that begin on the same nights are two, and each image is in one at most."""
    rng = np.random.default_rng(1)
    values, labels = population(rng, [120, 30, 25, 6, 6])
    recent = rng.random(len(labels)) < 0.2
    recent[labels >= 3] = True
    found = found_in(values, labels, recent, clusters=np.where(labels >= 3, 0, labels))
    assert {int(np.bincount(labels[list(one.rows)]).argmax()) for one in found} == {3, 4}
    rows = [row for one in found for row in one.rows]
    assert len(rows) == len(set(rows))


def test_of_very_many_images_some_are_compared() -> None:
    """Small clusters are compared whole, so that a small kind that is known is not taken for a new one."""
    rng = np.random.default_rng(0)
    values, labels = population(rng, [MOST_OLDER * 2, 8, MOST_RECENT, 5])
    recent = np.isin(labels, [2, 3])
    known = labels == 1
    values[labels == 2] = rng.normal(size=(MOST_RECENT, DIM))
    values[np.flatnonzero(labels == 2)[:4]] = values[known].mean(axis=0) + rng.normal(size=(4, DIM))
    found = found_in(values, labels, recent, clusters=np.where(labels == 1, 1, 0))
    assert [set(labels[list(one.rows)].tolist()) for one in found] == [{3}]


def with_close_kind(
    rng: np.random.Generator, n_usual: int, n_kind: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ordinary images, and after them a few of one kind, which are more like each other than those are."""
    values, labels = population(rng, [n_usual, n_kind])
    kind = labels == 1
    values[kind] = values[kind].mean(axis=0) + 0.6 * (values[kind] - values[kind].mean(axis=0))
    return values, labels


@pytest.mark.parametrize(("n_recent", "n_older"), [(600, 150), (600, 900), (60, 900)])
def test_a_new_kind_is_found_among_very_many(monkeypatch: pytest.MonkeyPatch, n_recent: int, n_older: int) -> None:
    """Its three images are compared, however many come, though they went to a cluster of which some are drawn."""
    monkeypatch.setattr(newcomers, "MOST_RECENT", 60)
    monkeypatch.setattr(newcomers, "MOST_OLDER", 150)
    n_found = 0
    for seed in range(5):
        values, labels = with_close_kind(np.random.default_rng(seed), n_older + n_recent, 3)
        recent = np.arange(len(labels)) >= n_older
        found = found_in(values, labels, recent, clusters=np.zeros_like(labels))
        n_found += [set(labels[list(one.rows)].tolist()) for one in found] == [{1}]
    assert n_found >= 4


def test_a_kind_that_is_known_is_not_new_among_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its older images are compared, though there are few in a large cluster."""
    monkeypatch.setattr(newcomers, "MOST_RECENT", 60)
    monkeypatch.setattr(newcomers, "MOST_OLDER", 150)
    for seed in range(5):
        values, labels = with_close_kind(np.random.default_rng(seed), 1500, 6)
        recent = np.arange(len(labels)) >= 1460
        recent[np.flatnonzero(labels == 1)[:3]] = False
        assert found_in(values, labels, recent, clusters=np.zeros_like(labels)) == []


def test_no_more_false_alarms_than_promised_among_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """That those are compared which look most like a new kind does not make one of them."""
    monkeypatch.setattr(newcomers, "MOST_RECENT", 60)
    monkeypatch.setattr(newcomers, "MOST_OLDER", 150)
    check_false_alarms([480, 120, 100, 80], n_draws=40, recent=0.6)


def test_without_a_past_nothing_is_new() -> None:
    """With hardly any older image, or fewer than three recent ones, nothing can be said."""
    values, labels, recent = with_new_kind(np.random.default_rng(0), 5)
    assert found_in(values, labels, np.ones_like(recent)) == []
    assert found_in(values, labels, np.zeros_like(recent)) == []


def test_bad_input_is_refused() -> None:
    """Shapes that do not fit, and rates that are none, are named."""
    values, labels, recent = with_new_kind(np.random.default_rng(0), 5)
    with pytest.raises(ArrayContractError, match="is_recent and is_ordinary for each of"):
        found_in(values, labels, recent[1:])
    with pytest.raises(ConfigError, match="false alarms"):
        found_in(values, labels, recent, false_alarms=0)
