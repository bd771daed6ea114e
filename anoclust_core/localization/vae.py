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

from anoclust_core.arrays import checked_array, checked_tensor
from anoclust_core.embedding.precision import Precision
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.cells import scaled_cells
from anoclust_core.localization.checks import FeatureStack, check_count, check_stack
from anoclust_core.localization.training import TrainingState, check_loss, linear, torch_generator
from anoclust_core.localization.variants import PROGRAM, BlindVariant
from anoclust_core.seeding import generator

LATENT: Final = 128
"""Length of the code, as published."""

BATCH: Final = 2048
"""Cells a step. The published program takes all 32,768 cells of 8 images."""

LEARNING_RATE: Final = 1e-4
WEIGHT_DECAY: Final = 0.1
DIVERGENCE_WEIGHT: Final = 0.001
"""Settings of AdamW, and weight of the divergence in the loss, as published."""

CHECKPOINT_STEPS: Final = 100
"""Steps between two checkpoints."""


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
    cells: NDArray[np.floating[Any]],
    *,
    seed: int,
    variant: BlindVariant = PROGRAM,
    latent: int = LATENT,
    batch: int = BATCH,
    steps: int | None = None,
    precision: Precision = "float32",
    state: TrainingState | None = None,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
) -> TrainingState:
    """Train a VAE on cells of the very images that are to be localised, [ARDELEAN24] sec. 3.1 and 3.3.

    Every step draws ``batch`` cells of the table, each with the same probability. The layers see one cell at a time,
    so the gradient is on average that of whole maps, for a small part of the work. AdamW, learning rate 1e-4, weight
    decay 0.1.

    Parameters
    ----------
    cells
        Shape ``(n, dim)``, finite, in [0, 1]: from `cells.sample_cells`.
    seed
        Of all draws. Same seed, cells, machine and number of threads: same weights to the last digit.
    variant
        Gives ``vae_steps`` and ``latent_relu``.
    latent
        Length of the code.
    batch
        Cells a step; no more than there are.
    steps
        Steps in all, if not those of the variant.
    precision
        ``bf16`` multiplies in bfloat16 and keeps weights and losses in float32: faster on a device that has it.
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
        If the cells are not two-dimensional, empty or not finite, or ``state`` is of another VAE.
    ConfigError
        If a number is less than 1.
    TrainingError
        If the loss becomes NaN or infinite.
    """
    cells = checked_array("cells", cells, "(n_cells, dim)", least=1)
    if not np.isfinite(cells).all():
        raise ArrayContractError("expected cells to be finite, found NaN or infinity")
    n_cells, dim = cells.shape
    n_drawn = min(check_count(batch, "batch"), n_cells)
    n_steps = check_count(variant.vae_steps if steps is None else steps, "steps")
    check_count(latent, "latent")
    vae = FeatureVae(dim, latent, latent_relu=variant.latent_relu, random=torch_generator(seed, "vae weights"))
    vae.to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    if state is not None:
        state.restore(vae, optimizer)
    kind = torch.device(device).type
    for step in range(0 if state is None else state.step, n_steps):
        drawn = generator(seed, f"vae step {step}").integers(n_cells, size=n_drawn)
        table = torch.from_numpy(cells[drawn].astype(np.float32)).to(device)
        noise = torch.randn(n_drawn, latent, generator=torch_generator(seed, f"vae step {step}")).to(device)
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            loss = vae_loss(vae, table, noise)
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
            cells = torch.from_numpy(scaled_cells(features[image])).to(device)
            left = (cells - vae.reconstruct(cells)).T.cpu().numpy()
            residuals[image] = left.reshape(dim, height, width)
    if not np.isfinite(residuals).all():
        raise ArrayContractError("the VAE gives NaN or infinity; train it again")
    return residuals
