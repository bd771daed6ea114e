from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from anoclust_core.errors import ArrayContractError, ConfigError, TrainingError
from anoclust_core.localization.cells import sample_cells, sample_image, scale_channels
from anoclust_core.localization.training import TrainingState
from anoclust_core.localization.vae import load_vae, residual_maps, train_vae, vae_loss
from anoclust_core.localization.variants import PAPER, PROGRAM

Floats = NDArray[np.float32]


def textures(n_images: int = 5, dim: int = 6, side: int = 8) -> Floats:
    """Images of one texture: channels that hang together, so that there is something to learn."""
    random = np.random.default_rng(0)
    return (
        (random.random((n_images, 2, side, side)).transpose(0, 2, 3, 1) @ random.random((2, dim)))
        .transpose(0, 3, 1, 2)
        .astype(np.float32)
    )


def train(features: Floats, **options: Any) -> TrainingState:
    """Train on all cells of the images."""
    return train_vae(sample_cells(features, seed=3), **{"seed": 3, "latent": 4, "steps": 12} | options)


def same(one: TrainingState, other: TrainingState) -> bool:
    return (
        one.step == other.step
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())
    )


@pytest.fixture
def every_five_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anoclust_core.localization.vae.CHECKPOINT_STEPS", 5)


def test_same_seed_same_weights_another_seed_others() -> None:
    """Training depends on the seed and on nothing else: the global generator is neither read nor moved."""
    features = textures()
    before = torch.get_rng_state()
    first = train(features)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same(train(features), first)
    assert not same(train(features, seed=4), first)


@pytest.mark.usefixtures("every_five_steps")
@pytest.mark.parametrize("options", [{}, {"variant": PAPER}, {"batch": 3}, {"precision": "bf16"}])
def test_training_that_is_taken_up_again_ends_as_if_never_cut_off(options: dict[str, Any]) -> None:
    """From any checkpoint the weights, and what the optimiser remembers, come out equal to the last digit."""
    kept: list[TrainingState] = []
    whole = train(textures(), checkpoint=kept.append, **options)
    assert [state.step for state in kept] == [5, 10]
    for state in kept:
        assert same(train(textures(), state=state, **options), whole)


@pytest.mark.usefixtures("every_five_steps")
def test_a_checkpoint_is_a_copy() -> None:
    """What was kept at step 5 does not move with later steps, nor when training starts from it."""
    kept: list[TrainingState] = []
    train(textures(), checkpoint=kept.append)
    assert same(kept[0], train(textures(), steps=5))
    train(textures(), state=kept[0])
    assert same(kept[0], train(textures(), steps=5))


def test_a_finished_state_stays_as_it_is() -> None:
    """Training that has nothing left to do gives its state back."""
    done = train(textures())
    assert same(train(textures(), state=done), done)


