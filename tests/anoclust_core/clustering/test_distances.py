from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, directed_hausdorff

from anoclust_core.bags import descriptors, normalize_patches
from anoclust_core.clustering.distances import (
    HausdorffVariant,
    PairStatistics,
    hausdorff_distances,
    pair_statistics,
    weighted_average_distances,
    weighted_average_distances_of_bags,
)
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.pairwise import cpu
from anoclust_core.pairwise.cpu import (
    mutual_nearest_and_mean_distances,
    mutual_nearest_distances,
    nearest_and_mean_distances_within,
    nearest_distances_within,
)
from anoclust_core.weighting.weights import soft_weights

Bags = NDArray[np.float32]
Floats = NDArray[np.float64]

quick = settings(max_examples=20, deadline=None, database=None)

VARIANTS: tuple[HausdorffVariant, ...] = get_args(HausdorffVariant)


def random_bags(rng: np.random.Generator, n_images: int, n_patches: int, dim: int) -> Bags:
    return normalize_patches(rng.normal(size=(n_images, n_patches, dim)))


some_bags = st.builds(
    lambda seed, *shape: random_bags(np.random.default_rng(seed), *shape),
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 8),
    st.integers(1, 20),
)

# [SOHN23] appendix C, written out: from all distances between the patches of two images, (M, N), to one number
FORMULAS: dict[HausdorffVariant, Callable[[Floats], float]] = {
    "mean_mean": lambda d: d.mean(),
    "max_min_max": lambda d: max(d.min(axis=1).max(), d.min(axis=0).max()),
    "max_min_mean": lambda d: (d.min(axis=1).max() + d.min(axis=0).max()) / 2,
    "min_min": lambda d: d.min(),
    "mean_min_max": lambda d: max(d.min(axis=1).mean(), d.min(axis=0).mean()),
    "mean_min_mean": lambda d: (d.min(axis=1).mean() + d.min(axis=0).mean()) / 2,
}


def by_formula(bags: Bags, variant: HausdorffVariant) -> Floats:
    values = [[FORMULAS[variant](cdist(a, b)) for b in bags.astype(float)] for a in bags.astype(float)]
    return np.array(values) * (1 - np.eye(len(bags)))


def means_by_hand(bags: Bags, others: Bags) -> Floats:
    return np.array([[cdist(a, b).mean() for b in others.astype(float)] for a in bags.astype(float)])


