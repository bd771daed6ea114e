from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax

from anoclust_core.config import parse_tau
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weights import expected_rarity, rarity_against_normals, soft_weights, temperature

Floats = NDArray[np.float64]

quick = settings(max_examples=25, deadline=None, database=None)

scores = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 2))
taus = st.floats(-300, 300).map(lambda exponent: 10.0**exponent)


def unit_bags(rng: np.random.Generator, n_images: int, n_patches: int) -> Floats:
    bags = rng.normal(size=(n_images, n_patches, 5))
    return bags / np.linalg.norm(bags, axis=-1, keepdims=True)


def nearest(bags: Floats, others: Floats) -> Floats:
    """From each patch to the nearest patch of each other image, by search."""
    return np.array([[cdist(bag, other).min(axis=1) for other in others] for bag in bags])


@quick
@given(scores, taus)
@example(np.array([[0.0, 2.0, 2.0]]), 1e-300)
@example(np.array([[0.0, 2.0, 2.0]]), 5e-324)
@example(np.array([[0.0, 2.0, 2.0]]), 1e300)
@example(np.array([[-1.7e308, 1.7e308]]), 1.0)
def test_weights_of_an_image_sum_to_one_at_every_temperature(rarity: Floats, tau: float) -> None:
    """However small or large tau is, each image's weights are between 0 and 1 and sum to 1, without any warning."""
    weights = soft_weights(rarity, tau=tau)
    assert weights.shape == rarity.shape
    assert ((weights >= 0) & (weights <= 1)).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


@quick
@given(scores, st.floats(-3, 3).map(lambda exponent: 10.0**exponent))
def test_weights_are_the_softmax_of_rarity_over_tau(rarity: Floats, tau: float) -> None:
    """The weights are those of equation (5), here from SciPy."""
    np.testing.assert_allclose(soft_weights(rarity, tau=tau), softmax(rarity / tau, axis=1), rtol=1e-9, atol=1e-300)


@quick
@given(scores, taus)
def test_a_rarer_patch_never_weighs_less(rarity: Floats, tau: float) -> None:
    """Within an image the order of the weights is the order of the rarity; equal rarity has equal weight."""
    order = np.argsort(rarity, axis=1)
    ordered, weights = (np.take_along_axis(a, order, axis=1) for a in (rarity, soft_weights(rarity, tau=tau)))
    steps, rises = np.diff(weights, axis=1), np.diff(ordered, axis=1)
    assert (steps >= 0).all()
    assert (steps[rises == 0] == 0).all()


def test_a_small_tau_leaves_the_rarest_patch_alone() -> None:
    """Towards 0 one patch takes all; patches that share the largest rarity share the weight."""
    rarity = np.array([[0.1, 0.7, 0.3], [0.5, 0.5, 0.499]])
    np.testing.assert_array_equal(soft_weights(rarity, tau=1e-9), [[0, 1, 0], [0.5, 0.5, 0]])


def test_a_large_tau_lets_all_patches_count_alike() -> None:
    """Towards infinity every patch has the same weight."""
    weights = soft_weights(np.array([[0.1, 0.7, 0.3, 2.0]]), tau=1e12)
    np.testing.assert_allclose(weights, np.full((1, 4), 0.25), rtol=1e-9)


def test_each_image_is_weighted_on_its_own() -> None:
    """An image's weights do not depend on the images beside it."""
    rarity = np.random.default_rng(0).uniform(0, 2, (5, 7))
    alone = [soft_weights(rarity[i : i + 1], tau=0.1)[0] for i in range(5)]
    np.testing.assert_array_equal(soft_weights(rarity, tau=0.1), alone)


@pytest.mark.parametrize(
    "rarity", [np.zeros(3), np.zeros((2, 3, 4)), np.zeros((2, 0)), np.array([[0, np.nan]]), np.array([[0, np.inf]])]
)
def test_weights_of_something_else_than_rarity_are_refused(rarity: Floats) -> None:
    """Rarity of the wrong shape, without patches, or with NaN or infinity gives an error and not NaN weights."""
    with pytest.raises(ArrayContractError, match="rarity must be finite"):
        soft_weights(rarity, tau=1.0)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_a_temperature_that_is_not_positive_is_refused(tau: float) -> None:
    """A tau that is 0, negative, infinite or not a number is an error that names it."""
    with pytest.raises(ConfigError, match=f"tau must be a positive number; found {tau}"):
        soft_weights(np.zeros((1, 2)), tau=tau)


@quick
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 6))
def test_rarity_is_the_mean_over_the_other_images(seed: int, counts: list[int], n_patches: int) -> None:
    """Rarity of an image is equation (5) over all other files; copies of a file count as images of their own."""
    if sum(counts) < 2:
        counts = [*counts, 1]
    contents = unit_bags(np.random.default_rng(seed), len(counts), n_patches)
    images = np.repeat(contents, counts, axis=0)
    expected = [
        np.mean([cdist(image, other).min(axis=1) for j, other in enumerate(images) if j != i], axis=0)
        for i, image in enumerate(images)
    ]
    found = expected_rarity(nearest(contents, contents), np.array(counts))
    np.testing.assert_allclose(np.repeat(found, counts, axis=0), expected, rtol=1e-12, atol=1e-15)


