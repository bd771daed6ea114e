"""Small sets whose clusters are known, and methods of deep clustering on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import make_moons
from torch import nn

from anoclust_core.benchmark.deep.gatcluster import GatCluster
from anoclust_core.benchmark.deep.iic import Iic
from anoclust_core.benchmark.deep.networks import ConvNet
from anoclust_core.benchmark.deep.scan import Scan
from anoclust_core.benchmark.deep.settings import GATCLUSTER, IIC, SCAN, SMALL, SPICE, Phase
from anoclust_core.benchmark.deep.sources import FeatureBank, Pictures
from anoclust_core.benchmark.deep.spice import Spice
from anoclust_core.benchmark.deep.views import Views
from anoclust_core.localization.training import linear, torch_generator

COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]], np.uint8)
SIDE, SQUARE = 32, 18


def blobs(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two hundred points around ten places that lie far apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(200) % 10
    return 3 * np.eye(16)[labels] + 0.15 * random.normal(size=(200, 16)), labels


def lifted_moons() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two moons, each point as the places that a random walk along them leads to: no line parts the moons before."""
    points, labels = make_moons(200, noise=0.05, random_state=0)
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    near = np.exp(-squared / (2 * 0.12**2))
    walked = np.linalg.matrix_power(near / near.sum(axis=1, keepdims=True), 64)
    return walked / np.linalg.norm(walked, axis=1, keepdims=True), labels


def squares() -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Pictures of a square in one of three colours, anywhere on a grey ground."""
    random = np.random.default_rng(0)
    labels = np.arange(96) % 3
    pixels = 90 + random.integers(0, 20, (96, 3, SIDE, SIDE)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        row, column = random.integers(2, SIDE - SQUARE - 2, 2)
        image[:, row : row + SQUARE, column : column + SQUARE] = COLOURS[label][:, None, None]
    return torch.from_numpy(pixels), labels


def bank(features: NDArray[np.float64], noise: float, *, n_views: int = 8, seed: int = 0) -> FeatureBank:
    """Features with views that lie around them; strong ones twice as far."""
    random = np.random.default_rng(seed)
    plain = torch.tensor(features, dtype=torch.float32)

    def around(spread: float) -> torch.Tensor:
        drawn = random.normal(size=(len(features), n_views, features.shape[1]))
        return plain[:, None] + spread * torch.tensor(drawn, dtype=torch.float32)

    return FeatureBank(plain, around(noise), around(2 * noise))


def iic(seed: int = 0, *, epochs: int = 60, n_heads: int = 20) -> Iic:
    """IIC on the blobs, with one layer for a network."""
    network = nn.Sequential(linear(16, 64, torch_generator(seed, "network")), nn.ReLU())
    settings = replace(SMALL[IIC], batch=100, n_heads=n_heads, times=2, phases=(Phase("iic", epochs, 5e-3),))
    random = torch_generator(seed, "heads")
    return Iic(bank(blobs()[0], 0.75, seed=seed), network, dim=64, n_clusters=10, settings=settings, random=random)


def scan(seed: int = 0, *, epochs: tuple[int, int] = (40, 5)) -> Scan:
    """SCAN on the blobs."""
    phases = (Phase("scan", epochs[0], 3e-2), Phase("self-labels", epochs[1], 1e-3))
    settings = replace(SMALL[SCAN], batch=50, neighbours=10, phases=phases)
    found = bank(blobs()[0], 0.3, seed=seed)
    return Scan(found, n_clusters=10, settings=settings, random=torch_generator(seed, "heads"))


def spice(seed: int = 0, *, epochs: tuple[int, int] = (10, 5)) -> Spice:
    """SPICE on the lifted moons."""
    phases = (Phase("pseudo labels", epochs[0], 5e-3), Phase("reliable labels", epochs[1], 5e-3))
    settings = replace(SMALL[SPICE], n_heads=3, phases=phases)
    found = bank(lifted_moons()[0], 0.005, seed=seed)
    return Spice(found, n_clusters=2, settings=settings, random=torch_generator(seed, "heads"))


def gatcluster(seed: int = 0, *, epochs: int = 10) -> GatCluster:
    """GATCluster on the squares."""
    some, more = Views(area=0.9), Views(area=0.8, mirror=True, turn=10, brightness=0.2, contrast=0.2)
    source = Pictures(squares()[0], some, more, lambda images: (images - 0.5) / 0.25)
    network = ConvNet(3, (8,), 16, random=torch_generator(seed, "network"))
    settings = replace(SMALL[GATCLUSTER], batch=16, phases=(Phase("gatcluster", epochs, 3e-3),))
    return GatCluster(source, network, n_clusters=3, settings=settings, random=torch_generator(seed, "heads"))
