from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.partitions import quick
from hypothesis import given
from hypothesis import strategies as st

from anoclust_core.errors import ConfigError
from anoclust_core.matching.identities import fresh_ids, owner_of
from anoclust_core.matching.partitions import PartitionMatch, match_partitions

images = [f"i{number:02d}" for number in range(24)]
olds = st.dictionaries(st.sampled_from(images), st.integers(1, 6).map(lambda n: f"c{n}"), max_size=24)
news = st.dictionaries(st.sampled_from(images), st.integers(0, 6), max_size=24)
merges = st.sampled_from([{}, {"c1": "c2"}, {"c1": "c2", "c2": "c3", "c5": "c3"}, {"c6": "c9"}])
overlaps = st.sampled_from([0.01, 0.3, 0.5, 0.51, 1.0])


def groups(**members: str) -> dict[str, str]:
    """Old clusters by the letters of their images."""
    return {image: name for name, letters in members.items() for image in letters}


def labels(*members: str) -> dict[str, int]:
    return {image: label for label, letters in enumerate(members) for image in letters}


def kinds(match: PartitionMatch) -> list[tuple[str, str]]:
    return [(change.kind, change.cluster) for change in match.changes]


@quick
@given(olds, news, merges, overlaps)
def test_every_cluster_has_one_identity_and_one_fate(old, new, merged_into, min_overlap) -> None:
    """No identity is given twice, born ones are new, and every old cluster is kept, merged or retired, once."""
    taken = {"c7", "c20", *old.values()}
    match = match_partitions(old, new, taken=taken, merged_into=merged_into, min_overlap=min_overlap)
    assert set(match.ids) == set(new.values())
    assert len(set(match.ids.values())) == len(match.ids)
    born, kept = set(match.clusters("born")), set(match.clusters("kept"))
    assert born | kept == set(match.ids.values())
    assert not born & (taken | set(merged_into) | set(merged_into.values()))
    assert all(int(name[1:]) > 20 for name in born)
    owners = {owner_of(name, merged_into) for name in old.values()}
    alive = {owner_of(name, merged_into) for name in kept}
    assert alive <= owners
    gone = [*match.clusters("retired"), *match.merged_into]
    assert sorted([*alive, *gone]) == sorted(owners)


@quick
@given(olds, news, merges, st.randoms(use_true_random=False))
def test_order_and_numbers_do_not_matter(old, new, merged_into, random) -> None:
    """Images in another order, or other new labels, give the same identities and changes."""
    numbers = list(range(7))
    random.shuffle(numbers)
    shuffled = [random.sample(list(part.items()), len(part)) for part in (old, new)]
    first = match_partitions(old, new, merged_into=merged_into)
    renamed = {image: numbers[label] for image, label in shuffled[1]}
    second = match_partitions(dict(shuffled[0]), renamed, merged_into=merged_into)
    assert {numbers[label]: name for label, name in first.ids.items()} == second.ids
    assert first.changes == second.changes
    assert first.merged_into == second.merged_into


@quick
@given(olds, merges)
def test_equal_partitions_change_nothing(old, merged_into) -> None:
    """The same clusters again keep their identities, and that is all there is to tell."""
    names = sorted(set(old.values()))
    match = match_partitions(old, {image: names.index(name) for image, name in old.items()}, merged_into=merged_into)
    given_back = {owner_of(names[label], merged_into): owner_of(name, merged_into) for label, name in match.ids.items()}
    assert all(before == after for before, after in given_back.items())
    assert {kind for kind, _ in kinds(match)} <= {"kept"}
    if not merged_into:
        assert match.ids == dict(enumerate(names))


