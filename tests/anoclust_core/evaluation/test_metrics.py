from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.evaluation.partitions import (
    Scores,
    adjusted_rand_index,
    matched_f1,
    normalized_mutual_information,
    purity,
    purity_auc,
    purity_curve,
    reduction_at_purity,
    score_partition,
)

quick = settings(max_examples=25, deadline=None, database=None)

# Two matchings keep 3 of 6 images: a=0 (weighted F1 0.444), or a=1 with b=0 (0.457).
TIED_LABELS = ["a", "a", "a", "a", "b", "b"]
TIED_CLUSTERS = [0, 0, 0, 1, 0, 0]

partitions = st.integers(1, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


# A tree over a small integer grid, full of ties, and labels of which some are None.
labelled_trees = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(["a", "b", 7, None]), min_size=n, max_size=n).filter(any),
        st.lists(st.integers(0, 3), min_size=n, max_size=n).map(
            lambda points: linkage_tree(np.array(points, dtype=float)[:, None], method="average")
        ),
    )
)


def cell(labels: Sequence[str], clusters: Sequence[int], name: str, cluster: int) -> int:
    return sum(a == name and b == cluster for a, b in zip(labels, clusters, strict=True))


def brute_force(labels: Sequence[str], clusters: Sequence[int]) -> tuple[int, Fraction, dict[int, str]]:
    """Best (images kept, weighted F1) over every one-to-one matching, in exact arithmetic."""
    names: list[str | None] = [*sorted(set(labels)), *[None] * len(set(clusters))]
    found = sorted(set(clusters))
    best: tuple[int, Fraction, dict[int, str]] = (-1, Fraction(-1), {})
    for chosen in set(permutations(names, len(found))):
        matching = {cluster: name for cluster, name in zip(found, chosen, strict=True) if name is not None}
        kept, weighted = 0, Fraction(0)
        for cluster, name in matching.items():
            both, n_name = cell(labels, clusters, name, cluster), labels.count(name)
            kept += both
            weighted += Fraction(n_name, len(labels)) * Fraction(2 * both, n_name + clusters.count(cluster))
        if (kept, weighted) > best[:2]:
            best = (kept, weighted, matching)
    return best


def entropy(names: Sequence[object]) -> float:
    shares = [names.count(name) / len(names) for name in set(names)]
    return -sum(share * math.log(share) for share in shares)


def close(first: Scores, second: Scores) -> bool:
    return bool(np.allclose(list(vars(first).values()), list(vars(second).values()), rtol=0, atol=1e-9))


@quick
@given(partitions)
@example((TIED_LABELS, TIED_CLUSTERS))
def test_matched_f1_is_the_best_of_all_matchings(partition: tuple[list[str], list[int]]) -> None:
    """The matched F1 is that of the best of all one-to-one matchings, tried one by one."""
    labels, clusters = partition
    kept, weighted, _ = brute_force(labels, clusters)
    assert matched_f1(labels, clusters, average="micro") == kept / len(labels)
    assert matched_f1(labels, clusters, average="weighted") == pytest.approx(float(weighted), abs=1e-9)


@quick
@given(partitions)
def test_matched_f1_is_scikit_learn_after_relabelling(partition: tuple[list[str], list[int]]) -> None:
    """Renaming each matched cluster to its class gives scikit-learn's weighted F1 and accuracy."""
    labels, clusters = partition
    _, _, matching = brute_force(labels, clusters)
    predicted = [matching.get(cluster, f"unmatched {cluster}") for cluster in clusters]
    weighted = f1_score(labels, predicted, labels=sorted(set(labels)), average="weighted", zero_division=0)
    assert matched_f1(labels, clusters, average="weighted") == pytest.approx(weighted, abs=1e-9)
    assert matched_f1(labels, clusters, average="micro") == pytest.approx(accuracy_score(labels, predicted))


def test_unmatched_cluster_is_all_errors() -> None:
    """Splitting a class in two loses the images of the smaller half: they do not fall to another class."""
    labels = ["a"] * 5 + ["b"] * 3
    clusters = [0, 0, 0, 1, 1, 2, 2, 2]
    assert matched_f1(labels, clusters, average="micro") == 6 / 8
    assert matched_f1(labels, clusters, average="weighted") == pytest.approx(5 / 8 * 2 * 3 / (5 + 3) + 3 / 8)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (3, 4, 0, 1, 2, 5), (4, 3, 0, 1, 2, 5)])
def test_tied_matchings_count_the_higher_weighted_f1(order) -> None:
    """Where two matchings keep equally many images the higher weighted F1 counts, whichever class comes first."""
    labels, clusters = [TIED_LABELS[i] for i in order], [TIED_CLUSTERS[i] for i in order]
    assert matched_f1(labels, clusters, average="micro") == 3 / 6
    assert matched_f1(labels, clusters, average="weighted") == pytest.approx(4 / 6 * 2 / 5 + 2 / 6 * 4 / 7)


