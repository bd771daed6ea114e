from __future__ import annotations

import pytest
from helpers.builders import digest, manifest_of
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ConfigError, ResourceError
from anoclust_core.records import Reference
from anoclust_core.weighting.reference import choose_reference, draw, reference_contents, reference_note

HASHES = [digest(f"image {number}") for number in range(40)]
N_PATCHES = 16
BYTES_EACH = len(HASHES) * N_PATCHES * 2
"""Distances of all 40 images to one, in half precision."""


def choose(size: int | None, budget: int, normals: int = 0) -> Reference:
    images = manifest_of(HASHES, [digest(f"normal {number}") for number in range(normals)])
    return choose_reference(images, size=size, budget=budget, n_patches=N_PATCHES, seed=3)


@given(st.permutations(HASHES), st.integers(1, 45), st.integers(0, 5))
def test_the_draw_ignores_the_order(hashes, size, seed):
    """The same images are drawn in whatever order they are listed; as many as asked for, or all."""
    drawn = draw(hashes, size, seed=seed)
    assert drawn == draw(HASHES, size, seed=seed)
    assert len(drawn) == min(size, len(HASHES))
    assert set(drawn) <= set(HASHES)


@given(st.integers(1, 39), st.integers(1, 39), st.integers(0, 100))
def test_a_growing_set_keeps_its_reference(n_before, size, seed):
    """One image more replaces at most one image of the reference."""
    before = draw(HASHES[:n_before], size, seed=seed)
    after = draw(HASHES[: n_before + 1], size, seed=seed)
    assert len(set(before) - set(after)) <= 1


def test_every_image_is_drawn_about_equally_often():
    """Over many seeds no image is preferred: 10 of 40 images are each drawn in about a quarter of 2,000 draws."""
    times = dict.fromkeys(HASHES, 0)
    for seed in range(2000):
        for sha256 in draw(HASHES, 10, seed=seed):
            times[sha256] += 1
    # 500 expected, standard deviation 19.4; five of them
    assert all(403 < count < 597 for count in times.values())


def test_all_while_the_budget_lasts():
    """Without a number all images are the reference while their distances fit, then as many as fit."""
    assert choose(None, 40 * BYTES_EACH) == Reference("cluster")
    assert choose(None, 40 * BYTES_EACH - 1) == Reference("cluster", 39, 3)
    assert choose(None, 2 * BYTES_EACH) == Reference("cluster", 2, 3)
    assert choose(None, 5 * BYTES_EACH, normals=6) == Reference("normal", 5, 3)
    assert choose(None, 6 * BYTES_EACH, normals=6) == Reference("normal")


def test_a_number_is_taken_as_it_is():
    """The number asked for is the reference; as many as there are, or more, are all of them, whatever the seed."""
    assert choose(7, 1 << 30) == Reference("cluster", 7, 3)
    assert choose(40, 1 << 30) == choose(99, 1 << 30) == Reference("cluster")
    assert choose(1, 1 << 30, normals=6) == Reference("normal", 1, 3)


@pytest.mark.parametrize(
    ("size", "budget", "words"),
    [
        (7, 6 * BYTES_EACH, ["40 images", "7 others", "lower --reference to 6", "raise --store-budget to"]),
        (None, BYTES_EACH, ["2 others", "raise --store-budget to 1MiB"]),
    ],
)
def test_what_does_not_fit_is_refused(size, budget, words):
    """A number that the budget does not hold is refused with the bytes and both knobs."""
    with pytest.raises(ResourceError) as error:
        choose(size, budget)
    for word in words:
        assert word in str(error.value)
    assert ("lower" in str(error.value)) == (size is not None)


def test_one_image_is_no_blind_reference():
    """The image itself would have nothing to be measured against."""
    with pytest.raises(ConfigError, match="at least 2"):
        choose(1, 1 << 30)


def test_the_subset_keeps_the_counts():
    """Identical images count as often as there are; the contents stay in ascending order."""
    images = manifest_of([*HASHES, *HASHES[:5]])
    hashes, counts = reference_contents(Reference("cluster", 30, 1), images)
    assert hashes == draw(HASHES, 30, seed=1) == sorted(hashes)
    assert counts == [2 if sha256 in HASHES[:5] else 1 for sha256 in hashes]


def test_the_reader_is_told():
    """A subset is told in the report; all images are nothing to tell."""
    images = manifest_of(HASHES)
    assert reference_note(Reference("cluster"), images) == []
    (note,) = reference_note(Reference("cluster", 7, 3), images)
    assert "7 of 40 images" in note
    assert "seed 3" in note
