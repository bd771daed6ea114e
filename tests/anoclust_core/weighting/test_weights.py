from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from anoclust_core.config.setting import parse_tau
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weighting.weights import (
    hard_weights,
    hybrid_weights,
    map_scores,
    map_weights,
    mask_weights,
    soft_weights,
    temperature,
    uniform_weights,
)

Floats = NDArray[np.float64]
Maps = list[NDArray[Any]]

quick = settings(max_examples=25, deadline=None, database=None)

scores = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 2))
taus = st.floats(-300, 300).map(lambda exponent: 10.0**exponent)
grids = st.tuples(st.integers(1, 5), st.integers(1, 5))
maps_of_any_size = st.lists(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-5, 5, width=16)),
    max_size=3,
)


def area_means(values: NDArray[Any], grid: tuple[int, int]) -> Floats:
    """Mean over each cell of a grid: every pixel and cell cut into pieces of one size, so that they fit each other."""
    (height, width), (rows, columns) = values.shape, grid
    pieces = np.repeat(np.repeat(values.astype(float), rows, axis=0), columns, axis=1)
    return pieces.reshape(rows, height, columns, width).mean(axis=(1, 3)).ravel()


def top_by_sorting(rarity: Floats, top_k: int) -> NDArray[np.bool_]:
    """The k rarest patches of each image, the first ones of those that are equal."""
    tops = [sorted(range(len(row)), key=lambda m: (-row[m], m))[:top_k] for row in rarity.tolist()]
    return np.array([[m in top for m in range(rarity.shape[1])] for top in tops])


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


@quick
@given(scores, taus, st.data())
@example(np.array([[0.0, 2.0, 2.0]]), 5e-324, None)
def test_every_kind_of_weights_sums_to_one(rarity: Floats, tau: float, data: st.DataObject | None) -> None:
    """Uniform, hard and hybrid weights are between 0 and 1 and sum to 1 for every k and tau."""
    n_images, n_patches = rarity.shape
    top_k = data.draw(st.integers(1, n_patches)) if data else 2
    kinds = [
        uniform_weights(n_images, n_patches),
        hard_weights(rarity, top_k=top_k),
        hybrid_weights(rarity, tau=tau, top_k=top_k),
    ]
    for weights in kinds:
        assert weights.shape == rarity.shape
        assert weights.dtype == np.float64
        assert ((weights >= 0) & (weights <= 1)).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


@quick
@given(
    arrays(np.float64, (3, 6), elements=st.sampled_from([0.0, -0.0, 0.5, 1.0])), st.integers(1, 6), st.floats(0.01, 9)
)
def test_only_the_rarest_patches_count(rarity: Floats, top_k: int, tau: float) -> None:
    """Exactly k patches have weight, the first of equal ones: 1 / k each by (8), the softmax among them by (9)."""
    is_top = top_by_sorting(rarity, top_k)
    assert (is_top.sum(axis=1) == top_k).all()
    np.testing.assert_array_equal(hard_weights(rarity, top_k=top_k), np.where(is_top, 1 / top_k, 0))
    expected = softmax(np.where(is_top, rarity / tau, -np.inf), axis=1)
    np.testing.assert_allclose(hybrid_weights(rarity, tau=tau, top_k=top_k), expected, rtol=1e-12)


@quick
@given(scores, taus)
def test_weights_on_all_patches_are_soft_or_uniform(rarity: Floats, tau: float) -> None:
    """With k = all patches, hybrid weights are the soft ones and hard weights the uniform ones, to the last digit."""
    n_images, n_patches = rarity.shape
    np.testing.assert_array_equal(hybrid_weights(rarity, tau=tau, top_k=n_patches), soft_weights(rarity, tau=tau))
    np.testing.assert_array_equal(hard_weights(rarity, top_k=n_patches), uniform_weights(n_images, n_patches))


