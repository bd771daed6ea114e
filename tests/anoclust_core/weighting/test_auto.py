"""Recipe auto: spread weights, whitening, scores against normals, and a model that later images are described by."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.weighting.auto import DescriptorModel, PooledLevel
from anoclust_core.weighting.auto_scoring import fit_scoring, scores_against_normals, scoring_details, scoring_from
from anoclust_core.weighting.levels import spread_weights
from anoclust_core.weighting.rarity import trimmed_rarity
from anoclust_core.weighting.whitening import Moments, Whitening

RNG = np.random.default_rng(0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_spread_weights_pool_as_an_enlarged_map_would(few_rows, few_columns, more_rows, more_columns):
    """Pooling a coarse level is the same as enlarging its map as torch does and pooling that."""
    coarse = (few_rows, few_columns)
    fine = (few_rows + more_rows, few_columns + more_columns)
    weights, cells = RNG.random((2, fine[0] * fine[1])), RNG.normal(size=(coarse[0] * coarse[1], 3))
    enlarged = functional.interpolate(
        torch.from_numpy(cells.T.reshape(1, 3, *coarse)), fine, mode="bilinear", align_corners=False
    )
    expected = weights @ enlarged.numpy().reshape(3, -1).T
    np.testing.assert_allclose(spread_weights(weights, fine, coarse) @ cells, expected, atol=1e-12)


def test_equal_grids_keep_their_weights():
    """Blocks of a ViT have one grid: nothing is spread."""
    weights = RNG.random((3, 6))
    np.testing.assert_array_equal(spread_weights(weights, (2, 3), (2, 3)), weights)


def test_weights_are_not_spread_to_a_finer_grid():
    """A level that is finer than that of the weights is refused."""
    with pytest.raises(ConfigError, match="coarser"):
        spread_weights(np.ones((1, 4)), (2, 2), (4, 2))


def test_whitened_vectors_vary_alike_where_shrinkage_is_small():
    """Directions with much variance end up with the same, those with little with less; the order of vectors is free."""
    scales = np.array([10.0, 5.0, 0.1])
    vectors = RNG.normal(size=(5000, 3)) * scales + 7
    seen = Moments(3)
    for part in np.array_split(vectors, 7):
        seen.add(part)
    found = seen.whitening()
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0))
    whitened = (vectors - found.mean) @ found.matrix
    shrinkage = np.cov(vectors.T, ddof=0).trace() / 3
    spread = np.sort(whitened.var(axis=0))
    np.testing.assert_allclose(spread, np.sort([s**2 / (s**2 + shrinkage) for s in scales]), atol=0.03)
    directions = found.directions(vectors)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)


def test_counting_twice_is_as_two_images():
    """A content that two images have counts for both."""
    vectors = RNG.normal(size=(4, 3))
    once, twice = Moments(3), Moments(3)
    once.add(vectors, times=2)
    twice.add(np.concatenate([vectors, vectors]))
    np.testing.assert_allclose(once.whitening().matrix, twice.whitening().matrix)


def test_vectors_that_do_not_vary_are_left_alone():
    """One normal, or images that are all the same, have no directions to scale."""
    seen = Moments(3)
    seen.add(np.full((5, 3), 0.1))
    np.testing.assert_array_equal(seen.whitening().matrix, np.eye(3))
    with pytest.raises(ArrayContractError, match="at least one"):
        Moments(3).whitening()


def test_three_scores_against_normals():
    """The nearest normal, the nearest twentieth and the nearest 30 %; copies of a normal are normals of their own."""
    nearest = RNG.random((2, 40, 5)).astype(np.float32)
    counts = np.full(40, 2)
    scores = scores_against_normals(nearest, counts)
    repeated = np.sort(np.repeat(nearest, 2, axis=1).astype(np.float64), axis=1)
    expected = [repeated[:, 0], repeated[:, :4].mean(axis=1), repeated[:, :24].mean(axis=1)]
    np.testing.assert_allclose(scores, np.stack(expected, axis=-1))


def test_several_scores_count_alike():
    """Each score is brought to mean 0 and deviation 1, and the temperatures follow the sum."""
    scores = np.stack([RNG.normal(5, 0.1, (6, 9)), RNG.normal(-3, 20, (6, 9))], axis=-1)
    scoring = fit_scoring(scores, tau="0.3sd")
    summed = scoring.summed(scores)
    normed = [(scores[..., at] - scores[..., at].mean()) / scores[..., at].std() for at in range(2)]
    np.testing.assert_allclose(summed, normed[0] + normed[1])
    np.testing.assert_allclose(scoring.taus, [0.3 * summed.std(), 0.6 * summed.std()])
    assert scoring_from(json.loads(json.dumps(scoring_details(scoring)))) == scoring
    assert scoring.weights(summed).shape == (6, 2, 9)


def test_one_score_is_taken_as_it_is():
    """Rarity without normals stays in embedding units; a temperature may be given in them too."""
    rarity = RNG.random((6, 9))
    scoring = fit_scoring(rarity[..., None], tau="0.02")
    np.testing.assert_array_equal(scoring.summed(rarity[..., None]), rarity)
    assert scoring.taus == (0.02, 0.04)


def example_model() -> tuple[DescriptorModel, list[PooledLevel]]:
    """Make a model of two levels, and five images."""
    whitenings = [Whitening(RNG.normal(size=dim), RNG.normal(size=(dim, dim))) for dim in (3, 4, 3, 4)]
    model = DescriptorModel(tuple(whitenings[:2]), tuple(whitenings[2:]), 0.5)
    return model, [PooledLevel(RNG.normal(size=(5, 2, dim)), RNG.normal(size=(5, dim))) for dim in (3, 4)]


def test_descriptors_have_unit_norm_and_shares():
    """Rare patches have 85 % of a descriptor's squared length, mean patches the rest."""
    model, levels = example_model()
    found = model.descriptors(levels)
    assert found.shape == (5, 3 * 3 + 3 * 4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose((found[:, :6] ** 2).sum(axis=1), 0.85 / 2, rtol=1e-6)
    np.testing.assert_allclose((found[:, 6:9] ** 2).sum(axis=1), 0.15 / 2, rtol=1e-6)


def test_a_residual_takes_away_what_is_usual_in_the_image():
    """A model with a residual sees rare patches as one without sees them after the image's own deviation is taken."""
    model, levels = example_model()
    moved = [
        PooledLevel(level.rare - 0.5 * (level.whole - patches.mean)[:, None], level.whole)
        for level, patches in zip(levels, model.patches, strict=True)
    ]
    np.testing.assert_allclose(model.descriptors(levels), replace(model, residual=0.0).descriptors(moved), rtol=1e-5)


def test_images_are_described_one_by_one():
    """A descriptor depends on its own image: which others are described with it does not matter."""
    model, levels = example_model()
    alone = [PooledLevel(level.rare[2:3], level.whole[2:3]) for level in levels]
    np.testing.assert_allclose(model.descriptors(alone)[0], model.descriptors(levels)[2], rtol=1e-6)


def test_a_model_at_rest_is_the_same():
    """Arrays and details are all that a model is made of."""
    model, levels = example_model()
    again = DescriptorModel.from_arrays(model.arrays, json.loads(json.dumps(model.details)))
    np.testing.assert_array_equal(again.descriptors(levels), model.descriptors(levels))
    with pytest.raises(ArrayContractError, match="do not fit"):
        DescriptorModel.from_arrays(model.arrays, {**model.details, "dims": [3, 5]})
    with pytest.raises(ArrayContractError, match="expected 2 levels"):
        model.descriptors(levels[:1])


def test_scores_of_one_share_are_those_of_trimmed_rarity():
    """The third score is the paper's expectation, over the nearest part alone."""
    nearest, counts = RNG.random((2, 10, 5)).astype(np.float32), np.ones(10, np.int64)
    none = np.zeros(2, np.bool_)
    found = scores_against_normals(nearest, counts, share=0.5)[..., 2]
    np.testing.assert_array_equal(found, trimmed_rarity(nearest, counts, share=0.5, is_reference=none))
