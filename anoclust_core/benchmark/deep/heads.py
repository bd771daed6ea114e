"""Heads side by side, the loss of each, and the clusters of the one whose loss is lowest: no label chooses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anoclust_core.benchmark.deep.networks import ClusterHeads


class ScoredHeads(nn.Module):
    """Heads, with the mean loss of each over the epoch as a buffer, so that a resumed training chooses the same one.

    Parameters
    ----------
    heads
        What is trained.
    n_heads
        How many.
    """

    def __init__(self, heads: ClusterHeads, n_heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("sums", torch.zeros(n_heads))
        self.sums: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Shape ``(n, dim)`` to probabilities ``(n_heads, n, n_clusters)``."""
        found: Tensor = self.heads(features).softmax(dim=2)
        return found

    def forget(self) -> None:
        """Begin an epoch."""
        self.sums.zero_()

    def total(self, losses: list[Tensor]) -> Tensor:
        """Note the loss of each head, shape ``()`` each; gives their sum: heads share no weights."""
        together = torch.stack(losses)
        self.sums += together.detach()
        return together.sum()

    @property
    def best(self) -> int:
        """Head with the lowest loss of the epoch."""
        return int(self.sums.argmin())