def test_hybrid_weights_lie_between_one_patch_and_the_hard_ones() -> None:
    """Towards 0 the rarest patch takes all; towards infinity the k rarest count alike."""
    rarity = np.array([[0.1, 0.7, 0.3, 2.0]])
    np.testing.assert_array_equal(hybrid_weights(rarity, tau=1e-9, top_k=3), [[0, 0, 0, 1]])
    np.testing.assert_allclose(hybrid_weights(rarity, tau=1e12, top_k=3), hard_weights(rarity, top_k=3), rtol=1e-9)


@pytest.mark.parametrize("weigh", [partial(hard_weights, top_k=2), partial(hybrid_weights, tau=0.1, top_k=2)])
def test_the_order_of_patches_does_not_matter(weigh: Callable[[Floats], Floats]) -> None:
    """Shuffling the patches of all images shuffles their weights."""
    rng = np.random.default_rng(0)
    rarity, order = rng.uniform(0, 2, (5, 7)), rng.permutation(7)
    np.testing.assert_allclose(weigh(rarity[:, order]), weigh(rarity)[:, order], rtol=1e-12)


@pytest.mark.parametrize(
    "weigh",
    [
        partial(soft_weights, tau=1.0),
        partial(hard_weights, top_k=1),
        partial(hybrid_weights, tau=1.0, top_k=1),
    ],
)
@pytest.mark.parametrize(
    "rarity", [np.zeros(3), np.zeros((2, 3, 4)), np.zeros((2, 0)), np.array([[0, np.nan]]), np.array([[0, np.inf]])]
)
def test_weights_of_something_else_than_rarity_are_refused(weigh: Callable[[Floats], Floats], rarity: Floats) -> None:
    """Rarity of the wrong shape, without patches, or with NaN or infinity gives an error and not NaN weights."""
    with pytest.raises(ArrayContractError, match=r"rarity (must be finite|to be an array)"):
        weigh(rarity)


@pytest.mark.parametrize("tau", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_a_temperature_that_is_not_positive_is_refused(tau: float) -> None:
    """A tau that is 0, negative, infinite or not a number is an error that names it."""
    for weigh in (soft_weights, partial(hybrid_weights, top_k=1)):
        with pytest.raises(ConfigError, match=f"tau must be a positive number; found {tau}"):
            weigh(np.zeros((1, 2)), tau=tau)


@pytest.mark.parametrize("top_k", [0, -1, 5])
def test_more_patches_than_an_image_has_are_refused(top_k: int) -> None:
    """A k of none, or of more patches than there are, is an error that names both numbers."""
    for weigh in (hard_weights, partial(hybrid_weights, tau=1.0)):
        with pytest.raises(ConfigError, match=f"1 to 4, .*found {top_k}"):
            weigh(np.zeros((1, 4)), top_k=top_k)


@pytest.mark.parametrize(("n_images", "n_patches"), [(-1, 3), (2, 0), (2, -1)])
def test_uniform_weights_need_patches(n_images: int, n_patches: int) -> None:
    """Weights of no patches do not sum to 1, and are an error."""
    with pytest.raises(ConfigError, match=f"found {n_images} images, {n_patches} patches"):
        uniform_weights(n_images, n_patches)
    assert uniform_weights(0, 3).shape == (0, 3)


@quick
@given(maps_of_any_size, grids)
def test_a_map_is_averaged_over_the_area_of_each_patch(maps: Maps, grid: tuple[int, int]) -> None:
    """A patch's score is the mean of the map over its area, be the map finer, coarser or no multiple of the grid."""
    scores = map_scores(maps, grid)
    assert scores.shape == (len(maps), grid[0] * grid[1])
    for found, values in zip(scores, maps, strict=True):
        np.testing.assert_allclose(found, area_means(values, grid), rtol=0, atol=1e-12)


def test_a_map_is_reduced_as_pictures_are() -> None:
    """Where a whole number of pixels makes a patch, the scores are what Pillow's box filter gives."""
    values = np.random.default_rng(0).random((12, 20)).astype(np.float32)
    reduced = np.asarray(Image.fromarray(values).resize((5, 4), Image.Resampling.BOX))
    np.testing.assert_allclose(map_scores([values], (4, 5)), reduced.reshape(1, -1), atol=1e-6)


@quick
@given(maps_of_any_size.filter(len), grids, st.sampled_from(["0.3sd", "0.5", "1e-300", "1e300", "1e-300sd"]))
def test_weights_from_maps_are_soft_weights_of_their_scores(maps: Maps, grid: tuple[int, int], tau: str) -> None:
    """A map stands where rarity does, with tau in its unit or in standard deviations over all patches of all images."""
    weights, scores = map_weights(maps, grid, tau=tau), map_scores(maps, grid)
    np.testing.assert_array_equal(weights, soft_weights(scores, tau=temperature(tau, scores)))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)


