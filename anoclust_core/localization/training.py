"""What the two trained parts of blind localisation share: a state to resume from, and draws that need no memory.

Every draw comes from a generator named after the seed, its purpose and the step or epoch. Training that is cut off and
taken up again therefore needs the weights, what the optimiser remembers, and the number of the step: then it goes on as
if nothing had happened, to the last digit. No global generator is read or seeded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anoclust_core.errors import ArrayContractError, TrainingError
from anoclust_core.seeding import generator


@dataclass(frozen=True)
class TrainingState:
    """Everything needed to resume training and to use its result. Safe to keep as a file of tensors.

    Attributes
    ----------
    step
        How far training has come: optimiser steps of a VAE, epochs of a head.
    tensors
        On the CPU. ``model/NAME`` are the weights, ``buffer/NAME`` what else the model remembers,
        ``optimizer/QUANTITY/NAME`` what the optimiser remembers of the weights.
    """

    step: int
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Copy what is learnt so far."""
        tensors: dict[str, Tensor] = {}
        for name, weight in model.named_parameters():
            tensors[f"model/{name}"] = weight
            for quantity, value in optimizer.state[weight].items():
                tensors[f"optimizer/{quantity}/{name}"] = value
        tensors |= {f"buffer/{name}": value for name, value in model.named_buffers()}
        return cls(step, {name: value.detach().cpu().clone() for name, value in tensors.items()})

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Put the copy back into a model and, if training goes on, into its optimiser.

        Raises
        ------
        ArrayContractError
            If it is of another model.
        """
        parts: dict[str, Tensor] = {f"model/{name}": weight for name, weight in model.named_parameters()}
        parts |= {f"buffer/{name}": value for name, value in model.named_buffers()}
        expected = {name: tuple(part.shape) for name, part in parts.items()}
        found = {
            name: tuple(value.shape) for name, value in self.tensors.items() if name.startswith(("model/", "buffer/"))
        }
        if found != expected:
            raise ArrayContractError(f"the training state is of another model: expected {expected}, found {found}")
        with torch.no_grad():
            for name, part in parts.items():
                part.copy_(self.tensors[name])
        for name, weight in model.named_parameters():
            if optimizer is None:
                continue
            for quantity in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer"):
                value = self.tensors.get(f"optimizer/{quantity}/{name}")
                if value is not None:
                    # unless it is fused, an optimiser counts its steps on the CPU
                    is_apart = quantity == "step" and not optimizer.defaults.get("fused")
                    optimizer.state[weight][quantity] = value.clone().to("cpu" if is_apart else weight.device)


def linear(n_in: int, n_out: int, random: torch.Generator) -> nn.Linear:
    """Layer with the usual initial weights, uniform within 1 / sqrt(n_in), but from a generator of its own."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]  # torch's own gap
    bound = 1 / math.sqrt(n_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=random)
        layer.bias.uniform_(-bound, bound, generator=random)
    return layer


def torch_generator(seed: int, purpose: str) -> torch.Generator:
    """Random generator of torch, on the CPU, for one purpose."""
    return torch.Generator().manual_seed(int(generator(seed, purpose).integers(1 << 63)))


def check_loss(loss: float, *, of: str, step: int) -> float:
    """Give a loss back if it is finite.

    Raises
    ------
    TrainingError
        If it is not.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of {of} is {loss} after {step} steps: training diverged; look for outliers in the features, or "
            "switch this part off"
        )
    return loss
