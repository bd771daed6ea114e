"""The map of images."""

from __future__ import annotations

import numpy as np
import pytest

from anoclust_core.clustering import projection
from anoclust_core.clustering.projection import place_beside, project
from anoclust_core.errors import ArrayContractError


def blobs(n_images: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    of = rng.integers(4, size=n_images)
    middles = np.eye(4, 16) * 10
    return (middles[of] + rng.normal(size=(n_images, 16))).astype(np.float32), of


def same_kind(positions: np.ndarray, of: np.ndarray) -> float:
    """Part of the images whose nearest image on the map is of their kind."""
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((of[distances.argmin(axis=1)] == of).mean())


def test_images_of_a_kind_lie_side_by_side() -> None:
    descriptors, of = blobs(160)
    positions = project(descriptors, seed=0)
    assert positions.shape == (160, 2) and positions.dtype == np.float32
    assert np.abs(positions).max() == 1
    assert same_kind(positions, of) == 1


def test_a_seed_gives_one_map() -> None:
    descriptors, _ = blobs(60)
    assert np.array_equal(project(descriptors, seed=3), project(descriptors, seed=3))


def test_of_many_images_some_are_fitted_and_the_others_are_put_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MOST_FITTED", 80)
    descriptors, of = blobs(300)
    positions = project(descriptors, seed=0)
    assert positions.shape == (300, 2) and np.isfinite(positions).all()
    assert same_kind(positions, of) > 0.99


@pytest.mark.parametrize("n_images", [1, 2, 3, 5, 7])
def test_a_handful_of_images_has_a_map_too(n_images: int) -> None:
    positions = project(blobs(n_images)[0], seed=0)
    assert positions.shape == (n_images, 2) and np.isfinite(positions).all()


def test_copies_of_one_image_lie_in_one_place() -> None:
    assert not project(np.ones((9, 4)), seed=0).any()


def test_a_copy_of_a_known_image_lies_on_it_and_others_between() -> None:
    known = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0], [5.0, 30.0], [90.0, 90.0]])
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [-1.0, -1.0]])
    found = place_beside(np.array([[10.0, 0.0], [5.0, 0.0]]), known=known, positions=places)
    assert found[0] == pytest.approx([1, 0], abs=1e-3)
    assert 0.3 < found[1, 0] < 0.7 and 0 <= found[1, 1] < 0.5


def test_places_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArrayContractError, match="3 finite positions of two numbers, found 4 numbers"):
        place_beside(np.ones((2, 4)), known=np.ones((3, 4)), positions=np.ones((2, 2)))
