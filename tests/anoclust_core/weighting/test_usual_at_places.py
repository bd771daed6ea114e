"""What is usual at the places of a fixed camera's frames."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anoclust_core.errors import ArrayContractError
from anoclust_core.weighting.auto import DescriptorModel, PooledLevel, fit_descriptors
from anoclust_core.weighting.auto_switches import FIXED_CAMERA
from anoclust_core.weighting.places import usual_scores
from anoclust_core.weighting.whitening import Moments

RNG = np.random.default_rng(0)


def test_a_print_is_as_ordinary_as_what_is_around_it():
    """A place that is rare in all frames is levelled with the others, which keep their scores on average."""
    scores = RNG.uniform(0.3, 0.4, (9, 50, 1))
    scores[:, 7] += 0.5
    levelled = scores - usual_scores(scores)
    np.testing.assert_allclose(np.median(levelled, axis=0), np.median(scores, axis=0).mean(), rtol=1e-6)


def test_what_few_frames_have_at_a_place_stays_as_rare():
    """Four of nine frames with a defect at one place are told from the others by as much as before."""
    scores = RNG.uniform(0.3, 0.4, (9, 50, 1))
    defects = scores.copy()
    defects[:4, 7] += 0.5
    usual, without = usual_scores(defects), usual_scores(scores)
    assert abs(usual[7] - without[7]) < 0.1
    others = np.arange(50) != 7
    np.testing.assert_allclose(usual[others], without[others], atol=0.01)


def test_the_order_of_frames_and_of_scores_does_not_matter():
    """Each score has its own medians, and frames may come in any order."""
    scores = RNG.random((7, 5000, 2))
    usual = usual_scores(scores)
    assert usual.shape == (5000, 2)
    np.testing.assert_array_equal(usual_scores(scores[::-1]), usual)
    np.testing.assert_allclose(usual_scores(scores[..., ::-1])[:, ::-1], usual, rtol=1e-6)
    np.testing.assert_allclose(usual.mean(axis=0), 0, atol=1e-6)


def test_scores_that_are_not_finite_are_refused():
    """A median would hide them."""
    scores = np.ones((3, 4, 1))
    scores[0, 0] = np.nan
    with pytest.raises(ArrayContractError, match="expected finite scores"):
        usual_scores(scores)


def fitted() -> tuple[DescriptorModel, PooledLevel]:
    """A model of frames of a fixed camera: two kinds of three images each, and fourteen without a defect."""
    kinds = np.zeros((20, 6))
    kinds[:3, 0], kinds[3:6, 1] = 9, 9
    rare = kinds[:, None] + RNG.normal(0, 0.3, (20, 2, 6))
    level = PooledLevel(rare, RNG.normal(0, 0.1, (20, 6)))
    seen = Moments(6)
    seen.add(RNG.normal(size=(500, 6)))
    found = fit_descriptors([level], patches=[seen], normals=None, n_clusters=3, generator=RNG, switches=FIXED_CAMERA)
    return found.model, level


def test_images_without_a_defect_lie_closer_together():
    """Where nothing is rare, pooled patches are short, and their direction counts for less; none is longer than 1."""
    model, level = fitted()
    found = model.descriptors([level])
    lengths = np.linalg.norm(found, axis=1)
    assert found.shape == (20, 12)
    assert lengths[:6].min() > 0.9
    assert lengths.max() < 1
    assert np.median(lengths[6:]) < 0.6
    assert np.linalg.norm(model.descriptors([PooledLevel(level.rare / 100, level.whole / 100)]), axis=1).max() < 0.1


def test_the_light_of_an_image_does_not_count():
    """What all patches of an image have in common is taken away whole."""
    model, level = fitted()
    light = RNG.normal(size=(20, 1, 6))
    lit = PooledLevel(level.rare + light, level.whole + light[:, 0])
    np.testing.assert_allclose(model.descriptors([lit]), model.descriptors([level]), atol=1e-6)


def test_such_a_model_at_rest_is_the_same():
    """Its usual lengths are kept too; models of other images say nothing of any."""
    model, level = fitted()
    again = DescriptorModel.from_arrays(model.arrays, json.loads(json.dumps(model.details)))
    np.testing.assert_array_equal(again.descriptors([level]), model.descriptors([level]))
