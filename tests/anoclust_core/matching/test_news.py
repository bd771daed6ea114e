"""Clusters that a re-clustering found: told as new where they lie apart or came late, not where a cut moved."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError
from anoclust_core.matching.news import came_late, news_of

FIRST = date(2026, 1, 5)


def told(
    values: NDArray[np.float64],
    ids: list[str],
    numbers: list[int],
    born: list[str],
    *,
    rarity: float = 2.0,
    hidden: bool = True,
) -> tuple[str, ...]:
    """What is told of some clusters, those born as rare as is asked, the others ordinary, of rarity 1.

    The images of those born were in ordinary clusters until now, or in others.
    """
    rare = np.where(np.isin(ids, born), rarity, 1.0)
    ordinary = np.full(len(ids), True) if hidden else ~np.isin(ids, born)
    return news_of(values, ids, born, nights=nights(numbers), is_ordinary=ordinary, rarity=rare)


def nights(numbers: list[int]) -> list[date]:
    return [FIRST + timedelta(days=number) for number in numbers]


@pytest.fixture
def one_kind() -> NDArray[np.float64]:
    """Sixty images of one kind, by their place in one direction: its halves are neighbours."""
    values = np.random.default_rng(0).normal(size=(60, 30))
    return values[np.argsort(values[:, 0])]


def test_a_piece_of_a_known_kind_is_not_told(one_kind: NDArray[np.float64]) -> None:
    """A half of one kind, whose images came all the time, is no news."""
    ids = ["c1"] * 30 + ["c2"] * 30
    assert told(one_kind, ids, [at % 10 for at in range(60)], ["c2"]) == ()


def test_what_came_late_is_told(one_kind: NDArray[np.float64]) -> None:
    """The same half is news if all of it came in the last nights: something grew there."""
    ids = ["c1"] * 30 + ["c2"] * 30
    when = [at % 20 for at in range(30)] + [18 + at % 2 for at in range(30)]
    assert told(one_kind, ids, when, ["c2"], hidden=False) == ("c2",)


def test_what_lies_apart_is_told(one_kind: NDArray[np.float64]) -> None:
    """A kind that was there from the first night on, hidden in another, is news once it is found."""
    values = one_kind.copy()
    values[50:] += 12
    ids = ["c1"] * 50 + ["c2"] * 10
    assert told(values, ids, [at % 10 for at in range(60)], ["c2"]) == ("c2",)
    assert told(values, ids, [at % 10 for at in range(60)], []) == ()


def test_a_kind_with_two_looks_is_not_told_again(one_kind: NDArray[np.float64]) -> None:
    """What was known as a kind of defect is cut in two: however far its halves lie apart, that is no news."""
    values = one_kind.copy()
    values[50:] += 12
    ids = ["c1"] * 50 + ["c2"] * 10
    assert told(values, ids, [at % 10 for at in range(60)], ["c2"], hidden=False) == ()
    assert told(values, ids, [at % 18 for at in range(50)] + [19] * 10, ["c2"], hidden=False) == ("c2",)


def test_a_piece_of_the_good_parts_is_not_told(one_kind: NDArray[np.float64]) -> None:
    """However far it lies apart and however late it came: what is no rarer than the others is no defect."""
    values = one_kind.copy()
    values[50:] += 12
    ids = ["c1"] * 50 + ["c2"] * 10
    assert told(values, ids, [0] * 50 + [20] * 10, ["c2"], rarity=0.9) == ()


def test_two_images_are_no_kind(one_kind: NDArray[np.float64]) -> None:
    """Of two images that came early nothing can be said."""
    values = one_kind.copy()
    values[:2] += 12
    assert told(values, ["c2"] * 2 + ["c1"] * 58, [0] * 60, ["c2"]) == ()


def test_every_image_has_a_cluster_and_a_night(one_kind: NDArray[np.float64]) -> None:
    """Lists of another length are refused."""
    with pytest.raises(ArrayContractError, match=r"found \[59, 60, 60, 60\]"):
        news_of(
            one_kind,
            ["c1"] * 59,
            ["c1"],
            nights=nights([0] * 60),
            is_ordinary=np.ones(60, dtype=bool),
            rarity=np.ones(60),
        )


@pytest.mark.parametrize(
    ("n_older", "n_since", "n_group", "late"), [(20, 30, 3, False), (20, 30, 6, True), (60, 20, 3, True)]
)
def test_late_is_what_chance_hardly_does(n_older: int, n_since: int, n_group: int, late: bool) -> None:
    """Of 30 images since and 20 older ones, three may be there by chance, six hardly; nor three of 20 after 60."""
    when = np.repeat([1, 5], [n_older, n_since])
    own = np.arange(len(when)) >= len(when) - n_group
    assert came_late(own, when) is late
    with pytest.raises(ArrayContractError, match="group of at least one"):
        came_late(np.zeros_like(own), when)
