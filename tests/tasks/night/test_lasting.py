"""A clustering becomes one of lasting clusters, and what people decided about its images holds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tasks.night.lasting import assigned, lasting_clusters, lost_clusters
from tasks.stores.catalog.facts import Standing
from tasks.stores.nights.measured import Measured

NONE: frozenset[str] = frozenset()


def standing(assigned_to: Mapping[str, str | None], **more: object) -> Standing:
    values: dict[str, object] = {
        "assigned": assigned_to,
        "merged_into": {},
        "retired": NONE,
        "dismissed": NONE,
        "placed": {},
        "known": NONE,
        "provisional": NONE,
        "wrong": {},
        "identities": frozenset(filter(None, assigned_to.values())),
        "revision": (),
    }
    return Standing(**{**values, **more})  # type: ignore[arg-type]


def clustered(found: Standing, labels: Mapping[str, int]) -> dict[str, str | None]:
    kinds = np.eye(3)[list(labels.values())].astype(np.float32)
    lasting = lasting_clusters(found, list(labels), np.array(list(labels.values())), kinds)
    return dict(zip(labels, lasting.ids, strict=True))


LABELS = dict.fromkeys("abcd", 0) | dict.fromkeys("wxyz", 1)
BEFORE = dict.fromkeys("abcd", "c1") | dict.fromkeys("wxyz", "c2")


def test_a_wrong_image_stays_out_of_its_cluster_and_of_one_that_this_was_joined_to() -> None:
    """Into another cluster it may go."""
    found = standing({**BEFORE, "a": None, "w": None}, wrong={"a": {"c1"}, "w": {"c1"}})
    assert clustered(found, LABELS) == {**BEFORE, "a": None}
    found = standing({**BEFORE, "z": None}, wrong={"z": {"c2"}})
    assert clustered(found, dict.fromkeys(LABELS, 0)) == {**dict.fromkeys(LABELS, "c1"), "z": None}


def test_a_cluster_all_of_whose_images_a_person_moved_away_is_not_born_again() -> None:
    """The clustering finds the kind as before, but none of its images would be seen in it."""
    labels = dict.fromkeys("abcdef", 0) | dict.fromkeys("wxyz", 1)
    moved = dict.fromkeys("wxyz", "c1")
    found = standing(dict.fromkeys(labels, "c1"), placed=moved, identities=frozenset({"c1", "c2"}))
    kinds = np.eye(2)[list(labels.values())].astype(np.float32)
    lasting = lasting_clusters(found, list(labels), np.array(list(labels.values())), kinds)
    assert lasting.match.clusters("born") == ()
    assert set(lasting.ids) == {"c1", None}
    assert clustered(found, {**labels, "new": 1})["new"] == "c3"


def test_a_cluster_none_of_whose_images_was_clustered_stays_as_it_is() -> None:
    """All its files are gone: nobody looked at it, so it is neither lost nor told."""
    found = standing(BEFORE, known=frozenset({"c1", "c2"}))
    lasting = lasting_clusters(found, list("abcd"), np.zeros(4, np.int64), np.eye(4, dtype=np.float32))
    assert [(change.kind, change.cluster) for change in lasting.match.changes] == [("kept", "c1")]
    assert lost_clusters(found, lasting.match) == {}


def test_images_without_a_cluster_have_neither_distance_nor_confidence() -> None:
    """The others have those of their clusters alone."""
    descriptors = np.array([[0, 0], [0, 1], [9, 9], [5, 5]], dtype=np.float32)
    facts = assigned(list("abcd"), ["c1", "c1", "c2", None], Measured(descriptors, 1.0))
    assert [(fact.content, fact.cluster) for fact in facts] == [("a", "c1"), ("b", "c1"), ("c", "c2"), ("d", None)]
    assert (facts[3].distance, facts[3].confidence) == (0.0, 0.0)
    assert assigned(list("abc"), ["c1", "c1", "c2"], Measured(descriptors[:3], 1.0)) == facts[:3]