@quick
@given(olds, news, merges)
def test_matching_again_changes_nothing(old, new, merged_into) -> None:
    """A clustering matched with what it became is the same clustering."""
    once = match_partitions(old, new, merged_into=merged_into)
    became = {image: once.ids[label] for image, label in new.items()}
    into = merged_into | once.merged_into
    twice = match_partitions(became, new, taken=[*merged_into, *old.values()], merged_into=into)
    assert {owner_of(name, into) for name in once.ids.values()} == {owner_of(name, into) for name in twice.ids.values()}
    assert all(owner_of(once.ids[label], into) == owner_of(name, into) for label, name in twice.ids.items())


@quick
@given(olds.filter(bool), news.filter(bool))
def test_as_many_images_as_possible_keep_their_cluster(old, new) -> None:
    """No other way to pair clusters with enough overlap keeps more images; checked against all ways."""
    match = match_partitions(old, new, min_overlap=0.3)
    common = old.keys() & new.keys()
    rows, columns = sorted(set(old.values())), sorted(set(new.values()))

    def kept(name: str, label: int) -> int:
        ours = {image for image in common if old[image] == name}
        theirs = {image for image in common if new[image] == label}
        both = len(ours & theirs)
        return both if both and both >= 0.3 * len(ours | theirs) else 0

    table = np.array([[kept(name, label) for label in columns] for name in rows])
    square = np.zeros((6, 7), dtype=int)
    square[: len(rows), : len(columns)] = table
    best = max(square[list(range(6)), list(choice)].sum() for choice in itertools.permutations(range(7), 6))
    found = sum(kept(name, label) for label, name in match.ids.items() if name in rows)
    assert found == best


def test_a_cluster_that_falls_apart() -> None:
    """The larger half keeps the identity, the other one is born; the split is told with its counts."""
    match = match_partitions(groups(c1="abcde", c2="xyz"), labels("abc", "de", "xyz"))
    assert match.ids == {0: "c1", 1: "c3", 2: "c2"}
    assert kinds(match) == [("kept", "c1"), ("kept", "c2"), ("born", "c3"), ("split", "c1")]
    assert match.changes[3].others == ("c1", "c3")
    assert match.changes[3].overlaps == {"c1": 3, "c3": 2}
    assert match.changes[2].overlaps == {"c1": 2}


def test_clusters_that_become_one() -> None:
    """The larger one lives on, the other one is merged into it, with the images that it brought."""
    match = match_partitions(groups(c1="ab", c2="xyz"), labels("abxyz"))
    assert match.ids == {0: "c2"}
    assert match.merged_into == {"c1": "c2"}
    assert kinds(match) == [("kept", "c2"), ("merged", "c2")]
    assert match.changes[1].others == ("c1",)
    assert match.changes[1].overlaps == {"c1": 2}


def test_images_that_a_person_placed_take_no_identity_along() -> None:
    """Split off and found together again, the rest keeps its cluster, however few it is; the piece lasts by itself."""
    old, new = groups(c1="abc", c2="vwxyz"), labels("abcvwxyz")
    assert match_partitions(old, new).ids == {0: "c2"}
    match = match_partitions(old, new, placed="vwxyz", lasting=["c2"])
    assert match.ids == {0: "c1"}
    assert kinds(match) == [("kept", "c1")]


def test_images_that_a_person_placed_decide_where_no_other_does() -> None:
    """A cluster that somebody put together is found again by the images that are in it."""
    match = match_partitions(groups(c1="abc", c2="vwxyz"), labels("abc", "vwxyzk"), placed="vwxyz", lasting=["c2"])
    assert match.ids == {0: "c1", 1: "c2"}


def test_a_cluster_that_is_scattered_or_gone_is_retired() -> None:
    """More than half of it in one place would be a merge; no image left is the end too."""
    match = match_partitions(groups(c1="ab", c2="wxyz", c3="pqrs", c4="mn"), labels("awxyz", "bpqrs"))
    assert match.clusters("retired") == ("c1", "c4")
    assert match.changes[2].overlaps == {"c2": 1, "c3": 1}
    assert match.merged_into == {}


