"""Which questions come first, and which images of many are asked about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.matching.morning_list import ORDER, in_order, in_turn, nearest_others
from anoclust_core.matching.prototypes import Groups
from tests.helpers.partitions import quick


def groups(**means: tuple[int, list[float]]) -> Groups:
    """Groups by name, each with its size and mean."""
    sizes = np.array([size for size, _ in means.values()])
    return Groups(tuple(means), np.array([mean for _, mean in means.values()], np.float64), sizes)


def test_the_nearest_other_cluster_counts_sizes_as_wards_tree_does() -> None:
    """A small cluster a little farther away is merged with earlier than a large one."""
    clusters = groups(c1=(1, [0.0]), c2=(100, [3.0]), c3=(1, [-3.5]))
    assert nearest_others(groups(c1=(100, [0.0])), {"c1": "c1"}, clusters) == {"c1": "c3"}
    assert nearest_others(groups(a=(1, [2.9]), b=(1, [2.9])), {"a": "c2"}, clusters) == {"a": "c1", "b": "c2"}


def test_without_another_cluster_there_is_no_nearest() -> None:
    """One cluster has no other; descriptors of another length are refused."""
    assert nearest_others(groups(c1=(2, [0.0])), {"c1": "c1"}, groups(c1=(2, [0.0]))) == {}
    with pytest.raises(ArrayContractError, match="length"):
        nearest_others(groups(a=(1, [0.0, 1.0])), {}, groups(c1=(2, [0.0])))


@quick
@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 40))
def test_every_group_has_its_turn(of: list[int], most: int) -> None:
    """So many are chosen as there are; no group has two more than another that has some left; first ones first."""
    chosen = in_turn(of, most=most)
    assert len(set(chosen)) == len(chosen) == min(most, len(of))
    taken = {group: [at for at in chosen if of[at] == group] for group in set(of)}
    for group, rows in taken.items():
        assert rows == [at for at, other in enumerate(of) if other == group][: len(rows)]
        if len(rows) < of.count(group):
            assert max(map(len, taken.values())) <= len(rows) + 1


def test_a_negative_number_is_refused() -> None:
    """The message says what was found."""
    with pytest.raises(ConfigError, match="found -1"):
        in_turn([], most=-1)


def test_the_camera_comes_first_and_single_images_last() -> None:
    """Questions of one kind keep their order."""
    kinds = ["telling", "new", "camera", "between", "new", "unknown", "unnamed"]
    assert [kinds[at] for at in in_order(kinds)] == [  # type: ignore[arg-type]
        "camera", "new", "new", "unnamed", "unknown", "between", "telling",
    ]  # fmt: skip
    assert in_order(["new", "camera", "new"]) == [1, 0, 2]
    assert list(ORDER.values()) == list(range(len(ORDER)))
