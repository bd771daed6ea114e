from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anoclust_core.errors import ArrayContractError, ConfigError, TrainingError
from anoclust_core.localization.cells import scale_channels
from anoclust_core.localization.contrastive import (
    MARGIN,
    ProjectionHead,
    load_head,
    pair_loss,
    project,
    ranges_of_images,
    step_loss,
    train_head,
)
from anoclust_core.localization.maps import descriptor
from anoclust_core.localization.relations import (
    AnomalousCells,
    Draw,
    by_distance,
    counterparts,
    draw_cells,
    neighbours,
)
from anoclust_core.localization.training import TrainingState
from anoclust_core.localization.variants import PAPER, PROGRAM, VARIANTS, BlindVariant

Floats = NDArray[np.float32]

quick = settings(max_examples=20, deadline=None, database=None)
both_variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


def defects(n_images: int = 8, dim: int = 6, side: int = 8) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Images with one of two kinds of spots, where the spots are, and descriptors."""
    random = np.random.default_rng(0)
    features = random.random((n_images, dim, side, side)).astype(np.float32)
    is_anomalous = np.zeros((n_images, side, side), np.bool_)
    is_anomalous[:, 2:5, 2:5] = True
    for image in range(n_images):
        features[image, image % 2, 2:5, 2:5] += 2
    found = np.stack([descriptor(one, mask, tau=0.1) for one, mask in zip(features, is_anomalous, strict=True)])
    return features, is_anomalous, found


def loss_of_all_cells(head: ProjectionHead, features: Floats, draw: Draw, variant: BlindVariant) -> torch.Tensor:
    """Loss of a step the long way: project every cell of every image that takes part, then pick and pair."""
    involved = {int(image) for part in draw.parts for image in part.images}
    projected = {
        image: head(torch.from_numpy(scale_channels(features[image]).reshape(features.shape[1], -1).T))
        for image in involved
    }
    sets = [
        [projected[image][place] for image, place in zip(part.images.tolist(), part.places.tolist(), strict=True)]
        for part in draw.parts
    ]
    own, normal, near, near_normal, far = sets
    losses = []
    for positive, left, right in (
        (True, own, near),
        (True, normal, near_normal),
        (False, own, near_normal),
        (False, near, far),
    ):
        for one in left:
            for other in right:
                squared = (one - other).square().sum()
                if variant is PROGRAM:
                    losses.append(squared if positive else (MARGIN - squared).clamp(min=0))
                elif positive:
                    losses.append(squared / 2)
                else:
                    losses.append((MARGIN - (squared + 1e-12).sqrt()).clamp(min=0).square() / 2)
    return torch.stack(losses).mean()


@both_variants
@pytest.mark.parametrize("n_images", [2, 8])
def test_projecting_the_drawn_cells_alone_gives_the_same_loss_and_gradients(
    variant: BlindVariant, n_images: int
) -> None:
    """A step costs a hundredth of projecting every cell and learns exactly the same."""
    features, is_anomalous, descriptors = defects(n_images)
    others = by_distance(descriptors)
    random = np.random.default_rng(1)
    far = counterparts(others, count=variant.n_counterparts, repeat=variant.repeat_counterparts, generator=random)
    draw = draw_cells(
        0,
        neighbours=neighbours(others)[0],
        counterparts=far[0],
        cells=AnomalousCells.of(is_anomalous.reshape(n_images, -1)),
        generator=random,
    )
    assert draw is not None
    gradients = []
    losses = []
    for sampled in (True, False):
        head = ProjectionHead(6, 7, 5, random=torch.Generator().manual_seed(0))
        loss = (
            step_loss(head, features, draw, ranges_of_images(features), variant=variant)
            if sampled
            else loss_of_all_cells(head, features, draw, variant)
        )
        loss.backward()
        losses.append(loss.item())
        gradients.append([weight.grad.numpy() for weight in head.parameters() if weight.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for short, long in zip(*gradients, strict=True):
        np.testing.assert_allclose(short, long, rtol=1e-3, atol=1e-6)


@quick
@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 99))
def test_others_are_in_order_of_distance_and_never_the_image_itself(n_images: int, dim: int, seed: int) -> None:
    """Also among exact duplicates, each image has all the others once, nearest first, equal ones in their order."""
    descriptors = np.random.default_rng(seed).integers(0, 2, (n_images, dim)).astype(np.float32)
    for image, others in enumerate(by_distance(descriptors)):
        expected = sorted(
            (int(((descriptors[image] - descriptors[other]) ** 2).sum()), other)
            for other in range(n_images)
            if other != image
        )
        assert others.tolist() == [other for _, other in expected]


@quick
@given(st.integers(2, 14), st.booleans(), st.integers(0, 99))
def test_counterparts_are_of_the_farther_half_and_no_neighbours(n_images: int, repeat: bool, seed: int) -> None:
    """What an image is set against is never what it is likened to; there may be nothing to set it against."""
    descriptors = np.random.default_rng(seed).random((n_images, 2))
    others = by_distance(descriptors)
    drawn = counterparts(others, count=4, repeat=repeat, generator=np.random.default_rng(seed))
    assert len(drawn) == n_images
    for image in range(n_images):
        farther = set(others[image, n_images // 2 :].tolist())
        assert set(drawn[image].tolist()) <= farther - set(neighbours(others)[image].tolist())
        assert repeat or len(set(drawn[image].tolist())) == drawn.shape[1]
    assert (drawn.shape[1] == 0) == (n_images <= 4)


def test_cells_are_drawn_from_where_they_should_be() -> None:
    """Anomalous cells are anomalous, normal ones normal, and each is of an image of its group."""
    _, is_anomalous, _ = defects()
    flat = is_anomalous.reshape(8, -1)
    draw = draw_cells(
        3,
        neighbours=np.array([1, 5]),
        counterparts=np.array([0, 0, 2]),
        cells=AnomalousCells.of(flat),
        generator=np.random.default_rng(0),
    )
    assert draw is not None
    expected = [({3}, True, 20), ({3}, False, 20), ({1, 3, 5}, True, 50), ({1, 3, 5}, False, 50), ({0, 2}, True, 50)]
    for part, (images, kind, count) in zip(draw.parts, expected, strict=True):
        assert len(part.images) == len(part.places) == count
        assert set(part.images.tolist()) == images
        assert (flat[part.images, part.places] == kind).all()


def test_every_cell_of_a_kind_is_drawn_alike() -> None:
    """Over many draws, each anomalous cell of some images comes equally often, wherever it lies, and no other does."""
    is_anomalous = np.random.default_rng(0).random((4, 9)) < 0.4
    is_anomalous[2] = False
    cells, images = AnomalousCells.of(is_anomalous), np.array([3, 2, 0])
    for kind in (True, False):
        drawn = cells.drawn(9000, images, anomalous=kind, generator=np.random.default_rng(1))
        times = np.zeros(is_anomalous.shape)
        np.add.at(times, (drawn.images, drawn.places), 1)
        expected = np.zeros(is_anomalous.shape)
        expected[images] = is_anomalous[images] == kind
        np.testing.assert_allclose(times / 9000, expected / expected.sum(), atol=0.02)
    assert not len(cells.drawn(5, np.array([2]), anomalous=True, generator=np.random.default_rng(0)).images)


def test_losses_are_the_published_ones() -> None:
    """At a known distance, pairs alike cost that distance and pairs unlike what they lack of the margin."""
    angle = 0.4
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    squared = 2 - 2 * np.cos(angle)
    nothing = one[:0]
    # S x P and S x P-bar alone: a positive pair at the distance, a negative one at 0
    parts = (one, nothing, other, one, nothing)
    assert pair_loss(parts, variant=PROGRAM).item() == pytest.approx((squared + 0.5) / 2, rel=1e-4)
    assert pair_loss(parts, variant=PAPER).item() == pytest.approx((squared / 2 + 0.125) / 2, rel=1e-4)


def train(n_images: int = 8, **options: Any) -> TrainingState:
    return train_head(*defects(n_images), **{"seed": 3, "epochs": 3} | options)


def same(one: TrainingState, other: TrainingState) -> bool:
    return (
        one.step == other.step
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())
    )


@both_variants
def test_training_is_the_same_with_a_seed_and_after_a_break(variant: BlindVariant) -> None:
    """Same seed, same head; taken up again from any epoch, too. The global generator is neither read nor moved."""
    before = torch.get_rng_state()
    kept: list[TrainingState] = []
    whole = train(variant=variant, checkpoint=kept.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert [state.step for state in kept] == [1, 2, 3]
    for state in kept:
        assert same(train(variant=variant, state=state), whole)
    assert not same(train(variant=variant, seed=4), whole)


@both_variants
def test_the_head_has_the_size_of_its_variant_and_gives_unit_vectors(variant: BlindVariant) -> None:
    """The program's goes by 256 features back to as many as came in, the paper's has two layers of 512."""
    projected = project(load_head(train(variant=variant, epochs=1)), defects()[0][0])
    assert projected.shape == ({"program": 6, "paper": 512}[variant.name], 8, 8)
    np.testing.assert_allclose(np.linalg.norm(projected, axis=0), 1, atol=1e-5)


def test_the_loss_falls_and_kinds_of_anomaly_come_apart() -> None:
    """Training pulls spots of one kind together and the two kinds apart."""
    told: list[tuple[int, float | None]] = []
    features, is_anomalous, _ = defects()
    head = load_head(train(epochs=20, progress=lambda epoch, loss: told.append((epoch, loss))))
    assert [epoch for epoch, _ in told] == list(range(1, 21))
    first, last = told[0][1], told[-1][1]
    assert first is not None and last is not None and last < first
    spots = np.stack(
        [project(head, one)[:, mask].mean(axis=1) for one, mask in zip(features, is_anomalous, strict=True)]
    )
    within = np.linalg.norm(spots[2:] - spots[:-2], axis=1).mean()
    between = np.linalg.norm(spots[1:] - spots[:-1], axis=1).mean()
    assert between > 2 * within


def test_an_image_without_anomalies_takes_part_in_no_step() -> None:
    """It gives no pairs; the others still train, with finite weights."""
    features, is_anomalous, descriptors = defects()
    is_anomalous[:3] = False
    told: list[float | None] = []
    state = train_head(
        features, is_anomalous, descriptors, seed=0, epochs=2, progress=lambda _, loss: told.append(loss)
    )
    assert int(state.tensors["optimizer/step/first.weight"]) == 2 * 5
    assert all(loss is not None and np.isfinite(loss) for loss in told)
    assert np.isfinite(project(load_head(state), features[0])).all()


def test_images_without_any_anomaly_leave_the_head_as_it_was_drawn() -> None:
    """Where all is normal there is nothing to learn: it finishes, says that no image had pairs, and can go on."""
    features, _, descriptors = defects()
    told: list[float | None] = []
    normal = np.zeros((8, 8, 8), np.bool_)
    states: list[TrainingState] = []
    state = train_head(
        features, normal, descriptors, seed=0, epochs=2, checkpoint=states.append, progress=lambda _, x: told.append(x)
    )
    assert told == [None, None]
    assert same(train_head(features, normal, descriptors, seed=0, epochs=2, state=states[0]), state)
    assert np.isfinite(project(load_head(state), features[0])).all()


@both_variants
def test_two_images_duplicates_and_all_anomalous_cells_train(variant: BlindVariant) -> None:
    """The smallest set, exact copies, and images that are anomalous all over: all finish with finite weights."""
    features, is_anomalous, descriptors = defects()
    copies = [np.repeat(part[:1], 6, axis=0) for part in (features, is_anomalous, descriptors)]
    for one, mask, described in (
        (features[:2], is_anomalous[:2], descriptors[:2]),
        copies,
        (features, np.ones_like(is_anomalous), descriptors),
        (np.ones_like(features), is_anomalous, np.zeros_like(descriptors)),
    ):
        state = train_head(one, mask, described, seed=0, epochs=2, variant=variant)
        assert all(bool(torch.isfinite(value).all()) for value in state.tensors.values())
        assert np.isfinite(project(load_head(state), one[0])).all()


def test_training_that_goes_astray_ends_with_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is no longer a number ends the training at once."""
    monkeypatch.setattr("anoclust_core.localization.contrastive.LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match="diverged"):
        train()


def changed(at: int, value: Any) -> Callable[[], object]:
    given = list(defects())
    given[at] = value
    return lambda: train_head(*given, seed=0, epochs=1)


BAD_INPUT: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "one image": (lambda: train(n_images=1), ArrayContractError),
    "a map without its axis": (changed(0, np.ones((6, 8, 8), np.float32)), ArrayContractError),
    "NaN features": (changed(0, np.full((8, 6, 8, 8), np.nan, np.float32)), ArrayContractError),
    "scores for a mask": (changed(1, np.ones((8, 8, 8))), ArrayContractError),
    "mask of another size": (changed(1, np.ones((8, 8, 7), np.bool_)), ArrayContractError),
    "too few descriptors": (changed(2, np.ones((7, 3))), ArrayContractError),
    "NaN descriptors": (changed(2, np.full((8, 3), np.nan)), ArrayContractError),
    "no epoch": (lambda: train(epochs=0), ConfigError),
    "state of another head": (lambda: train(state=train(variant=PAPER, epochs=1)), ArrayContractError),
    "state of nothing": (lambda: load_head(TrainingState(0, {})), ArrayContractError),
    "no neighbour": (lambda: neighbours(by_distance(np.eye(3)), count=0), ConfigError),
    "no counterpart": (
        lambda: counterparts(by_distance(np.eye(3)), count=0, repeat=True, generator=np.random.default_rng(0)),
        ConfigError,
    ),
    "projection of other features": (
        lambda: project(load_head(train(epochs=1)), np.ones((5, 8, 8))),
        ArrayContractError,
    ),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_input_that_cannot_be_used_is_refused(what: str) -> None:
    """Wrong shapes, NaN, a single image and settings out of range end with our own error."""
    call, error = BAD_INPUT[what]
    with pytest.raises(error):
        call()
