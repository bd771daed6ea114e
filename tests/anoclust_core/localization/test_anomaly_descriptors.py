from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.maps import MIN_FLAT_FIELD, PROGRAM_BORDER, descriptor, finish_maps, flat_field

Floats = NDArray[np.float64]

quick = settings(max_examples=25, deadline=None, database=None)


def blurred(values: Floats, size: int, sigma: float) -> Floats:
    """Gaussian blur of ``(n, height, width)`` by convolution, reflected at the edges."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = torch.outer(window, window) / window.sum() ** 2
    padded = functional.pad(torch.from_numpy(values)[:, None], (size // 2,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel[None, None])[:, 0].numpy()


@quick
@given(st.integers(3, 20), st.integers(3, 20), st.integers(0, 99))
def test_maps_are_blurred_as_by_convolution(height: int, width: int, seed: int) -> None:
    """A finished map is the 5 x 5 Gaussian of the raw one, edges included."""
    maps = np.random.default_rng(seed).random((2, height, width))
    np.testing.assert_allclose(finish_maps(maps), blurred(maps, 5, 1.0), atol=1e-6)


def flattened(maps: Floats) -> Floats:
    """Maps without what they have in common."""
    return maps - flat_field(maps)


@quick
@given(st.integers(MIN_FLAT_FIELD, 20), st.integers(0, 99))
def test_what_all_images_have_in_common_is_no_anomaly(n_images: int, seed: int) -> None:
    """A pattern that lies over all images, like that of a padded edge, lifts flat maps as a whole and no more."""
    draws = np.random.default_rng(seed)
    maps = draws.random((n_images, 6, 7))
    pattern = np.zeros((6, 7))
    pattern[0] = pattern[:, 0] = 3
    found = flattened(maps + pattern)
    lifted = found - flattened(maps)
    np.testing.assert_allclose(lifted, lifted[0, 0, 0], atol=1e-5)
    order = draws.permutation(n_images)
    np.testing.assert_array_equal(flattened((maps + pattern)[order]), found[order])


def test_a_defect_at_an_edge_stands_out_in_a_flat_map() -> None:
    """One image's defect stays where it is, at the edge too, with its whole height."""
    maps = np.ones((MIN_FLAT_FIELD, 8, 8))
    maps[:, 0] = 2
    maps[3, 0, 4] += 1
    found = flattened(maps)
    assert found[3].argmax() == 4
    assert found[3].max() - np.median(found) == pytest.approx(1)


def test_few_images_are_left_as_they_are() -> None:
    """With fewer images than it takes to know what is common, nothing is taken away."""
    maps = np.random.default_rng(0).random((MIN_FLAT_FIELD - 1, 5, 5))
    np.testing.assert_array_equal(flat_field(maps), 0)
    np.testing.assert_array_equal(finish_maps(maps, field=flat_field(maps)), finish_maps(maps))


def test_the_flat_field_of_earlier_images_is_taken_from_later_ones() -> None:
    """An image that comes later is finished as if it had been among those that the field was made of."""
    maps = np.random.default_rng(0).random((MIN_FLAT_FIELD, 6, 7))
    field = flat_field(maps)
    np.testing.assert_array_equal(finish_maps(maps[3:4], field=field)[0], finish_maps(maps, field=field)[3])
    with pytest.raises(ArrayContractError, match="flat field of 6 x 7 cells"):
        finish_maps(maps, field=field.T)


def test_nothing_is_hidden_unless_asked_for() -> None:
    """By default every cell keeps its value; the program's border sets the outer 5 of 64 cells to 0, and no others."""
    maps = np.random.default_rng(0).random((1, 64, 64)) + 1
    shown = finish_maps(maps)
    assert (shown > 0).all()
    hidden = finish_maps(maps, border=PROGRAM_BORDER)
    assert np.array_equal(hidden[:, 5:-5, 5:-5], shown[:, 5:-5, 5:-5])
    assert np.count_nonzero(hidden) == 54 * 54


def test_a_border_is_a_part_of_each_side() -> None:
    """The same option hides as much of a smaller map, in proportion."""
    assert np.count_nonzero(finish_maps(np.ones((1, 32, 16)), border=1 / 8)) == 24 * 12


@quick
@given(st.integers(4, 16), st.integers(4, 16), st.sampled_from([0.002, 0.1, 10.0]), st.integers(0, 99))
def test_descriptor_is_the_weighted_mean_of_blurred_and_centred_features(
    height: int, width: int, tau: float, seed: int
) -> None:
    """Transposing the blur onto the weights gives equation (2) as it is written."""
    random = np.random.default_rng(seed)
    features, scores = random.standard_normal((6, height, width)), random.random((height, width)) / 50
    smooth = blurred(features, 7, 2.0)
    centred = smooth - smooth.mean(axis=(1, 2), keepdims=True)
    weights = np.exp((scores - scores.max()) / tau)
    expected = (centred * weights / weights.sum()).sum(axis=(1, 2))
    np.testing.assert_allclose(descriptor(features, scores, tau=tau), expected, atol=1e-5)


def test_descriptor_of_a_flat_map_is_next_to_nothing() -> None:
    """Where no cell is more anomalous than another, the features' mean is left, and that is 0."""
    features = np.random.default_rng(0).standard_normal((5, 12, 12))
    np.testing.assert_allclose(descriptor(features, np.zeros((12, 12))), 0, atol=1e-6)


def test_descriptor_says_what_the_anomaly_looks_like() -> None:
    """Features of the marked spot make the descriptor, as a difference to the rest."""
    features, scores = np.zeros((2, 32, 32)), np.zeros((32, 32))
    features[1, 10:20, 10:20] = 1
    scores[15, 15] = 1
    found = descriptor(features, scores)
    assert found[0] == 0
    assert found[1] > 0.5


@pytest.mark.parametrize("maps", [np.ones((8, 8)), np.ones((0, 8, 8)), np.ones((1, 2, 8)), np.full((1, 8, 8), np.nan)])
def test_maps_that_cannot_be_finished_are_refused(maps: Floats) -> None:
    """A single map, no map, one too small and one with NaN are refused."""
    with pytest.raises(ArrayContractError):
        finish_maps(maps)


@pytest.mark.parametrize("border", [-0.1, 0.5, float("nan"), 0.49])
def test_a_border_leaves_cells(border: float) -> None:
    """A border that is no part of a side, or hides all, is refused."""
    with pytest.raises(ConfigError):
        finish_maps(np.ones((1, 8, 8)), border=border)


@pytest.mark.parametrize(
    ("features", "scores"),
    [
        (np.ones((2, 8, 8)), np.ones((8, 7))),
        (np.ones((8, 8)), np.ones((8, 8))),
        (np.ones((0, 8, 8)), np.ones((8, 8))),
        (np.full((2, 8, 8), np.nan), np.ones((8, 8))),
        (np.ones((2, 8, 8)), np.full((8, 8), np.inf)),
        (np.ones((2, 3, 8)), np.ones((3, 8))),
    ],
)
def test_descriptors_need_features_and_a_map_that_fit(features: Floats, scores: Floats) -> None:
    """Sizes that differ, values that are not finite and maps too small to blur are refused."""
    with pytest.raises(ArrayContractError):
        descriptor(features, scores)


@pytest.mark.parametrize("tau", [0, -1, float("nan"), float("inf")])
def test_descriptor_needs_a_temperature(tau: float) -> None:
    """A temperature of 0 or none is refused."""
    with pytest.raises(ConfigError):
        descriptor(np.ones((2, 8, 8)), np.ones((8, 8)), tau=tau)
