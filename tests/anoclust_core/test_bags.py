from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from anoclust_core.bags import UNIT_NORM_TOLERANCE, check_bags, descriptors, normalize_patches
from anoclust_core.errors import ArrayContractError

quick = settings(max_examples=25, deadline=None, database=None)

features = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=3, max_side=5),
    elements=st.floats(-100, 100, width=32).map(lambda value: 0 if abs(value) < 1e-3 else value),
)


def weighted_bags(seed: int, n_images: int, n_patches: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(size=(n_images, n_patches)) ** 3
    return normalize_patches(rng.normal(size=(n_images, n_patches, 6))), weights / weights.sum(axis=1, keepdims=True)


@quick
@given(features)
def test_every_patch_becomes_a_unit_vector(values: NDArray[np.float32]) -> None:
    """After scaling every patch has length 1, and the array keeps its shape."""
    scaled = normalize_patches(values)
    assert scaled.shape == values.shape
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(scaled.astype(float), axis=-1), 1, rtol=1e-6)


@quick
@given(features)
def test_scaling_keeps_the_direction(values: NDArray[np.float32]) -> None:
    """A patch with some activation is divided by its length and not turned."""
    lengths = np.linalg.norm(values.astype(float), axis=-1, keepdims=True)
    alive = np.broadcast_to(lengths > 0, values.shape)
    expected = values / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(normalize_patches(values)[alive], expected[alive], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("exponent", [-40, -22, -15, 15, 22])
def test_very_faint_and_very_strong_patches_become_unit_vectors_too(exponent: int) -> None:
    """A patch of any finite strength gets length 1, also where its squares leave the range of single precision."""
    values = np.array([[3, -4, 0, 1], [1, 1, 1, 1], [0, 0, 5, 0]], float) * 10.0**exponent
    lengths = np.linalg.norm(normalize_patches(values).astype(float), axis=-1)
    np.testing.assert_allclose(lengths, 1, rtol=UNIT_NORM_TOLERANCE)


@pytest.mark.parametrize("dim", [1, 2, 7, 120, 1024])
def test_patches_without_activation_are_all_alike(dim: int) -> None:
    """A patch of zeros has no direction; all such patches become the one constant unit vector."""
    dead = normalize_patches(np.zeros((2, 3, dim)))
    assert np.unique(dead).size == 1
    np.testing.assert_allclose(np.linalg.norm(dead.astype(float), axis=-1), 1, rtol=1e-6)
    check_bags(dead)


def test_a_patch_without_activation_does_not_change_its_neighbours() -> None:
    """Next to a dead patch the others are scaled as ever."""
    scaled = normalize_patches(np.array([[[3, 4], [0, 0], [0, -2]]]))
    np.testing.assert_allclose(scaled, [[[0.6, 0.8], [0.5**0.5, 0.5**0.5], [0, -1]]], rtol=1e-6)


@pytest.mark.parametrize("odd", [0.0, 1e-25, 1e25])
def test_a_patch_becomes_the_same_whatever_is_beside_it(odd: float) -> None:
    """To the last bit: an image's bag does not depend on the batch that it was computed in."""
    values = np.random.default_rng(0).normal(size=(3, 5, 120)).astype(np.float32)
    beside = np.concatenate([values, np.full((1, 5, 120), odd, np.float32)])
    np.testing.assert_array_equal(normalize_patches(beside)[:3], normalize_patches(values))
    np.testing.assert_array_equal(normalize_patches(values[1, 2]), normalize_patches(values)[1, 2])


@quick
@given(features)
def test_scaling_twice_changes_nothing_more(values: NDArray[np.float32]) -> None:
    """Unit vectors stay as they are."""
    once = normalize_patches(values)
    np.testing.assert_allclose(normalize_patches(once), once, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    """One NaN or infinity from the backbone is an error and not a patch full of NaN."""
    values = np.ones((2, 3, 4))
    values[1, 2, 3] = bad
    with pytest.raises(ArrayContractError, match="finite"):
        normalize_patches(values)


def test_the_given_features_are_not_changed() -> None:
    """Scaling gives a new array."""
    values = np.full((1, 2, 3), 5, np.float32)
    normalize_patches(values)
    assert (values == 5).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bags_of_any_precision_are_given_as_float32(dtype: type[np.floating]) -> None:
    """Unit vectors of any precision come back as contiguous float32, of unit norm to the last digit."""
    bags = normalize_patches(np.random.default_rng(0).normal(size=(3, 4, 50))).astype(dtype)
    checked = check_bags(bags[:, ::2])
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    np.testing.assert_allclose(checked, bags[:, ::2].astype(np.float32), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(checked, axis=2), 1, atol=1e-6)


def test_no_images_are_bags_too() -> None:
    """An empty group of images is not an error."""
    assert check_bags(np.empty((0, 4, 5), np.float32)).shape == (0, 4, 5)


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (1, 2, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_bags_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Anything but images x patches x features is an error that calls the array by its name."""
    with pytest.raises(
        ArrayContractError,
        match=r"normals (must have|to be an array of real numbers of) shape \(n_images, n_patches, dim\)",
    ):
        check_bags(np.ones(shape), name="normals")


@quick
@given(st.floats(-3, 3).filter(lambda factor: abs(abs(factor) - 1) > 1.1 * UNIT_NORM_TOLERANCE))
@example(0.0)
@example(1.002)
def test_one_patch_of_another_length_is_found(factor: float) -> None:
    """A single patch among many that is not of unit length is an error that tells by how much it is off."""
    bags = normalize_patches(np.random.default_rng(0).normal(size=(3, 4, 5)))
    bags[1, 2] *= factor
    with pytest.raises(ArrayContractError, match="normalize_patches first") as error:
        check_bags(bags)
    named = float(re.findall(r"off by ([0-9.e-]+):", str(error.value))[0])
    assert named == pytest.approx(abs(abs(factor) - 1), rel=0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bags_that_are_not_finite_are_refused(bad: float) -> None:
    """One NaN or infinity is an error."""
    bags = normalize_patches(np.ones((2, 3, 4)))
    bags[1, 2, 3] = bad
    with pytest.raises(ArrayContractError, match="off by nan"):
        check_bags(bags)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9))
def test_a_descriptor_is_the_weighted_sum_of_the_patches(seed: int, n_images: int, n_patches: int) -> None:
    """The descriptor of an image is the sum of its patches times their weights."""
    bags, weights = weighted_bags(seed, n_images, n_patches)
    expected = [
        sum(w * p.astype(float) for w, p in zip(*image, strict=True)) for image in zip(weights, bags, strict=True)
    ]
    found = descriptors(bags, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_descriptor_ignores_the_order_of_patches(seed: int, n_patches: int) -> None:
    """Shuffling the patches of all images together with their weights changes no descriptor."""
    bags, weights = weighted_bags(seed, 3, n_patches)
    order = np.random.default_rng(seed).permutation(n_patches)
    np.testing.assert_allclose(
        descriptors(bags[:, order], weights[:, order]), descriptors(bags, weights), rtol=1e-6, atol=1e-7
    )


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_a_descriptor_is_never_longer_than_a_patch(seed: int, n_patches: int) -> None:
    """An average of unit vectors lies within the unit ball."""
    found = descriptors(*weighted_bags(seed, 3, n_patches))
    assert (np.linalg.norm(found.astype(float), axis=1) <= 1 + 1e-6).all()


def test_all_weight_on_one_patch_gives_that_patch() -> None:
    """An image that is weighted on one patch alone is described by that patch."""
    bags, _ = weighted_bags(0, 3, 5)
    np.testing.assert_array_equal(descriptors(bags, np.eye(5)[[4, 0, 2]]), bags[[0, 1, 2], [4, 0, 2]])


@pytest.mark.parametrize("shape", [(3,), (3, 4), (4, 5), (3, 5, 1)])
def test_weights_that_do_not_fit_the_bags_are_refused(shape: tuple[int, ...]) -> None:
    """Weights for another number of images or patches are an error that names both shapes."""
    with pytest.raises(ArrayContractError, match=r"for bags \(3, 5, 6\)|to be an array"):
        descriptors(weighted_bags(0, 3, 5)[0], np.ones(shape))


def test_descriptors_of_something_else_than_bags_are_refused() -> None:
    """One image's patches alone are not a set of bags."""
    with pytest.raises(ArrayContractError, match=r"one row per bag|to be an array"):
        descriptors(np.ones((5, 6)), np.ones((5, 6)))
