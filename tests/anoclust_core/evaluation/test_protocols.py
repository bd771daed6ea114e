from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anoclust_core.errors import ArrayContractError, ConfigError
from anoclust_core.evaluation.partitions import score_partition
from anoclust_core.evaluation.protocols import ARDELEAN, COMBINED, NCD, PROTOCOLS, SOHN, n_classes, protocol_named
from anoclust_core.evaluation.scores import GOOD_AGAINST_DEFECT, ONE_CLUSTER, evaluate
from anoclust_core.records import GOOD

quick = settings(max_examples=25, deadline=None, database=None)
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)

MAGNETIC_TILE_COUNTS = {GOOD: 952, "blowhole": 115, "break": 85, "uneven": 103, "crack": 57, "fray": 32}
MAGNETIC_TILE = [label for label, count in MAGNETIC_TILE_COUNTS.items() for _ in range(count)]

labelled = st.lists(
    st.tuples(st.sampled_from([None, GOOD, COMBINED, "crack", "hole"]), st.integers(0, 3)), min_size=0, max_size=20
)


def test_magnetic_tile_trivial_scores() -> None:
    """On all 1,344 Magnetic Tile images one cluster has micro-F1 0.708, good against defect has ARI 0.868."""
    evaluation = evaluate(ARDELEAN, MAGNETIC_TILE, np.arange(1344) % 7)
    assert len(MAGNETIC_TILE) == evaluation.n_evaluated == 1344
    assert n_classes(ARDELEAN, MAGNETIC_TILE) == 6
    assert round(evaluation.trivial[ONE_CLUSTER].f1_micro, 3) == 0.708
    assert round(evaluation.trivial[GOOD_AGAINST_DEFECT].ari, 3) == 0.868


@every_protocol
def test_trivial_partitions_are_real_partitions(protocol) -> None:
    """Clustering everything together, or good against the rest, scores what stands in the trivial rows."""
    together = evaluate(protocol, MAGNETIC_TILE, [5] * len(MAGNETIC_TILE))
    assert together.full == together.trivial[ONE_CLUSTER]
    split = evaluate(protocol, MAGNETIC_TILE, [3 if label == GOOD else 1 for label in MAGNETIC_TILE])
    assert split.full == split.trivial[GOOD_AGAINST_DEFECT]
    assert split.trivial == together.trivial


@quick
@given(st.sampled_from(list(PROTOCOLS.values())), labelled)
def test_scores_are_those_of_the_images_that_count(protocol, images) -> None:
    """Images without a label and of class combined change the count of images left out and nothing else."""
    labels, clusters = [label for label, _ in images], [cluster for _, cluster in images]
    counted = [(label, cluster) for label, cluster in images if label not in (None, COMBINED)]
    defects = [(label, cluster) for label, cluster in counted if label != GOOD]
    evaluation = evaluate(protocol, labels, clusters)
    assert evaluation.protocol == protocol.name
    assert evaluation.full == (score_partition(*zip(*counted, strict=True)) if len(counted) > 1 else None)
    assert evaluation.defect_only == (score_partition(*zip(*defects, strict=True)) if len(defects) > 1 else None)
    assert list(evaluation.trivial) == ([ONE_CLUSTER, GOOD_AGAINST_DEFECT] if len(counted) > 1 else [])
    assert (evaluation.n_evaluated, evaluation.n_left_out) == (len(counted), len(images) - len(counted))
    assert n_classes(protocol, labels) == len({label for label, _ in counted})


def test_only_sohn_clusters_the_combined_class() -> None:
    """Protocol sohn clusters combined images without scoring them; the other two drop them from the data."""
    assert SOHN.keeps_for_clustering(COMBINED)
    assert not ARDELEAN.keeps_for_clustering(COMBINED)
    assert not NCD.keeps_for_clustering(COMBINED)
    assert not any(protocol.scores_label(COMBINED) for protocol in PROTOCOLS.values())


@every_protocol
@pytest.mark.parametrize("label", [GOOD, "crack", None])
def test_every_other_image_is_clustered(protocol, label) -> None:
    """Good images, defects and images without a label are clustered under every protocol."""
    assert protocol.keeps_for_clustering(label)


def test_headline_f1_is_that_of_the_published_tables() -> None:
    """Protocol sohn prints the weighted F1, the other two the micro F1."""
    scores = score_partition(MAGNETIC_TILE, [0] * 1344)
    assert scores.f1_weighted != scores.f1_micro
    assert SOHN.headline_f1(scores) == scores.f1_weighted
    assert ARDELEAN.headline_f1(scores) == NCD.headline_f1(scores) == scores.f1_micro


@every_protocol
def test_protocol_is_found_by_name(protocol) -> None:
    """Each protocol goes by its own name."""
    assert protocol_named(protocol.name) is protocol


def test_unknown_protocol_is_refused() -> None:
    """A misspelt protocol is an error that lists the known ones."""
    with pytest.raises(ConfigError, match="sohn, ardelean, ncd"):
        protocol_named("sohm")


def test_unlabelled_data_has_no_scores() -> None:
    """Data without labels is no error: there are no scores and no classes."""
    evaluation = evaluate(SOHN, [None, None, None], [0, 1, 1])
    assert (evaluation.full, evaluation.defect_only, evaluation.n_left_out) == (None, None, 3)
    assert evaluation.trivial == {}
    assert n_classes(SOHN, [None, None]) == 0


def test_lengths_must_agree() -> None:
    """A label without a cluster is an error that names both counts."""
    with pytest.raises(ArrayContractError, match="2 labels and 1 clusters"):
        evaluate(SOHN, ["a", "b"], [0])


def test_evaluation_can_be_sent_to_another_process() -> None:
    """Protocols and evaluations survive pickling."""
    evaluation = evaluate(SOHN, ["a", GOOD, "b"], [0, 1, 1])
    assert pickle.loads(pickle.dumps((SOHN, evaluation))) == (SOHN, evaluation)
