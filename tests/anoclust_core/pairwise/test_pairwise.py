from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers.nearest_patches import Bags, brute_force, moved
from hypothesis import given, settings
from hypothesis import strategies as st

from anoclust_core.bags import normalize_patches
from anoclust_core.errors import ArrayContractError
from anoclust_core.pairwise import cpu
from anoclust_core.pairwise.cpu import mutual_nearest_distances, nearest_distances, nearest_distances_within
from anoclust_core.pairwise.kernels.integers import has_integer_products

quick = settings(max_examples=25, deadline=None, database=None)


@pytest.fixture(params=["integers", "single precision"], autouse=True, scope="module")
def kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure with either kernel, whatever this processor would be given."""
    integers = request.param == "integers"
    if integers and not has_integer_products():
        pytest.skip("this processor does not multiply pairs of 16-bit integers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "has_integer_products", lambda: integers)
        yield


def random_bags(rng: np.random.Generator, n_images: int, n_patches: int, dim: int) -> Bags:
    return normalize_patches(rng.normal(size=(n_images, n_patches, dim)))


pairs_of_groups = st.builds(
    lambda seed, n, n_others, m, m_others, dim: (
        random_bags(np.random.default_rng(seed), n, m, dim),
        random_bags(np.random.default_rng([seed, 1]), n_others, m_others, dim),
    ),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 3),
    n_others=st.integers(1, 3),
    m=st.integers(1, 12),
    m_others=st.integers(1, 12),
    dim=st.integers(1, 40),
)


@quick
@given(pairs_of_groups)
def test_each_patch_gets_the_distance_to_its_nearest_patch(groups: tuple[Bags, Bags]) -> None:
    """Every distance is that of a search over all patches, whatever the numbers of images and patches on each side."""
    bags, others = groups
    distances = nearest_distances(bags, others)
    assert distances.shape == (len(bags), len(others), bags.shape[1])
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, brute_force(bags, others), rtol=0, atol=1e-5)


@quick
@given(pairs_of_groups)
def test_both_directions_at_once_are_right(groups: tuple[Bags, Bags]) -> None:
    """One pass gives the distances there and back, two different questions, each as a search over all patches."""
    bags, others = groups
    forward, backward = mutual_nearest_distances(bags, others)
    assert backward.shape == (len(others), len(bags), others.shape[1])
    np.testing.assert_allclose(forward, brute_force(bags, others), rtol=0, atol=1e-5)
    np.testing.assert_allclose(backward, brute_force(others, bags), rtol=0, atol=1e-5)


@quick
@given(pairs_of_groups)
def test_both_directions_at_once_equal_two_calls_of_one(groups: tuple[Bags, Bags]) -> None:
    """It does not matter whether the two directions are computed together or one after the other."""
    bags, others = groups
    forward, backward = mutual_nearest_distances(bags, others)
    np.testing.assert_allclose(forward, nearest_distances(bags, others), rtol=0, atol=1e-5)
    np.testing.assert_allclose(backward, nearest_distances(others, bags), rtol=0, atol=1e-5)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 12), st.integers(1, 40))
def test_within_a_group_every_ordered_pair_is_measured(seed: int, n_images: int, n_patches: int, dim: int) -> None:
    """Among the images of one group all pairs are measured in both directions, and an image to itself is exactly 0."""
    bags = random_bags(np.random.default_rng(seed), n_images, n_patches, dim)
    distances = nearest_distances_within(bags)
    assert distances.shape == (n_images, n_images, n_patches)
    np.testing.assert_allclose(distances, brute_force(bags, bags), rtol=0, atol=1e-5)
    assert (distances[np.arange(n_images), np.arange(n_images)] == 0).all()


def test_the_two_directions_differ() -> None:
    """An image with one odd patch is far from a plain image; the plain image is close to it."""
    plain, odd = np.eye(3, dtype=np.float32)[[[0, 0]]], np.eye(3, dtype=np.float32)[[[0, 1]]]
    to_odd, to_plain = mutual_nearest_distances(plain, odd)
    assert to_odd.tolist() == [[[0, 0]]]
    assert to_plain[0, 0].tolist() == [0, pytest.approx(2**0.5)]


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 300))
def test_identical_images_are_at_distance_exactly_zero(seed: int, n_patches: int, dim: int) -> None:
    """Two byte-identical images have distance 0, not the 3e-4 that rounding of inner products would leave."""
    rng = np.random.default_rng(seed)
    bags = random_bags(rng, 2, n_patches, dim)
    copies = bags[:, rng.permutation(n_patches)]
    assert not nearest_distances_within(np.concatenate([bags[:1], copies[:1]])).any()
    forward, backward = mutual_nearest_distances(bags, copies)
    assert not forward[[0, 1], [0, 1]].any()
    assert not backward[[0, 1], [0, 1]].any()


def test_a_patch_that_occurs_in_the_other_image_is_at_distance_exactly_zero() -> None:
    """Where two images share some patches, exactly those are at distance 0."""
    rng = np.random.default_rng(3)
    bags, others = random_bags(rng, 1, 40, 120), random_bags(rng, 1, 50, 120)
    others[0, 7:17] = bags[0, 20:30]
    forward, backward = mutual_nearest_distances(bags, others)
    assert np.flatnonzero(forward[0, 0] == 0).tolist() == list(range(20, 30))
    assert np.flatnonzero(backward[0, 0] == 0).tolist() == list(range(7, 17))


@quick
@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.integers(1, 4))
def test_near_duplicates_keep_their_tiny_distances(seed: int, dim: int, n_copies: int) -> None:
    """Distances of 1e-4 to 1e-2 between nearly equal patches are right to 5 digits, though 2 - 2 g has none left."""
    rng = np.random.default_rng(seed)
    bags = random_bags(rng, 2, 6, dim)
    distances = 10 ** rng.uniform(-4, -2, size=(2, 6, n_copies))
    others = moved(np.repeat(bags.astype(float)[:, :, None], n_copies, axis=2), distances, rng)
    shuffled = others.reshape(2, -1, dim)[:, rng.permutation(6 * n_copies)]
    forward, backward = mutual_nearest_distances(bags, shuffled)
    for found, expected in [
        (forward, brute_force(bags, shuffled)),
        (backward, brute_force(shuffled, bags)),
        (nearest_distances(bags, shuffled), brute_force(bags, shuffled)),
    ]:
        tiny = expected < 1.2e-2
        np.testing.assert_allclose(found[tiny], expected[tiny], rtol=1e-5)


@pytest.mark.parametrize("dim", [2, 64, 512, 1024])
def test_the_error_stays_below_1e_5_at_every_distance(dim: int) -> None:
    """From 1e-7 to 2 the error is below 1e-5, also where the two ways of computing meet (at about 0.03)."""
    rng = np.random.default_rng(dim)
    patches = random_bags(rng, 1, 1, dim).astype(float)
    distances = np.concatenate([np.geomspace(1e-7, 1.99, 300), np.linspace(0.02, 0.05, 200)])
    others = moved(np.repeat(patches, 500, axis=1), distances[None], rng).reshape(500, 1, dim)
    bags = patches.astype(np.float32)
    np.testing.assert_allclose(nearest_distances(bags, others), brute_force(bags, others), rtol=0, atol=1e-5)
    np.testing.assert_allclose(nearest_distances(others, bags), brute_force(others, bags), rtol=0, atol=1e-5)


@pytest.mark.parametrize("distance", [0, 1e-3, 0.5])
def test_images_of_one_colour_are_all_at_one_distance(distance: float) -> None:
    """Between images without any texture (all patches equal) every patch has the one distance; equal ones have 0."""
    rng = np.random.default_rng(0)
    # 300 patches of length 64 make more close candidates than one rescoring batch holds
    colour = random_bags(rng, 1, 1, 64)
    other = moved(colour.astype(float), np.array([[distance]]), rng) if distance else colour
    bags, others = np.repeat(colour, 300, axis=1), np.repeat(other, 250, axis=1)
    forward, backward = mutual_nearest_distances(bags, others)
    expected = float(np.linalg.norm(colour.astype(float) - other.astype(float)))
    np.testing.assert_allclose(forward, np.full((1, 1, 300), expected), rtol=1e-5)
    np.testing.assert_allclose(backward, np.full((1, 1, 250), expected), rtol=1e-5)


def test_images_of_almost_one_colour_keep_their_differences() -> None:
    """Two images whose patches all lie within 1e-3 of each other are still told apart patch by patch."""
    rng = np.random.default_rng(1)
    colour = np.repeat(random_bags(rng, 1, 1, 64).astype(float), 300, axis=1)
    bags = moved(colour, rng.uniform(1e-4, 1e-3, (1, 300)), rng)
    others = moved(colour, rng.uniform(1e-4, 1e-3, (1, 300)), rng)
    np.testing.assert_allclose(nearest_distances(bags, others), brute_force(bags, others), rtol=1e-5)


@quick
@given(pairs_of_groups, st.integers(0, 2**32 - 1))
def test_the_order_of_patches_does_not_matter(groups: tuple[Bags, Bags], seed: int) -> None:
    """Shuffling an image's patches shuffles its own distances alike and changes nobody else's."""
    bags, others = groups
    rng = np.random.default_rng(seed)
    mine, theirs = rng.permutation(bags.shape[1]), rng.permutation(others.shape[1])
    forward, backward = mutual_nearest_distances(bags, others)
    shuffled_forward, shuffled_backward = mutual_nearest_distances(bags[:, mine], others[:, theirs])
    np.testing.assert_allclose(shuffled_forward, forward[:, :, mine], rtol=0, atol=1e-5)
    np.testing.assert_allclose(shuffled_backward, backward[:, :, theirs], rtol=0, atol=1e-5)


@quick
@given(pairs_of_groups)
def test_distances_lie_between_zero_and_two(groups: tuple[Bags, Bags]) -> None:
    """Unit vectors are at most 2 apart, opposite ones exactly so (up to rounding)."""
    bags, others = groups
    forward, backward = mutual_nearest_distances(bags, others)
    for distances in (forward, backward):
        assert ((distances >= 0) & (distances <= 2 + 1e-6)).all()
    opposite = nearest_distances(bags[:, :1], -bags[:, :1])
    np.testing.assert_allclose(opposite[np.arange(len(bags)), np.arange(len(bags)), 0], 2, atol=1e-6)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(8, 200), st.floats(0, 1))
def test_half_precision_is_refused_or_measured_right(seed: int, dim: int, dead_share: float) -> None:
    """Bags that were rounded to float16 are refused, or duplicates in them have distance 0 and others are right."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(size=(1, 20, dim)), 0) * (rng.random((1, 20, 1)) >= dead_share)
    bags = normalize_patches(features).astype(np.float16)
    others = moved(bags[:, ::-1].astype(float), np.full((1, 20), 0.02), rng).astype(np.float16)
    try:
        to_itself, to_others = nearest_distances(bags, bags), nearest_distances(bags, others)
    except ArrayContractError:
        return
    assert not to_itself.any()
    unit = [(b / np.linalg.norm(b.astype(float), axis=-1, keepdims=True)).astype(float) for b in (bags, others)]
    expected = brute_force(unit[0][:1], unit[1][:1])
    np.testing.assert_allclose(to_others, expected, rtol=0, atol=2e-3)  # 1e-3 a side is the accepted norm error


