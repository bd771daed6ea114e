"""The projection head: trained so that kinds of anomalies lie apart, [ARDELEAN24] sec. 3.2.

A step draws its cells first, `relations.draw_cells`, and projects only those: the same loss and gradients as projecting
every cell of the images that take part, for a hundredth of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anoclust_core.arrays import TRUTHS, checked_array, checked_sequence, checked_tensor, told
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.cells import channel_ranges, scaled_cells
from anoclust_core.localization.checks import check_count, check_feature_map, check_stack
from anoclust_core.localization.relations import (
    AnomalousCells,
    Draw,
    by_distance,
    counterparts,
    draw_cells,
    neighbours,
)
from anoclust_core.localization.training import TrainingState, check_loss, linear, torch_generator
from anoclust_core.localization.variants import PROGRAM, BlindVariant
from anoclust_core.seeding import generator

EPOCHS: Final = 10
"""Times that each image has its turn, as published."""

LEARNING_RATE: Final = 5e-4
WEIGHT_DECAY: Final = 0.01
"""Settings of AdamW, as published."""

MARGIN: Final = 0.5
"""Where a negative pair is far enough apart: a squared distance by the program, a distance by the paper."""

RELEASE_STEPS: Final = 20
"""Steps after which what was read of a mapped file is let go; the system maps 64 KiB around each of 190 cells."""

_ROOT_EPSILON: Final = 1e-12
"""Keeps the gradient of a distance of 0 finite."""


class ProjectionHead(nn.Module):
    """Two layers with ReLU in between, on single cells, then unit L2 norm: H of [ARDELEAN24] sec. 3.2.

    Parameters
    ----------
    dim, width, out
        Features of a cell, between the layers, and of its projection.
    random
        Draws the initial weights.
    """

    def __init__(self, dim: int, width: int, out: int, *, random: torch.Generator) -> None:
        super().__init__()
        self.first = linear(dim, width, random)
        self.second = linear(width, out, random)

    def forward(self, cells: Tensor) -> Tensor:
        """Project cells ``(n, dim)``, scaled to [0, 1], to unit vectors ``(n, out)``; one without direction stays 0."""
        return functional.normalize(self.second(self.first(cells).relu()), dim=1)


def pair_loss(parts: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], *, variant: BlindVariant = PROGRAM) -> Tensor:
    r"""Mean loss of all pairs of one step.

    Positive pairs are S x P and S-bar x P-bar, negative ones S x P-bar and P x C. With d the distance of a pair,

    .. math::
        \text{program:} \quad d^2 \quad \text{and} \quad \max(0, 0.5 - d^2), \qquad
        \text{paper:} \quad \tfrac 1 2 d^2 \quad \text{and} \quad \tfrac 1 2 \max(0, 0.5 - d)^2

    Every pair counts alike.

    Parameters
    ----------
    parts
        Projections of the parts of a `Draw`, in its order; each shape ``(n, out)``, unit norm, n may be 0, but not of
        the first and third.
    variant
        Gives ``loss``.

    Returns
    -------
    loss
        A number, >= 0.
    """
    if len(checked_sequence("parts", parts)) != len(fields(Draw)):
        raise ArrayContractError(f"expected a tensor for every part of a draw, found {told(parts)}")
    anomalous, normal, near_anomalous, near_normal, far_anomalous = (
        checked_tensor(f"parts[{at}]", part, "(n_cells, dim)", least=0) for at, part in enumerate(parts)
    )
    positive = _squared_distances((anomalous, near_anomalous), (normal, near_normal))
    negative = _squared_distances((anomalous, near_normal), (near_anomalous, far_anomalous))
    if variant.loss == "squared":
        return torch.cat([positive, (MARGIN - negative).relu()]).mean()
    hinge = (MARGIN - (negative + _ROOT_EPSILON).sqrt()).relu()
    return torch.cat([positive, hinge.square()]).mean() / 2


def train_head(
    features: NDArray[np.floating[Any]],
    is_anomalous: NDArray[np.bool_],
    descriptors: NDArray[np.floating[Any]],
    *,
    seed: int,
    variant: BlindVariant = PROGRAM,
    epochs: int = EPOCHS,
    state: TrainingState | None = None,
    device: str = "cpu",
    release: Callable[[], None] | None = None,
    progress: Callable[[int, float | None], None] | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
) -> TrainingState:
    """Train a projection head on the images that are to be clustered.

    Each epoch, every image has one turn, in random order: a step of AdamW, learning rate 5e-4, weight decay 0.01.
    Counterparts are drawn again each epoch. An image without any anomalous cell gives no pairs, and no step. Where no
    image has one, the head stays as it was drawn, a random projection: plain descriptors are the better choice then.

    Parameters
    ----------
    features
        Shape ``(n_images, dim, height, width)``, finite, at least two images; each channel of each image is scaled to
        [0, 1]. All are read once, then only the cells of a step at a time: it may be memory-mapped.
    is_anomalous
        Shape ``(n_images, height, width)``, bool: where the maps are above their threshold.
    descriptors
        Shape ``(n_images, any)``, finite: from `maps.descriptor` of the plain features.
    seed
        Of all draws. Same seed, input, machine and number of threads: same weights to the last digit.
    variant
        Gives the head's size, the counterparts and the loss.
    epochs
        In all.
    state
        Where to go on; None to start. The result is that of training without a break, given the same arguments.
    device
        Torch device.
    release
        Called every ``RELEASE_STEPS`` steps, where ``features`` are memory-mapped: lets go of what was read of them.
    progress
        Is given the number of epochs done and the mean loss of the last one, None if no image had pairs.
    checkpoint
        Is given the state after every epoch.

    Returns
    -------
    state
        After the last epoch; `load_head` makes a head of it.

    Raises
    ------
    ArrayContractError
        If shapes do not match, a value is not finite, there are fewer than two images, or ``state`` is of another head.
    ConfigError
        If there is no epoch.
    TrainingError
        If the loss becomes NaN or infinite.
    """
    is_anomalous = checked_array("is_anomalous", is_anomalous, "(n_images, height, width)", kinds=TRUTHS)
    n_images, dim, height, width = check_stack(features, at_least=2)
    check_count(epochs, "epochs")
    if is_anomalous.shape != (n_images, height, width) or is_anomalous.dtype != np.bool_:
        raise ArrayContractError(
            f"is_anomalous needs a bool a cell, {(n_images, height, width)}; "
            f"found {is_anomalous.shape} {is_anomalous.dtype}"
        )
    others = by_distance(descriptors)
    if len(others) != n_images:
        raise ArrayContractError(f"a descriptor per image is needed; found {len(others)} for {n_images} images")
    near, cells = neighbours(others), AnomalousCells.of(is_anomalous.reshape(n_images, -1))
    head = ProjectionHead(
        dim, variant.head_width, variant.head_out or dim, random=torch_generator(seed, "head weights")
    ).to(device)
    # fused: a step is so short that going over the weights one by one took a seventh of it
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    if state is not None:
        state.restore(head, optimizer)
    ranges = ranges_of_images(features, release=release)
    for epoch in range(0 if state is None else state.step, epochs):
        random = generator(seed, f"head epoch {epoch}")
        far = counterparts(others, count=variant.n_counterparts, repeat=variant.repeat_counterparts, generator=random)
        losses: list[float] = []
        for image in random.permutation(n_images):
            draw = draw_cells(image, neighbours=near[image], counterparts=far[image], cells=cells, generator=random)
            if draw is None:
                continue
            loss = step_loss(head, features, draw, ranges, variant=variant)
            losses.append(check_loss(loss.item(), of="the projection head", step=len(losses)))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
            optimizer.step()
            if release is not None and not len(losses) % RELEASE_STEPS:
                release()
        if progress is not None:
            progress(epoch + 1, float(np.mean(losses)) if losses else None)
        if checkpoint is not None:
            checkpoint(TrainingState.of(epoch + 1, head, optimizer))
    return TrainingState.of(epochs if state is None else max(epochs, state.step), head, optimizer)


def ranges_of_images(
    features: NDArray[np.floating[Any]], *, release: Callable[[], None] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`cells.channel_ranges` of each image, each ``(n_images, dim)``; one image is read at a time.

    Parameters
    ----------
    features, release
        As in `train_head`; lets go after each image.

    Raises
    ------
    ArrayContractError
        As `cells.channel_ranges`, or if the features are not four-dimensional.
    """
    n_images, *_ = check_stack(features)
    lowest, widths = [], []
    for image in range(n_images):
        low, width = channel_ranges(features[image])
        lowest.append(low)
        widths.append(width)
        if release is not None:
            release()
    return np.stack(lowest), np.stack(widths)