def in_blocks(distances: NDArray[Any], rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    for start in range(0, len(distances), rows):
        yield start, distances[start : start + rows]


def statistics_of(bags: Bags, rows: int = 2) -> PairStatistics:
    distances, mean = nearest_and_mean_distances_within(bags)
    return pair_statistics(in_blocks(distances, rows), n_images=len(bags), mean_distances=mean)


# Weighted average


@quick
@given(some_bags, st.integers(0, 2**32 - 1))
def test_weighted_average_is_the_distance_between_weighted_sums(bags: Bags, seed: int) -> None:
    """The distance is equation (1), whether descriptors or patches and weights are given."""
    rarity = np.random.default_rng(seed).uniform(0, 2, bags.shape[:2])
    weights = soft_weights(rarity, tau=0.3)
    sums = [sum(w * z for w, z in zip(*image, strict=True)) for image in zip(weights, bags.astype(float), strict=True)]
    expected = [[np.linalg.norm(a - b) for b in sums] for a in sums]
    found = weighted_average_distances_of_bags(bags, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weighted_average_distances(descriptors(bags, weights)), found)


def test_many_bags_are_pooled_a_few_at_a_time() -> None:
    """More images than are pooled at once, with weights in single precision, are as far apart as their descriptors."""
    rng = np.random.default_rng(0)
    bags, weights = random_bags(rng, 150, 3, 4), soft_weights(rng.random((150, 3)), tau=1.0).astype(np.float32)
    expected = cdist(*[descriptors(bags, weights).astype(float)] * 2)
    np.testing.assert_allclose(weighted_average_distances_of_bags(bags, weights), expected, rtol=0, atol=1e-12)


def test_small_differences_between_long_descriptors_are_kept() -> None:
    """Descriptors that differ by 1e-6 of their length are that far apart; equal ones are at 0."""
    values = np.full((3, 50), 1e3)
    values[2, 7] += 1e-3
    found = weighted_average_distances(values)
    np.testing.assert_allclose(found, [[0, 0, 1e-3], [0, 0, 1e-3], [1e-3, 1e-3, 0]], rtol=1e-9)


unit = random_bags(np.random.default_rng(0), 2, 3, 4)


@pytest.mark.parametrize(
    "bad",
    [np.ones(3), np.ones((0, 3)), np.ones((3, 0)), np.ones((1, 2, 3)), np.array([[np.nan]]), np.array([[np.inf]])],
)
def test_something_else_than_descriptors_is_refused(bad: Floats) -> None:
    """Descriptors of the wrong shape, of no image, or with NaN or infinity are an error."""
    with pytest.raises(ArrayContractError, match=r"descriptors (must be finite|to be an array)"):
        weighted_average_distances(bad)


@pytest.mark.parametrize(
    ("bags", "weights", "message"),
    [
        (unit, np.full((2, 4), 0.25), r"one value per patch|to be an array"),
        (unit, np.full(3, 1 / 3), r"one value per patch|to be an array"),
        (unit, np.full((2, 3), 0.3), "off by 0.1"),
        (unit, np.array([[2, -1, 0], [1, 0, 0]]), "must not be negative"),
        (unit, np.full((2, 3), np.nan), "sum to 1"),
        (unit, np.array([[np.inf, 0, 0], [1, 0, 0]]), "sum to 1"),
        (unit * 2, np.full((2, 3), 1 / 3), "unit L2 norm"),
        (unit[0], np.full((2, 3), 1 / 3), "shape"),
        (unit[:0], np.ones((0, 3)), "descriptors must be finite"),
    ],
)
def test_weights_that_do_not_pool_bags_are_refused(bags: Bags, weights: Floats, message: str) -> None:
    """Weights of another shape, negative, not summing to 1 or NaN, and bags of no unit norm, are an error."""
    with pytest.raises(ArrayContractError, match=message):
        weighted_average_distances_of_bags(bags, weights)


# Hausdorff


@pytest.mark.parametrize("variant", VARIANTS)
@quick
@given(bags=some_bags, rows=st.integers(1, 6))
def test_each_variant_is_its_formula(variant: HausdorffVariant, bags: Bags, rows: int) -> None:
    """Every variant is what appendix C writes, from nearest distances that come any number of rows at a time."""
    found = hausdorff_distances(statistics_of(bags, rows), variant=variant)
    np.testing.assert_allclose(found, by_formula(bags, variant), rtol=0, atol=1e-5)


@quick
@given(some_bags)
def test_the_hausdorff_distance_is_scipys(bags: Bags) -> None:
    """The directed distance (3) is SciPy's in both directions, and (2) is the larger of the two."""
    statistics, exact = statistics_of(bags), bags.astype(float)
    directed = np.array([[directed_hausdorff(a, b)[0] for b in exact] for a in exact])
    np.testing.assert_allclose(statistics.largest, directed, rtol=0, atol=1e-5)
    found = hausdorff_distances(statistics, variant="max_min_max")
    np.testing.assert_allclose(found, np.maximum(directed, directed.T), rtol=0, atol=1e-5)


def test_the_two_directions_are_two() -> None:
    """A plain image and one with an odd patch: near from there, far from here; no variant takes one direction twice."""
    plain, odd = np.eye(3, dtype=np.float32)[[0, 0]], np.eye(3, dtype=np.float32)[[0, 1]]
    statistics = statistics_of(np.stack([plain, odd]))
    far = 2**0.5
    expected = {
        "mean_mean": far / 2,
        "max_min_max": far,
        "max_min_mean": far / 2,
        "min_min": 0,
        "mean_min_max": far / 2,
        "mean_min_mean": far / 4,
    }
    for variant in VARIANTS:
        assert hausdorff_distances(statistics, variant=variant)[0, 1] == pytest.approx(expected[variant], abs=1e-6)


def every_distance(bags: Bags) -> Iterator[Floats]:
    yield weighted_average_distances(bags.mean(axis=1))
    for variant in VARIANTS:
        yield hausdorff_distances(statistics_of(bags), variant=variant)


@quick
@given(some_bags, st.integers(0, 2**32 - 1))
def test_every_distance_is_symmetric_and_ignores_the_order_of_patches(bags: Bags, seed: int) -> None:
    """Every matrix is exactly symmetric with a zero diagonal and within [0, 2]; shuffling patches changes nothing."""
    shuffled = bags[:, np.random.default_rng(seed).permutation(bags.shape[1])]
    for distances, again in zip(every_distance(bags), every_distance(shuffled), strict=True):
        assert distances.shape == (len(bags), len(bags))
        assert distances.dtype == np.float64
        np.testing.assert_array_equal(distances, distances.T)
        assert not distances.diagonal().any()
        assert ((distances >= 0) & (distances <= 2 + 1e-6)).all()
        np.testing.assert_allclose(again, distances, rtol=0, atol=1e-5)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_the_order_of_images_permutes_the_distances(seed: int, n_images: int) -> None:
    """Listing the images in another order lists their distances in it."""
    rng = np.random.default_rng(seed)
    bags, order = random_bags(rng, n_images, 4, 6), rng.permutation(n_images)
    for distances, permuted in zip(every_distance(bags), every_distance(bags[order]), strict=True):
        np.testing.assert_allclose(permuted, distances[np.ix_(order, order)], rtol=0, atol=1e-6)


def test_directions_that_rounded_apart_still_give_a_symmetric_matrix() -> None:
    """In half precision, and rounded differently in the two directions, distances are symmetric and keep 3 digits."""
    bags = random_bags(np.random.default_rng(0), 6, 5, 30)
    distances, mean = nearest_and_mean_distances_within(bags)
    rough = distances.astype(np.float16)
    rough[3:, :3] = np.nextafter(rough[3:, :3], np.float16(2))
    statistics = pair_statistics(in_blocks(rough, 4), n_images=6, mean_distances=mean)
    for variant in VARIANTS:
        found = hausdorff_distances(statistics, variant=variant)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found, by_formula(bags, variant), rtol=0, atol=2e-3)