def test_images_kept_come_before_weighted_f1() -> None:
    """A matching that keeps one image more counts, even where another has the higher weighted F1."""
    labels = ["a"] * 11 + ["b"] * 12
    clusters = [0] * 6 + [2] * 5 + [0] * 5 + [1] * 7
    f1_of_a, f1_of_b = 2 * 6 / (11 + 11), 2 * 7 / (12 + 7)
    assert f1_of_a < 2 * 5 / (11 + 5)
    assert matched_f1(labels, clusters, average="micro") == (6 + 7) / 23
    assert matched_f1(labels, clusters, average="weighted") == pytest.approx((11 * f1_of_a + 12 * f1_of_b) / 23)


@quick
@given(partitions, st.permutations("wxyz"), st.permutations(range(5)), st.randoms(use_true_random=False))
def test_scores_ignore_names_and_order(partition, names, numbers, random) -> None:
    """Renaming classes, renumbering clusters and shuffling the images changes no score."""
    labels, clusters = partition
    rows = list(range(len(labels)))
    random.shuffle(rows)
    new_labels = [dict(zip("abcd", names, strict=True))[labels[row]] for row in rows]
    new_clusters = [numbers[clusters[row]] for row in rows]
    assert close(score_partition(labels, clusters), score_partition(new_labels, new_clusters))
    assert purity(labels, clusters) == purity(new_labels, new_clusters)


@quick
@given(partitions)
def test_scores_stay_in_range(partition: tuple[list[str], list[int]]) -> None:
    """Every score is a number in its documented range, and equal partitions score 1."""
    labels, clusters = partition
    scores = score_partition(labels, clusters)
    assert -0.5 <= scores.ari <= 1
    assert all(0 <= score <= 1 for score in (scores.nmi, scores.f1_weighted, scores.f1_micro))
    assert 0 < purity(labels, clusters) <= 1
    assert close(score_partition(labels, labels), Scores(1, 1, 1, 1))


@quick
@given(partitions)
def test_score_partition_is_its_parts(partition: tuple[list[str], list[int]]) -> None:
    """The scores together equal the scores one by one."""
    labels, clusters = partition
    assert score_partition(labels, clusters) == Scores(
        nmi=normalized_mutual_information(labels, clusters),
        ari=adjusted_rand_index(labels, clusters),
        f1_weighted=matched_f1(labels, clusters, average="weighted"),
        f1_micro=matched_f1(labels, clusters, average="micro"),
    )


@quick
@given(partitions)
def test_nmi_is_the_textbook_formula(partition: tuple[list[str], list[int]]) -> None:
    """NMI is the mutual information over the mean entropy, computed from the definition."""
    labels, clusters = partition
    mean = (entropy(labels) + entropy(clusters)) / 2
    mutual = 2 * mean - entropy(list(zip(labels, clusters, strict=True)))
    expected = mutual / mean if mean else 1.0
    assert normalized_mutual_information(labels, clusters) == pytest.approx(expected, abs=1e-9)


@quick
@given(partitions)
def test_ari_is_the_textbook_formula(partition: tuple[list[str], list[int]]) -> None:
    """ARI is the chance-adjusted count of image pairs kept together, computed from the definition."""
    labels, clusters = partition
    pairs = math.comb(len(labels), 2)
    together = sum(math.comb(cell(labels, clusters, a, c), 2) for a in set(labels) for c in set(clusters))
    in_classes = sum(math.comb(labels.count(a), 2) for a in set(labels))
    in_clusters = sum(math.comb(clusters.count(c), 2) for c in set(clusters))
    chance = in_classes * in_clusters / pairs if pairs else 0
    spread = (in_classes + in_clusters) / 2 - chance
    expected = (together - chance) / spread if spread else 1.0
    assert adjusted_rand_index(labels, clusters) == pytest.approx(expected, abs=1e-9)


@quick
@given(partitions)
def test_purity_counts_the_majority_of_each_cluster(partition: tuple[list[str], list[int]]) -> None:
    """Purity is the share of images in the majority class of their cluster."""
    labels, clusters = partition
    majorities = sum(max(cell(labels, clusters, a, c) for a in set(labels)) for c in set(clusters))
    assert purity(labels, clusters) == pytest.approx(majorities / len(labels))


def test_one_cluster_per_image() -> None:
    """As many clusters as images are scored without a warning: purity 1, one match for each class."""
    labels = ["a"] * 20 + ["b"] * 10
    clusters = np.arange(30)
    assert purity(labels, clusters) == 1
    assert matched_f1(labels, clusters, average="micro") == 2 / 30
    assert adjusted_rand_index(labels, clusters) == 0


def test_names_may_be_strings_or_integers() -> None:
    """Labels and clusters may be lists or arrays, of strings or integers, with the same scores."""
    expected = score_partition(["a", "a", "b"], [0, 1, 1])
    assert score_partition(np.array(["a", "a", "b"]), np.array([0, 1, 1])) == expected
    assert score_partition([7, 7, -1], ["x", "y", "y"]) == expected
    assert score_partition([np.int64(3), np.int64(3), np.int64(4)], np.array([0, 1, 1], dtype=np.uint8)) == expected


