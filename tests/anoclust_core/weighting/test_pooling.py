from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from anoclust_core.bags import descriptors, normalize_patches
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weighting.pooling import average_pool, bag_of_words, gem_pool, max_pool, spoc_pool
from anoclust_core.weighting.weights import uniform_weights

Floats = NDArray[np.floating[Any]]

quick = settings(max_examples=20, deadline=None, database=None)

GRID = (2, 3)


def words_of(bags: Floats, *, n_words: int = 4, seed: int = 0) -> Floats:
    return bag_of_words(bags, n_words=n_words, generator=np.random.default_rng(seed))


POOLS = [
    pytest.param(average_pool, id="average"),
    pytest.param(max_pool, id="max"),
    pytest.param(gem_pool, id="gem"),
    pytest.param(partial(spoc_pool, grid=GRID, sigma=1.5), id="spoc"),
    pytest.param(words_of, id="words"),
]

some_bags = st.integers(1, 4).flatmap(
    lambda n_images: arrays(np.float32, (n_images, 6, 3), elements=st.floats(-2, 2, width=16))
)


def random_bags(seed: int, n_images: int = 4, n_patches: int = 6, dim: int = 5) -> Floats:
    return normalize_patches(np.random.default_rng(seed).normal(size=(n_images, n_patches, dim)))


@quick
@given(some_bags)
def test_average_and_maximum_are_those_of_each_feature(bags: Floats) -> None:
    """Average and maximum run over an image's patches, feature by feature; the average is that of equal weights."""
    lists = bags.tolist()
    means = [[sum(f) / 6 for f in zip(*bag, strict=True)] for bag in lists]
    largest = [[max(f) for f in zip(*bag, strict=True)] for bag in lists]
    np.testing.assert_allclose(average_pool(bags), means, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(average_pool(bags), descriptors(bags, uniform_weights(len(bags), 6)))
    np.testing.assert_array_equal(max_pool(bags), largest)


@quick
@given(some_bags, st.floats(1, 30))
def test_gem_is_the_generalised_mean_of_the_positive_parts(bags: Floats, p: float) -> None:
    """GeM is the p-th root of the mean p-th power; negative features count as 0."""
    expected = np.mean(np.maximum(bags.astype(np.longdouble), 0) ** p, axis=1) ** (1 / np.longdouble(p))
    np.testing.assert_allclose(gem_pool(bags, p=p), expected.astype(float), rtol=1e-5)


def test_gem_lies_between_the_mean_and_the_maximum() -> None:
    """With p = 1 it is the mean of non-negative features, with a large p their maximum, and in between it rises."""
    bags = np.abs(random_bags(0))
    pooled = [gem_pool(bags, p=p) for p in (1, 3, 20, 1e4)]
    np.testing.assert_allclose(pooled[0], average_pool(bags), rtol=1e-6)
    np.testing.assert_allclose(pooled[-1], max_pool(bags), rtol=1e-3)
    assert (np.diff(pooled, axis=0) >= -1e-7).all()
    np.testing.assert_array_equal(gem_pool(bags), pooled[2])


@pytest.mark.parametrize("scale", [1e-38, 1e-6, 1, 1e6, 1e37])
def test_gem_of_faint_and_strong_features(scale: float) -> None:
    """The 20th power of a faint or strong feature neither vanishes nor overflows: the unit does not matter."""
    bags = np.abs(random_bags(1)).astype(np.float64)
    np.testing.assert_allclose(gem_pool(bags * scale), gem_pool(bags).astype(float) * scale, rtol=1e-5)


def test_features_that_are_never_positive_pool_to_zero() -> None:
    """An image without any activation of a feature has 0 there by GeM, and the largest negative value by maximum."""
    bags = -np.abs(random_bags(2))
    assert not gem_pool(bags).any()
    np.testing.assert_array_equal(max_pool(bags), bags.max(axis=1))


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.floats(0.2, 10))
def test_spoc_weighs_patches_by_their_distance_to_the_middle(seed: int, height: int, width: int, sigma: float) -> None:
    """A patch weighs by a Gauss curve over its distance to the middle of the grid, in cells."""
    bags = random_bags(seed, n_patches=height * width)
    middle = complex((height - 1) / 2, (width - 1) / 2)
    prior = [np.exp(-(abs(complex(r, c) - middle) ** 2) / (2 * sigma**2)) for r in range(height) for c in range(width)]
    expected = [np.average(bag.astype(float), axis=0, weights=prior) for bag in bags]
    np.testing.assert_allclose(spoc_pool(bags, (height, width), sigma=sigma), expected, rtol=1e-5, atol=1e-6)


def test_the_papers_spoc_is_the_average() -> None:
    """At sigma = 1000 no grid is large enough to be weighed; a tiny sigma leaves the innermost patches alone."""
    bags = random_bags(0, n_patches=32 * 32)
    np.testing.assert_allclose(spoc_pool(bags, (32, 32)), average_pool(bags), atol=1e-4)
    for sigma in (1e-3, 5e-324):
        np.testing.assert_allclose(spoc_pool(bags[:, :9], (3, 3), sigma=sigma), bags[:, 4], rtol=1e-6)
    np.testing.assert_allclose(
        spoc_pool(bags[:, :8], (2, 4), sigma=1e-3), bags[:, [1, 2, 5, 6]].mean(axis=1), rtol=1e-5
    )