def test_copies_of_an_image_are_at_distance_zero_but_for_the_mean_of_all() -> None:
    """Two equal bags are at 0 in every variant but mean_mean, whose formula tells the spread of the patches."""
    bags = random_bags(np.random.default_rng(0), 3, 5, 30)
    bags[1] = bags[0][::-1]
    statistics = statistics_of(bags)
    for variant in VARIANTS:
        distance = hausdorff_distances(statistics, variant=variant)[0, 1]
        assert distance == (pytest.approx(cdist(bags[0], bags[0]).mean(), abs=1e-5) if variant == "mean_mean" else 0)


def test_an_image_is_not_away_from_itself() -> None:
    """Mean distances of the formula, positive for an image with itself, still give a matrix with a zero diagonal."""
    mean = means_by_hand(unit, unit)
    assert (mean.diagonal() > 0.1).all()
    statistics = pair_statistics([(0, nearest_distances_within(unit))], n_images=2, mean_distances=mean)
    found = hausdorff_distances(statistics, variant="mean_mean")
    assert found.tolist() == [[0, mean[0, 1]], [mean[1, 0], 0]]


@pytest.mark.parametrize("variant", ["", "max", "max_min", "hausdorff", "MAX_MIN_MAX", None])
def test_an_unknown_variant_is_refused(variant: Any) -> None:
    """A name that is none of the six is an error that lists them."""
    with pytest.raises(ConfigError, match="mean_mean, max_min_max, max_min_mean, min_min, mean_min_max, mean_min_mean"):
        hausdorff_distances(statistics_of(unit), variant=variant)


