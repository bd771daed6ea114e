from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weighting.rarity import (
    expected_rarity,
    maximum_rarity,
    minimum_rarity,
    rarity_against_normals,
    trimmed_rarity,
)

Floats = NDArray[np.float64]

quick = settings(max_examples=20, deadline=None, database=None)

TRIMMED = partial(trimmed_rarity, share=0.4)
OVER_OTHERS = [
    pytest.param(expected_rarity, id="expected"),
    pytest.param(maximum_rarity, id="maximum"),
    pytest.param(minimum_rarity, id="minimum"),
    pytest.param(TRIMMED, id="trimmed"),
]


@dataclass(frozen=True)
class Files:
    """Images with copies; some of the contents are drawn as the reference."""

    contents: Floats
    counts: NDArray[np.int64]
    drawn: NDArray[np.bool_]

    @property
    def nearest(self) -> Floats:
        """From each patch to the nearest patch of each image of the reference."""
        return nearest(self.contents, self.contents[self.drawn])

    def of_others(self, statistic: Callable[[Floats], Floats]) -> Floats:
        """A statistic over the other files of the reference, file by file, for the first file of each content."""
        files = [(at, copy) for at, count in enumerate(self.counts) for copy in range(count) if self.drawn[at]]
        return np.array(
            [
                statistic(np.array([cdist(bag, self.contents[j]).min(axis=1) for j, c in files if (j, c) != (at, 0)]))
                for at, bag in enumerate(self.contents)
            ]
        )


def unit_bags(rng: np.random.Generator, n_images: int, n_patches: int) -> Floats:
    bags = rng.normal(size=(n_images, n_patches, 5))
    return bags / np.linalg.norm(bags, axis=-1, keepdims=True)


def nearest(bags: Floats, others: Floats) -> Floats:
    """From each patch to the nearest patch of each other image, by search."""
    return np.array([[cdist(bag, other).min(axis=1) for other in others] for bag in bags])


def trimmed_by_hand(distances: Floats, share: float) -> Floats:
    """Mean of the nearest share: the nearest count whole, the last in part, at least one whole."""
    wanted = max(share * len(distances), 1)
    parts = np.clip(wanted - np.arange(len(distances)), 0, 1)
    return np.average(np.sort(distances, axis=0), axis=0, weights=parts)


def files_of(seed: int, kinds: list[tuple[int, bool]], n_patches: int) -> Files:
    kinds = [*kinds, (2, True)]
    contents = unit_bags(np.random.default_rng(seed), len(kinds), n_patches)
    return Files(contents, np.array([count for count, _ in kinds]), np.array([is_drawn for _, is_drawn in kinds]))


some_files = st.builds(
    files_of,
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=6),
    st.integers(1, 5),
)
shares = st.floats(0, 1, exclude_min=True)


@quick
@given(some_files)
def test_rarity_is_the_mean_over_the_other_images(files: Files) -> None:
    """Rarity is equation (5), or (7) for a random reference: over all other files of it, copies counted one by one."""
    found = expected_rarity(files.nearest, files.counts[files.drawn], is_reference=files.drawn)
    np.testing.assert_allclose(found, files.of_others(partial(np.mean, axis=0)), rtol=1e-12, atol=1e-15)


@quick
@given(some_files)
def test_maximum_rarity_is_the_largest_over_the_other_images(files: Files) -> None:
    """The variant max takes, for each patch, the other file that it is farthest from."""
    found = maximum_rarity(files.nearest, files.counts[files.drawn], is_reference=files.drawn)
    np.testing.assert_array_equal(found, files.of_others(partial(np.max, axis=0)))


@quick
@given(some_files)
def test_minimum_rarity_is_the_smallest_over_the_other_images(files: Files) -> None:
    """The variant min takes the nearest other file: not the image itself, but a copy of it, at distance 0."""
    found = minimum_rarity(files.nearest, files.counts[files.drawn], is_reference=files.drawn)
    np.testing.assert_array_equal(found, files.of_others(partial(np.min, axis=0)))
    assert (found[files.drawn & (files.counts > 1)] == 0).all()