@quick
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_rarity_against_a_subset(seed: int, images_of: list[tuple[int, bool]], n_patches: int) -> None:
    """With a random reference the mean of equation (7) runs over its other images, whether an image is in it or not."""
    images_of = [*images_of, (2, True)]
    contents = unit_bags(np.random.default_rng(seed), len(images_of), n_patches)
    counts = np.array([count for count, _ in images_of])
    drawn = np.array([is_drawn for _, is_drawn in images_of])
    files = [(at, copy) for at, count in enumerate(counts) for copy in range(count)]
    expected = [
        np.mean(
            [cdist(contents[at], contents[j]).min(axis=1) for j, copy in files if drawn[j] and (j, copy) != (at, 0)],
            axis=0,
        )
        for at in range(len(contents))
    ]
    found = expected_rarity(nearest(contents, contents[drawn]), counts[drawn], is_reference=drawn)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_rarity_of_two_images_is_their_distance() -> None:
    """With two images the mean runs over one other image, not over two."""
    distances = np.array([[[0.0], [0.8]], [[0.6], [0.0]]])
    np.testing.assert_allclose(expected_rarity(distances, np.array([1, 1])), [[0.8], [0.6]])


def test_only_copies_of_one_image_have_no_rarity() -> None:
    """Where all files are the same, nothing is rare."""
    assert expected_rarity(np.zeros((1, 1, 3)), np.array([4])).tolist() == [[0, 0, 0]]


def test_rarity_may_be_asked_for_some_of_the_images() -> None:
    """Rarity of some images is that of the same images among all; of none it is empty."""
    bags = unit_bags(np.random.default_rng(0), 5, 3)
    distances, counts = nearest(bags, bags), np.array([1, 2, 1, 1, 3])
    whole = expected_rarity(distances, counts)
    np.testing.assert_array_equal(expected_rarity(distances[[3, 1]], counts), whole[[3, 1]])
    assert expected_rarity(distances[:0], counts).shape == (0, 3)


def test_rarity_keeps_its_digits_over_many_images() -> None:
    """Half-precision distances to thousands of images are added up in double precision."""
    distances = np.full((1, 30_000, 1), 0.1, np.float16)
    exact = float(np.float16(0.1)) * 30_000 / 29_999
    assert expected_rarity(distances, np.ones(30_000, int))[0, 0] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "counts", "message"),
    [
        ((1, 1, 3), [1], "at least 2"),
        ((0, 0, 3), [], "at least 2"),
        ((2, 2, 3), [1, 1, 1], "one count"),
        ((2, 2, 3), [[1, 1]], "one count"),
        ((2, 2), [1, 1], "one count"),
    ],
)
def test_rarity_of_too_few_images_or_of_other_shapes_is_refused(
    shape: tuple[int, ...], counts: list[int], message: str
) -> None:
    """One image alone has no rarity, and counts that do not fit the distances are an error."""
    with pytest.raises(ArrayContractError, match=message):
        expected_rarity(np.zeros(shape), np.array(counts, dtype=int))


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
    with pytest.raises(ArrayContractError, match="at least one normal"):
        rarity_against_normals(np.zeros(shape))


@quick
@given(scores, st.floats(1e-3, 1e3))
def test_a_plain_tau_is_taken_as_it_is(rarity: Floats, value: float) -> None:
    """A number without ``sd`` is the temperature in embedding units, whatever the rarity."""
    assert temperature(repr(value), rarity) == value


@quick
@given(scores, st.floats(1e-3, 1e3))
@example(np.full((3, 3), 0.1), 0.3)
def test_a_relative_tau_counts_standard_deviations(rarity: Floats, factor: float) -> None:
    """With ``sd`` the temperature is that multiple of the standard deviation over all patches of all images."""
    spread = statistics.pstdev(rarity.ravel().tolist())
    found = temperature(f"{factor!r}sd", rarity)
    assert found > 0
    if spread > 1e-12:
        assert found == pytest.approx(factor * spread, rel=1e-9)


@quick
@given(scores, st.floats(1e-3, 1e3))
def test_with_a_relative_tau_the_unit_of_rarity_does_not_matter(rarity: Floats, unit: float) -> None:
    """Weights with a tau in ``sd`` stay the same when all rarity is measured in another unit."""
    if np.std(rarity) < 1e-9:
        return
    weights = [soft_weights(scores, tau=temperature("0.3sd", scores)) for scores in (rarity, unit * rarity)]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 2.0])
def test_without_any_spread_all_patches_count_alike(value: float) -> None:
    """Where every patch is as rare as the next, a relative tau gives equal weights and not a division by zero."""
    rarity = np.full((3, 4), value)
    np.testing.assert_allclose(soft_weights(rarity, tau=temperature("0.3sd", rarity)), 0.25)


@quick
@given(st.floats(1e-300, 1e300), st.sampled_from(["", "sd", " sd", "sd "]), st.sampled_from(["", " "]))
def test_tau_is_read_to_the_last_digit(value: float, suffix: str, space: str) -> None:
    """A written temperature is read exactly, with or without ``sd``, and spaces do not matter."""
    assert parse_tau(f"{space}{value!r}{suffix}") == (value, "sd" in suffix)


@pytest.mark.parametrize(
    "text",
    ["", "sd", "0", "0sd", "-1", "-0.3sd", "nan", "inf", "1e999", "1e-999", "1,5", "0.3 std", "3sdsd", "--", "1_0"],
)
def test_a_text_that_is_no_temperature_is_refused(text: str) -> None:
    """Anything but a positive number with an optional ``sd`` is an error that repeats the text and shows both forms."""
    with pytest.raises(ConfigError, match=r"0\.02.*0\.3sd.*found") as error:
        parse_tau(text)
    assert repr(text) in str(error.value)
    with pytest.raises(ConfigError):
        temperature(text, np.zeros((1, 1)))
