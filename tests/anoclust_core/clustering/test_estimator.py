"""AnomalyClusterer: scikit-learn's manner, new images, and what it refuses."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from anoclust_core.clustering import AnomalyClusterer
from anoclust_core.errors import ArrayContractError, ConfigError

NOT_APPLICABLE = {
    "check_array_api_input": "runs only where SCIPY_ARRAY_API is set before SciPy is imported; no array API is claimed",
}
"""Checks of scikit-learn that say nothing of this estimator, and why; they skip themselves. All others have to pass."""

TRUTH = np.repeat([0, 1, 2], [30, 15, 15])
"""Kind of every made-up image: good ones, and two kinds of defects."""


def made_bags(truth: Sequence[int] = TRUTH, *, seed: int = 0) -> np.ndarray:
    """Draw bags of nine patches that show one surface, and on two of them the image's kind of defect."""
    rng = np.random.default_rng(seed)
    bags = rng.normal(size=(len(truth), 9, 12)) * 0.1 + 1
    for bag, kind in zip(bags, truth, strict=True):
        if kind:
            bag[rng.permutation(9)[:2]] += 4 * np.eye(12)[2 * kind] - 2 * np.eye(12)[7]
    return bags


@parametrize_with_checks([AnomalyClusterer(), AnomalyClusterer(n_clusters=(1, 8), tau=0.05)])
def test_scikit_learns_own_checks(estimator: AnomalyClusterer, check: Any) -> None:
    """Every check that scikit-learn has of a clusterer that transforms passes, or is listed with a reason."""
    try:
        check(estimator)
    except SkipTest as error:
        name = getattr(check, "func", check).__name__
        assert name in NOT_APPLICABLE, f"{name} was skipped: {error}"
        pytest.skip(NOT_APPLICABLE[name])


def test_kinds_of_anomaly_are_found() -> None:
    """The number of kinds and the members of each come out, without labels and without a number."""
    fitted = AnomalyClusterer().fit(made_bags())
    assert adjusted_rand_score(TRUTH, fitted.labels_) == 1
    assert fitted.n_clusters_ == 3
    assert "knee" in fitted.criterion_
    np.testing.assert_allclose(fitted.weights_.sum(axis=1), 1)
    assert fitted.rarity_.shape == fitted.weights_.shape == (60, 9)
    assert fitted.linkage_.shape == (59, 4)


def test_order_of_the_images_does_not_matter() -> None:
    """Permuting the images permutes the labels."""
    order = np.random.default_rng(1).permutation(60)
    labels, permuted = (AnomalyClusterer().fit_predict(bags) for bags in (made_bags(), made_bags()[order]))
    assert adjusted_rand_score(labels[order], permuted) == 1


def test_what_was_fitted_stays_as_it_was() -> None:
    """In any company, an image that was fitted keeps its label and its descriptor."""
    fitted = AnomalyClusterer().fit(made_bags())
    both = np.concatenate([made_bags(seed=5)[:4], made_bags()[::-1]])
    np.testing.assert_array_equal(fitted.predict(both)[4:], fitted.labels_[::-1])
    np.testing.assert_array_equal(fitted.transform(both)[4:], fitted.descriptors_[::-1])
    np.testing.assert_array_equal(fitted.fit_transform(made_bags()), fitted.descriptors_)


def test_new_images_go_to_the_clusters_or_are_unknown() -> None:
    """New images of known kinds go to their clusters; a kind that was never seen is -1."""
    fitted = AnomalyClusterer().fit(made_bags())
    known = fitted.predict(made_bags(seed=7))
    assert (known >= 0).mean() > 0.9
    assert adjusted_rand_score(TRUTH[known >= 0], known[known >= 0]) > 0.95
    assert (fitted.predict(made_bags([4] * 10, seed=8)) == -1).mean() > 0.8


def test_copies_stay_together_and_are_seen_once() -> None:
    """Copies have one label and one descriptor, and two hundred of them make no kind of their own."""
    bags = np.concatenate([made_bags(), np.repeat(made_bags()[:1], 200, axis=0)])
    fitted = AnomalyClusterer().fit(bags)
    assert len(set(fitted.labels_[60:])) == 1
    assert fitted.labels_[60] == fitted.labels_[0]
    assert len(np.unique(fitted.descriptors_[60:], axis=0)) == 1


@pytest.mark.parametrize(("asked", "found"), [(5, {5}), ((4, 4), {4}), ((2, 8), {3}), ((70, 90), {60}), (None, {3})])
def test_number_of_clusters(asked: Any, found: set[int]) -> None:
    """A number, bounds of it, or the tree's own; bounds stop at the number of images."""
    if asked == (70, 90):
        with pytest.raises(ConfigError, match="70"):
            AnomalyClusterer(n_clusters=asked).fit(made_bags())
        return
    fitted = AnomalyClusterer(n_clusters=asked).fit(made_bags())
    assert {fitted.n_clusters_} == {len(set(fitted.labels_))} == found


