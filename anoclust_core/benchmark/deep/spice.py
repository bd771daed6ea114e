"""SPICE: prototypes give pseudo labels, and images whose neighbours agree teach the others, [SPICE22]."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from anoclust_core.benchmark.deep.heads import ScoredHeads
from anoclust_core.benchmark.deep.losses import confident_cross_entropy, double_softmax_loss
from anoclust_core.benchmark.deep.networks import ClusterHeads
from anoclust_core.benchmark.deep.settings import Phase, SpiceSettings
from anoclust_core.benchmark.deep.sources import FeatureBank, in_batches, predicted
from anoclust_core.benchmark.deep.targets import prototype_labels, reliable_labels


class Spice:
    """The method over fixed features, as `training.train_deep` takes it.

    First every head learns on strong views what prototypes of plain features say, by its own scores of weak views. Then
    the best head learns on: from reliable images as if they had labels, and from the others where their weak view is
    sure. The paper trains a network of its own in this second step; here the features stay fixed. Where no image is
    reliable, the second step has nothing to learn, and its epochs have the loss 0.

    Parameters
    ----------
    bank
        Features of the fixed network.
    n_clusters
        Clusters to find.
    settings
        Sizes.
    random
        Draws the initial weights of the heads.
    """

    name = "SPICE"

    def __init__(self, bank: FeatureBank, *, n_clusters: int, settings: SpiceSettings, random: torch.Generator) -> None:
        self.phases = settings.phases
        self._bank, self._settings = bank, settings
        self.feature_bytes = bank.nbytes
        dim = bank.features.shape[1]
        heads = ClusterHeads(dim, n_clusters, settings.n_heads, hidden=dim, random=random)
        self._heads = ScoredHeads(heads, settings.n_heads)
        self._asked = min(settings.neighbours, max(1, bank.n_images // (2 * n_clusters)))
        self.module: nn.Module = nn.Module()
        self.module.add_module("heads", self._heads)
        self.module.register_buffer("reliable", torch.full((bank.n_images,), -1))

    def begin(self, phase: Phase) -> None:
        """Find the reliable images before the second phase.

        No more neighbours are asked than half the mean size of a cluster.
        """
        if phase is not self.phases[0]:
            said = predicted(self._heads, self._bank)[self._heads.best]
            found = reliable_labels(self._bank.features, said, count=self._asked, share=self._settings.agreeing)
            self._reliable.copy_(found)

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:  # noqa: ARG002 - heads that have no loss stay as they are
        """The heads."""
        return self._heads.parameters()

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:
        """Pseudo labels, or reliable ones."""
        return self._pseudo(generator) if phase is self.phases[0] else self._semi_supervised(generator)

    def clusters(self) -> Tensor:
        """Likeliest cluster by the best head."""
        return predicted(self._heads, self._bank)[self._heads.best].argmax(dim=1)

    @property
    def _reliable(self) -> Tensor:
        return self.module.get_buffer("reliable")

    def _pseudo(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Pseudo labels of every head from weak views of all images, learnt in several passes over strong views."""
        bank, settings = self._bank, self._settings
        self._heads.forget()
        with torch.no_grad():
            weak = self._heads(bank.weak(torch.arange(bank.n_images), generator))
        given = [prototype_labels(bank.features, said, share=settings.prototype) for said in weak]
        for _ in range(settings.repeats):
            for at in in_batches(len(given[0][0]), settings.batch, generator):
                heads = self._heads.heads.heads
                yield self._heads.total(
                    [
                        double_softmax_loss(head(bank.strong(rows[at].cpu(), generator)), labels[at])
                        for head, (rows, labels) in zip(heads, given, strict=True)
                    ]
                )

    def _semi_supervised(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Reliable images with their labels, and others that are sure of theirs; none if no image is reliable."""
        bank, settings = self._bank, self._settings
        if not bool((self._reliable >= 0).any()):
            return
        head = self._heads.heads.heads[self._heads.best]
        for rows in in_batches(bank.n_images, settings.batch, generator):
            labels = self._reliable[rows.to(self._reliable.device)]
            with torch.no_grad():
                sure = head(bank.weak(rows, generator)).softmax(dim=1)
            strong = head(bank.strong(rows, generator))
            loss = confident_cross_entropy(strong, sure, threshold=settings.threshold, balanced=False)
            if bool((labels >= 0).any()):
                loss = loss + functional.cross_entropy(head(bank.weak(rows, generator)), labels, ignore_index=-1)
            yield loss