def test_too_little_in_common_is_another_cluster() -> None:
    """Below the minimum overlap an identity does not wander."""
    old, new = groups(c1="abcdefghij"), labels("ajklmnopqr" + "stuvw")
    assert match_partitions(old | groups(c2="klmnopqrstuvw"), new).ids == {0: "c2"}
    quarters = labels("abc", "def", "gh", "ij")
    assert match_partitions(old, quarters, min_overlap=0.31).clusters("born") == ("c2", "c3", "c4", "c5")


def test_a_merge_by_a_person_survives() -> None:
    """Cut apart again, both parts are the merged cluster's; united, it is that one; also where each part is small."""
    old, into = groups(c1="abcd", c2="xy"), {"c1": "c2"}
    apart = match_partitions(old, labels("abcd", "xy"), merged_into=into)
    assert apart.ids == {0: "c1", 1: "c2"}
    assert kinds(apart) == [("kept", "c1"), ("kept", "c2")]
    united = match_partitions(old, labels("abcdxy"), merged_into=into)
    assert united.ids == {0: "c2"}
    assert kinds(united) == [("kept", "c2")]
    only_part = match_partitions(old, labels("abcd"), merged_into=into)
    assert only_part.ids == {0: "c2"}
    crumbs = match_partitions(
        groups(c1="ab", c2="cd", c3="ef", c4="gh"),
        labels("abcdefgh"),
        merged_into=dict.fromkeys(["c1", "c3", "c4"], "c2"),
    )
    assert crumbs.ids == {0: "c2"}
    assert kinds(crumbs) == [("kept", "c2")]


def test_prototypes_match_where_no_image_is_shared() -> None:
    """Near prototypes are the same cluster, far ones are not, and shared images count more."""
    old, new = groups(c1="ab", c2="cd"), labels("wx", "yz")
    heights = {("c1", 0): 0.9, ("c1", 1): 0.2, ("c2", 0): 0.4, ("c2", 1): 0.3}
    match = match_partitions(old, new, heights=heights, max_height=0.5)
    assert match.ids == {0: "c2", 1: "c1"}
    assert [change.height for change in match.changes] == [0.2, 0.4]
    assert match_partitions(old, new, heights=heights, max_height=0.25).ids == {0: "c3", 1: "c1"}
    assert match_partitions(old, new).clusters("retired") == ("c1", "c2")
    shared = match_partitions(old, labels("abw", "yz"), heights=heights, max_height=0.5)
    assert shared.ids == {0: "c1", 1: "c2"}


def test_prototypes_decide_ties() -> None:
    """Of two equal halves the one with the nearer prototype keeps the identity."""
    old, new = groups(c1="abcd"), labels("ab", "cd")
    assert match_partitions(old, new).ids == {0: "c1", 1: "c2"}
    heights = {("c1", 0): 0.9, ("c1", 1): 0.2}
    assert match_partitions(old, new, heights=heights).ids == {0: "c2", 1: "c1"}


def test_nothing_matches_nothing() -> None:
    """The first clustering of a category: all are born."""
    assert match_partitions({}, labels("ab", "c")).ids == {0: "c1", 1: "c2"}
    assert match_partitions(groups(c1="ab"), {}).clusters("retired") == ("c1",)
    assert match_partitions({}, {}).changes == ()


def test_identities_are_never_given_again() -> None:
    """New ones are beyond the highest that there ever was."""
    assert fresh_ids(["c3", "c10", "c02", "cx", "edge"], 2) == ["c11", "c12"]
    assert match_partitions({}, labels("a"), taken=["c41"]).ids == {0: "c42"}


def test_impossible_requests_are_refused() -> None:
    """Merges in a circle and shares beyond one."""
    with pytest.raises(ConfigError, match="c1 -> c2 -> c1 lead back"):
        match_partitions(groups(c1="a"), {}, merged_into={"c1": "c2", "c2": "c1"})
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="min_overlap"):
            match_partitions({}, {}, min_overlap=share)
