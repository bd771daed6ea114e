"""Which clusters are ordinary parts."""

from __future__ import annotations

import numpy as np

from anoclust_core.matching.severity import ordinary_clusters

RARITY = {
    "c1": np.linspace(0.5, 1.5, 60).tolist(),
    "c2": np.linspace(0.6, 1.6, 20).tolist(),
    "c3": np.linspace(1.2, 3.0, 20).tolist(),
}
NAMELESS = dict.fromkeys(RARITY)


def test_large_clusters_of_little_rarity_are_ordinary() -> None:
    """The least rare one, and another of about the same rarity."""
    assert ordinary_clusters(RARITY, NAMELESS) == {"c1", "c2"}


def test_how_rare_the_rarest_are_changes_nothing() -> None:
    """A kind of defect that is far rarer than all others makes a mild one no good part."""
    assert ordinary_clusters(RARITY | {"c4": [50.0] * 5}, NAMELESS | {"c4": None}) == {"c1", "c2"}


def test_a_small_one_is_not() -> None:
    """Where the least rare cluster is a small one, nothing is called ordinary."""
    assert ordinary_clusters(RARITY | {"c1": [0.5] * 5}, NAMELESS) == frozenset()


def test_a_name_decides() -> None:
    """What a person named good is ordinary, and nothing else; what has another name is not."""
    assert ordinary_clusters(RARITY, NAMELESS | {"c3": " OK "}) == {"c3"}
    assert ordinary_clusters(RARITY, NAMELESS | {"c1": "chip"}) == frozenset()
    assert ordinary_clusters(RARITY, NAMELESS | {"c2": "chip"}) == {"c1"}


def test_of_one_cluster_nothing_is_said() -> None:
    """There is nothing to compare it with."""
    assert ordinary_clusters({"c1": [1.0] * 9}, {"c1": None}) == frozenset()
    assert ordinary_clusters({}, {}) == frozenset()


def test_a_persons_mark_counts_more_than_names_and_rarity() -> None:
    """Marked as no defect a rare cluster is ordinary beside the others; marked as a defect a common one is not."""
    assert ordinary_clusters(RARITY, NAMELESS, {"c3": True}) == {"c1", "c2", "c3"}
    assert ordinary_clusters(RARITY, NAMELESS | {"c3": "chip"}, {"c3": True}) == {"c1", "c2", "c3"}
    assert ordinary_clusters(RARITY, NAMELESS, {"c2": False}) == {"c1"}
    assert ordinary_clusters(RARITY, NAMELESS | {"c1": "good"}, {"c1": False, "c3": True}) == {"c3"}
    assert ordinary_clusters(RARITY, NAMELESS | {"c1": "good"}, {"c3": True}) == {"c1", "c3"}
    assert ordinary_clusters(RARITY, NAMELESS, {"c9": True}) == {"c1", "c2"}