def test_the_mean_of_all_needs_more_than_nearest_distances() -> None:
    """Without the mean distances five variants work; the sixth is an error that says where to get them."""
    statistics = pair_statistics([(0, nearest_distances_within(unit))], n_images=2)
    for variant in VARIANTS[1:]:
        hausdorff_distances(statistics, variant=variant)
    with pytest.raises(ArrayContractError, match="mutual_nearest_and_mean_distances"):
        hausdorff_distances(statistics, variant="mean_mean")


def test_one_image_is_at_distance_zero_from_itself() -> None:
    """A single image has the matrix [[0]] in every variant."""
    for distances in every_distance(unit[:1]):
        assert distances.tolist() == [[0]]


nearest = nearest_distances_within(unit)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "2 of 2 rows are missing"),
        ([(0, nearest[:1])], "1 of 2 rows are missing"),
        ([(0, nearest), (1, nearest[1:])], "twice"),
        ([(1, nearest)], "within 2 rows"),
        ([(-1, nearest)], "within 2 rows"),
        ([(0, nearest[:, :1])], r"\(n_rows, (2|n_images), n_patches\)"),
        ([(0, nearest[0])], r"\(n_rows, (2|n_images), n_patches\)"),
        ([(0, nearest[:, :, :0])], r"\(n_rows, (2|n_images), n_patches\)"),
        ([(0, np.where(nearest > 0, np.nan, nearest))], "finite"),
        ([(0, np.where(nearest > 0, np.inf, nearest))], "finite"),
        ([(0, nearest - 1)], "not negative"),
    ],
)
def test_rows_that_do_not_make_a_matrix_are_refused(blocks: list[tuple[int, Floats]], message: str) -> None:
    """Rows that are missing, given twice, of another shape, negative or not finite are an error."""
    with pytest.raises(ArrayContractError, match=message):
        pair_statistics(blocks, n_images=2)


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        (np.zeros(2), "shape"),
        (np.zeros((3, 3)), "shape"),
        (np.full((2, 2), np.nan), "finite"),
        (np.full((2, 2), -1.0), "finite"),
        (np.array([[0, 1], [2, 0]]), "symmetric"),
    ],
)
def test_mean_distances_that_do_not_fit_are_refused(mean: Floats, message: str) -> None:
    """Mean distances of another shape, not finite or not symmetric are an error."""
    with pytest.raises(ArrayContractError, match=message):
        pair_statistics([(0, nearest)], n_images=2, mean_distances=mean)
    with pytest.raises(ArrayContractError, match="at least 1 image"):
        pair_statistics([], n_images=0)


# The mean distance of an image pair, from the product that gives the nearest ones