@quick
@given(some_files, shares)
@example(files_of(0, [(1, True)] * 8, 3), 0.3)
@example(files_of(0, [(1, True)] * 8, 3), 1e-300)
@example(files_of(0, [(1, True)], 3), 0.9999999999999999)
def test_trimmed_rarity_is_the_mean_over_the_nearest_share(files: Files, share: float) -> None:
    """The trimmed mean is over the nearest files of each patch, the last one in part where the share asks for it."""
    found = trimmed_rarity(files.nearest, files.counts[files.drawn], share=share, is_reference=files.drawn)
    np.testing.assert_allclose(found, files.of_others(lambda d: trimmed_by_hand(d, share)), rtol=1e-12, atol=1e-15)


@quick
@given(some_files, shares, shares)
def test_trimmed_rarity_lies_between_the_minimum_and_the_mean(files: Files, one: float, other: float) -> None:
    """With a small share it is the minimum, with all images the mean to the last digit, in between it only rises."""
    distances, counts, drawn = files.nearest, files.counts[files.drawn], files.drawn
    trimmed = [
        trimmed_rarity(distances, counts, share=share, is_reference=drawn) for share in (1e-9, *sorted((one, other)), 1)
    ]
    np.testing.assert_array_equal(trimmed[0], minimum_rarity(distances, counts, is_reference=drawn))
    np.testing.assert_array_equal(trimmed[3], expected_rarity(distances, counts, is_reference=drawn))
    assert (np.diff(trimmed, axis=0) >= -1e-12).all()


def test_the_nearest_of_many_images_are_found() -> None:
    """Among hundreds of images, minimum and trimmed mean are those of the sorted distances."""
    distances = np.random.default_rng(0).random((1, 500, 40))
    distances[0, 123] = 0
    ascending, counts = np.sort(distances[0], axis=0), np.ones(500, int)
    np.testing.assert_array_equal(minimum_rarity(distances, counts)[0], ascending[1])
    found = trimmed_rarity(distances, counts, share=0.3)[0]
    np.testing.assert_allclose(found, trimmed_by_hand(ascending[1:], 0.3), rtol=1e-12)
    outside = trimmed_rarity(distances, counts, share=0.3, is_reference=np.zeros(1, bool))[0]
    np.testing.assert_allclose(outside, trimmed_by_hand(ascending, 0.3), rtol=1e-12)


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_rarity_of_two_images_is_their_distance(rarity: Callable[..., Floats]) -> None:
    """With two images there is one other image, not two, whatever is taken over them."""
    distances = np.array([[[0.0], [0.8]], [[0.6], [0.0]]])
    np.testing.assert_allclose(rarity(distances, np.array([1, 1])), [[0.8], [0.6]])


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_only_copies_of_one_image_have_no_rarity(rarity: Callable[..., Floats]) -> None:
    """Where all files are the same, nothing is rare."""
    assert rarity(np.zeros((1, 1, 3)), np.array([4])).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_rarity_may_be_asked_for_some_of_the_images(rarity: Callable[..., Floats]) -> None:
    """Rarity of some images is that of the same images among all; of none it is empty."""
    bags = unit_bags(np.random.default_rng(0), 5, 3)
    distances, counts = nearest(bags, bags), np.array([1, 2, 1, 1, 3])
    whole = rarity(distances, counts)
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(rarity(distances[[3, 1]], counts), whole[[3, 1]])
    assert rarity(distances[:0], counts).shape == (0, 3)


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_rarity_ignores_the_order_of_images_and_patches(rarity: Callable[..., Floats]) -> None:
    """Listing images or patches in another order changes no score."""
    rng = np.random.default_rng(1)
    bags, counts, images, patches = unit_bags(rng, 6, 4), np.array([1, 2, 1, 1, 3, 1]), rng.permutation(6), [2, 0, 3, 1]
    expected = rarity(nearest(bags, bags), counts)[images][:, patches]
    found = rarity(nearest(bags[images][:, patches], bags[images]), counts[images])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_the_given_distances_are_not_changed(rarity: Callable[..., Floats]) -> None:
    """Scoring leaves the distances as they were, in whatever precision they came."""
    bags = unit_bags(np.random.default_rng(0), 5, 3)
    distances = nearest(bags, bags).astype(np.float16)
    before = distances.copy()
    rarity(distances, np.ones(5, int))
    np.testing.assert_array_equal(distances, before)


def test_rarity_keeps_its_digits_over_many_images() -> None:
    """Half-precision distances to thousands of images are added up in double precision."""
    distances = np.full((1, 30_000, 1), 0.1, np.float16)
    exact = float(np.float16(0.1)) * 30_000 / 29_999
    assert expected_rarity(distances, np.ones(30_000, int))[0, 0] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("rarity", OVER_OTHERS)