def test_progress_is_told_after_every_step_and_the_loss_falls() -> None:
    """Each step is reported with a loss, and over some hundred steps it falls."""
    told: list[tuple[int, float]] = []
    train(textures(), steps=300, progress=lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == list(range(1, 301))
    assert np.mean([loss for _, loss in told[-50:]]) < 0.95 * np.mean([loss for _, loss in told[:50]])


def test_residual_is_scaled_features_minus_their_reconstruction() -> None:
    """The difference is signed, from the mean code and so always the same, and equal to that of 1 x 1 convolutions."""
    features = textures()
    vae = load_vae(train(features))
    found = residual_maps(vae, features)
    weights = dict(vae.named_parameters())
    hidden = torch.from_numpy(np.stack([scale_channels(one) for one in features]))
    expected = hidden.clone()

    def convolved(values: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(values, weights[f"{name}.weight"][:, :, None, None], weights[f"{name}.bias"])

    for name in ("encoder.0", "encoder.2"):
        hidden = convolved(hidden, name).relu()
    hidden = convolved(hidden, "mean")
    for name in ("decoder.0", "decoder.2", "decoder.4"):
        hidden = convolved(hidden, name).relu()
    np.testing.assert_allclose(found, (expected - hidden).detach().numpy(), atol=1e-5)
    assert np.array_equal(residual_maps(vae, features), found)


def test_what_few_images_show_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """After training, a spot unlike the texture has a larger residual than the rest."""
    monkeypatch.setattr("anoclust_core.localization.vae.LEARNING_RATE", 3e-3)  # a small VAE learns slowly
    features = textures(n_images=8, dim=16, side=16)
    features[0, ::2, 4:7, 4:7] = 0
    left = np.abs(residual_maps(load_vae(train(features, steps=500, batch=256)), features)).mean(axis=1)
    assert left[0, 4:7, 4:7].mean() > 1.5 * left[1:].mean()


def test_loss_is_squared_error_plus_divergence() -> None:
    """The loss is the published one, computed here by hand from the codes."""
    vae = load_vae(train(textures()))
    cells, noise = torch.rand(7, 6), torch.ones(7, 4)
    mean, log_sigma = (values.detach().numpy() for values in vae.encode(cells))
    redrawn = vae.decoder(torch.from_numpy(mean + np.exp(log_sigma))).detach().numpy()
    divergence = np.exp(2 * log_sigma) + mean**2 - log_sigma - 0.5
    expected = np.mean((redrawn - cells.numpy()) ** 2) + 0.001 * divergence.mean()
    assert vae_loss(vae, cells, noise).item() == pytest.approx(expected, rel=1e-5)


def test_the_papers_reading_has_codes_without_negative_numbers() -> None:
    """With ReLU after all layers, the two latent heads give none below 0; the program's do."""
    cells = torch.rand(50, 6)
    for variant, lowest in ((PAPER, True), (PROGRAM, False)):
        vae = load_vae(train(textures(), variant=variant), variant=variant)
        assert all(bool((part >= 0).all()) for part in vae.encode(cells)) is lowest


def test_a_sample_has_as_many_cells_of_each_image_each_once() -> None:
    """Cells of a sample are scaled cells of their images, none of them twice; another seed draws others."""
    features = textures()
    cells = sample_cells(features, seed=0, at_most=5 * 20).reshape(5, 20, 6)
    for image, drawn in enumerate(cells):
        own = scale_channels(features[image]).reshape(6, -1).T.astype(np.float16)
        rows = {tuple(cell) for cell in own.tolist()}
        assert len(rows) == 64
        assert len({tuple(cell) for cell in drawn.tolist()} & rows) == 20
    assert not np.array_equal(sample_cells(features, seed=1, at_most=5 * 20).reshape(5, 20, 6), cells)
    assert np.array_equal(sample_image(features[3], image=3, count=20, seed=0), cells[3])
    assert len(sample_cells(features, seed=0, at_most=1)) == 5
    assert len(sample_cells(features, seed=0)) == 5 * 64


def test_half_precision_learns_what_single_precision_learns() -> None:
    """In bfloat16 the loss comes down as far, the weights stay in single precision, and a seed gives one result."""
    told: dict[str, list[float]] = {"float32": [], "bf16": []}
    states = {
        name: train(textures(), steps=100, precision=name, progress=lambda _, loss, of=losses: of.append(loss))
        for name, losses in told.items()
    }
    assert told["bf16"][-1] == pytest.approx(told["float32"][-1], rel=0.02)
    assert all(value.dtype == torch.float32 for value in states["bf16"].tensors.values())
    assert not same(states["bf16"], states["float32"])
    assert same(train(textures(), precision="bf16"), train(textures(), precision="bf16"))


def test_a_memory_mapped_file_is_as_good_as_an_array(tmp_path: Path) -> None:
    """Features that lie in a file, also in half precision, train and are redrawn like the same ones in memory."""
    features = textures().astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert same(train(mapped), train(features.astype(np.float32)))


def test_scaled_channels_span_zero_to_one() -> None:
    """Each channel's lowest value becomes 0 and its highest 1; a constant channel becomes 0, not NaN."""
    features = np.random.default_rng(0).normal(5, 3, (3, 6, 7))
    features[2] = 4
    scaled = scale_channels(features)
    np.testing.assert_allclose(scaled.min(axis=(1, 2)), 0)
    np.testing.assert_allclose(scaled.max(axis=(1, 2)), [1, 1, 0], atol=1e-6)


def test_one_image_and_constant_features_train() -> None:
    """A single image, or images without any contrast, end with finite weights and residuals."""
    for features in (textures(n_images=1), np.full((2, 6, 8, 8), 3, np.float32)):
        assert np.isfinite(residual_maps(load_vae(train(features)), features)).all()


def test_training_that_goes_astray_ends_with_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is no longer a number ends the training at once, and the message says so."""
    monkeypatch.setattr("anoclust_core.localization.vae.LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match="diverged"):
        train(textures())


BAD_INPUT: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "no image": (lambda: train(np.zeros((0, 6, 8, 8), np.float32)), ArrayContractError),
    "one map without its axis": (lambda: train(textures()[0]), ArrayContractError),
    "NaN": (lambda: train(np.full((2, 6, 8, 8), np.nan, np.float32)), ArrayContractError),
    "NaN cells": (lambda: train_vae(np.full((9, 6), np.nan, np.float32), seed=0), ArrayContractError),
    "more cells than there are": (
        lambda: sample_image(textures()[0], image=0, count=65, seed=0),
        ArrayContractError,
    ),
    "range beyond float32": (lambda: scale_channels(np.array([[[-3e38, 3e38]]])), ArrayContractError),
    "no step": (lambda: train(textures(), steps=0), ConfigError),
    "no code": (lambda: train(textures(), latent=0), ConfigError),
    "empty batch": (lambda: train(textures(), batch=0), ConfigError),
    "no cell": (lambda: sample_cells(textures(), seed=0, at_most=0), ConfigError),
    "state of another size": (lambda: train(textures(), state=train(textures(), latent=5)), ArrayContractError),
    "state of nothing": (lambda: load_vae(TrainingState(0, {})), ArrayContractError),
    "residual of other features": (
        lambda: residual_maps(load_vae(train(textures())), textures(dim=5)),
        ArrayContractError,
    ),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_input_that_cannot_be_used_is_refused(what: str) -> None:
    """Wrong shapes, NaN and settings out of range end with our own error before any training."""
    call, error = BAD_INPUT[what]
    with pytest.raises(error):
        call()