@quick
@given(some_bags, st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_mean_distances_come_along_with_the_nearest(bags: Bags, n_others: int, n_patches: int, seed: int) -> None:
    """One pass gives the nearest distances of the pass without means, and means, all right to 1e-5."""
    others = random_bags(np.random.default_rng(seed), n_others, n_patches, bags.shape[2])
    both = mutual_nearest_and_mean_distances(bags, others)
    forward, backward = mutual_nearest_distances(bags, others)
    np.testing.assert_allclose(both.forward, forward, rtol=0, atol=1e-5)
    np.testing.assert_allclose(both.backward, backward, rtol=0, atol=1e-5)
    np.testing.assert_allclose(both.mean, means_by_hand(bags, others), rtol=0, atol=1e-5)
    within, mean = nearest_and_mean_distances_within(bags)
    np.testing.assert_allclose(within, nearest_distances_within(bags), rtol=0, atol=1e-5)
    np.testing.assert_allclose(mean, means_by_hand(bags, bags) * (1 - np.eye(len(bags))), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(mean, mean.T)


@pytest.mark.parametrize("spread", [0, 1e-6, 1e-3, 0.02, 0.04])
def test_mean_distances_between_close_patches_are_right(spread: float) -> None:
    """Equal patches, near ones and all between: where inner products round to 1 or above, means are right to 1e-5."""
    rng = np.random.default_rng(0)
    colour = rng.normal(size=(1, 1, 40)) / 40**0.5
    alike = normalize_patches(colour + spread * rng.normal(size=(2, 30, 40)) / 40**0.5)
    bags = np.concatenate([alike, alike[:1], random_bags(rng, 2, 30, 40)])
    bags[3, :10] = alike[0, :10]
    both = mutual_nearest_and_mean_distances(bags[:3], bags[2:])
    np.testing.assert_allclose(both.mean, means_by_hand(bags[:3], bags[2:]), rtol=0, atol=1e-5)
    _, mean = nearest_and_mean_distances_within(bags)
    np.testing.assert_allclose(mean, means_by_hand(bags, bags) * (1 - np.eye(5)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("values", [1, 7, 64, 500])
def test_how_much_is_computed_at_a_time_does_not_matter(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few patches that are close to another are measured again at a time: the same distances and means."""
    rng = np.random.default_rng(0)
    bags, others = random_bags(rng, 4, 6, 10), random_bags(rng, 5, 9, 10)
    others[1, 2:6] = bags[3, :4] = bags[2, 1:5]
    expected, expected_within = mutual_nearest_and_mean_distances(bags, others), nearest_and_mean_distances_within(bags)
    monkeypatch.setattr(cpu, "DOUBLE_PRODUCT_VALUES", values)
    found, found_within = mutual_nearest_and_mean_distances(bags, others), nearest_and_mean_distances_within(bags)
    for one, other in [
        (found.forward, expected.forward),
        (found.backward, expected.backward),
        (found.mean, expected.mean),
        *zip(found_within, expected_within, strict=True),
    ]:
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_groups_of_images_put_together_are_the_whole() -> None:
    """Images in two groups, within each and between them, have the distances of all at once."""
    bags = random_bags(np.random.default_rng(0), 7, 5, 12)
    whole, whole_mean = nearest_and_mean_distances_within(bags)
    (first, first_mean), (second, second_mean) = map(nearest_and_mean_distances_within, (bags[:3], bags[3:]))
    between = mutual_nearest_and_mean_distances(bags[:3], bags[3:])
    top, bottom = (first, between.forward), (between.backward, second)
    joined = np.concatenate([np.concatenate(rows, axis=1) for rows in (top, bottom)])
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-6)
    mean = np.block([[first_mean, between.mean], [between.mean.T, second_mean]])
    np.testing.assert_allclose(mean, whole_mean, rtol=0, atol=1e-6)


def test_groups_without_images_have_no_distances() -> None:
    """No image on one side gives empty arrays, and no error."""
    both = mutual_nearest_and_mean_distances(unit, unit[:0])
    assert (both.forward.shape, both.backward.shape, both.mean.shape) == ((2, 0, 3), (0, 2, 3), (2, 0))
    assert [a.shape for a in nearest_and_mean_distances_within(unit[:0])] == [(0, 0, 3), (0, 0)]


@pytest.mark.parametrize("bad", [unit[0], unit[:, :0], unit[:, :, :0], unit * 1.01, np.full_like(unit, np.nan)])
def test_arrays_that_are_no_bags_have_no_mean_distances(bad: Bags) -> None:
    """Whatever is not a set of bags of unit vectors is refused on either side, as are features of another length."""
    for measure in (
        lambda: mutual_nearest_and_mean_distances(bad, unit),
        lambda: mutual_nearest_and_mean_distances(unit, bad),
        lambda: nearest_and_mean_distances_within(bad),
        lambda: mutual_nearest_and_mean_distances(unit, random_bags(np.random.default_rng(0), 1, 3, 5)),
    ):
        with pytest.raises(ArrayContractError):
            measure()
