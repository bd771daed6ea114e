"""SCAN: neighbours share a cluster, then sure images teach the others, [SCAN20]."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from anoclust_core.benchmark.deep.heads import ScoredHeads
from anoclust_core.benchmark.deep.losses import confident_cross_entropy, consistency_loss, negative_entropy
from anoclust_core.benchmark.deep.networks import ClusterHeads
from anoclust_core.benchmark.deep.settings import Phase, ScanSettings
from anoclust_core.benchmark.deep.sources import FeatureBank, Source, in_batches, predicted
from anoclust_core.benchmark.deep.targets import nearest_neighbours


class Scan:
    """The method, as `training.train_deep` takes it.

    Neighbours come from a network pretrained on ImageNet instead of a pretext task, as [SOHN23] does it, appendix C.1.
    Semantic clustering trains the heads alone, as the published program does on ImageNet; self-labelling goes on with
    the head whose loss is lowest, and trains the network too where it is given.

    Parameters
    ----------
    bank
        Features of the fixed network.
    n_clusters
        Clusters to find.
    settings
        Sizes and weights.
    random
        Draws the initial weights of the heads.
    tuned
        Images and the network itself, if self-labelling trains it.
    """

    name = "SCAN"

    def __init__(
        self,
        bank: FeatureBank,
        *,
        n_clusters: int,
        settings: ScanSettings,
        random: torch.Generator,
        tuned: tuple[Source, nn.Module] | None = None,
    ) -> None:
        self.phases = settings.phases
        self._bank, self._settings = bank, settings
        self.feature_bytes = bank.nbytes
        self._near = nearest_neighbours(bank.features, count=settings.neighbours).cpu()
        heads = ClusterHeads(bank.features.shape[1], n_clusters, settings.n_heads, random=random)
        self._heads = ScoredHeads(heads, settings.n_heads)
        self._images, self._network = tuned or (bank, nn.Identity())
        self._is_tuning = False
        self.module: nn.Module = nn.ModuleDict({"heads": self._heads, "network": self._network})

    def begin(self, phase: Phase) -> None:
        """Nothing to get ready."""

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:
        """The heads; in the second phase the network too."""
        return self._heads.parameters() if phase is self.phases[0] else self.module.parameters()

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:
        """Neighbours, or sure images."""
        self._is_tuning = phase is not self.phases[0]
        return self._self_labels(generator) if self._is_tuning else self._neighbours(generator)

    def clusters(self) -> Tensor:
        """Likeliest cluster by the best head."""
        source, network = self._now()
        return predicted(lambda inputs: self._heads(network(inputs)), source)[self._heads.best].argmax(dim=1)

    def _neighbours(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Weak views of images and of one neighbour each, drawn anew, through every head."""
        self._heads.forget()
        for rows in in_batches(self._bank.n_images, self._settings.batch, generator):
            drawn = torch.randint(self._near.shape[1], rows.shape, generator=generator)
            others = self._near[rows, drawn]
            inputs = torch.cat([self._bank.weak(rows, generator), self._bank.weak(others, generator)])
            yield self._heads.total(
                [
                    consistency_loss(*said.split(len(rows)))
                    + self._settings.entropy * negative_entropy(said[: len(rows)])
                    for said in self._heads(inputs)
                ]
            )

    def _self_labels(self, generator: torch.Generator) -> Iterator[Tensor]:
        """What plain images are sure of, learnt on strong views, by the best head alone."""
        source, network = self._now()
        head = self._heads.heads.heads[self._heads.best]
        for rows in in_batches(self._bank.n_images, self._settings.batch, generator):
            with torch.no_grad():
                sure = head(network(source.plain(rows))).softmax(dim=1)
            yield confident_cross_entropy(
                head(network(source.strong(rows, generator))),
                sure,
                threshold=self._settings.threshold,
                balanced=self._settings.balanced,
            )

    def _now(self) -> tuple[Source, nn.Module]:
        """Features as they were, or images through the network that is being trained."""
        return (self._images, self._network) if self._is_tuning else (self._bank, nn.Identity())
