"""Deep clustering on sets whose clusters are known, and a training that is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from deep_toys import bank, blobs, gatcluster, iic, lifted_moons, scan, spice, squares
from torch import Tensor, nn

from anoclust_core.benchmark.deep.settings import Phase
from anoclust_core.benchmark.deep.sources import FeatureBank
from anoclust_core.benchmark.deep.training import DeepMethod, DeepTraining, train_deep
from anoclust_core.errors import ArrayContractError, TrainingError
from anoclust_core.evaluation.partitions import adjusted_rand_index
from anoclust_core.localization.training import TrainingState

SEEDS = pytest.mark.parametrize("seed", [0, 1])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small products are slower on more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def agreement(training: DeepTraining, labels: np.ndarray) -> float:
    """Of the last epoch with the true clusters."""
    return adjusted_rand_index(labels.tolist(), training.clusters[-1].tolist())


def test_iic_finds_ten_blobs():
    """Mutual information alone names the better of two starts and its best sub-head: clusters may stay empty."""
    tried = []
    for seed in (0, 1):
        method = iic(seed)
        training = train_deep(method, seed=seed)
        tried.append((float(training.state.tensors["buffer/counted.sums"].min()), agreement(training, blobs()[1])))
    assert min(tried)[1] > 0.95


@SEEDS
def test_scan_finds_ten_blobs(seed):
    """Neighbours, then sure images."""
    assert agreement(train_deep(scan(seed), seed=seed), blobs()[1]) > 0.95


@SEEDS
def test_spice_finds_two_moons(seed):
    """Prototypes, then reliable images."""
    assert agreement(train_deep(spice(seed), seed=seed), lifted_moons()[1]) > 0.95


def test_gatcluster_finds_coloured_squares():
    """From random weights, wherever the squares are."""
    assert agreement(train_deep(gatcluster(), seed=0), squares()[1]) > 0.95


SHORT: dict[str, Callable[[], DeepMethod]] = {
    "IIC": lambda: iic(epochs=4, n_heads=3),
    "GATCluster": lambda: gatcluster(epochs=3),
    "SCAN": lambda: scan(epochs=(3, 2)),
    "SPICE": lambda: spice(epochs=(3, 2)),
}


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("stop_at", [1, 3, 4])
@pytest.mark.parametrize("name", SHORT)
def test_killed_and_resumed_gives_the_same(name, stop_at):
    """The same clusters after every epoch, the same losses and weights to the last digit, wherever it was killed."""
    whole = train_deep(SHORT[name](), seed=3)
    kept: list[TrainingState] = []

    def checkpoint(state: TrainingState) -> None:
        kept.append(state)
        if state.step == min(stop_at, len(whole.losses) - 1):
            raise Killed

    with pytest.raises(Killed):
        train_deep(SHORT[name](), seed=3, checkpoint=checkpoint)
    resumed = train_deep(SHORT[name](), seed=3, state=kept[-1])
    np.testing.assert_array_equal(resumed.clusters, whole.clusters)
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    assert resumed.state.tensors.keys() == whole.state.tensors.keys()
    for part, tensor in whole.state.tensors.items():
        assert torch.equal(resumed.state.tensors[part], tensor), part


def test_another_seed_gives_other_clusters():
    """The seed counts; the test above would say nothing otherwise."""
    first, second = (train_deep(scan(epochs=(1, 1)), seed=seed) for seed in (0, 1))
    assert (first.losses != second.losses).any()


class Diverging:
    """A method whose loss is NaN in its second epoch."""

    name = "IIC"
    phases = (Phase("x", 3, 1e-3),)
    feature_bytes = 0

    def __init__(self) -> None:
        self.module = nn.Linear(1, 1)
        self.epochs = 0

    def begin(self, phase: Phase) -> None:
        pass

    def trained(self, phase: Phase) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def steps(self, phase: Phase, generator: torch.Generator) -> Iterator[Tensor]:
        self.epochs += 1
        yield self.module(torch.ones(1, 1)).sum() * (float("nan") if self.epochs == 2 else 1.0)

    def clusters(self) -> Tensor:
        return torch.zeros(4, dtype=torch.int64)


def test_nan_ends_the_training():
    """The error names the method and the epoch; the state before it was handed out."""
    kept: list[TrainingState] = []
    with pytest.raises(TrainingError, match="the loss of IIC in epoch 2 is nan"):
        train_deep(Diverging(), seed=0, checkpoint=kept.append)
    assert [state.step for state in kept] == [1]


def test_without_a_reliable_image_nothing_is_learnt():
    """SPICE's second step ends with the clusters of its first, and losses that can be kept: 0, not NaN."""
    method = spice(epochs=(2, 3))
    method._settings = replace(method._settings, agreeing=1.0)
    method._asked = len(lifted_moons()[0]) - 1  # all others would have to agree
    training = train_deep(method, seed=0)
    assert (training.losses[:2] > 0).all()
    assert training.losses[2:].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(training.clusters[2:], np.repeat(training.clusters[1:2], 3, axis=0))


def test_scan_labels_itself_by_plain_images():
    """Self-labels are what it says of images as they are; weak views, crops by default, may not hold the defect."""
    method = scan(epochs=(1, 1))
    asked: list[str] = []
    for name in ("plain", "weak", "strong"):
        real = getattr(FeatureBank, name)

        def spy(*given, name=name, real=real):
            asked.append(name)
            return real(*given)

        object.__setattr__(method._bank, name, partial(spy, method._bank))
    list(method.steps(method.phases[1], torch.Generator().manual_seed(0)))
    assert set(asked) == {"plain", "strong"}


def test_a_state_of_another_method_is_refused():
    """It has other weights."""
    state = train_deep(scan(epochs=(1, 1)), seed=0).state
    with pytest.raises(ArrayContractError, match="of another model"):
        train_deep(spice(epochs=(1, 1)), seed=0, state=TrainingState(1, state.tensors))
    with pytest.raises(ArrayContractError, match="expected a state of a deep clustering"):
        DeepTraining.of(TrainingState(1, {}))


def test_progress_and_finished_trainings():
    """Progress counts epochs over all phases; a state of the last epoch needs no more."""
    seen: list[int] = []
    training = train_deep(scan(epochs=(2, 1)), seed=0, progress=lambda epoch, _: seen.append(epoch))
    assert seen == [1, 2, 3]
    again = train_deep(scan(epochs=(2, 1)), seed=0, state=training.state, progress=lambda epoch, _: seen.append(epoch))
    assert seen == [1, 2, 3]
    np.testing.assert_array_equal(again.clusters, training.clusters)


def test_views_are_those_of_the_image():
    """A bank gives one of an image's own views."""
    found = bank(blobs()[0], 0.1)
    rows = torch.tensor([5, 0, 5])
    drawn = found.weak(rows, torch.Generator().manual_seed(0))
    for row, features in zip(rows.tolist(), drawn, strict=True):
        assert any(torch.equal(features, view) for view in found.weak_features[row])
