from __future__ import annotations

import subprocess
import sys
from typing import Any

import fca_reference
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.fca import anomaly_map, anomaly_maps, usual_values
from anoclust_core.localization.fca_torch import anomaly_map_on_device

Floats = NDArray[np.float32]

quick = settings(max_examples=15, deadline=None, database=None)

kinds = st.sampled_from(["uniform", "relu", "few values", "signed", "constant"])
sides = st.integers(7, 26)


def feature_map(kind: str, shape: tuple[int, ...], seed: int) -> Floats:
    random = np.random.default_rng(seed)
    values = {
        "uniform": lambda: random.random(shape),
        "relu": lambda: np.maximum(random.standard_normal(shape), 0),
        "few values": lambda: random.integers(0, 3, shape) / 2,
        "signed": lambda: random.standard_normal(shape),
        "constant": lambda: np.full(shape, random.random()),
    }
    return values[kind]().astype(np.float32)


def on_torch(features: Floats, **options: Any) -> Floats:
    return anomaly_map_on_device(torch.from_numpy(features), **options).numpy()


@quick
@given(kinds, st.integers(1, 20), sides, sides, st.integers(0, 99))
@example("relu", 130, 64, 64, 0)
@example("uniform", 3, 7, 7, 0)
@example("constant", 2, 9, 60, 0)
def test_map_is_that_of_sorting_every_window(kind: str, dim: int, height: int, width: int, seed: int) -> None:
    """Whatever the features and the size, the map is that of one stable sort a window, and so on a torch device."""
    features = feature_map(kind, (dim, height, width), seed)
    expected = fca_reference.map_by_sorting(features)
    np.testing.assert_allclose(anomaly_map(features), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(on_torch(features), expected, rtol=0, atol=1e-6)


@quick
@given(kinds, st.sampled_from([3, 5, 7, 9, 15]), st.floats(0.3, 9), st.floats(0.3, 9), st.integers(0, 99))
def test_every_window_and_width_of_gaussian_is_exact(
    kind: str, tile: int, sigma_p: float, sigma_s: float, seed: int
) -> None:
    """The size of a window and the two Gaussians mean what they mean to the reference."""
    features = feature_map(kind, (4, 21, 17), seed)
    options = {"tile": tile, "sigma_p": sigma_p, "sigma_s": sigma_s}
    expected = fca_reference.map_by_sorting(features, **options)
    np.testing.assert_allclose(anomaly_map(features, **options), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(on_torch(features, **options), expected, rtol=0, atol=1e-6)


@quick
@given(kinds, st.integers(0, 99))
def test_sorting_twice_gives_the_same_map(kind: str, seed: int) -> None:
    """The two references agree: ranks by a second sort are those of the scatter."""
    features = feature_map(kind, (5, 16, 19), seed)
    once, twice = (fca_reference.map_by_sorting(features, two_sorts=two) for two in (False, True))
    np.testing.assert_allclose(once, twice, rtol=0, atol=1e-12)


def test_many_channels_on_a_torch_device_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the comparisons of all channels would need too much memory, the parts add up to the same map."""
    features = feature_map("relu", (40, 20, 20), 0)
    whole = on_torch(features)
    monkeypatch.setattr("anoclust_core.localization.fca_torch._COUNTS_BYTES", 7 * 91 * 26 * 26)
    np.testing.assert_allclose(on_torch(features), whole, rtol=1e-5)


def test_a_constant_map_has_no_anomaly() -> None:
    """Where every channel is constant nothing differs from anything: exactly 0."""
    assert not anomaly_map(np.full((3, 12, 9), 5, np.float32)).any()


def test_a_spot_in_a_texture_stands_out() -> None:
    """Cells that look like no others of the image score highest."""
    features = feature_map("uniform", (16, 40, 40), 0)
    features[:, 20:23, 11:14] += 2
    found = anomaly_map(features)
    assert np.unravel_index(found.argmax(), found.shape) == (21, 12)


def test_a_defect_at_the_very_edge_stands_out() -> None:
    """The edge is not hidden: a defect in the corner scores higher than any cell away from it."""
    features = feature_map("uniform", (16, 40, 40), 0)
    features[:, :3, :3] += 2
    found = anomaly_map(features)
    assert found[:3, :3].min() > found[8:, 8:].max()


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_many_images_at_once_are_each_on_its_own(threads: int) -> None:
    """A batch gives every image the map it has alone, to the last digit, with any number of threads."""
    stack = np.stack([feature_map("relu", (9, 15, 22), seed) for seed in range(5)])
    expected = np.stack([anomaly_map(features) for features in stack])
    assert np.array_equal(anomaly_maps(stack, threads=threads), expected)


def test_half_precision_and_views_are_read_as_they_are() -> None:
    """Features at rest in half precision, or as a view of a larger array, give the map of their values."""
    features = feature_map("uniform", (4, 20, 30), 0).astype(np.float16)
    expected = anomaly_map(features.astype(np.float32))
    assert np.array_equal(anomaly_map(features), expected)
    assert np.array_equal(anomaly_map(np.asfortranarray(features)), expected)


@quick
@given(kinds, st.integers(0, 99))
def test_usual_values_are_the_lower_middle_of_sorted_windows(kind: str, seed: int) -> None:
    """The reference distribution is that of whole windows side by side; a rest right and below does not count."""
    features = feature_map(kind, (3, 15, 23), seed)
    expected = fca_reference.usual_values(torch.from_numpy(features), 7).numpy()
    assert np.array_equal(usual_values(features, tile=7), expected)


BAD_FEATURES = {
    "one channel without its axis": np.zeros((20, 20)),
    "a batch": np.zeros((1, 2, 20, 20)),
    "no channel": np.zeros((0, 20, 20)),
    "lower than a window": np.zeros((2, 6, 20)),
    "narrower than a window": np.zeros((2, 20, 6)),
    "NaN": np.full((2, 20, 20), np.nan),
    "infinity": np.full((2, 20, 20), np.inf),
    "no finite map": np.where(np.eye(20), 3e38, -3e38)[None].repeat(3, 0),
}


@pytest.mark.parametrize("what", BAD_FEATURES)
def test_features_that_cannot_be_used_are_refused(what: str) -> None:
    """What has no map is refused with our own error and no warning, on either path; nothing becomes NaN."""
    features = BAD_FEATURES[what].astype(np.float32)
    with pytest.raises(ArrayContractError):
        anomaly_map(features)
    with pytest.raises(ArrayContractError):
        on_torch(features)


@pytest.mark.parametrize(
    "options",
    [{"tile": 6}, {"tile": 1}, {"tile": 17}, {"tile": 7.5}, {"sigma_p": 0}, {"sigma_s": -1}, {"sigma_s": float("nan")}],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """An even, tiny or huge window and a Gaussian without width are refused, on either path."""
    features = np.zeros((2, 20, 20), np.float32)
    with pytest.raises(ConfigError):
        anomaly_map(features, **options)
    with pytest.raises(ConfigError):
        on_torch(features, **options)


def test_a_batch_needs_images_and_threads() -> None:
    """No image or no thread is refused."""
    with pytest.raises(ArrayContractError):
        anomaly_maps(np.zeros((0, 2, 20, 20), np.float32))
    with pytest.raises(ConfigError):
        anomaly_maps(np.zeros((1, 2, 20, 20), np.float32), threads=0)


def test_the_command_line_does_not_wait_for_the_compiler() -> None:
    """Numba is imported with the first map, not with the module."""
    code = "import sys, anoclust_core.localization.fca; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