def test_as_many_clusters_as_images() -> None:
    """Bounds that begin with the number of images leave one number: every image is a cluster."""
    assert sorted(AnomalyClusterer(n_clusters=(4, 6)).fit(made_bags()[::15]).labels_) == [0, 1, 2, 3]


def test_rarity_against_normals() -> None:
    """With known normals what they show is not rare, though most of the clustered images lack it."""
    normals = made_bags([0] * 20 + [1] * 20, seed=3)
    bags = made_bags()
    blind, told = AnomalyClusterer().fit(bags), AnomalyClusterer().fit(bags, normals=normals)
    ratio = [
        one.rarity_[TRUTH == 1].max(axis=1).mean() / one.rarity_[TRUTH == 2].max(axis=1).mean() for one in (blind, told)
    ]
    assert ratio[1] < 0.5 * ratio[0]
    again = AnomalyClusterer().fit_predict(bags, normals=normals)
    np.testing.assert_array_equal(again, told.labels_)


def test_threads_and_a_drawn_reference() -> None:
    """Threads change nothing, nor does a reference of all images; one of few measures rarity against these."""
    one, many = (AnomalyClusterer(n_jobs=jobs).fit(made_bags()) for jobs in (None, 3))
    np.testing.assert_array_equal(one.descriptors_, many.descriptors_)
    np.testing.assert_array_equal(AnomalyClusterer(n_reference=99).fit(made_bags()).rarity_, one.rarity_)
    few = AnomalyClusterer(n_reference=2, random_state=1).fit(made_bags())
    assert not np.allclose(few.rarity_, one.rarity_, atol=0.01)
    np.testing.assert_array_equal(few.predict(made_bags()), few.labels_)


class TwoLevels:
    """A backbone without a network: images are maps already, and the deeper level is their mean over 3 x 3 cells."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        fine = np.stack(images)
        return [fine, fine.reshape(len(fine), 1, 3, 1, 3, -1).mean(axis=(2, 4))]


def maps() -> list[np.ndarray]:
    """Give the made-up bags as maps of 3 x 3 patches."""
    return list(made_bags().reshape(60, 3, 3, 12))


def test_a_backbone_of_two_levels() -> None:
    """Descriptors have both levels; copies by `clone` and `pickle` give the same."""
    fitted = AnomalyClusterer(TwoLevels(), n_clusters=3).fit(maps())
    one_level = AnomalyClusterer(n_clusters=3).fit(made_bags())
    assert fitted.descriptors_.shape[1] == 2 * one_level.descriptors_.shape[1]
    assert adjusted_rand_score(TRUTH, fitted.labels_) > 0.95
    np.testing.assert_array_equal(clone(fitted).fit_predict(maps()), fitted.labels_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(maps()), fitted.descriptors_)


@pytest.mark.parametrize(
    ("parameters", "given", "told"),
    [
        ({"n_clusters": 0}, made_bags(), "n_clusters .*found int 0"),
        ({"n_clusters": (5, 2)}, made_bags(), "n_clusters"),
        ({"n_clusters": 61}, made_bags(), "61"),
        ({"random_state": None}, made_bags(), "random_state .*found None"),
        ({"n_reference": 1}, made_bags(), "n_reference .* from 2, found int 1"),
        ({"n_jobs": 0}, made_bags(), "n_jobs"),
        ({"tau": "much"}, made_bags(), "tau"),
    ],
)
def test_parameters_that_cannot_be_used(parameters: Any, given: Any, told: str) -> None:
    """Told with what was expected and found, when it is fitted."""
    with pytest.raises(ConfigError, match=told):
        AnomalyClusterer(**parameters).fit(given)


@pytest.mark.parametrize(
    ("backbone", "given", "told"),
    [
        (None, np.zeros((4, 8, 8, 3), np.uint8), "images need a backbone"),
        (TwoLevels(), [np.ones((3, 3, 12))], "at least 2 images, found 1"),
        (TwoLevels(), ["a.png", "b.png"], r"X\[0\]"),
        (lambda images: [np.ones((len(images), 9, 12))], maps(), "levels .* from the backbone, found float64"),
        (lambda images: [], maps(), "from the backbone, found none"),
    ],
)
def test_images_that_cannot_be_used(backbone: Any, given: Any, told: str) -> None:
    """Told with what was expected and found."""
    with pytest.raises(ArrayContractError, match=told):
        AnomalyClusterer(backbone).fit(given)


def test_new_images_of_another_shape() -> None:
    """Bags of another length, grid or number of levels than the fitted ones are refused, and so are such normals."""
    fitted = AnomalyClusterer().fit(made_bags())
    for other in (made_bags()[:, :, :5], made_bags()[:, :4]):
        with pytest.raises(ArrayContractError, match="as fitted, found"):
            fitted.predict(other)
    with pytest.raises(ArrayContractError, match="as the images, found"):
        AnomalyClusterer().fit(made_bags(), normals=made_bags()[:, :4])