def test_groups_without_images_are_fine() -> None:
    """No image on one side gives no distances, and no error."""
    bags, none = random_bags(np.random.default_rng(0), 2, 3, 4), np.empty((0, 3, 4), np.float32)
    assert nearest_distances(none, bags).shape == (0, 2, 3)
    assert nearest_distances(bags, none).shape == (2, 0, 3)
    assert [d.shape for d in mutual_nearest_distances(bags, none)] == [(2, 0, 3), (0, 2, 3)]
    assert nearest_distances_within(none).shape == (0, 0, 3)


def test_the_given_bags_are_not_changed() -> None:
    """Measuring distances leaves the bags as they were."""
    bags = random_bags(np.random.default_rng(0), 2, 3, 4)
    before = bags.copy()
    mutual_nearest_distances(bags, bags)
    nearest_distances_within(bags)
    assert (bags == before).all()


good = random_bags(np.random.default_rng(0), 2, 3, 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(good[0], "shape", id="two-dimensional"),
        pytest.param(good[:, :0], "shape", id="no patches"),
        pytest.param(good[:, :, :0], "shape", id="no features"),
        pytest.param(np.where(np.arange(4) == 1, np.nan, good), "norm", id="NaN"),
        pytest.param(np.where(np.arange(4) == 1, np.inf, good), "norm", id="infinity"),
        pytest.param(good * 1.01, "norm", id="not of unit norm"),
        pytest.param(np.zeros_like(good), "norm", id="zeros"),
    ],
)
@pytest.mark.parametrize(
    "measure",
    [
        pytest.param(lambda bad: nearest_distances(bad, good), id="bags"),
        pytest.param(lambda bad: nearest_distances(good, bad), id="references"),
        pytest.param(lambda bad: mutual_nearest_distances(bad, good), id="mutual bags"),
        pytest.param(lambda bad: mutual_nearest_distances(good, bad), id="mutual others"),
        pytest.param(nearest_distances_within, id="within"),
    ],
)
def test_arrays_that_are_no_bags_are_refused(bad: Bags, message: str, measure: Callable[[Bags], object]) -> None:
    """Whatever is not a set of bags of unit vectors is refused on either side, and the message says why."""
    with pytest.raises(ArrayContractError, match=message):
        measure(bad)


@pytest.mark.parametrize("measure", [nearest_distances, mutual_nearest_distances])
def test_bags_of_two_backbones_are_not_compared(measure: Callable[[Bags, Bags], object]) -> None:
    """Bags with features of different lengths come from different backbones; both lengths are named."""
    with pytest.raises(ArrayContractError, match="4 and 5"):
        measure(good, random_bags(np.random.default_rng(0), 1, 3, 5))
