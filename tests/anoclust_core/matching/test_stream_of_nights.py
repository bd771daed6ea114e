from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.matching.assigning import assign
from anoclust_core.matching.births import births
from anoclust_core.matching.identities import fresh_ids
from anoclust_core.matching.partitions import match_partitions
from anoclust_core.matching.prototypes import Prototypes, extended, fit_prototypes, merge_height

NEW_CLASS, NEW_FROM = 4, 12
GONE_CLASS, GONE_FROM = 3, 20


def night(number: int) -> tuple[NDArray[np.float64], list[int]]:
    """Twenty images of four or five classes; one comes on night 12, one stops on night 20."""
    draws = np.random.default_rng([7, number])
    present = [0, 1, 2]
    present += [GONE_CLASS] if number < GONE_FROM else []
    present += [NEW_CLASS] if number >= NEW_FROM else []
    classes = [present[at % len(present)] for at in range(20)]
    # as far apart as the demo's classes: three times what images of one class are from their middle
    return 2.5 * np.eye(40)[classes] + draws.normal(scale=0.13, size=(20, 40)), classes


def clustered(points: NDArray[np.float64], n_clusters: int) -> tuple[NDArray[np.int64], float]:
    tree = linkage_tree(points, method="ward")
    return cut_tree(tree, n_clusters=n_clusters), merge_height(tree, n_clusters=n_clusters)


def prototypes_of(points: NDArray[np.float64], ids: list[str], height: float) -> Prototypes:
    return fit_prototypes(points, ids, merge_height=height)


@pytest.mark.parametrize("every", [100, 7])
def test_identities_last_through_thirty_nights(every: int) -> None:
    """Clusters that are there throughout keep their identity, and a new class is born once, within two nights.

    Whether nothing is re-clustered until the end, or every seventh night.
    """
    points, truth = (list(part) for part in night(0))
    labels, height = clustered(np.array(points), 4)
    ids: list[str | None] = [f"c{1 + label}" for label in labels]
    prototypes = prototypes_of(np.array(points), ids, height)
    taken = set(prototypes.ids)
    born: list[tuple[int, str]] = []
    before = {name: truth[ids.index(name)] for name in prototypes.ids}
    for number in range(1, 30):
        new, classes = night(number)
        points += list(new)
        truth += classes
        ids += assign(new, prototypes).ids
        unknown = [at for at, name in enumerate(ids) if name is None]
        groups = births(np.array(points)[unknown], prototypes)
        names = fresh_ids(taken, int(groups.max(initial=-1)) + 1)
        if names:
            members = [at for at, group in zip(unknown, groups, strict=True) if group >= 0]
            for at, group in zip(unknown, groups, strict=True):
                ids[at] = names[group] if group >= 0 else None
            prototypes = extended(prototypes, np.array(points)[members], [str(ids[at]) for at in members])
            taken |= set(names)
            born += [(number, name) for name in names]
        if number % every == 0 or number == 29:
            at_last = adjusted_rand_score(truth, [name or "unknown" for name in ids])
            labels, height = clustered(np.array(points), len(set(truth)))
            match = match_partitions(
                {str(at): name for at, name in enumerate(ids) if name},
                {str(at): int(label) for at, label in enumerate(labels)},
                taken=taken,
            )
            ids = [match.ids[int(label)] for label in labels]
            prototypes = prototypes_of(np.array(points), ids, height)
            assert match.clusters("retired") == match.clusters("split") == match.clusters("merged") == ()
            assert match.clusters("born") == ()
            assert at_last > 0.85
    assert [name for _, name in born] == ["c5"]
    assert NEW_FROM <= born[0][0] <= NEW_FROM + 1
    assert {name: truth[ids.index(name)] for name in sorted(set(ids))} == before | {"c5": NEW_CLASS}
    assert adjusted_rand_score(truth, ids) == 1