@pytest.mark.parametrize(
    ("shape", "counts", "message"),
    [
        ((1, 1, 3), [1], "at least 2"),
        ((0, 0, 3), [], "at least 2"),
        ((2, 2, 3), [1, 1, 1], r"one count|to be an array"),
        ((2, 2, 3), [[1, 1]], r"one count|to be an array"),
        ((2, 2), [1, 1], r"one count|to be an array"),
        ((2, 2, 3), [1, 0], "at least 1"),
        ((2, 2, 3), [3, -1], "at least 1"),
    ],
)
def test_rarity_of_too_few_images_or_of_other_shapes_is_refused(
    rarity: Callable[..., Floats], shape: tuple[int, ...], counts: list[int], message: str
) -> None:
    """One image alone has no rarity, and counts that do not fit the distances are an error."""
    with pytest.raises(ArrayContractError, match=message):
        rarity(np.zeros(shape), np.array(counts, dtype=int))


@pytest.mark.parametrize("rarity", OVER_OTHERS)
def test_a_reference_that_does_not_fit_is_refused(rarity: Callable[..., Floats]) -> None:
    """Every image needs to know whether it is in the reference, and one outside needs at least one image in it."""
    with pytest.raises(ArrayContractError, match=r"one value per image|to be an array"):
        rarity(np.zeros((2, 2, 3)), np.array([1, 1]), is_reference=np.ones(3, bool))
    with pytest.raises(ArrayContractError, match="at least 1 of them"):
        rarity(np.zeros((2, 0, 3)), np.zeros(0, int), is_reference=np.zeros(2, bool))
    with pytest.raises(ArrayContractError, match="whole count"):
        rarity(np.zeros((2, 2, 3)), np.array([1.0, 1.5]))


@pytest.mark.parametrize("rarity", [*OVER_OTHERS, pytest.param(rarity_against_normals, id="normals")])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_distances_that_are_not_finite_are_refused(rarity: Callable[..., Floats], bad: float) -> None:
    """One NaN or infinity is an error, also where it would not have been the smallest or largest."""
    distances = 1 - np.eye(4)[..., None] * np.ones(3)
    distances[1, 2, 0] = bad
    with pytest.raises(ArrayContractError, match="finite"):
        rarity(distances, *([] if rarity is rarity_against_normals else [np.ones(4, int)]))


@pytest.mark.parametrize("rarity", [minimum_rarity, TRIMMED])
def test_an_image_that_is_far_from_itself_is_refused(rarity: Callable[..., Floats]) -> None:
    """An image that is said to be in the reference, but is nowhere at distance 0, cannot be left out: an error."""
    with pytest.raises(ArrayContractError, match="distance 0 to its own content"):
        rarity(np.full((3, 3, 2), 0.5), np.ones(3, int))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, np.nan, np.inf])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """A share outside (0, 1] is an error that names it."""
    with pytest.raises(ConfigError, match=f"found {share}"):
        trimmed_rarity(np.zeros((2, 2, 1)), np.ones(2, int), share=share)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))
def test_rarity_against_normals_is_the_distance_to_the_nearest_normal_patch(
    seed: int, n_images: int, n_normals: int, n_patches: int
) -> None:
    """With known normals a patch is as rare as it is far from the nearest patch of all normals together."""
    rng = np.random.default_rng(seed)
    bags, normals = unit_bags(rng, n_images, n_patches), unit_bags(rng, n_normals, 4)
    expected = [cdist(bag, normals.reshape(-1, 5)).min(axis=1) for bag in bags]
    np.testing.assert_allclose(rarity_against_normals(nearest(bags, normals)), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 0, 4), (3, 4)])
def test_rarity_against_no_normals_is_refused(shape: tuple[int, ...]) -> None:
    """Without a normal image there is nothing to be measured against."""
    with pytest.raises(ArrayContractError, match=r"at least one normal|to be an array"):
        rarity_against_normals(np.zeros(shape))


def test_one_other_image_is_a_reference():
    """Rarity against a single image, as `--reference 1` asks for, is the distance to it."""
    nearest = np.random.default_rng(0).random((3, 1, 4)).astype(np.float32)
    found = expected_rarity(nearest, np.ones(1, int), is_reference=np.zeros(3, bool))
    np.testing.assert_array_equal(found, nearest[:, 0])