def test_the_unit_of_a_map_does_not_matter_with_a_relative_tau() -> None:
    """A program that writes 0 to 255 gives the weights of one that writes 0 to 1."""
    values = np.random.default_rng(0).random((2, 6, 7))
    np.testing.assert_allclose(
        map_weights(list(255 * values), (3, 3), tau="0.3sd"), map_weights(list(values), (3, 3), tau="0.3sd"), rtol=1e-9
    )


@quick
@given(
    st.lists(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)), min_size=1, max_size=3),
    grids,
    st.sampled_from([np.bool_, np.uint8, np.float32]),
)
def test_mask_weights_are_shares_of_the_anomalous_area(
    masks: Maps, grid: tuple[int, int], dtype: type[np.generic]
) -> None:
    """A patch weighs by its part of the anomalous area, whatever number marks it; an image without any is uniform."""
    values = [mask.astype(dtype) * dtype(200) for mask in masks]
    for weights, mask in zip(mask_weights(values, grid), masks, strict=True):
        areas = area_means(mask, grid) if mask.any() else np.ones(grid[0] * grid[1])
        np.testing.assert_allclose(weights, areas / areas.sum(), rtol=0, atol=1e-12)
        assert weights.sum() == pytest.approx(1, rel=1e-12)


def test_a_speck_is_not_lost() -> None:
    """One anomalous pixel of a large image puts all the weight on its patch, wherever in the patch it lies."""
    for at in [(0, 0), (127, 255), (70, 9)]:
        mask = np.zeros((128, 256), np.uint8)
        mask[at] = 255
        (weights,) = mask_weights([mask], (16, 16))
        assert weights[at[0] // 8 * 16 + at[1] // 16] == 1


def test_no_maps_have_no_weights() -> None:
    """Without an image there is an empty array of the right width."""
    assert mask_weights([], (2, 3)).shape == map_weights([], (2, 3), tau="0.3sd").shape == (0, 6)


@pytest.mark.parametrize("weigh", [mask_weights, map_scores, partial(map_weights, tau="1")])
@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((2, 3, 1)), np.zeros((0, 3)), np.array([[0, np.nan]]), np.array([[np.inf]])]
)
def test_something_else_than_maps_is_refused(weigh: Callable[[Maps, tuple[int, int]], Floats], bad: Floats) -> None:
    """A map that is not two-dimensional, empty or not finite is an error, also beside a good one."""
    with pytest.raises(ArrayContractError, match=r"a map (must be finite|to be an array)"):
        weigh([np.ones((2, 2)), bad], (2, 2))
    for grid in [(0, 2), (2, 0), (-1, 2)]:
        with pytest.raises(ConfigError, match=f"found {grid[0]} x {grid[1]}"):
            weigh([np.ones((2, 2))], grid)


@pytest.mark.parametrize("tau", ["0", "-1sd", "nan", "hot"])
def test_maps_need_a_temperature_too(tau: str) -> None:
    """A text that is no positive number is an error."""
    with pytest.raises(ConfigError, match="tau is a positive number"):
        map_weights([np.ones((2, 2))], (2, 2), tau=tau)


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


@pytest.mark.parametrize("rarity", [np.array([[0, np.nan]]), np.array([[np.inf]]), np.array([[-1.7e308, 1.7e308]])])
def test_a_spread_that_is_not_finite_is_refused(rarity: Floats) -> None:
    """Scores that are not finite, or too large for their standard deviation to be, have no temperature in ``sd``."""
    with pytest.raises(ArrayContractError, match="finite"):
        temperature("0.3sd", rarity)


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
