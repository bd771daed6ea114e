"""Images moved and wrong where they are, clusters that are no defect, and two people who decide at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tile import NOON, WHO, day, image, night_fact, put, recluster

from anoclust_core.errors import ConfigError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.seen import ChangedSinceError
from tasks.stores.catalog.decisions.words import in_words
from tasks.stores.catalog.facts import AssignmentFact

LABELS = dict.fromkeys("abcd", 0) | dict.fromkeys("wxyz", 1)
"""Two clusters: c1 with a to d, c2 with w to z."""


def places(catalog: Catalog) -> dict[str, str | None]:
    return {fact.content: fact.cluster for fact in catalog.assignments("tile")}


def last(catalog: Catalog, cluster: str | None = None) -> str:
    return in_words(catalog.history("tile", cluster)[-1])


def test_moved_images_stay_through_nights_and_reclusterings(catalog: Catalog) -> None:
    """From several clusters and from none, into one; a later clustering that says otherwise does not move them."""
    recluster(catalog, "s1", LABELS)
    put(catalog, 1, {"n": None})
    number = catalog.move("tile", ["a", "w", "n"], to="c2", who=WHO, when=NOON)
    assert {content: places(catalog)[content] for content in "awnb"} == dict.fromkeys("awn", "c2") | {"b": "c1"}
    moved = catalog.history("tile", "c1")[-1]
    assert (moved.number, moved.cluster, moved.who, moved.when) == (number, "c2", WHO, NOON)
    assert in_words(moved) == "moved 3 images to c2 (1 of c1, 1 unknown)"
    recluster(catalog, "s2", LABELS | {"n": 0}, number=2)
    assert {content: places(catalog)[content] for content in "awn"} == dict.fromkeys("awn", "c2")
    assert catalog.cluster("tile", "c2").n_images == 6


def test_a_move_undone_leaves_images_where_runs_put_them(catalog: Catalog) -> None:
    """Also after a re-clustering; an earlier move of the same image holds again."""
    recluster(catalog, "s1", LABELS)
    before = places(catalog)
    first = catalog.move("tile", ["a"], to="c2", who=WHO)
    recluster(catalog, "s2", LABELS, number=1)
    catalog.split("tile", "c1", ["b"], who=WHO)
    second = catalog.move("tile", ["a", "c"], to="c3", who=WHO)
    with pytest.raises(ConfigError, match=f"decision {second} came after {first}"):
        catalog.undo("tile", first, who=WHO)
    catalog.undo("tile", second, who=WHO)
    assert places(catalog) == before | {"a": "c2", "b": "c3"}
    catalog.undo("tile", first, who=WHO)
    assert places(catalog) == before | {"b": "c3"}


def test_a_decision_of_another_kind_does_not_keep_a_move_from_being_undone(catalog: Catalog) -> None:
    """Only decisions about the same images have an order."""
    recluster(catalog, "s1", LABELS)
    name = catalog.rename("tile", "c2", "scratch", who=WHO)
    move = catalog.move("tile", ["a"], to="c2", who=WHO)
    mark = catalog.mark_ordinary("tile", "c2", False, who=WHO)
    for number in (name, move, mark):
        assert catalog.undo("tile", number, who=WHO) == number
    assert places(catalog)["a"] == "c1"
    assert (catalog.cluster("tile", "c2").name, catalog.cluster("tile", "c2").ordinary) == (None, None)


def test_a_cluster_that_a_person_moved_images_to_is_not_lost(catalog: Catalog) -> None:
    """A clustering that joins it with another leaves it its images."""
    labels = dict.fromkeys("abcde", 0) | {"w": 1}
    recluster(catalog, "s1", labels)
    catalog.move("tile", ["a"], to="c2", who=WHO)
    recluster(catalog, "s2", dict.fromkeys(labels, 0), number=1)
    assert catalog.cluster("tile", "c2").state == "confirmed"
    assert places(catalog)["a"] == "c2"


def test_a_person_starts_a_cluster(catalog: Catalog) -> None:
    """With images of a cluster and of none; it stays through a re-clustering that sees no such group."""
    recluster(catalog, "s1", LABELS)
    put(catalog, 1, {"m": None, "n": None})
    assert catalog.start("tile", ["a", "n"], who=WHO, when=NOON, name="chip") == "c3"
    started = catalog.cluster("tile", "chip")
    assert (started.cluster, started.state, started.n_images, started.born) == ("c3", "confirmed", 2, day(0))
    assert (places(catalog)["a"], places(catalog)["n"], places(catalog)["m"]) == ("c3", "c3", None)
    told = [in_words(one) for one in catalog.history("tile", "c3")]
    assert told == ["started c3 with 2 images (1 of c1, 1 unknown)", "named c3 chip"]
    assert {"c3"} <= catalog.standing("tile").decided
    recluster(catalog, "s2", LABELS | {"m": 0, "n": 0}, number=2)
    assert (places(catalog)["a"], places(catalog)["n"], places(catalog)["m"]) == ("c3", "c3", "c1")


def test_a_started_cluster_is_undone(catalog: Catalog) -> None:
    """Images go back, and its number is not given again; what builds on it is undone first, a cut apart."""
    recluster(catalog, "s1", LABELS)
    before = places(catalog)
    catalog.start("tile", ["a"], who=WHO)
    started = catalog.history("tile", "c3")[-1].number
    name = catalog.rename("tile", "c3", "chip", who=WHO)
    with pytest.raises(ConfigError, match=f"decision {name} came after {started}"):
        catalog.undo("tile", started, who=WHO)
    catalog.undo("tile", who=WHO)
    away = catalog.move("tile", ["a"], to="c2", who=WHO)
    with pytest.raises(ConfigError, match=f"decision {away} came after {started}"):
        catalog.undo("tile", started, who=WHO)
    catalog.undo("tile", who=WHO)
    assert catalog.undo("tile", who=WHO) == started
    assert places(catalog) == before
    assert catalog.cluster("tile", "c3").state == "retired"
    with catalog.browsing("tile") as browsing:
        assert browsing.taken_back() == {"c3"}
    assert catalog.start("tile", ["b"], who=WHO) == "c4"


def test_a_started_cluster_that_nights_went_on_with_stays(catalog: Catalog) -> None:
    """Their images would have nowhere to go: it is refused, also where they came by a cluster that went into it."""
    recluster(catalog, "s1", LABELS)
    catalog.start("tile", ["a", "b"], who=WHO)
    started = catalog.history("tile", "c3")[-1].number
    part = catalog.split("tile", "c3", ["b"], who=WHO)
    put(catalog, 1, {"n": part})
    catalog.undo("tile", who=WHO)
    assert places(catalog)["n"] == "c3"  # undone, the part went into what it was split off
    with pytest.raises(ConfigError, match="nights have put images into c3 since it was started"):
        catalog.undo("tile", started, who=WHO)
    assert catalog.settled("tile").wrong == frozenset()


def test_what_was_started_from_a_cluster_was_split_off_it(catalog: Catalog) -> None:
    """For learning: images of one cluster were taken apart; the most common one of several counts."""
    recluster(catalog, "s1", LABELS)
    put(catalog, 1, {"n": None})
    catalog.start("tile", ["a", "b", "w", "n"], who=WHO)
    catalog.start("tile", ["n"], who=WHO)
    assert catalog.standing("tile").split_off == {"c3": "c1", "c4": "c3"}


def test_several_decisions_are_undone_together_or_not_at_all(catalog: Catalog) -> None:
    """Somebody moved an image into what was started and named: then the name stays, too."""
    recluster(catalog, "s1", LABELS)
    catalog.start("tile", ["a"], who=WHO, name="chip")
    started, named = (one.number for one in catalog.history("tile", "c3"))
    catalog.move("tile", ["b"], to="c3", who="lee")
    with pytest.raises(ConfigError, match="undo it first"):
        catalog.undo_all("tile", [named, started], who=WHO)
    assert catalog.cluster("tile", "c3").name == "chip"
    catalog.undo("tile", who="lee")
    catalog.undo_all("tile", [named, started], who=WHO)
    assert catalog.cluster("tile", "c3").state == "retired"


@pytest.mark.parametrize("how", ["merge", "retire"])
def test_undone_no_two_clusters_have_one_name(catalog: Catalog, how: str) -> None:
    """The name was given again meanwhile: somebody has to choose another one first."""
    recluster(catalog, "s1", LABELS)
    catalog.rename("tile", "c1", "scratch", who=WHO)
    if how == "merge":
        catalog.merge("tile", ["c1"], into="c2", who=WHO)
    else:
        catalog.retire("tile", "c1", who=WHO)
    number = catalog.history("tile", "c1")[-1].number
    catalog.rename("tile", "c2", "scratch", who=WHO)
    with pytest.raises(ConfigError, match="c1 and c2 would both be named scratch"):
        catalog.undo("tile", number, who=WHO)
    catalog.rename("tile", "c2", "dent", who=WHO)
    catalog.undo("tile", number, who=WHO)
    assert {one.cluster: one.name for one in catalog.clusters("tile")} == {"c1": "scratch", "c2": "dent"}


def other_view(catalog: Catalog, was: str, now: str, cluster: str, number: int) -> None:
    """Record a night in which another view stands for a part."""
    catalog.record_night(
        night_fact(number),
        new=[image(now, number, part="p"), image(was, part="p", decided_by=now)],
        assignments=[AssignmentFact(now, cluster, 0.5, 0.9)],
    )


def test_a_part_that_is_wrong_stays_wrong_by_another_view(catalog: Catalog) -> None:
    """What a person said of a part holds for the view that stands for it later; undone, it does for neither."""
    recluster(catalog, "s1", LABELS)
    (number,) = catalog.mark_wrong("tile", ["a"], who=WHO)
    other_view(catalog, "a", "v", "c1", 1)
    assert places(catalog)["v"] is None
    catalog.undo("tile", number, who=WHO)
    assert places(catalog)["v"] == "c1"


def test_a_moved_part_goes_back_by_another_view(catalog: Catalog) -> None:
    """The move was handed on to the view that stands for the part now, and so is its undoing."""
    recluster(catalog, "s1", LABELS)
    number = catalog.move("tile", ["a"], to="c2", who=WHO)
    other_view(catalog, "a", "v", "c1", 1)
    assert places(catalog)["v"] == "c2"
    catalog.undo("tile", number, who=WHO)
    assert places(catalog)["v"] == "c1"


def test_a_cluster_is_started_with_images_that_there_are(catalog: Catalog) -> None:
    """None, or one that is not known: nothing is made."""
    recluster(catalog, "s1", LABELS)
    for contents in ([], ["a", "strange"]):
        with pytest.raises(ConfigError, match="expected images of tile that were clustered"):
            catalog.start("tile", contents, who=WHO)
    assert [one.cluster for one in catalog.clusters("tile")] == ["c1", "c2"]


def test_wrong_images_are_unknown_and_never_go_back(catalog: Catalog) -> None:
    """No later clustering puts them back into that cluster; into another one it may."""
    recluster(catalog, "s1", LABELS)
    (number,) = catalog.mark_wrong("tile", ["a", "b"], who=WHO)
    assert last(catalog, "c1") == "said that 2 images are wrong in c1"
    assert (places(catalog)["a"], catalog.n_unknown("tile")) == (None, 2)
    assert catalog.cluster("tile", "c1").n_images == 2
    recluster(catalog, "s2", LABELS, number=1)
    assert [places(catalog)[content] for content in "abc"] == [None, None, "c1"]
    recluster(catalog, "s3", LABELS | {"a": 1}, number=2)
    assert [places(catalog)[content] for content in "abc"] == ["c2", None, "c1"]
    recluster(catalog, "s4", LABELS, number=3)
    catalog.undo("tile", number, who=WHO)
    assert [places(catalog)[content] for content in "abc"] == ["c1", "c1", "c1"]


def test_wrong_in_a_merged_cluster_is_wrong_in_its_parts(catalog: Catalog) -> None:
    """The image was shown in the whole: neither part gets it back."""
    recluster(catalog, "s1", LABELS)
    catalog.merge("tile", ["c2"], into="c1", who=WHO)
    catalog.mark_wrong("tile", ["w"], who=WHO)
    recluster(catalog, "s2", LABELS, number=1)
    assert places(catalog)["w"] is None
    assert places(catalog)["x"] == "c1"


def test_images_of_several_clusters_are_wrong_in_each(catalog: Catalog) -> None:
    """A decision for each cluster, undone one by one."""
    recluster(catalog, "s1", LABELS)
    made = catalog.mark_wrong("tile", ["a", "w"], who=WHO)
    assert len(made) == 2
    catalog.undo("tile", made[0], who=WHO)
    assert (places(catalog)["a"], places(catalog)["w"]) == ("c1", None)


def test_moved_and_then_wrong_it_is_unknown_until_a_run_says_otherwise(catalog: Catalog) -> None:
    """What the last run said before does not come back; what a later one says does. Undone, the move holds again."""
    recluster(catalog, "s1", LABELS)
    catalog.move("tile", ["a"], to="c2", who=WHO)
    (number,) = catalog.mark_wrong("tile", ["a"], who=WHO)
    assert places(catalog)["a"] is None
    recluster(catalog, "s2", LABELS, number=1)
    assert places(catalog)["a"] == "c1"
    recluster(catalog, "s3", LABELS | {"a": 1}, number=2)
    assert places(catalog)["a"] is None
    catalog.undo("tile", number, who=WHO)
    assert places(catalog)["a"] == "c2"


def test_a_person_may_put_back_what_was_wrong(catalog: Catalog) -> None:
    """Who moves an image back means it; undone, it is out again."""
    recluster(catalog, "s1", LABELS)
    catalog.mark_wrong("tile", ["a"], who=WHO)
    number = catalog.move("tile", ["a"], to="c1", who="lee")
    recluster(catalog, "s2", LABELS, number=1)
    assert places(catalog)["a"] == "c1"
    catalog.undo("tile", number, who="lee")
    assert places(catalog)["a"] is None


def test_a_mark_stays_with_its_cluster(catalog: Catalog) -> None:
    """Through re-clusterings, until it is undone; a marked cluster is one that people know."""
    recluster(catalog, "s1", LABELS)
    catalog.mark_ordinary("tile", "c1", True, who=WHO)
    number = catalog.mark_ordinary("tile", "c1", False, who="lee")
    recluster(catalog, "s2", LABELS, number=1)
    assert catalog.cluster("tile", "c1").ordinary is False
    assert catalog.standing("tile").known == {"c1"}
    assert last(catalog, "c1") == "clustered the images of c1 again"
    catalog.undo("tile", number, who=WHO)
    assert catalog.cluster("tile", "c1").ordinary is True


def test_impossible_moves_say_why(catalog: Catalog) -> None:
    """No image, an image that is not there, one in no cluster, a cluster that is gone; nothing is changed."""
    recluster(catalog, "s1", LABELS)
    put(catalog, 1, {"n": None})
    catalog.retire("tile", "c2", who=WHO)
    before = catalog.history("tile")
    with pytest.raises(ConfigError, match="expected images of tile that were clustered, none was named"):
        catalog.move("tile", [], to="c1", who=WHO)
    with pytest.raises(ConfigError, match="nobody is none of them, and 1 more are not"):
        catalog.move("tile", ["nowhere", "a", "nobody"], to="c1", who=WHO)
    with pytest.raises(ConfigError, match="c2 is retired"):
        catalog.move("tile", ["a"], to="c2", who=WHO)
    with pytest.raises(ConfigError, match="1 of the 2 images are in no cluster"):
        catalog.mark_wrong("tile", ["a", "n"], who=WHO)
    with pytest.raises(ConfigError, match="expected who decides"):
        catalog.move("tile", ["a"], to="c1", who=" \n ")
    assert catalog.history("tile") == before


def test_who_comes_second_is_told_what_changed(catalog: Catalog) -> None:
    """The message says what happened, who did it and when; seen again, the decision is taken."""
    recluster(catalog, "s1", LABELS)
    catalog.rename("tile", "c2", "scratch", who=WHO)
    seen = catalog.versions("tile")
    catalog.move("tile", ["a"], to="scratch", who="lee", when=NOON)
    for act in (
        lambda expected: catalog.rename("tile", "c1", "dent", who=WHO, expected=expected),
        lambda expected: catalog.mark_wrong("tile", ["b"], who=WHO, expected=expected),
        lambda expected: catalog.split("tile", "c1", ["b"], who=WHO, expected=expected),
    ):
        with pytest.raises(ChangedSinceError) as caught:
            act({"c1": seen["c1"]})
        assert "lee moved 1 image to c2 (1 of c1) (2026-11-01 12:00 UTC" in str(caught.value)
        assert (caught.value.cluster, [one.who for one in caught.value.changes]) == ("c1", ["lee"])
    with pytest.raises(ChangedSinceError, match="c2 of tile has changed since you saw it"):
        catalog.annotate("tile", "scratch", "x", who=WHO, expected={"scratch": seen["c2"]})
    now = catalog.versions("tile")
    assert now["c1"] == now["c2"]
    catalog.rename("tile", "c1", "dent", who=WHO, expected={"c1": now["c1"]})
    assert catalog.cluster("tile", "dent").cluster == "c1"


def test_a_reclustering_and_an_undo_are_changes_too(catalog: Catalog) -> None:
    """Whoever decides on a page of yesterday is told of the night, and of what somebody took back."""
    recluster(catalog, "s1", LABELS)
    number = catalog.move("tile", ["a"], to="c2", who="lee")
    seen = catalog.versions("tile")
    catalog.undo("tile", number, who="lee")
    with pytest.raises(ChangedSinceError, match=f"lee undid decision {number} about c2"):
        catalog.retire("tile", "c1", who=WHO, expected={"c1": seen["c1"]})
    seen = catalog.versions("tile")
    recluster(catalog, "s2", LABELS | {"a": 1}, number=1)
    with pytest.raises(ChangedSinceError, match="anoclust clustered the images of c1 again"):
        catalog.retire("tile", "c1", who=WHO, expected={"c1": seen["c1"]})


def test_of_two_at_once_one_is_told(where: Path | str) -> None:
    """Both saw the same cluster: one decision is taken, the other is refused, none is lost."""
    with Catalog.open(where) as first:
        recluster(first, "s1", LABELS)
        seen = first.versions("tile")
    ready = threading.Barrier(2)
    told: list[str] = []

    def decide(who: str) -> None:
        with Catalog.open(where) as own:
            ready.wait()
            try:
                own.rename("tile", "c1", who, who=who, expected={"c1": seen["c1"]})
            except ChangedSinceError as error:
                told.append(f"{who} hears of {error.changes[0].who}")

    threads = [threading.Thread(target=decide, args=(who,)) for who in ("kim", "lee")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Catalog.open(where) as catalog:
        name = catalog.cluster("tile", "c1").name
        assert name in {"kim", "lee"}
        assert told == ["lee hears of kim" if name == "kim" else "kim hears of lee"]
