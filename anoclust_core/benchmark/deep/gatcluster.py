"""GATCluster: labels that teach themselves, seen as a whole and through a Gaussian attention, [GAT20]."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from anoclust_core.benchmark.deep.losses import attention_loss, invariance_loss, negative_entropy, relation_loss
from anoclust_core.benchmark.deep.networks import AttentionHead, rows_columns
from anoclust_core.benchmark.deep.settings import GatSettings, Phase
from anoclust_core.benchmark.deep.sources import Source, in_batches, predicted
from anoclust_core.benchmark.deep.targets import balanced_scores, relations, sharpened_scores


class GatCluster:
    """The method, as `training.train_deep` takes it.

    An epoch is one round of [GAT20], algorithm 1: targets from all plain images, then several passes over varied ones
    in small batches. The clusters are those of the whole map, not of what is attended to.

    Parameters
    ----------
    source
        Images; strong views are learnt from.
    network
        From inputs to a feature map ``(n, dim, rows, columns)``; trained.
    n_clusters
        Clusters to find.
    settings
        Sizes and weights.
    random
        Draws the initial weights of the heads.
    """

    name = "GATCluster"
    feature_bytes = 0

    def __init__(
        self, source: Source, network: nn.Module, *, n_clusters: int, settings: GatSettings, random: torch.Generator
    ) -> None:
        self.phases = settings.phases
        self._source, self._settings = source, settings
        with torch.no_grad():
            features = network.eval()(source.plain(torch.arange(1)))
        rows, columns = rows_columns(features)
        head = AttentionHead(features.shape[1], rows * columns, n_clusters, random=random)
        self.module: nn.Module = nn.Sequential(network, head)

    def begin(self, phase: Phase) -> None:
        """Nothing to get ready."""

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:  # noqa: ARG002 - one phase trains all
        """Everything."""
        return self.module.parameters()

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:  # noqa: ARG002 - there is one phase
        """Targets, then batches of varied images."""
        settings = self._settings
        plain = self._said()
        balanced, sharpened = balanced_scores(plain), sharpened_scores(plain)
        related = relations(plain, generator=generator)
        self.module.train()
        for _ in range(settings.repeats):
            for rows in in_batches(self._source.n_images, settings.batch, generator):
                whole, attended = self.module(self._source.strong(rows, generator))
                there = rows.to(whole.device)
                yield (
                    settings.invariance * invariance_loss(whole, balanced[there])
                    + settings.entropy * (negative_entropy(whole) + negative_entropy(attended))
                    + settings.relation * relation_loss(whole, related[there][:, there])
                    + settings.attention * attention_loss(attended, sharpened[there])
                )

    def clusters(self) -> Tensor:
        """Likeliest cluster by the whole map."""
        return self._said().argmax(dim=1)

    def _said(self) -> Tensor:
        """Probabilities of all plain images."""
        self.module.eval()
        return predicted(lambda inputs: self.module(inputs)[0], self._source)
