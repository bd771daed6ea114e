"""Which view decides for a part, and which label a part has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ArrayContractError
from anoclust_core.records import DatasetManifest, ImageRecord
from anoclust_core.weighting.parts import decided, deciding_rows, label_of_part, labels_by_part, one_of_each_part

names = st.sampled_from(["p1", "p2", "p3", None])


@given(st.lists(st.tuples(st.integers(0, 9), names), max_size=30))
def test_every_part_takes_its_rarest_view(views: list[tuple[int, str | None]]) -> None:
    """One row a part, no view of it is rarer; images of no part all stay."""
    scores, parts = np.array([float(score) for score, _ in views]), [part for _, part in views]
    rows = deciding_rows(scores, parts).tolist()
    assert rows == sorted(set(rows))
    assert {parts[row] for row in rows if parts[row]} == {part for part in parts if part}
    assert sum(parts[row] is None for row in rows) == parts.count(None)
    for row in rows:
        if parts[row] is not None:
            of_part = [score for score, part in zip(scores, parts, strict=True) if part == parts[row]]
            assert scores[row] == max(of_part)
            assert sum(parts[other] == parts[row] for other in rows) == 1


def test_without_parts_every_image_decides() -> None:
    """Nothing changes where no image names a part."""
    assert deciding_rows(np.array([3.0, 1.0, 2.0]), [None] * 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("scores", "parts", "words"),
    [([1.0], ["a", "b"], "for each of 1 scores, found 2"), ([np.nan], ["a"], "expected finite scores")],
)
def test_what_does_not_fit_is_refused(scores: list[float], parts: list[str], words: str) -> None:
    """A wrong number of names, and scores that are no numbers, are errors that say so."""
    with pytest.raises(ArrayContractError, match=words):
        deciding_rows(np.array(scores), parts)


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        (["good", "good"], "good"),
        (["good", "hole", "good"], "hole"),
        (["hole", "scratch", "scratch"], "scratch"),
        (["scratch", "hole"], "hole"),
        ([None, "good"], "good"),
        ([None, None], None),
    ],
)
def test_a_part_has_the_label_of_its_defect(labels: list[str | None], label: str | None) -> None:
    """One defect makes a part defective; the one that most views show counts; the decision does not matter."""
    assert label_of_part(labels) == label


def test_other_views_stay_in_the_manifest_beside_the_one_that_decides() -> None:
    """Views that do not decide are compared, but not clustered, and are found by the part's name."""
    images = tuple(
        ImageRecord(path, f"/{path}", sha, "cluster", label=label, part=part)
        for path, sha, label, part in [
            ("b.png", "1", "good", "p"),
            ("a.png", "2", "hole", "p"),
            ("c.png", "3", "good", None),
        ]
    )
    listed = DatasetManifest("board", images)
    made = decided(listed, np.array([0.5, 0.4, 0.1]))
    assert [image.path for image in made.clustered] == ["b.png", "c.png"]
    assert [image.path for image in made.views["p"]] == ["a.png"]
    assert [image.path for image in made.compared] == [image.path for image in listed.clustered]
    assert labels_by_part(made.clustered, made.compared) == ["hole", "good"]
    assert len(one_of_each_part(listed.clustered)) == 2
