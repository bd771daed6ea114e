"""Which clusters are ordinary parts."""

from __future__ import annotations

from anoclust_core.matching.severity import ordinary_clusters

LEVELS = {"c1": 1.0, "c2": 1.1, "c3": 3.0}
SIZES = {"c1": 60, "c2": 20, "c3": 20}
NAMELESS = dict.fromkeys(LEVELS)


def test_large_clusters_of_little_rarity_are_ordinary() -> None:
    """The least rare one, and another of about the same rarity."""
    assert ordinary_clusters(LEVELS, SIZES, NAMELESS) == {"c1", "c2"}


def test_a_small_one_is_not() -> None:
    """Where the least rare cluster is a small one, nothing is called ordinary."""
    assert ordinary_clusters(LEVELS, {"c1": 5, "c2": 70, "c3": 25}, NAMELESS) == frozenset()


def test_a_name_decides() -> None:
    """What a person named good is ordinary, and nothing else; what has another name is not."""
    assert ordinary_clusters(LEVELS, SIZES, NAMELESS | {"c3": " OK "}) == {"c3"}
    assert ordinary_clusters(LEVELS, SIZES, NAMELESS | {"c1": "chip"}) == frozenset()
    assert ordinary_clusters(LEVELS, SIZES, NAMELESS | {"c2": "chip"}) == {"c1"}


def test_of_one_cluster_nothing_is_said() -> None:
    """There is nothing to compare it with."""
    assert ordinary_clusters({"c1": 1.0}, {"c1": 9}, {"c1": None}) == frozenset()
    assert ordinary_clusters({}, {}, {}) == frozenset()
