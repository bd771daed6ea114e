from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from helpers.partitions import quicker
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.evaluation import ranking
from anoclust_core.evaluation.ranking import image_auroc, per_region_overlap, pixel_auroc

Maps = NDArray[np.floating]
Masks = NDArray[np.bool_]

# A few distinct values: most scores tie.
few_values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0])
scored_images = st.integers(2, 20).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=few_values | st.floats(-1e6, 1e6)),
        arrays(np.bool_, n).filter(lambda kinds: kinds.any() and not kinds.all()),
    )
)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)).filter(lambda shape: np.prod(shape) > 1)
scored_pixels = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=few_values | st.floats(-8, 8, width=32)),
        arrays(np.bool_, shape).filter(lambda masks: masks.any() and not masks.all()),
    )
)


def regions(mask: Masks) -> Iterator[set[tuple[int, int]]]:
    """Connected anomalous pixels, diagonal neighbours connected, by flooding."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    while left:
        found, border = set(), {left.pop()}
        while border:
            y, x = border.pop()
            found.add((y, x))
            near = {(y + dy, x + dx) for dy, dx in product((-1, 0, 1), repeat=2)} & left
            left -= near
            border |= near
        yield found


def naive_pro(maps: Maps, masks: Masks, limit: float) -> float:
    """One threshold after the other, then trapezoids, cut at the limit."""
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        found = maps >= threshold
        rates.append(float((found & ~masks).sum() / (~masks).sum()))
        shares = [
            np.mean([found[row][pixel] for pixel in region])
            for row in range(len(maps))
            for region in regions(masks[row])
        ]
        overlaps.append(float(np.mean(shares)))
    area = 0.0
    for left, right, low, high in zip(rates, rates[1:], overlaps, overlaps[1:], strict=False):
        if left >= limit:
            break
        end = min(right, limit)
        height = low + (high - low) * ((end - left) / (right - left) if right > left else 1)
        area += (end - left) * (low + height) / 2
    return area / limit


@quicker
@given(scored_images)
def test_image_auroc_is_scikit_learns(images) -> None:
    """With ties or without, the AUROC of images is scikit-learn's."""
    scores, kinds = images
    assert image_auroc(scores, kinds) == pytest.approx(roc_auc_score(kinds, scores), abs=1e-12)


@quicker
@given(scored_images)
def test_auroc_is_the_share_of_pairs_in_order(images) -> None:
    """The AUROC is the share of (anomalous, normal) pairs that are in order, ties counted half; reversed, the rest."""
    scores, kinds = images
    pairs = [(a > b) + (a == b) / 2 for a in scores[kinds] for b in scores[~kinds]]
    assert image_auroc(scores, kinds) == sum(pairs) / len(pairs)
    assert image_auroc(-scores, kinds) == pytest.approx(1 - sum(pairs) / len(pairs))


@quicker
@given(scored_pixels)
def test_pixel_auroc_is_scikit_learns(pixels) -> None:
    """The AUROC of pixels is scikit-learn's over all pixels of all images."""
    maps, masks = pixels
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)


@quicker
@given(scored_pixels, st.sampled_from([0.05, 0.3, 0.5, 1.0]))
def test_pro_is_a_loop_over_thresholds(pixels, limit) -> None:
    """PRO is what a loop over all thresholds and all regions gives, ties and the cut at the limit included."""
    maps, masks = pixels
    pro = per_region_overlap(maps, masks, max_false_positive_rate=limit)
    assert pro == pytest.approx(naive_pro(maps, masks, limit), abs=1e-9)
    assert 0 <= pro <= 1


@quicker
@given(scored_pixels)
def test_whole_pro_is_auroc_weighted_by_region(pixels) -> None:
    """Up to a rate of 1, PRO is scikit-learn's AUROC with each anomalous pixel weighted by one over its region."""
    maps, masks = pixels
    weights = np.ones(maps.shape)
    for row, mask in enumerate(masks):
        for region in regions(mask):
            for y, x in region:
                weights[row, y, x] = 1 / len(region)
    expected = roc_auc_score(masks.ravel(), maps.ravel(), sample_weight=weights.ravel())
    assert per_region_overlap(maps, masks, max_false_positive_rate=1) == pytest.approx(expected, abs=1e-9)


