"""A variational autoencoder of single cells: it learns what all images share, and not the rest.

Its 1 x 1 convolutions see one cell at a time. So they are linear layers over a table of cells, which is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anoclust_core.arrays import checked_tensor
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.checks import FeatureStack, check_count, check_feature_map, check_stack
from anoclust_core.localization.training import TrainingState, check_loss, linear, torch_generator
from anoclust_core.localization.variants import PROGRAM, BlindVariant
from anoclust_core.seeding import generator

LATENT: Final = 128
"""Length of the code, as published."""

BATCH: Final = 8
"""Images a step."""

LEARNING_RATE: Final = 1e-4
WEIGHT_DECAY: Final = 0.1
DIVERGENCE_WEIGHT: Final = 0.001
"""Settings of AdamW, and weight of the divergence in the loss, as published."""

CHECKPOINT_STEPS: Final = 100
"""Steps between two checkpoints."""

_RANGE_EPSILON: Final = 1e-8


class FeatureVae(nn.Module):
    """Encoder dim -> dim -> dim -> mean and log sigma of a code, decoder code -> dim -> dim -> dim, of single cells.

    ReLU follows every layer, the output's included, but by the published program's reading not the two latent heads.

    Parameters
    ----------
    dim, latent
        Features of a cell; length of the code.
    latent_relu
        Whether ReLU follows the latent heads as well, as the paper's text has it.
    random
        Draws the initial weights.
    """

    def __init__(self, dim: int, latent: int, *, latent_relu: bool, random: torch.Generator) -> None:
        super().__init__()
        self.latent_relu = latent_relu
        self.encoder = nn.Sequential(
            linear(dim, dim, random), nn.ReLU(inplace=True), linear(dim, dim, random), nn.ReLU(inplace=True)
        )
        self.mean = linear(dim, latent, random)
        self.log_sigma = linear(dim, latent, random)
        self.decoder = nn.Sequential(
            linear(latent, dim, random),
            nn.ReLU(inplace=True),
            linear(dim, dim, random),
            nn.ReLU(inplace=True),
            linear(dim, dim, random),
            nn.ReLU(inplace=True),
        )

    def encode(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """From cells ``(n, dim)`` to means and log sigmas ``(n, latent)`` of their codes."""
        hidden = self.encoder(cells)
        mean, log_sigma = self.mean(hidden), self.log_sigma(hidden)
        return (mean.relu(), log_sigma.relu()) if self.latent_relu else (mean, log_sigma)

    def reconstruct(self, cells: Tensor) -> Tensor:
        """Cells reconstructed from the means of their codes, without sampling."""
        redrawn: Tensor = self.decoder(self.encode(cells)[0])
        return redrawn


def vae_loss(vae: FeatureVae, cells: Tensor, noise: Tensor) -> Tensor:
    r"""Loss of a batch, as in the published program.

    .. math:: \operatorname{mean} (x - \hat x)^2
        + 0.001 \operatorname{mean} \big( \sigma^2 + \mu^2 - \log \sigma - \tfrac 1 2 \big)

    Parameters
    ----------
    vae
        On the device of the cells.
    cells
        Shape ``(n, dim)``, float32, in [0, 1].
    noise
        Shape ``(n, latent)``, standard normal.

    Returns
    -------
    loss
        A number, float32.
    """
    cells = checked_tensor("cells", cells, "(n_cells, dim)")
    noise = checked_tensor("noise", noise, "(n_cells, latent)")
    mean, log_sigma = vae.encode(cells)
    sigma = log_sigma.exp()
    divergence = (sigma.square() + mean.square() - log_sigma - 0.5).mean()
    return functional.mse_loss(vae.decoder(mean + sigma * noise), cells) + DIVERGENCE_WEIGHT * divergence


def train_vae(
    features: FeatureStack,
    *,
    seed: int,
    variant: BlindVariant = PROGRAM,
    latent: int = LATENT,
    batch: int = BATCH,
    cells: int | None = None,
    steps: int | None = None,
    state: TrainingState | None = None,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
) -> TrainingState:
    """Train a VAE on the very images that are to be localised, [ARDELEAN24] sec. 3.1 and 3.3.

    All images take turns in random order, each as often as any other, and every step sees ``batch`` of them. AdamW,
    learning rate 1e-4, weight decay 0.1.

    Parameters
    ----------
    features
        Shape ``(n_images, dim, height, width)``, finite, in any unit: each channel of each image is scaled to [0, 1].
        Only the images of a step are read at a time, so that a memory-mapped array may be larger than memory.
    seed
        Of all draws. Same seed, features, machine and number of threads: same weights to the last digit.
    variant
        Gives ``vae_steps`` and ``latent_relu``.
    latent
        Length of the code.
    batch
        Images a step.
    cells
        Cells of each image that a step learns from, drawn again each time, or None for all. The loss is that of single
        cells, so fewer of them give the same gradient on average, with more noise: a variant, not the published one.
    steps
        Steps in all, if not those of the variant.
    state
        Where to go on; None to start. The result is that of training without a break, given the same arguments.
    device
        Torch device.
    progress
        Is given the number of steps done and the last loss, after each step.
    checkpoint
        Is given the state every 100 steps.

    Returns
    -------
    state
        After the last step; `load_vae` makes a VAE of it.

    Raises
    ------
    ArrayContractError
        If the features are not four-dimensional, empty or not finite, or ``state`` is of another VAE.
    ConfigError
        If a number is less than 1.
    TrainingError
        If the loss becomes NaN or infinite.
    """
    n_images, dim, height, width = check_stack(features)
    n_steps = check_count(variant.vae_steps if steps is None else steps, "steps")
    check_count(latent, "latent")
    check_count(batch, "batch")
    n_cells = min(check_count(height * width if cells is None else cells, "cells"), height * width)
    vae = FeatureVae(dim, latent, latent_relu=variant.latent_relu, random=torch_generator(seed, "vae weights"))
    vae.to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    if state is not None:
        state.restore(vae, optimizer)
    for step in range(0 if state is None else state.step, n_steps):
        images = [_image_in_turn(turn, n_images, seed) for turn in range(step * batch, (step + 1) * batch)]
        table = np.concatenate([_cells(features[image]) for image in images])
        random = torch_generator(seed, f"vae step {step}")
        if n_cells < height * width:
            keys = torch.rand(batch, height * width, generator=random)
            chosen = keys.argsort(dim=1, stable=True)[:, :n_cells] + height * width * torch.arange(batch)[:, None]
            table = table[chosen.ravel().numpy()]
        noise = torch.randn(len(table), latent, generator=random)
        loss = vae_loss(vae, torch.from_numpy(table).to(device), noise.to(device))
        value = check_loss(loss.item(), of="the VAE", step=step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        optimizer.step()
        if progress is not None:
            progress(step + 1, value)
        if checkpoint is not None and (step + 1) % CHECKPOINT_STEPS == 0:
            checkpoint(TrainingState.of(step + 1, vae, optimizer))
    return TrainingState.of(n_steps if state is None else max(n_steps, state.step), vae, optimizer)


def load_vae(state: TrainingState, *, variant: BlindVariant = PROGRAM, device: str = "cpu") -> FeatureVae:
    """VAE with the weights of a training state.

    Raises
    ------
    ArrayContractError
        If the state is not that of a VAE.
    """
    head = state.tensors.get("model/mean.weight")
    if head is None:
        raise ArrayContractError(f"the training state is not that of a VAE; found {sorted(state.tensors)}")
    latent, dim = head.shape
    vae = FeatureVae(dim, latent, latent_relu=variant.latent_relu, random=torch.Generator())
    state.restore(vae)
    return vae.to(device).eval()


def residual_maps(vae: FeatureVae, features: FeatureStack) -> NDArray[np.float32]:
    r"""What is left of features after the VAE has reconstructed them, the difference in [ARDELEAN24] eq. (1).

    .. math:: F(I_i) - \mathrm{VAE}_D(\mu_i)

    Parameters
    ----------
    vae
        From `load_vae`.
    features
        Shape ``(n_images, dim, height, width)``, finite, in any unit, as in training. The result is as large: give a
        part of a memory-mapped array at a time.

    Returns
    -------
    residuals
        Same shape, float32, signed, in parts of each channel's range: in [-max of the reconstruction, 1].

    Raises
    ------
    ArrayContractError
        If the features are not four-dimensional, empty, not finite, or not of the VAE's length, or the VAE gives
        values that are not finite.
    """
    n_images, dim, height, width = check_stack(features)
    if dim != vae.mean.in_features:
        raise ArrayContractError(f"the VAE is for {vae.mean.in_features} features a cell; found {dim}")
    device = vae.mean.weight.device
    residuals = np.empty((n_images, dim, height, width), np.float32)
    with torch.inference_mode():
        for image in range(n_images):
            cells = torch.from_numpy(_cells(features[image])).to(device)
            left = (cells - vae.reconstruct(cells)).T.cpu().numpy()
            residuals[image] = left.reshape(dim, height, width)
    if not np.isfinite(residuals).all():
        raise ArrayContractError("the VAE gives NaN or infinity; train it again")
    return residuals


def channel_ranges(features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest value of each channel of one image, and the width of its range with 1e-8 added.

    Parameters
    ----------
    features
        Shape ``(dim, height, width)``, finite.

    Returns
    -------
    lowest, widths
        Each shape ``(dim,)``, float32, in the unit of the features; widths > 0.

    Raises
    ------
    ArrayContractError
        If the features are not three-dimensional, empty or not finite, or a range is too wide for float32.
    """
    checked = check_feature_map(features)
    lowest = checked.min(axis=(1, 2))
    with np.errstate(over="ignore"):
        widths = checked.max(axis=(1, 2)) - lowest + np.float32(_RANGE_EPSILON)
    if not np.isfinite(widths).all():
        raise ArrayContractError("the range of a channel is too wide for float32; scale the features down")
    return lowest, widths


def scale_channels(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    r"""Scale each channel of one image to [0, 1] over its cells, [ARDELEAN24] sec. 3.3.

    .. math:: (F_c - \min F_c) / (\max F_c - \min F_c + 10^{-8})

    Before the VAE, before the projection head, and before feature correspondence analysis of plain features; a residual
    stays as it is.

    Parameters
    ----------
    features
        As in `channel_ranges`, finite.

    Returns
    -------
    scaled
        Same shape, float32, in [0, 1]; 0 where a channel is constant.

    Raises
    ------
    ArrayContractError
        As `channel_ranges`.
    """
    lowest, widths = channel_ranges(features)
    scaled: NDArray[np.float32] = (np.asarray(features, np.float32) - lowest[:, None, None]) / widths[:, None, None]
    return scaled


def _cells(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Scaled cells of one image, ``(height * width, dim)``."""
    scaled = scale_channels(np.asarray(features))
    return np.ascontiguousarray(scaled.reshape(len(scaled), -1).T)


def _image_in_turn(turn: int, n_images: int, seed: int) -> int:
    """Image of one turn; in each round every image comes once, in an order of that round."""
    which_round, place = divmod(turn, n_images)
    return int(generator(seed, f"vae round {which_round}").permutation(n_images)[place])
