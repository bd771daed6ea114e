from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.localization.maps import PROGRAM_BORDER, finish_maps
from anoclust_core.localization.thresholds import kmeans_quantile_threshold, otsu_threshold, robust_threshold

Floats = NDArray[np.float64]

quick = settings(max_examples=20, deadline=None, database=None)


def maps_with_defects(n_defective: int, *, n_images: int = 20, seed: int = 0) -> Floats:
    """Skewed normal values, and in some images a spot far above them."""
    maps = np.random.default_rng(seed).lognormal(-4, 0.3, (n_images, 32, 32))
    maps[:n_defective, 5:9, 5:9] *= 20
    return maps


@pytest.mark.parametrize("n_defective", [1, 5, 20])
def test_robust_threshold_parts_defects_from_the_rest(n_defective: int) -> None:
    """However many images are defective, their spots are above it and nearly all other cells below."""
    maps = maps_with_defects(n_defective)
    found = maps > robust_threshold(maps)
    assert found[:n_defective, 5:9, 5:9].mean() > 0.95
    found[:n_defective, 5:9, 5:9] = False
    assert found.mean() < 1e-3


def test_robust_threshold_finds_next_to_nothing_where_all_is_normal() -> None:
    """Without a defect less than one cell in a thousand is called anomalous."""
    maps = maps_with_defects(0)
    assert (maps > robust_threshold(maps)).mean() < 1e-3


@quick
@given(st.floats(1e-6, 1e6), st.integers(0, 99))
def test_label_free_thresholds_follow_the_unit_of_the_maps(factor: float, seed: int) -> None:
    """Maps in another unit give the same cells: the threshold is scaled along."""
    maps = maps_with_defects(4, seed=seed)
    for rule in (robust_threshold, otsu_threshold):
        assert rule(maps * factor) == pytest.approx(rule(maps) * factor, rel=1e-4)


def test_a_hidden_border_does_not_move_the_robust_threshold() -> None:
    """Cells that a border sets to 0 are not counted as normal ones."""
    maps = maps_with_defects(4)
    hidden, shown = finish_maps(maps, border=PROGRAM_BORDER), finish_maps(maps)
    assert robust_threshold(hidden) == pytest.approx(robust_threshold(shown), rel=0.05)


@quick
@given(st.permutations(range(8)))
def test_label_free_thresholds_do_not_depend_on_the_order_of_images(order: list[int]) -> None:
    """Files in another order: the same threshold, to the last digit."""
    maps = maps_with_defects(3, n_images=8)
    for rule in (robust_threshold, otsu_threshold):
        assert rule(maps[order]) == rule(maps)


def test_otsu_parts_the_maxima_of_good_and_defective_images() -> None:
    """The cut lies above every good image and below every defective one."""
    maps = maps_with_defects(6)
    maxima = maps.max(axis=(1, 2))
    assert maxima[6:].max() < otsu_threshold(maps) < maxima[:6].min()


def test_kmeans_quantile_is_the_share_of_the_quietest_cluster() -> None:
    """With 12 of 20 images in the cluster of the lowest maxima, it is the 0.6 quantile of all maxima."""
    maps = maps_with_defects(8)
    kinds = np.r_[np.zeros(4), np.ones(4), np.full(12, 2)]
    descriptors = np.eye(3)[kinds.astype(int)] + np.random.default_rng(0).normal(0, 0.01, (20, 3))
    found = kmeans_quantile_threshold(maps, descriptors, n_classes=3, generator=np.random.default_rng(0))
    assert found == pytest.approx(np.quantile(maps.max(axis=(1, 2)), 0.6), rel=1e-6)


def test_maps_without_contrast_have_no_anomaly() -> None:
    """Where all is 0, or all alike, no cell is above any threshold, and the threshold is a number."""
    for value in (0.0, 0.3):
        maps = np.full((3, 8, 8), value)
        same = kmeans_quantile_threshold(maps, np.ones((3, 2)), n_classes=2, generator=np.random.default_rng(0))
        for found in (robust_threshold(maps), otsu_threshold(maps), same):
            assert not (maps.astype(np.float32) > found * (1 + 1e-6)).any()


def test_a_single_image_has_a_threshold() -> None:
    """One image is enough for the rules that need no classes."""
    for rule in (robust_threshold, otsu_threshold):
        assert np.isfinite(rule(maps_with_defects(1, n_images=1)))


def kmeans(maps: Floats, descriptors: Floats, n_classes: int) -> Callable[[], float]:
    return lambda: kmeans_quantile_threshold(maps, descriptors, n_classes=n_classes, generator=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: robust_threshold(np.ones((8, 8))), ArrayContractError),
        (lambda: robust_threshold(np.ones((0, 8, 8))), ArrayContractError),
        (lambda: robust_threshold(np.full((1, 8, 8), np.nan)), ArrayContractError),
        (lambda: robust_threshold(np.ones((1, 8, 8)), deviations=0), ConfigError),
        (lambda: otsu_threshold(np.full((1, 8, 8), np.inf)), ArrayContractError),
        (kmeans(np.ones((3, 8, 8)), np.ones((2, 4)), 2), ArrayContractError),
        (kmeans(np.ones((3, 8, 8)), np.full((3, 4), np.nan), 2), ArrayContractError),
        (kmeans(np.ones((3, 8, 8)), np.ones((3, 4)), 1), ConfigError),
        (kmeans(np.ones((3, 8, 8)), np.ones((3, 4)), 4), ConfigError),
    ],
)
def test_input_without_a_threshold_is_refused(call: Callable[[], float], error: type[Exception]) -> None:
    """Wrong shapes, NaN, no image and impossible numbers of classes are refused."""
    with pytest.raises(error):
        call()