def step_loss(
    head: ProjectionHead,
    features: NDArray[np.floating[Any]],
    draw: Draw,
    ranges: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    variant: BlindVariant = PROGRAM,
) -> Tensor:
    """Loss of one step from the drawn cells alone; assumes checked input.

    Parameters
    ----------
    head
        On any device.
    features
        As in `train_head`.
    draw
        From `draw_cells`.
    ranges
        From `ranges_of_images`.
    variant
        Gives ``loss``.

    Returns
    -------
    loss
        A number, with gradients.
    """
    n_images, dim, _, width = check_stack(features)
    parts = [checked_array("ranges", part, "(n_images, dim)") for part in checked_sequence("ranges", ranges)]
    if [part.shape for part in parts] != [(n_images, dim)] * 2:
        raise ArrayContractError(f"expected the ranges of {n_images} images, found {told(ranges)}")
    lowest, widths = parts
    images = np.concatenate([part.images for part in draw.parts])
    places = np.concatenate([part.places for part in draw.parts])
    values = np.asarray(features[images, :, places // width, places % width], np.float32)
    cells = (values - lowest[images]) / widths[images]
    projected = head(torch.from_numpy(cells).to(head.first.weight.device))
    anomalous, normal, near_anomalous, near_normal, far_anomalous = projected.split(
        [len(part.images) for part in draw.parts]
    )
    return pair_loss((anomalous, normal, near_anomalous, near_normal, far_anomalous), variant=variant)


def load_head(state: TrainingState, *, device: str = "cpu") -> ProjectionHead:
    """Projection head with the weights of a training state.

    Raises
    ------
    ArrayContractError
        If the state is not that of a head.
    """
    first, second = (state.tensors.get(f"model/{layer}.weight") for layer in ("first", "second"))
    if first is None or second is None:
        raise ArrayContractError(f"the training state is not that of a head; found {sorted(state.tensors)}")
    head = ProjectionHead(first.shape[1], first.shape[0], second.shape[0], random=torch.Generator())
    state.restore(head)
    return head.to(device).eval()


def project(head: ProjectionHead, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Project every cell of one image, H(F_i) of [ARDELEAN24] sec. 3.2, for `maps.descriptor`.

    Parameters
    ----------
    head
        From `load_head`.
    features
        Shape ``(dim, height, width)``, finite, in any unit: they are scaled as in training.

    Returns
    -------
    projected
        Shape ``(out, height, width)``, float32, unit L2 norm per cell; features of a cell lie together.

    Raises
    ------
    ArrayContractError
        If the features are not three-dimensional, empty, not finite or not of the head's length.
    """
    checked = check_feature_map(features)
    dim, height, width = checked.shape
    if dim != head.first.in_features:
        raise ArrayContractError(f"the projection head is for {head.first.in_features} features a cell; found {dim}")
    cells = torch.from_numpy(scaled_cells(checked)).to(head.first.weight.device)
    with torch.inference_mode():
        projected: NDArray[np.float32] = head(cells).cpu().numpy().T
    return projected.reshape(-1, height, width)


def _squared_distances(*products: tuple[Tensor, Tensor]) -> Tensor:
    """Squared distances of all pairs of unit vectors of each product, in one line."""
    return torch.cat([(2 - 2 * left @ right.T).clamp(min=0).ravel() for left, right in products])
