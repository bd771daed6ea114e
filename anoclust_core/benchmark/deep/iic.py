"""IIC: clusters that two views of an image share, and that tell images apart as well as they can, [IIC19]."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from anoclust_core.benchmark.deep.heads import ScoredHeads
from anoclust_core.benchmark.deep.losses import mutual_information_loss
from anoclust_core.benchmark.deep.networks import ClusterHeads
from anoclust_core.benchmark.deep.settings import IicSettings, Phase
from anoclust_core.benchmark.deep.sources import Source, in_batches, predicted


class Iic:
    """The method, as `training.train_deep` takes it.

    Every epoch trains the over-clustering head and then the head that counts, as the published program does for STL-10.
    Each has several sub-heads; the clusters are those of the sub-head with the lowest loss.

    Parameters
    ----------
    source
        Images; a weak and a strong view of each make a pair.
    network
        From inputs to ``(n, dim)``; trained.
    dim, n_clusters
        Length of its features, and clusters to find.
    settings
        Sizes.
    random
        Draws the initial weights of the heads.
    """

    name = "IIC"
    feature_bytes = 0

    def __init__(
        self,
        source: Source,
        network: nn.Module,
        *,
        dim: int,
        n_clusters: int,
        settings: IicSettings,
        random: torch.Generator,
    ) -> None:
        self.phases = settings.phases
        self._source, self._settings = source, settings
        counted, many = (
            ScoredHeads(ClusterHeads(dim, clusters, settings.n_heads, random=random), settings.n_heads)
            for clusters in (n_clusters, settings.times * n_clusters)
        )
        self._network, self._counted, self._many = network, counted, many
        self.module: nn.Module = nn.ModuleDict({"network": network, "counted": counted, "many": many})

    def begin(self, phase: Phase) -> None:
        """Nothing to get ready."""

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:  # noqa: ARG002 - one phase trains all
        """Everything."""
        return self.module.parameters()

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:  # noqa: ARG002 - there is one phase
        """Pairs of views through one head after the other."""
        for heads in (self._many, self._counted):
            heads.forget()
            for rows in in_batches(self._source.n_images, self._settings.batch, generator):
                rows = rows.repeat(self._settings.repeats)
                first, second = self._source.weak(rows, generator), self._source.strong(rows, generator)
                said = heads(self._network(torch.cat([first, second])))
                yield heads.total([mutual_information_loss(*one.split(len(rows))) for one in said])

    def clusters(self) -> Tensor:
        """Likeliest cluster by the best sub-head."""
        self.module.eval()
        return predicted(lambda inputs: self._counted(self._network(inputs)), self._source)[self._counted.best].argmax(
            1
        )
