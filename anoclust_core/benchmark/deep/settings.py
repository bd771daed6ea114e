"""How large and how long the four methods are trained: small enough for two cores, and as published.

What Sohn et al. say of it, appendix C.1: "For IIC and SCAN, we use a ResNet-50 backbone. We replace the first step of
the SCAN, which is the self-supervised pretraining, with an ImageNet pretraining", "For GATCluster, we use the custom
CNN architecture suggested by the author for ImageNet experiments", "For hyperparameters, we simply use the ones
suggested by the authors." So `PUBLISHED` has the numbers of the authors' programs, for ResNet-50 those of their
experiments on ImageNet where there are some. Nobody prints the settings of SPICE on anomalies: it gets the backbone of
SCAN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

PUBLISHED_BACKBONE: Final = "resnet50"
"""Of IIC, SCAN and SPICE with published settings."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimiser.

    Attributes
    ----------
    name
        What is trained for.
    epochs
        Times that every image has its turn.
    learning_rate, weight_decay
        Of the optimiser.
    momentum
        Of stochastic gradient descent; 0 is Adam instead.
    """

    name: str
    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    momentum: float = 0.0


@dataclass(frozen=True)
class IicSettings:
    """Of IIC.

    Attributes
    ----------
    side
        Of the pictures in pixels.
    widths
        Of the small network; empty for ResNet-50.
    batch, repeats
        Images a step, and pairs of views of each in it.
    n_heads
        Sub-heads of each of the two heads.
    times
        Clusters of the over-clustering head, as a multiple of the number of clusters.
    phases
        One.
    """

    side: int
    widths: tuple[int, ...]
    batch: int
    repeats: int
    n_heads: int
    times: int
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class GatSettings:
    """Of GATCluster.

    Attributes
    ----------
    side, widths
        Of the pictures in pixels, and of the network's blocks.
    batch, repeats
        Images a step; times that every image has its turn between two rounds of targets, which is one epoch.
    invariance, entropy, relation, attention
        Weights of the four losses.
    phases
        One.
    """

    side: int
    widths: tuple[int, ...]
    batch: int
    repeats: int
    invariance: float
    entropy: float
    relation: float
    attention: float
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class ScanSettings:
    """Of SCAN.

    Attributes
    ----------
    side
        Of the pictures in pixels.
    n_views
        Weak and strong views an image whose features are kept.
    batch, n_heads, neighbours
        Images a step; heads, of which that with the lowest loss is taken; neighbours of an image.
    entropy
        Weight of the entropy.
    threshold, balanced
        Of self-labelling: from which probability on an image is sure, and whether clusters count alike.
    tunes_network
        Whether self-labelling trains the network too, and not the heads alone.
    phases
        Semantic clustering, then self-labelling.
    """

    side: int
    n_views: int
    batch: int
    n_heads: int
    neighbours: int
    entropy: float
    threshold: float
    balanced: bool
    tunes_network: bool
    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class SpiceSettings:
    """Of SPICE.

    Attributes
    ----------
    side, n_views
        As of SCAN.
    batch, repeats
        Images a step; passes over the pseudo labels between two times that they are made, which is one epoch.
    n_heads
        Heads, of which that with the lowest loss is taken.
    prototype
        Share of a cluster that its prototype is the mean of.
    neighbours, agreeing
        Neighbours that are asked at most, and the share that must agree with a reliable image.
    threshold
        From which probability on an image that is not reliable is learnt from as well.
    phases
        Pseudo labels, then reliable ones.
    """

    side: int
    n_views: int
    batch: int
    repeats: int
    n_heads: int
    prototype: float
    neighbours: int
    agreeing: float
    threshold: float
    phases: tuple[Phase, ...]


DeepSettings: TypeAlias = IicSettings | GatSettings | ScanSettings | SpiceSettings

IIC: Final = "iic"
GATCLUSTER: Final = "gatcluster"
SCAN: Final = "scan"
SPICE: Final = "spice"

VERSIONS: Final[Mapping[str, int]] = MappingProxyType({GATCLUSTER: 2, SCAN: 2})
"""Of methods that were changed since trainings of them were kept: a kept training of an earlier one is not taken."""

SMALL: Final[Mapping[str, DeepSettings]] = MappingProxyType(
    {
        IIC: IicSettings(
            side=112, widths=(8, 16, 32), batch=64, repeats=1, n_heads=5, times=7,
            phases=(Phase("iic", 20, 1e-3),),
        ),
        GATCLUSTER: GatSettings(
            side=128, widths=(8, 16, 32), batch=32, repeats=3, invariance=5, entropy=3, relation=1, attention=5,
            phases=(Phase("gatcluster", 20, 1e-3),),
        ),
        SCAN: ScanSettings(
            side=192, n_views=4, batch=128, n_heads=10, neighbours=20, entropy=5, threshold=0.99, balanced=True,
            tunes_network=False, phases=(Phase("scan", 100, 1e-3), Phase("self-labels", 50, 1e-3)),
        ),
        SPICE: SpiceSettings(
            side=192, n_views=4, batch=128, repeats=2, n_heads=5, prototype=0.5, neighbours=100, agreeing=0.95,
            threshold=0.95, phases=(Phase("pseudo labels", 40, 5e-3), Phase("reliable labels", 40, 5e-3)),
        ),
    }
)  # fmt: skip
"""Sizes that end on two cores. What is no size is as published, but learning rates that go with a larger network."""

PUBLISHED: Final[Mapping[str, DeepSettings]] = MappingProxyType(
    {
        IIC: IicSettings(
            side=224, widths=(), batch=140, repeats=5, n_heads=5, times=7, phases=(Phase("iic", 2000, 1e-4),)
        ),
        GATCLUSTER: GatSettings(
            side=128, widths=(64, 128, 256), batch=32, repeats=8, invariance=5, entropy=3, relation=1, attention=5,
            phases=(Phase("gatcluster", 6000, 1e-3),),
        ),
        SCAN: ScanSettings(
            side=224, n_views=100, batch=512, n_heads=10, neighbours=50, entropy=5, threshold=0.99, balanced=False,
            tunes_network=True,
            phases=(Phase("scan", 100, 5.0, momentum=0.9), Phase("self-labels", 25, 0.03, momentum=0.9)),
        ),
        SPICE: SpiceSettings(
            side=224, n_views=100, batch=128, repeats=8, n_heads=10, prototype=0.5, neighbours=100, agreeing=0.95,
            threshold=0.95, phases=(Phase("pseudo labels", 100, 5e-3), Phase("reliable labels", 100, 5e-3)),
        ),
    }
)  # fmt: skip
"""Numbers of the authors' programs. A hundred views stand for one that is drawn anew in each of a hundred epochs."""


def n_epochs(phases: tuple[Phase, ...]) -> int:
    """Epochs of all phases together."""
    return sum(phase.epochs for phase in phases)


def settings_of(method: str, *, as_published: bool) -> DeepSettings:
    """Settings of a method by its short name."""
    return (PUBLISHED if as_published else SMALL)[method]


def network_named(method: str, backbone: str, *, as_published: bool) -> str:
    """What a method trains or takes features of, in words of the tables: a backbone, or the small network."""
    settings = settings_of(method, as_published=as_published)
    widths = getattr(settings, "widths", ())
    if widths:
        return f"twelve convolutions of {', '.join(map(str, widths))}"
    return PUBLISHED_BACKBONE if as_published else backbone
