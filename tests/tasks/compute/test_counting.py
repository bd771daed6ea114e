"""What near-duplicates that count once mean for the images that rarity is measured against."""

from __future__ import annotations

import numpy as np
import pytest

from anoclust_core.weighting.rarity import expected_rarity
from tasks.compute.counting import Counting

CONTENTS = ["a", "b", "c", "d", "e"]


def test_without_groups_every_image_counts() -> None:
    """As it always was: copies count as often as they are there, and nothing stands for anything else."""
    counting = Counting.of_contents(CONTENTS, [1, 2, 1, 1, 3], None)
    measure = counting.reference(["a", "b"], [1, 2])
    assert (counting.times, counting.of_images, measure.own) == ([1, 2, 1, 1, 3], None, {})
    assert (measure.contents, measure.counts) == (["a", "b"], [1, 2])


def test_a_group_counts_as_one_image() -> None:
    """One content of each group, once, copies too; the others find it as their own."""
    counting = Counting.of_contents(CONTENTS, [1, 2, 1, 1, 3], np.array([0, -1, 0, -1, -1]))
    measure = counting.reference(CONTENTS, [1, 2, 1, 1, 3])
    assert counting.times == [1, 1, 0, 1, 1]
    assert (measure.contents, measure.counts) == (["a", "b", "d", "e"], [1, 1, 1, 1])
    assert (measure.own["a"], measure.own["c"], measure.own["b"]) == ("a", "a", "b")
    assert counting.of_images is not None
    assert counting.of_images.tolist() == [0, 1, 1, 0, 2, 3, 3, 3]


def test_of_a_drawn_reference_the_first_of_each_group_stands() -> None:
    """Another image of a group stands for it where the usual one was not drawn; without any it is not there."""
    counting = Counting.of_contents(CONTENTS, [1] * 5, np.array([0, 1, 0, 1, -1]))
    measure = counting.reference(["c", "e"], [1, 1])
    assert (measure.contents, measure.own) == (["c", "e"], {"a": "c", "c": "c", "e": "e"})


def test_where_everything_is_one_group_every_image_counts() -> None:
    """One unit has nothing to be compared with."""
    assert Counting.of_contents(CONTENTS, [1] * 5, np.zeros(5, np.int64)).units is None


def test_the_twins_of_an_image_do_not_make_its_defect_look_common() -> None:
    """Three exposures of a defective part and eight good ones: counted once, it is as rare as it was without twins."""
    good, defect = 0.1, 0.9
    nearest = np.full((11, 11, 1), good)
    nearest[:3], nearest[3:, :3] = defect, good
    nearest[:3, :3] = 0.02
    nearest[np.arange(11), np.arange(11)] = 0
    counting = Counting.of_contents([f"{at:02}" for at in range(11)], [1] * 11, np.array([0, 0, 0, *[-1] * 8]))
    measure = counting.reference(counting.contents, counting.counts)
    columns = [int(content) for content in measure.contents]
    once = nearest[:, columns]
    for row, content in enumerate(counting.contents):
        once[row, measure.contents.index(measure.own[content])] = 0
    every = expected_rarity(nearest, np.ones(11, np.int64))
    found = expected_rarity(once, np.array(measure.counts))
    assert found[:3, 0] == pytest.approx([defect] * 3)
    assert (every[:3, 0] < 0.75).all()