def test_words_count_the_patches_of_each_kind() -> None:
    """Three kinds of patches and three words: each image's histogram holds the shares of the kinds in it."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=(5, 40))
    kinds[0] = 1
    bags = normalize_patches(np.eye(3)[kinds] + 0.01 * rng.normal(size=(5, 40, 3)))
    shares = np.array([np.bincount(image, minlength=3) / 40 for image in kinds])
    histograms = words_of(bags, n_words=3)
    # words have no order of their own
    assert any(np.allclose(histograms[:, order], shares) for order in permutations(range(3)))


@quick
@given(some_bags, st.integers(1, 9), st.integers(0, 5))
def test_histograms_sum_to_one(bags: Floats, n_words: int, seed: int) -> None:
    """Every image has shares of words that sum to 1, with fewer patches or fewer different ones than words too."""
    histograms = words_of(bags, n_words=n_words, seed=seed)
    assert histograms.shape == (len(bags), n_words)
    assert histograms.dtype == np.float32
    np.testing.assert_allclose(histograms.sum(axis=1), 1, rtol=1e-6)
    assert np.count_nonzero(histograms.any(axis=0)) <= len(np.unique(bags.reshape(-1, 3) + 0.0, axis=0))


def test_a_codebook_larger_than_the_patches_tells_each_apart() -> None:
    """With a word for every different patch, images differ in their histograms exactly by their patches."""
    patches = random_bags(0, 1, 5)[0]
    bags = patches[np.array([[0, 1, 1, 2], [3, 4, 4, 4], [1, 2, 0, 1]])]
    histograms = words_of(bags, n_words=512)
    np.testing.assert_array_equal(histograms[0], histograms[2])
    assert sorted(histograms[0][histograms[0] > 0]) == [0.25, 0.25, 0.5]
    assert sorted(histograms[1][histograms[1] > 0]) == [0.25, 0.75]
    assert not (histograms[0] * histograms[1]).any()


def test_words_depend_on_the_generator_alone() -> None:
    """The same generator gives the same words, for images and patches in any order; another one gives others."""
    rng = np.random.default_rng(0)
    bags, images = random_bags(0, 20, 30), rng.permutation(20)
    first = words_of(bags)
    np.testing.assert_array_equal(words_of(bags), first)
    np.testing.assert_array_equal(words_of(bags[images][:, rng.permutation(30)]), first[images])
    assert (words_of(bags, seed=1) != first).any()


@pytest.mark.parametrize("pool", POOLS[:3])
@quick
@given(bags=some_bags, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_patches_does_not_matter(pool: Callable[[Floats], Floats], bags: Floats, seed: int) -> None:
    """Shuffling the patches of all images changes no descriptor."""
    order = np.random.default_rng(seed).permutation(6)
    np.testing.assert_allclose(pool(bags[:, order]), pool(bags), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pool", POOLS[:4])
def test_each_image_is_pooled_on_its_own(pool: Callable[[Floats], Floats]) -> None:
    """A descriptor does not depend on the images beside it; of no image there is none."""
    bags = random_bags(0)
    before = bags.copy()
    pooled = pool(bags)
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([pool(bags[i : i + 1]) for i in range(4)]), pooled)
    np.testing.assert_allclose(pool(bags.astype(np.float16)), pooled, atol=1e-3)
    assert pool(bags[:0]).shape == (0, 5)
    np.testing.assert_array_equal(bags, before)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((6, 5)), "shape"),
        (np.ones((2, 0, 5)), "shape"),
        (np.ones((2, 6, 0)), "shape"),
        (np.full((2, 6, 5), np.nan), "finite"),
        (np.where(np.arange(5) == 3, np.inf, np.ones((2, 6, 5))), "finite"),
        (np.full((2, 6, 5), 1e300), "finite"),
    ],
)
def test_something_else_than_bags_is_refused(pool: Callable[[Floats], Floats], bad: Floats, message: str) -> None:
    """Features of the wrong shape, NaN, infinite or beyond single precision are an error, not a descriptor of NaN."""
    with pytest.raises(ArrayContractError, match=message):
        pool(bad)


@pytest.mark.parametrize("p", [0.0, 0.5, -1, np.nan, np.inf])
def test_a_power_that_makes_no_mean_is_refused(p: float) -> None:
    """A power below 1, infinite or NaN is an error that names it."""
    with pytest.raises(ConfigError, match=f"found {p}"):
        gem_pool(random_bags(0), p=p)


@pytest.mark.parametrize("sigma", [0.0, -1, np.nan, np.inf])
def test_a_width_that_is_none_is_refused(sigma: float) -> None:
    """A prior without a positive width is an error that names it."""
    with pytest.raises(ConfigError, match=f"found {sigma}"):
        spoc_pool(random_bags(0), GRID, sigma=sigma)


@pytest.mark.parametrize("grid", [(2, 2), (6, 2), (0, 6), (-2, -3)])
def test_a_grid_of_other_patches_is_refused(grid: tuple[int, int]) -> None:
    """A grid whose cells are not the patches of a bag is an error that tells both numbers."""
    with pytest.raises(ArrayContractError, match=f"{grid[0]} x {grid[1]} does not have the 6 patches"):
        spoc_pool(random_bags(0), grid)


def test_a_codebook_of_nothing_is_refused() -> None:
    """No words, or no image to learn them from, is an error."""
    with pytest.raises(ConfigError, match="at least 1 word; found 0"):
        words_of(random_bags(0), n_words=0)
    with pytest.raises(ArrayContractError, match="at least one image"):
        words_of(random_bags(0)[:0])
