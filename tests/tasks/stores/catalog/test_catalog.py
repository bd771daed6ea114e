from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from tile import FIRST, NOON, WHO, day, image, night_fact, put, recluster

from anoclust_core.errors import BusyError, ConfigError, StoreError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, NightCount, SnapshotFact, Standing
from tasks.stores.catalog.schema import Cluster


def counts(catalog: Catalog) -> dict[tuple[int, str | None], int]:
    return {((one.night - FIRST).days, one.cluster): one.n_images for one in catalog.counts("tile")}


def states(catalog: Catalog) -> dict[str, str]:
    return {cluster.cluster: cluster.state for cluster in catalog.clusters("tile")}


def everything(catalog: Catalog) -> object:
    """All that can be asked, but for when it was recorded and the numbers of decisions."""
    return (
        catalog.nights(),
        catalog.assignments("tile"),
        catalog.clusters("tile"),
        catalog.counts("tile"),
        [replace(decision, number=0) for decision in catalog.history("tile")],
        catalog.latest_snapshot("tile"),
    )


def test_images_come_back_as_recorded(catalog: Catalog) -> None:
    """Times come back in UTC, whatever zone they were given in; extra columns and reasons come back too."""
    in_berlin = datetime(2026, 11, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    given = image("a", captured_at=in_berlin, extra={"line": "7 ü"}, quarantined="cut off")
    catalog.record_images("tile", [given])
    found = catalog.known_images("tile", ["a", "b"])
    assert list(found) == ["a"]
    assert found["a"].captured_at == NOON
    assert found["a"].captured_at.tzinfo is UTC
    assert found["a"].first_seen is not None
    assert replace(found["a"], first_seen=None) == replace(given, captured_at=NOON)
    assert catalog.categories() == ["tile"]


def test_a_time_without_zone_is_refused(catalog: Catalog) -> None:
    """Nobody could tell later when that was."""
    with pytest.raises(ConfigError, match="time with its zone"):
        catalog.record_images("tile", [image("a", captured_at=datetime(2026, 11, 1, 12))])
    assert catalog.categories() == []


def test_a_renamed_image_is_the_same_image(catalog: Catalog) -> None:
    """The path is the last one, and when it was first seen and taken stays."""
    catalog.record_images("tile", [image("a")])
    before = catalog.known_images("tile", ["a"])["a"]
    catalog.record_images("tile", [image("a", 5, path="elsewhere.png", quarantined="now damaged")])
    after = catalog.known_images("tile", ["a"])["a"]
    assert after == replace(before, path="elsewhere.png", quarantined="now damaged")


def test_more_images_than_a_statement_takes(catalog: Catalog) -> None:
    """Nothing depends on how many images a night brings."""
    contents = [f"{number:05d}" for number in range(1201)]
    put(catalog, 0, dict.fromkeys(contents))
    put(catalog, 1, {contents[7]: None, "z": None})
    assert len(catalog.known_images("tile", contents)) == 1201
    assert counts(catalog) == {(0, None): 1201, (1, None): 1}


def test_a_night_recorded_again_is_replaced(catalog: Catalog) -> None:
    """The same night twice leaves what one does, and another result for it takes the place of the first."""
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1", "d": None}, ["c1"])
    once = everything(catalog)
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1", "d": None}, ["c1"])
    assert everything(catalog) == once
    put(catalog, 0, {"a": None, "b": None, "c": None, "d": None})
    assert counts(catalog) == {(0, None): 4}
    assert catalog.clusters("tile") == []
    assert len(catalog.nights("tile")) == 1


def test_a_cluster_that_a_person_named_outlives_its_night(catalog: Catalog) -> None:
    """Recording the night again does not take away what somebody has worked with."""
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1"}, ["c1"])
    catalog.rename("tile", "c1", "edge", who=WHO)
    put(catalog, 0, {"a": None, "b": None, "c": None})
    assert catalog.cluster("tile", "edge").n_images == 0


def test_an_older_night_recorded_again_does_not_override_a_later_clustering(catalog: Catalog) -> None:
    """Images stay where the last re-clustering put them."""
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1", "d": None}, ["c1"])
    recluster(catalog, "s1", {"a": 0, "b": 0, "c": 0, "d": 1}, number=1)
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1", "d": None}, ["c1"])
    assert counts(catalog) == {(0, "c1"): 3, (0, "c2"): 1}


def test_the_nights_of_late_images_are_known(catalog: Catalog) -> None:
    """A night says of which nights the images are that it brought; what it takes up again is not among them."""
    put(catalog, 0, {"a": None, "b": None})
    catalog.record_images("tile", [image("late", 1)])
    put(catalog, 2, {"a": "c1", "late": "c1", "c": "c1"}, ["c1"])
    assert catalog.nights_taken_up("tile", day(2)) == {day(1), day(2)}
    recluster(catalog, "s1", {"a": 0, "b": 0, "late": 1, "c": 1}, number=2)
    put(catalog, 2, {"a": "c1", "late": "c1", "c": "c1", "d": "c1"})
    assert catalog.nights_taken_up("tile", day(2)) == {day(1), day(2)}
    assert catalog.nights_taken_up("tile", day(0)) == {day(0)}
    assert catalog.nights_taken_up("tile", day(3)) == set()


def test_unknown_images_since_the_last_reclustering_are_counted(catalog: Catalog) -> None:
    """Those of the re-clustering, those that a person took out of a cluster and those of later nights are others."""
    recluster(catalog, "s1", {"a": 0, "b": 0, "c": 1})
    put(catalog, 1, {"n": None, "m": None, "w": "c1"})
    catalog.mark_wrong("tile", ["a", "w"], who=WHO)
    assert catalog.n_unknown("tile") == 4
    assert [catalog.n_unknown_since("tile", until=day(night)) for night in (0, 1)] == [0, 2]


def test_a_night_that_fails_leaves_nothing(catalog: Catalog) -> None:
    """An assignment to a cluster that is not there takes the whole night back, its images included."""
    put(catalog, 0, {"a": None})
    before = everything(catalog)
    with pytest.raises(StoreError, match="refused"):
        put(catalog, 1, {"b": None, "c": "c99"})
    assert everything(catalog) == before
    assert catalog.known_images("tile", ["b"]) == {}


def test_categories_do_not_mix(catalog: Catalog) -> None:
    """Two products may have the same image and the same identities."""
    for category in ("tile", "screw"):
        catalog.record_night(
            night_fact(category=category),
            new=[image("a")],
            assignments=[AssignmentFact("a", "c1", 0.0, 1.0)],
            born={"c1": {}},
        )
    catalog.rename("screw", "c1", "rust", who=WHO)
    assert catalog.cluster("tile", "c1").name is None
    assert catalog.counts("screw") == [NightCount(day(0), "c1", 1)]
    assert [night.category for night in catalog.nights()] == ["screw", "tile"]
    assert catalog.night("tile", day(0)) == night_fact()
    assert catalog.night("tile", day(1)) is None


def test_a_reclustering_keeps_identities(catalog: Catalog) -> None:
    """A provisional cluster is confirmed, a new one is born, one without images is retired, with evidence."""
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1", "x": "c2", "y": "c2", "z": "c2"}, ["c1", "c2"])
    ids = recluster(catalog, "s1", {"a": 4, "b": 4, "c": 4, "n": 2}, number=1)
    assert ids == {4: "c1", 2: "c3"}
    assert states(catalog) == {"c1": "confirmed", "c2": "retired", "c3": "confirmed"}
    kept = catalog.history("tile", "c1")[-1]
    assert (kept.kind, kept.after["overlaps"], kept.who) == ("kept", {"c1": 3}, "anoclust")
    found = catalog.latest_snapshot("tile")
    assert found == SnapshotFact("tile", "s1", NOON + timedelta(days=1), 4, 0.7, {"weights": "w"})


def test_a_reclustering_recorded_again_changes_nothing(catalog: Catalog) -> None:
    """The latest snapshot again is no news; an earlier one that settings went back to is the latest then."""
    recluster(catalog, "s1", {"a": 0, "b": 1})
    once = everything(catalog)
    recluster(catalog, "s1", {"a": 0, "b": 1})
    assert everything(catalog) == once
    recluster(catalog, "s2", {"a": 0, "b": 0}, number=1)
    recluster(catalog, "s1", {"a": 0, "b": 1}, number=2)
    found = catalog.latest_snapshot("tile")
    assert found is not None
    assert (found.key, found.made_at) == ("s1", NOON + timedelta(days=2))
    assert len(catalog.history("tile", "c1")) > 3


def test_a_merge_holds_for_past_and_future(catalog: Catalog) -> None:
    """Counts follow it, re-clusterings keep it, and taken back it never was."""
    labels = {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1}
    recluster(catalog, "s1", labels)
    catalog.rename("tile", "c2", "scratch", who=WHO)
    before = counts(catalog)
    catalog.merge("tile", ["c1"], into="scratch", who=WHO)
    assert counts(catalog) == {(0, "c2"): 5}
    recluster(catalog, "s2", labels | {"f": 1}, number=1)
    assert counts(catalog) == {(0, "c2"): 5, (1, "c2"): 1}
    assert states(catalog) == {"c1": "merged", "c2": "confirmed"}
    assert catalog.cluster("tile", "scratch").n_images == 6
    assert catalog.undo("tile", who=WHO) == next(
        one.number for one in catalog.history("tile", "c1") if one.kind == "merge"
    )
    assert counts(catalog) == before | {(1, "c2"): 1}
    assert states(catalog) == {"c1": "confirmed", "c2": "confirmed"}


def test_merged_clusters_that_become_one_keep_the_name(catalog: Catalog) -> None:
    """Where a re-clustering unites what a person merged, it is the cluster with the name."""
    recluster(catalog, "s1", {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1})
    catalog.merge("tile", ["c1"], into="c2", who=WHO)
    assert recluster(catalog, "s2", dict.fromkeys("abcde", 0), number=1) == {0: "c2"}
    assert states(catalog) == {"c1": "merged", "c2": "confirmed"}


def test_a_split_outlives_runs(catalog: Catalog) -> None:
    """What a person took out of a cluster stays out when a night is recorded again, and comes back by undo."""
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1"}, ["c1"])
    assert catalog.split("tile", "c1", ["c"], who=WHO) == "c2"
    put(catalog, 0, {"a": "c1", "b": "c1", "c": "c1"}, ["c1"])
    assert catalog.partition("tile") == {"a": "c1", "b": "c1", "c": "c2"}
    assert catalog.cluster("tile", "c2").born == day(0)
    assert [one.kind for one in catalog.history("tile", "c2")] == ["split"]
    catalog.undo("tile", who=WHO)
    assert catalog.partition("tile") == {"a": "c1", "b": "c1", "c": "c1"}
    assert catalog.cluster("tile", "c2").merged_into == "c1"


def test_a_split_outlives_reclusterings(catalog: Catalog) -> None:
    """Found apart it keeps its identity; found as one with the rest it stays apart, and comes back by undo."""
    recluster(catalog, "s1", dict.fromkeys("abcdef", 0))
    assert catalog.split("tile", "c1", ["e", "f"], who=WHO) == "c2"
    labels = dict.fromkeys("abcd", 0) | dict.fromkeys("ef", 1)
    assert recluster(catalog, "s2", labels, number=1) == {0: "c1", 1: "c2"}
    assert recluster(catalog, "s3", dict.fromkeys("abcdef", 0), number=2) == {0: "c1"}
    assert states(catalog) == {"c1": "confirmed", "c2": "confirmed"}
    assert catalog.partition("tile") == dict.fromkeys("abcd", "c1") | dict.fromkeys("ef", "c2")
    catalog.undo("tile", who=WHO)
    assert set(catalog.partition("tile").values()) == {"c1"}


def test_what_a_person_retired_stays_so(catalog: Catalog) -> None:
    """A re-clustering gives its images another identity; a cluster that a re-clustering retired may come back."""
    recluster(catalog, "s1", dict.fromkeys("abc", 0) | dict.fromkeys("xyz", 1))
    catalog.retire("tile", "c1", who=WHO)
    assert recluster(catalog, "s2", dict.fromkeys("abc", 0), number=1) == {0: "c3"}
    assert states(catalog) == {"c1": "retired", "c2": "retired", "c3": "confirmed"}
    again = recluster(catalog, "s3", dict.fromkeys("abc", 0) | dict.fromkeys("xyz", 1), number=2)
    assert again == {0: "c3", 1: "c2"}


def test_a_split_that_was_united_otherwise_is_taken_back_without_a_circle(catalog: Catalog) -> None:
    """Where the rest was merged into the split cluster since, undoing the split leaves one cluster, not a circle."""
    recluster(catalog, "s1", dict.fromkeys("abcd", 0))
    catalog.split("tile", "c1", ["d"], who=WHO)
    split = catalog.history("tile", "c2")[-1].number
    catalog.merge("tile", ["c1"], into="c2", who=WHO)
    with pytest.raises(ConfigError, match="came after"):
        catalog.undo("tile", split, who=WHO)
    catalog.undo("tile", who=WHO)
    with catalog._writing("tile") as session:  # a re-clustering of an earlier version did so
        one = session.get(Cluster, ("tile", "c1"))
        assert one is not None
        one.state, one.merged_into = "merged", "c2"
    catalog.undo("tile", split, who=WHO)
    assert {fact.cluster for fact in catalog.assignments("tile")} == {"c2"}


def test_what_was_matched_before_somebody_decided_is_not_recorded(catalog: Catalog) -> None:
    """What was worked out from clusters that stand otherwise now is refused whole, then worked out again."""
    recluster(catalog, "s1", dict.fromkeys("abc", 0) | dict.fromkeys("xyz", 1))
    seen = []

    def record(found: Standing) -> None:
        seen.append(found)
        if len(seen) == 1:
            catalog.retire("tile", "c2", who=WHO)
        catalog.record_night(night_fact(1), new=[image("n", 1)], found=found)

    catalog.recording("tile", record)
    assert [found.retired for found in seen] == [frozenset(), {"c2"}]
    assert len(catalog.nights("tile")) == 1


def test_a_view_stays_as_it_was(catalog: Catalog) -> None:
    """What is read in a view is of one moment, whatever is written beside it."""
    recluster(catalog, "s1", {"a": 0, "b": 1})
    with catalog.view() as view:
        before = view.clusters("tile")
        catalog.rename("tile", "c1", "scratch", who=WHO)
        recluster(catalog, "s2", {"a": 0, "b": 1, "n": 2}, number=1)
        assert view.clusters("tile") == before
        assert set(view.partition("tile")) == {"a", "b"}
        with pytest.raises(AssertionError, match="for reading"):
            view.retire("tile", "c1", who=WHO)
    assert set(catalog.partition("tile")) == {"a", "b", "n"}


@pytest.mark.parametrize("contents", [[], ["a", "b"], ["x"], ["a", "unknown"]])
def test_a_split_takes_some_images_of_the_cluster(catalog: Catalog, contents: list[str]) -> None:
    """None, all, or those of others make no new cluster."""
    put(catalog, 0, {"a": "c1", "b": "c1", "x": None}, ["c1"])
    with pytest.raises(ConfigError, match="some of the images"):
        catalog.split("tile", "c1", contents, who=WHO)


def test_decisions_are_taken_back_in_turn(catalog: Catalog) -> None:
    """Rename, note and retire one after the other; the history says who, when and what was before."""
    recluster(catalog, "s1", {"a": 0, "b": 1})
    clean = catalog.clusters("tile")
    catalog.rename("tile", "c1", "  deep   scratch ", who=WHO, when=NOON)
    catalog.rename("tile", "deep scratch", "scratch", who="lee")
    catalog.annotate("tile", "scratch", "see line 7", who=WHO)
    catalog.retire("tile", "scratch", who=WHO)
    assert (catalog.cluster("tile", "c1").state, catalog.cluster("tile", "c1").note) == ("retired", "see line 7")
    people = [one for one in catalog.history("tile", "c1") if one.who != "anoclust"]
    assert (people[0].who, people[0].when, people[0].before) == (WHO, NOON, {"name": None})
    assert people[1].before == {"name": "deep scratch"}
    with pytest.raises(ConfigError, match=f"decision {people[3].number} came after {people[0].number}"):
        catalog.undo("tile", people[0].number, who=WHO)
    for _ in range(4):
        catalog.undo("tile", who=WHO)
    assert catalog.clusters("tile") == clean
    assert all(one.undone for one in catalog.history("tile", "c1") if one.kind in {"rename", "note", "retire"})
    with pytest.raises(ConfigError, match="no decision to undo"):
        catalog.undo("tile", who=WHO)


def test_impossible_decisions_say_why(catalog: Catalog) -> None:
    """A cluster that is not there, is gone, or is the same; a name that is taken, an identity or too long."""
    recluster(catalog, "s1", {"a": 0, "b": 1, "c": 2})
    catalog.rename("tile", "c1", "scratch", who=WHO)
    with pytest.raises(ConfigError, match="did you mean scratch"):
        catalog.rename("tile", "scrach", "x", who=WHO)
    with pytest.raises(ConfigError, match="already has the name scratch"):
        catalog.rename("tile", "c2", "scratch", who=WHO)
    for name in ("c7", "x" * 101, "a\x07b", "Unknown"):
        with pytest.raises(ConfigError, match="expected a name"):
            catalog.rename("tile", "c2", name, who=WHO)
    with pytest.raises(ConfigError, match="the same cluster"):
        catalog.merge("tile", ["c1"], into="scratch", who=WHO)
    catalog.merge("tile", ["c2"], into="c1", who=WHO)
    with pytest.raises(ConfigError, match="was merged into c1"):
        catalog.merge("tile", ["c1"], into="c2", who=WHO)
    catalog.retire("tile", "c3", who=WHO)
    with pytest.raises(ConfigError, match="is retired"):
        catalog.merge("tile", ["c1"], into="c3", who=WHO)


def test_opened_again_everything_is_there(where: Path | str) -> None:
    """What was recorded is there for the next process; opening again changes nothing."""
    with Catalog.open(where) as first:
        recluster(first, "s1", {"a": 0, "b": 1})
        before = everything(first)
    with Catalog.open(where) as second:
        assert everything(second) == before
        second.check()


def test_several_writers_at_once(where: Path | str) -> None:
    """Nights of several categories are recorded at the same time, also the first that make the tables."""
    failures: list[BaseException] = []

    def work(category: str) -> None:
        try:
            with Catalog.open(where) as own:
                for number in range(5):
                    fact = night_fact(number, category=category)
                    own.record_night(fact, new=[image(f"{number}", number)])
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Catalog.open(where) as catalog:
        assert len(catalog.nights()) == 20


def test_a_writer_that_never_ends_is_told(where: Path | str) -> None:
    """Who waits for too long gets an error that says what for."""
    with Catalog.open(where) as first, Catalog.open(where, busy_seconds=0.2) as second:
        first.record_images("tile", [image("a")])
        with first._writing("tile"), pytest.raises(BusyError, match="another process is writing"):
            second.record_images("tile", [image("b")])
