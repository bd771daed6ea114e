"""Every loss and every target of deep clustering against the plain form of its equation, by loops over numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from anoclust_core.benchmark.deep import losses, targets
from anoclust_core.benchmark.deep.networks import gaussian_attention, sobel_edges
from anoclust_core.errors import ArrayContractError, ConfigError

SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def said(seed: int, n: int = 7, k: int = 4, sharpness: float = 2.0) -> Tensor:
    """Random probabilities in double precision."""
    return (torch.randn(n, k, generator=rng(seed), dtype=torch.float64) * sharpness).softmax(dim=1)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def entropy(values: list[float]) -> float:
    return -sum(value * math.log(value) for value in values if value > 0)


@SEEDS
def test_mutual_information_is_the_sum_of_entropies_less_that_of_both(seed):
    """[IIC19]: I(z, z') = H(z) + H(z') - H(z, z'), over the joint distribution of pairs, both ways round."""
    first, second = said(seed), said(seed + 10)
    n, k = first.shape
    joint = [[0.0] * k for _ in range(k)]
    for i in range(n):
        for a in range(k):
            for b in range(k):
                joint[a][b] += float(first[i, a] * second[i, b] + first[i, b] * second[i, a]) / (2 * n)
    of_first = [sum(row) for row in joint]
    of_second = [sum(row[b] for row in joint) for b in range(k)]
    expected = entropy(of_first) + entropy(of_second) - entropy([value for row in joint for value in row])
    assert float(losses.mutual_information_loss(first, second)) == pytest.approx(-expected, abs=1e-9)


def test_mutual_information_is_largest_for_clusters_alike_that_agree():
    """Clusters of one size that both views agree on have ln k; one cluster for all has none."""
    agreeing = torch.eye(5, dtype=torch.float64).repeat(3, 1)
    assert float(losses.mutual_information_loss(agreeing, agreeing)) == pytest.approx(-math.log(5), abs=1e-5)
    one = agreeing[:1].expand(15, 5)
    assert float(losses.mutual_information_loss(one, one)) == pytest.approx(0, abs=1e-5)


@SEEDS
def test_negative_entropy(seed):
    """The entropy of the mean of all rows, with a minus."""
    found = said(seed)
    mean = [sum(float(row[c]) for row in found) / len(found) for c in range(found.shape[1])]
    assert float(losses.negative_entropy(found)) == pytest.approx(-entropy(mean), abs=1e-9)


@SEEDS
def test_invariance(seed):
    """The mean product of labels, with a minus."""
    found, wanted = said(seed), said(seed + 10)
    products = [sum(float(a * b) for a, b in zip(*both, strict=True)) for both in zip(found, wanted, strict=True)]
    assert float(losses.invariance_loss(found, wanted)) == pytest.approx(-np.mean(products), abs=1e-12)


@SEEDS
def test_relations_of_pairs(seed):
    """Binary cross entropy of the cosine over every pair once, and every image with itself."""
    found = said(seed)
    relations = (torch.rand(7, 7, generator=rng(seed)) < 0.5).double()
    terms = []
    for i in range(7):
        for j in range(i + 1):
            dot = sum(float(a * b) for a, b in zip(found[i], found[j], strict=True))
            cosine = min(1.0, dot / math.sqrt(float(found[i] @ found[i]) * float(found[j] @ found[j])))
            related = float(relations[i, j])
            terms.append(-related * ln(cosine) - (1 - related) * ln(1 - cosine))
    # a cosine of 1 by rounding has a logarithm of its own
    relations.fill_diagonal_(1)
    terms_of_one = [-ln(1.0)] * 7
    without = [term for at, term in enumerate(terms) if at not in diagonal(7)]
    assert float(losses.relation_loss(found, relations)) == pytest.approx(np.mean(without + terms_of_one), abs=1e-9)


def ln(value: float) -> float:
    return max(-100.0, math.log(value)) if value > 0 else -100.0


def diagonal(n: int) -> set[int]:
    """Places of pairs of an image with itself, in the order of the lower triangle."""
    return {i * (i + 1) // 2 + i for i in range(n)}


@SEEDS
def test_attention(seed):
    """Binary cross entropy of every number by itself."""
    found, wanted = said(seed), said(seed + 10)
    terms = [
        -float(t) * ln(float(p)) - (1 - float(t)) * ln(1 - float(p))
        for p, t in zip(found.flatten(), wanted.flatten(), strict=True)
    ]
    assert float(losses.attention_loss(found, wanted)) == pytest.approx(np.mean(terms), abs=1e-9)


@SEEDS
def test_consistency(seed):
    """The logarithm of the chance that both are drawn from one cluster."""
    found, near = said(seed), said(seed + 10)
    terms = [-math.log(sum(float(a * b) for a, b in zip(x, y, strict=True))) for x, y in zip(found, near, strict=True)]
    assert float(losses.consistency_loss(found, near)) == pytest.approx(np.mean(terms), abs=1e-9)


@SEEDS
@pytest.mark.parametrize("balanced", [True, False])
def test_self_labels(seed, balanced):
    """Weighted cross entropy of the sure images alone."""
    logits, sure = torch.randn(7, 4, generator=rng(seed), dtype=torch.float64), said(seed + 10, sharpness=1.0)
    total = weights = 0.0
    chosen = [(i, int(row.argmax())) for i, row in enumerate(sure) if float(row.max()) > 0.6]
    assert 0 < len(chosen) < 7
    for i, label in chosen:
        weight = 1 / sum(other == label for _, other in chosen) if balanced else 1.0
        chances = [math.exp(float(z)) for z in logits[i]]
        total -= weight * math.log(chances[label] / sum(chances))
        weights += weight
    found = losses.confident_cross_entropy(logits, sure, threshold=0.6, balanced=balanced)
    assert float(found) == pytest.approx(total / weights, abs=1e-9)


def test_nobody_is_sure():
    """Without a sure image there is nothing to learn, and no NaN."""
    logits = torch.randn(5, 3, requires_grad=True)
    loss = losses.confident_cross_entropy(logits, torch.full((5, 3), 1 / 3), threshold=0.9, balanced=True)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@SEEDS
def test_two_softmax_functions(seed):
    """Cross entropy of probabilities that are taken for logits."""
    logits = torch.randn(7, 4, generator=rng(seed), dtype=torch.float64)
    labels = torch.randint(4, (7,), generator=rng(seed))
    terms = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        once = [math.exp(float(z)) for z in row]
        twice = [math.exp(value / sum(once)) for value in once]
        terms.append(-math.log(twice[label] / sum(twice)))
    assert float(losses.double_softmax_loss(logits, labels)) == pytest.approx(np.mean(terms), abs=1e-9)


RELATED = (torch.rand(5, 5, generator=rng(3)) < 0.5).double()
OF_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "mutual information": lambda z: losses.mutual_information_loss(z.softmax(1), said(3, 5, 3)),
    "entropy": lambda z: losses.negative_entropy(z.softmax(1)),
    "invariance": lambda z: losses.invariance_loss(z.softmax(1), said(3, 5, 3)),
    "relations": lambda z: losses.relation_loss(z.softmax(1), RELATED.fill_diagonal_(1)),
    "attention": lambda z: losses.attention_loss(z.softmax(1), said(3, 5, 3)),
    "consistency": lambda z: losses.consistency_loss(z.softmax(1), said(3, 5, 3)),
    "self labels": lambda z: losses.confident_cross_entropy(z, said(3, 5, 3), threshold=0.5, balanced=True),
    "two softmax functions": lambda z: losses.double_softmax_loss(z, torch.tensor([0, 1, 2, 0, 1])),
    "attention map": lambda z: gaussian_attention(z.sigmoid(), (3, 4)).square().sum(),
}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_gradients_are_those_of_finite_differences(name):
    """What is learnt follows the loss."""
    logits = torch.randn(5, 3, generator=rng(1), dtype=torch.float64, requires_grad=True)
    loss = OF_LOGITS[name]
    (found,) = torch.autograd.grad(loss(logits), logits)
    step = 1e-6
    for at in range(logits.numel()):
        moved = torch.zeros(logits.numel(), dtype=torch.float64)
        moved[at] = step
        moved = moved.reshape(logits.shape)
        expected = (loss(logits.detach() + moved) - loss(logits.detach() - moved)) / (2 * step)
        assert float(found.flatten()[at]) == pytest.approx(float(expected), abs=1e-6)


@SEEDS
def test_balanced_and_sharpened_scores(seed):
    """Columns are divided by their sums before rows are, once plain and once squared."""
    found = said(seed)
    sums = [sum(float(row[c]) for row in found) for c in range(4)]
    for power, make in ((1, targets.balanced_scores), (2, targets.sharpened_scores)):
        for row, wanted in zip(found, make(found), strict=True):
            divided = [float(p) ** power / total for p, total in zip(row, sums, strict=True)]
            expected = [value / sum(divided) for value in divided]
            assert wanted.tolist() == pytest.approx(expected, abs=1e-9)


def test_relations_are_those_of_k_means():
    """Images in one cluster belong together; while one is nearly empty, only to themselves."""
    sure = torch.eye(3).repeat(4, 1) * 0.8 + 0.2 / 3
    found = targets.relations(sure, generator=rng(0))
    for i in range(12):
        for j in range(12):
            assert float(found[i, j]) == float(i % 3 == j % 3)
    one_label = torch.tensor([[0.8, 0.1, 0.1]]).repeat(12, 1) + torch.rand(12, 3, generator=rng(0)) * 1e-9
    assert torch.equal(targets.relations(one_label, generator=rng(0)), torch.eye(12))
    lone = torch.tensor([[0.9, 0.05, 0.05]] * 58 + [[0.05, 0.9, 0.05]] * 61 + [[0.05, 0.05, 0.9]])
    assert torch.equal(targets.relations(lone, generator=rng(0)), torch.eye(120))


@SEEDS
def test_neighbours_by_a_loop(seed):
    """The largest cosines, without the image itself."""
    features = torch.randn(9, 5, generator=rng(seed))
    found = targets.nearest_neighbours(features, count=3)
    for i in range(9):
        cosines = {
            j: float(features[i] @ features[j] / (features[i].norm() * features[j].norm())) for j in range(9) if j != i
        }
        assert found[i].tolist() == sorted(cosines, key=lambda j: -cosines[j])[:3]
    assert targets.nearest_neighbours(features, count=50).shape == (9, 8)


@SEEDS
def test_prototypes_by_a_loop(seed):
    """The mean of the surest images decides who gets the label."""
    features, found = torch.randn(18, 5, generator=rng(seed), dtype=torch.float64), said(seed, 18, 3)
    unit = [row / row.norm() for row in features]
    rows, labels = targets.prototype_labels(features, found, share=0.5)
    assert labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    for c in range(3):
        surest = sorted(range(18), key=lambda i: -float(found[i, c]))[:3]
        prototype = sum(unit[i] for i in surest) / 3
        near = sorted(range(18), key=lambda i: -float(unit[i] @ prototype))[:6]
        assert rows[labels == c].tolist() == near


def test_reliable_images_agree_with_their_neighbours():
    """An image that is labelled otherwise than all around it is not believed, nor are those next to it."""
    angles = torch.linspace(0, 0.1, 10, dtype=torch.float64)
    left = torch.stack([angles.cos(), angles.sin()], dim=1)
    features = torch.cat([left, -left])
    labels = torch.tensor([0] * 10 + [1] * 10)
    labels[4] = 1
    found = targets.reliable_labels(features, torch.eye(2, dtype=torch.float64)[labels], count=2, share=0.95)
    assert found[4] == -1
    assert found[3] == -1
    assert found[0] == 0
    assert found[10:].tolist() == [1] * 10


@SEEDS
def test_attention_falls_off_from_its_centre(seed):
    """Exp of minus the squared distance over twice lambda times the width, cell by cell."""
    places = torch.rand(4, 3, generator=rng(seed), dtype=torch.float64) * 0.8 + 0.1
    found = gaussian_attention(places, (3, 5))
    for image, (row, column, width) in zip(found, places.tolist(), strict=True):
        for i in range(3):
            for j in range(5):
                squared = (i / 2 - row) ** 2 + (j / 4 - column) ** 2
                assert float(image[i, j]) == pytest.approx(math.exp(-squared / (2 * 0.05 * width)), abs=1e-9)


def test_edges_by_a_loop():
    """Differences of brightness across and down, the middle row counting twice; a flat picture has none."""
    image = torch.rand(1, 3, 6, 7, generator=rng(0), dtype=torch.float64)
    grey = np.pad(image[0].mean(dim=0).numpy(), 1, mode="edge")
    found = sobel_edges(image)[0].numpy()
    for i in range(6):
        for j in range(7):
            part = grey[i : i + 3, j : j + 3]
            across = part[0, 2] - part[0, 0] + 2 * (part[1, 2] - part[1, 0]) + part[2, 2] - part[2, 0]
            down = part[2, 0] - part[0, 0] + 2 * (part[2, 1] - part[0, 1]) + part[2, 2] - part[0, 2]
            assert found[:, i, j] == pytest.approx([across, down], abs=1e-9)
    assert not sobel_edges(torch.ones(1, 3, 5, 5)).any()


def test_wrong_arguments_are_refused():
    """Other shapes, other labels, shares and thresholds out of range."""
    with pytest.raises(ArrayContractError, match="must be as probabilities"):
        losses.consistency_loss(said(0), said(0, n=6))
    with pytest.raises(ArrayContractError, match="relations must have shape"):
        losses.relation_loss(said(0), torch.ones(3, 3, dtype=torch.float64))
    with pytest.raises(ArrayContractError, match="whole numbers from 0 to 3"):
        losses.double_softmax_loss(said(0), torch.full((7,), 4))
    with pytest.raises(ConfigError, match="threshold"):
        losses.confident_cross_entropy(said(0), said(1), threshold=1.0, balanced=False)
    with pytest.raises(ConfigError, match="share"):
        targets.prototype_labels(torch.ones(7, 2), said(0).float(), share=0)
    with pytest.raises(ConfigError, match="share"):
        targets.reliable_labels(torch.ones(7, 2), said(0).float(), count=2, share=2)
    with pytest.raises(ConfigError, match="neighbour"):
        targets.nearest_neighbours(torch.ones(7, 2), count=0)
    with pytest.raises(ArrayContractError, match="at least as many as clusters"):
        targets.prototype_labels(torch.ones(3, 2), said(0, n=3).float(), share=0.5)
    with pytest.raises(ArrayContractError, match="finite"):
        targets.nearest_neighbours(torch.tensor([[1.0, torch.nan], [1.0, 1.0]]), count=1)