@quicker
@given(scored_pixels)
def test_only_the_order_of_scores_matters(pixels) -> None:
    """Scores in another unit, or images in another order, change nothing."""
    maps, masks = pixels
    for score in (pixel_auroc, per_region_overlap):
        assert score(8 * maps.astype(np.float64), masks) == pytest.approx(score(maps, masks), abs=1e-12)
        assert score(maps[::-1], masks[::-1]) == pytest.approx(score(maps, masks), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_perfect_blind_and_wrong_maps(dtype) -> None:
    """A perfect map scores 1, a constant one 0.5 of what there is to get, an inverted one 0."""
    masks = np.zeros((4, 6, 6), dtype=bool)
    masks[1, :2, :2] = masks[2, 3, 3] = masks[2, 4, 4] = True
    perfect = masks.astype(dtype)
    assert pixel_auroc(perfect, masks) == per_region_overlap(perfect, masks) == 1
    assert pixel_auroc(0 * perfect, masks) == 0.5
    assert per_region_overlap(0 * perfect, masks) == pytest.approx(0.15)
    assert pixel_auroc(-perfect, masks) == per_region_overlap(-perfect, masks) == 0


def test_small_regions_count_as_much_as_large_ones() -> None:
    """Missing one of two regions costs half of the PRO, whatever its size."""
    masks = np.zeros((2, 20, 20), dtype=bool)
    masks[0, :10, :10] = masks[1, 5, 5] = True
    maps = np.zeros(masks.shape)
    maps[0, :10, :10] = 1
    maps[1, 5, 5] = -1
    assert per_region_overlap(maps, masks) == pytest.approx(0.5)
    assert per_region_overlap(-maps, masks) == pytest.approx(0.5)


def test_block_size_does_not_matter(monkeypatch) -> None:
    """Counting few images at a time, as with large maps, gives the same scores."""
    rng = np.random.default_rng(0)
    maps, masks = rng.integers(0, 9, size=(7, 8, 8)) / 8, rng.random((7, 8, 8)) < 0.2
    scores = pixel_auroc(maps, masks), per_region_overlap(maps, masks)
    monkeypatch.setattr(ranking, "_BLOCK_PIXELS", 2 * 64 + 1)
    assert (pixel_auroc(maps, masks), per_region_overlap(maps, masks)) == scores


SCORES = np.array([0.1, 0.2, 0.3])
KINDS = np.array([True, False, True])


@pytest.mark.parametrize(
    ("scores", "kinds"),
    [
        (np.zeros(0), np.zeros(0, dtype=bool)),
        (SCORES[:1], KINDS[:1]),
        (SCORES, KINDS[:2]),
        (SCORES, ~np.zeros(3, dtype=bool)),
        (SCORES, np.zeros(3, dtype=bool)),
        (SCORES, KINDS.astype(int)),
        (np.arange(3), KINDS),
        (SCORES[None], KINDS[None]),
        (np.array([0.1, np.nan, 0.3]), KINDS),
        (np.array([0.1, np.inf, 0.3]), KINDS),
    ],
)
def test_unusable_images_are_refused(scores, kinds) -> None:
    """No image, one kind only, unequal lengths, NaN or labels that are not bool: an error, never NaN."""
    with pytest.raises(ArrayContractError, match="expected"):
        image_auroc(scores, kinds)


MAPS = np.zeros((2, 3, 3))
MASKS = np.eye(3, dtype=bool)[None].repeat(2, axis=0)


@pytest.mark.parametrize("score", [pixel_auroc, per_region_overlap])
@pytest.mark.parametrize(
    ("maps", "masks"),
    [
        (MAPS[:0], MASKS[:0]),
        (MAPS[:, :0], MASKS[:, :0]),
        (MAPS[0], MASKS[0]),
        (MAPS, MASKS[:1]),
        (MAPS, np.zeros_like(MASKS)),
        (MAPS, np.ones_like(MASKS)),
        (MAPS, MASKS.astype(np.uint8)),
        (MAPS.astype(int), MASKS),
        (MAPS + np.nan, MASKS),
        (MAPS - np.inf, MASKS),
    ],
)
def test_unusable_maps_are_refused(score, maps, masks) -> None:
    """No image, no anomaly, no normal pixel, other sizes, NaN or masks that are not bool: an error, never NaN."""
    with pytest.raises(ArrayContractError, match="expected"):
        score(maps, masks)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, np.nan])
def test_an_impossible_rate_is_refused(limit) -> None:
    """A largest false positive rate that is no share is an error."""
    with pytest.raises(ConfigError, match="false positive rate"):
        per_region_overlap(MAPS, MASKS, max_false_positive_rate=limit)
