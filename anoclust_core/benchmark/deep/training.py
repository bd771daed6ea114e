"""One loop that trains every method, can be stopped after any epoch, and keeps the clusters of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anoclust_core.benchmark.deep.settings import Phase
from anoclust_core.errors import ArrayContractError
from anoclust_core.localization.training import TrainingState, check_loss, torch_generator

CLUSTERS: Final = "history/clusters"
LOSSES: Final = "history/losses"
"""Tensors of a state that are no weights: clusters after each epoch, and its mean loss."""

_LARGEST_GRADIENT: Final = 10.0
"""Gradients are cut to this, as [GAT20] does; the others stay far below it."""


class DeepMethod(Protocol):
    """What the loop is given: a network, and losses.

    Attributes
    ----------
    name
        For messages.
    phases
        In order; each has its own optimiser.
    module
        All that is learnt or remembered, as parameters and buffers.
    feature_bytes
        Of features that are kept of all images beside it.
    """

    name: str
    feature_bytes: int
    phases: tuple[Phase, ...]
    module: nn.Module

    def begin(self, phase: Phase) -> None:
        """Get ready for a phase; what is worked out here from the network is kept in buffers."""

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:
        """Parameters that the phase learns."""

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:
        """One epoch: the loss of each step; the loop takes the step before it asks for the next."""

    def clusters(self) -> Tensor:
        """Cluster of every image by the network as it is, shape ``(n_images,)``, int64."""


@dataclass(frozen=True)
class DeepTraining:
    """A training, at its end or after any epoch.

    Attributes
    ----------
    clusters
        Shape ``(n_epochs, n_images)``, int64: after each epoch, without any label.
    losses
        Shape ``(n_epochs,)``, float32: mean of the steps' losses; 0 of an epoch that had nothing to learn.
    state
        Where training goes on.
    """

    clusters: NDArray[np.int64]
    losses: NDArray[np.float32]
    state: TrainingState

    @classmethod
    def of(cls, state: TrainingState) -> DeepTraining:
        """What a state remembers.

        Raises
        ------
        ArrayContractError
            If it is no state of a deep clustering.
        """
        clusters, losses = state.tensors.get(CLUSTERS), state.tensors.get(LOSSES)
        if clusters is None or losses is None or clusters.ndim != 2 or len(clusters) != len(losses):
            raise ArrayContractError(f"expected a state of a deep clustering; found {sorted(state.tensors)}")
        return cls(clusters.numpy().astype(np.int64), losses.numpy().astype(np.float32), state)


def train_deep(
    method: DeepMethod,
    *,
    seed: int,
    state: TrainingState | None = None,
    progress: Callable[[int, float], None] | None = None,
    checkpoint: Callable[[TrainingState], None] | None = None,
) -> DeepTraining:
    """Train a method to its end.

    Parameters
    ----------
    method
        With its first weights; they are changed.
    seed
        Of all draws. Same seed, input, machine and number of threads: same clusters, killed in between or not.
    state
        Where to go on; None to start. ``method`` must be made as it was at the start.
    progress
        Is given the epochs done and the mean loss of the last one.
    checkpoint
        Is given the state after every epoch.

    Returns
    -------
    training
        After the last epoch.

    Raises
    ------
    ArrayContractError
        If ``state`` is of another method or other images.
    TrainingError
        If a loss becomes NaN or infinite.
    """
    done = 0 if state is None else state.step
    history: list[tuple[Tensor, float]] = []
    if state is not None:
        found = DeepTraining.of(state)
        history = [(torch.from_numpy(row), float(loss)) for row, loss in zip(found.clusters, found.losses, strict=True)]
        state.restore(method.module)
    start = 0
    for phase in method.phases:
        end = start + phase.epochs
        if done < end:
            if done == start:
                method.begin(phase)
            optimizer = _optimizer(method, phase)
            if state is not None and start < done:
                state.restore(method.module, optimizer)
            for epoch in range(done, end):
                loss = _epoch(method, phase, optimizer, torch_generator(seed, f"{method.name} epoch {epoch}"), epoch)
                history.append((method.clusters().cpu(), loss))
                state = _with_history(TrainingState.of(epoch + 1, method.module, optimizer), history)
                if progress is not None:
                    progress(epoch + 1, loss)
                if checkpoint is not None:
                    checkpoint(state)
            done = end
        start = end
    if state is None:
        raise ArrayContractError(f"{method.name} has no epoch to train; expected at least one")
    return DeepTraining.of(state)


def _epoch(
    method: DeepMethod, phase: Phase, optimizer: torch.optim.Optimizer, generator: torch.Generator, epoch: int
) -> float:
    """One epoch; gives the mean loss."""
    method.module.train()
    losses: list[float] = []
    for loss in method.steps(phase, generator):
        losses.append(check_loss(loss.item(), of=f"{method.name} in epoch {epoch + 1}", step=len(losses)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        nn.utils.clip_grad_value_(method.trained(phase), _LARGEST_GRADIENT)
        optimizer.step()
    method.module.eval()
    return float(np.mean(losses)) if losses else 0.0


def _optimizer(method: DeepMethod, phase: Phase) -> torch.optim.Optimizer:
    parameters = list(method.trained(phase))
    if phase.momentum:
        return torch.optim.SGD(
            parameters, lr=phase.learning_rate, momentum=phase.momentum, weight_decay=phase.weight_decay
        )
    return torch.optim.Adam(parameters, lr=phase.learning_rate, weight_decay=phase.weight_decay)


def _with_history(state: TrainingState, history: list[tuple[Tensor, float]]) -> TrainingState:
    tensors: Mapping[str, Tensor] = {
        **state.tensors,
        CLUSTERS: torch.stack([clusters for clusters, _ in history]).float(),
        LOSSES: torch.tensor([loss for _, loss in history]),
    }
    return TrainingState(state.step, tensors)
