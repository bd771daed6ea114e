from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, label

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.synthesis import DEFECT_TYPES, MIN_SIDE, REFERENCE_SIDE, draw_defect, draw_normal

few = settings(max_examples=10, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
every_defect = pytest.mark.parametrize("defect", DEFECT_TYPES)

# The shadow of a fibre and the rim of a hole reach a little beyond what counts as the defect.
HALO = 20 / REFERENCE_SIDE
UNSEEN = 20  # grey levels
STRAY = 1e-3  # share of the surface; of 4,000 stains one had a single pixel that just passed the bound


def surface(height: int = 128, width: int = 128) -> np.ndarray:
    """Make a grey plane with fine grain."""
    grain = np.random.default_rng(7).normal(128, 12, size=(height, width))
    return np.clip(grain, 0, 255).astype(np.uint8)


def change(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Largest change of each pixel over the colours, in grey levels."""
    return np.abs(image.astype(int) - before[..., None].astype(int)).max(axis=2)


def is_grey(image: np.ndarray) -> np.ndarray:
    return (image == image[..., :1]).all(axis=2)


@every_defect
@few
@given(seed=seeds, height=st.integers(MIN_SIDE, 200), width=st.integers(MIN_SIDE, 200))
def test_defect_contract(defect, seed, height, width):
    """Any surface gets a colour image and a mask of its own size, with a defect that is there but does not cover it."""
    before = surface(height, width)
    image, mask = draw_defect(before, np.random.default_rng(seed), defect=defect)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert 0 < mask.mean() < 0.5


@every_defect
@few
@given(seed=seeds)
def test_mask_shows_where_the_surface_changed(defect, seed):
    """The surface is plainly changed under the mask, and hardly anywhere else."""
    before = surface()
    image, mask = draw_defect(before, np.random.default_rng(seed), defect=defect)
    changed = change(image, before)
    assert changed[mask].mean() > UNSEEN
    far = distance_transform_edt(~mask) > HALO * min(before.shape)
    assert (changed[far] >= UNSEEN).mean() < STRAY


@every_defect
@few
@given(seed=seeds)
def test_same_generator_same_picture(defect, seed):
    """The same surface and generator give the same picture, and the surface itself is left as it was."""
    before = surface()
    kept = before.copy()
    first, second = (draw_defect(before, np.random.default_rng(seed), defect=defect) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(before, kept)


@every_defect
def test_defects_vary(defect):
    """No two of many draws lie in the same place with the same shape."""
    masks = [draw_defect(surface(), np.random.default_rng(seed), defect=defect)[1].tobytes() for seed in range(20)]
    assert len(set(masks)) == 20


@every_defect
def test_edges_are_smooth(defect):
    """The edge of a defect fades: some pixels are only partly covered."""
    image, _ = draw_defect(np.full((128, 128), 128, dtype=np.uint8), np.random.default_rng(3), defect=defect)
    changed = change(image, np.full((128, 128), 128, dtype=np.uint8))
    assert ((changed > 0) & (changed < 0.5 * changed.max())).any()


def thickness(mask: np.ndarray) -> float:
    """Radius of the largest disc inside the mask, in pixels of a reference crop."""
    return float(distance_transform_edt(np.pad(mask, 1)).max()) * REFERENCE_SIDE / min(mask.shape)


@few
@given(seed=seeds)
def test_types_can_be_told_apart(seed):
    """Scratch and fibre are thin, hole and stain are not; only fibre and stain have colour; a hole is black inside."""
    before = surface(256, 256)
    rng = np.random.default_rng(seed)
    (fibre, fibre_mask), (hole, hole_mask), (scratch, scratch_mask), (stain, stain_mask) = (
        draw_defect(before, rng, defect=defect) for defect in ("fibre", "hole", "scratch", "stain")
    )
    assert max(thickness(scratch_mask), thickness(fibre_mask)) < min(thickness(hole_mask), thickness(stain_mask))
    assert is_grey(scratch).all()
    assert is_grey(hole).all()
    assert not is_grey(fibre)[fibre_mask].any()
    assert np.percentile(hole[hole_mask], 10) < 45 < np.percentile(stain[stain_mask].mean(axis=1), 50)
    assert label(hole_mask)[1] < 10


@few
@given(seed=seeds)
def test_surface_is_seen_through_a_stain(seed):
    """A stain lets the pattern of the surface through: stripes below it stay stripes."""
    stripes = np.tile(np.repeat(np.array([90, 170], dtype=np.uint8), 8), (128, 8))
    image, mask = draw_defect(stripes, np.random.default_rng(seed), defect="stain")
    grey = image.mean(axis=2)
    assert grey[mask & (stripes == 170)].mean() > grey[mask & (stripes == 90)].mean()


@few
@given(seed=seeds, size=st.integers(MIN_SIDE, 150), turns=st.booleans())
def test_normal_crop_is_a_piece_of_the_photograph(seed, size, turns):
    """A normal crop has the asked size and about the brightness and contrast of the photograph."""
    photograph = surface(150, 170)
    crop = draw_normal(photograph, np.random.default_rng(seed), size=size, quarter_turns=turns)
    assert crop.shape == (size, size)
    assert crop.dtype == np.uint8
    assert abs(float(crop.mean()) - float(photograph.mean())) < 10
    assert 0.85 < crop.std() / photograph.std() < 1.15


def test_laid_surfaces_are_not_turned():
    """Without quarter turns, stripes stay upright in every crop; with them, some crops lie down."""
    stripes = np.tile(np.array([100, 150], dtype=np.uint8), (100, 50))

    def upright(quarter_turns: bool) -> set[bool]:
        crops = (
            draw_normal(stripes, np.random.default_rng(seed), size=64, quarter_turns=quarter_turns)
            for seed in range(20)
        )
        return {bool((crop == crop[:1]).all()) for crop in crops}

    assert upright(False) == {True}
    assert upright(True) == {True, False}


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((128, 128, 3), dtype=np.uint8),
        np.zeros((128, 128), dtype=np.float32),
        np.zeros((MIN_SIDE - 1, 128), dtype=np.uint8),
    ],
    ids=["colour", "float", "small"],
)
def test_wrong_surface_is_refused(wrong):
    """An array that is not a grey 8-bit image of sufficient size is refused in words, for a crop and for a defect."""
    with pytest.raises(ArrayContractError, match=r"expected a grey uint8 image|to be an array"):
        draw_normal(wrong, np.random.default_rng(0))
    with pytest.raises(ArrayContractError, match=r"expected a grey uint8 image|to be an array"):
        draw_defect(wrong, np.random.default_rng(0), defect="hole")


def test_unknown_defect_is_refused():
    """A misspelt defect type is refused with the list of types."""
    with pytest.raises(ConfigError, match=r"fibre, hole, scratch, stain, got 'fiber'"):
        draw_defect(surface(), np.random.default_rng(0), defect="fiber")


@pytest.mark.parametrize("size", [MIN_SIDE - 1, 129])
def test_wrong_crop_size_is_refused(size):
    """A crop smaller than a defect can be drawn on, or larger than the photograph, is refused."""
    with pytest.raises(ConfigError, match=f"got {size}"):
        draw_normal(surface(), np.random.default_rng(0), size=size)