@pytest.mark.parametrize(
    "score",
    [
        normalized_mutual_information,
        adjusted_rand_index,
        purity,
        score_partition,
        lambda labels, clusters: matched_f1(labels, clusters, average="micro"),
    ],
)
@pytest.mark.parametrize(
    ("labels", "clusters"),
    [([], []), (["a", "b"], [0]), (["a", None], [0, 1]), (["a", "b"], [0.0, math.nan]), ([["a"], ["b"]], [0, 1])],
)
def test_bad_input_is_refused(score, labels, clusters) -> None:
    """No image, unequal lengths, a missing label or a fraction for a cluster is an error, never NaN."""
    with pytest.raises(ArrayContractError, match="expected"):
        score(labels, clusters)


def test_unknown_average_is_refused() -> None:
    """A misspelt F1 average is an error that lists the known ones."""
    with pytest.raises(ConfigError, match="weighted"):
        matched_f1(["a"], [0], average="macro")  # type: ignore[arg-type]


@quick
@given(labelled_trees)
def test_purity_curve_is_the_purity_of_every_cut(tree) -> None:
    """One walk over the merges gives the purity of each cut of the tree, counting evaluated images only."""
    labels, linkage = tree
    curve = purity_curve(labels, linkage)
    evaluated = [row for row, label in enumerate(labels) if label is not None]
    for n_clusters in range(1, len(labels) + 1):
        clusters = cut_tree(linkage, n_clusters=n_clusters)
        expected = purity([labels[row] for row in evaluated], clusters[evaluated])
        assert curve[n_clusters - 1] == expected
    assert curve.shape == (len(labels),)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1


@quick
@given(labelled_trees, st.floats(0, 1, exclude_min=True))
def test_purity_area_and_reduction_are_those_of_the_paper(tree, share) -> None:
    """The area is the mean over k, and the reduction one minus the least k that is pure enough, over the images."""
    curve = purity_curve(*tree)
    assert purity_auc(curve) == pytest.approx(sum(curve.tolist()) / len(curve))
    least = next(k for k in range(1, len(curve) + 1) if curve[k - 1] >= share)
    assert reduction_at_purity(curve, purity=share) == pytest.approx(1 - least / len(curve))


def test_reduction_of_a_perfect_tree() -> None:
    """Two pure groups of five need two names for ten images at any purity above the largest group's share."""
    labels = ["a"] * 5 + ["b"] * 5
    linkage = linkage_tree(np.repeat([0.0, 9.0], 5)[:, None] + np.arange(10)[:, None] / 100, method="single")
    curve = purity_curve(labels, linkage)
    np.testing.assert_array_equal(curve, [0.5] + [1.0] * 9)
    assert purity_auc(curve) == 0.95
    assert [reduction_at_purity(curve, purity=share) for share in (0.5, 0.51, 0.99, 1.0)] == [0.9, 0.8, 0.8, 0.8]


def test_a_curve_that_never_gets_there_saves_nothing() -> None:
    """A curve of partitions that stay impure has no reduction, nor has one that is pure at the end only."""
    assert reduction_at_purity(np.array([0.5, 0.6, 0.7]), purity=0.9) == 0
    assert reduction_at_purity(np.array([0.5, 0.6, 1.0]), purity=0.9) == 0


TREE = np.array([[0, 1, 1.0, 2], [2, 3, 2.0, 3]])


@pytest.mark.parametrize(
    ("labels", "linkage"),
    [
        ([], TREE),
        (["a", "b"], TREE),
        ([None, None, None], TREE),
        (["a", "b", 0.5], TREE),
        (["a"], np.zeros((0, 4))),
        (["a", "b", "c"], np.array([[0, 1, np.nan, 2], [2, 3, 2.0, 3]])),
        (["a", "b", "c"], np.array([[0, 3, 1.0, 2], [1, 2, 2.0, 3]])),
    ],
)
def test_a_curve_needs_a_label_per_image_of_a_tree(labels, linkage) -> None:
    """No tree, another number of images, nothing evaluated or a fraction for a label is an error, never NaN."""
    with pytest.raises(ArrayContractError, match="expected"):
        purity_curve(labels, linkage)


@pytest.mark.parametrize("curve", [np.zeros(0), np.zeros((2, 2)), np.array([0.5, np.nan]), np.array([0.5, 1.5])])
def test_a_curve_is_purities(curve) -> None:
    """Nothing, a table, NaN or a value beyond 1 is no purity curve; that is an error, never NaN."""
    with pytest.raises(ArrayContractError, match=r"expected (a )?curve"):
        purity_auc(curve)
    with pytest.raises(ArrayContractError, match=r"expected (a )?curve"):
        reduction_at_purity(curve, purity=0.9)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, math.nan])
def test_an_impossible_purity_is_refused(share) -> None:
    """A purity that every partition has, or none, is an error."""
    with pytest.raises(ConfigError, match="purity"):
        reduction_at_purity(np.ones(3), purity=share)
