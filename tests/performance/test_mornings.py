"""What the benchmark of mornings counts: records written by hand, each with one thing told, or not told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anoclust_core.synthesis.stream_records import Truth, TruthKind
from benchmarks.mornings import records
from benchmarks.mornings.ceiling import with_perfect_clusters
from benchmarks.mornings.records import File, Night, Record, Told
from benchmarks.mornings.reliability import judgements, unknown
from benchmarks.mornings.scoring import DRIFT, GROWING, NEW, Score, score
from benchmarks.mornings.tables import details, page, table

Events = Mapping[int, Sequence[tuple[str, Mapping[str, Any]]]]

N_NIGHTS = 30


def lived(
    truths: Sequence[Truth] = (),
    told: Events | None = None,
    *,
    delivered: Mapping[int, Sequence[str]] | None = None,
    clusters: Mapping[int, Mapping[str, str]] | None = None,
    marks: Mapping[int, str] | None = None,
) -> Record:
    """Make a record: five good images a night in c1 and three holes in c2, and what is given beside.

    Parameters
    ----------
    truths, told
        What should be told, and what was, by night: event and payload.
    delivered
        Further images by night: their classes.
    clusters
        Clusters by class, from a night on; where nothing is said, good is in c1 and hole in c2, the others unknown.
    marks
        What all images are made under from a night on.
    """
    nights = []
    where: dict[str, str] = {}
    label_of: dict[str, str] = {}
    of = {"good": "c1", "hole": "c2"}
    mark: tuple[str, ...] = ()
    for number in range(N_NIGHTS):
        of |= (clusters or {}).get(number, {})
        mark = (marks[number],) if marks and number in marks else mark
        labels = [*["good"] * 5, *["hole"] * 3, *(delivered or {}).get(number, ())]
        files = tuple(File(f"{number:02d}/{at}.png", label, mark) for at, label in enumerate(labels))
        label_of |= {file.path: file.label for file in files}
        now = {path: of.get(label, records.UNKNOWN) for path, label in label_of.items()}
        moved = {path: cluster for path, cluster in now.items() if where.get(path) != cluster}
        events = tuple(Told(event, payload) for event, payload in (told or {}).get(number, ()))
        nights.append(Night(number, f"2026-01-{number + 1:02d}", files, events, moved, {}, {}, {}, None, 1.0))
        where = now
    return Record("made", tuple(truths), tuple(nights), {})


def truth(kind: TruthKind, label: str | None = None, *, begins: int = 12, first: int = 12, last: int = 12) -> Truth:
    return Truth(kind, label, begins, first, last)


def new(cluster: str) -> tuple[str, Mapping[str, Any]]:
    return NEW, {"cluster": cluster, "report": "/c9/report.html"}


def grows(cluster: str) -> tuple[str, Mapping[str, Any]]:
    return GROWING, {"cluster": cluster}


def drifts(what: str) -> tuple[str, Mapping[str, Any]]:
    return DRIFT, {"what": what}


def is_clean(found: Score) -> bool:
    return not (found.false_alarms or found.swallowed or found.missed())


SCRATCHES = {12: ["scratch"], 13: ["scratch"] * 2, 14: ["scratch"] * 4, 20: ["scratch"]}
BEGINS = truth("new", "scratch", first=13, last=14)


@pytest.mark.parametrize(("night", "is_met"), [(13, True), (14, True), (16, False)])
def test_a_new_class_is_met_in_time(night: int, is_met: bool) -> None:
    """A cluster of a new class is in time until the night after its third image; later it is late, but not false."""
    found = score(lived([BEGINS], {night: [new("c3")]}, delivered=SCRATCHES, clusters={night: {"scratch": "c3"}}))
    assert found.answered == {0: night}
    assert found.met(0) is is_met
    assert not found.false_alarms


def test_a_new_class_that_nobody_told_is_missed() -> None:
    """Silence is a miss."""
    found = score(lived([BEGINS], delivered=SCRATCHES))
    assert found.missed() == [BEGINS]


def test_a_cluster_of_another_class_is_no_answer() -> None:
    """A new cluster that is mostly of a class that has one already is a false alarm, and the new class is missed."""
    found = score(
        lived([BEGINS], {13: [new("c3")]}, delivered={**SCRATCHES, 13: ["good b"]}, clusters={13: {"hole": "c3"}})
    )
    assert found.missed() == [BEGINS]
    assert [(one.night, one.event, one.why) for one in found.false_alarms] == [(13, NEW, "hole has c2 already")]


def test_a_second_cluster_of_a_new_class_is_a_false_alarm() -> None:
    """The class was told; telling another cluster of it is wrong."""
    record = lived(
        [BEGINS],
        {13: [new("c3")], 20: [new("c4")]},
        delivered={**SCRATCHES, 20: ["scratch"] * 9},
        clusters={13: {"scratch": "c3"}},
    )
    later = {f"20/{at}.png": "c4" for at in range(8, 17)}
    nights = tuple(
        replace(night, moved={**night.moved, **later}) if night.number == 20 else night for night in record.nights
    )
    found = score(replace(record, nights=nights))
    assert [(one.night, one.why) for one in found.false_alarms] == [(20, "scratch has c3 already")]


def test_a_mixed_new_cluster_is_a_false_alarm() -> None:
    """A cluster of which no class has more than half answers nothing."""
    found = score(
        lived(
            [BEGINS],
            {13: [new("c3")]},
            delivered={12: ["scratch", "dent"], 13: ["scratch", "dent", "scratch", "dent"]},
            clusters={13: {"scratch": "c3", "dent": "c3"}},
        )
    )
    assert found.missed() == [BEGINS]
    assert [one.why for one in found.false_alarms] == ["its images are of several classes"]


def test_the_first_cluster_of_a_class_of_the_first_night_is_right() -> None:
    """Holes were with the good ones from the start; that they get a cluster of their own is neither due nor false."""
    found = score(lived([], {7: [new("c3")]}, clusters={0: {"hole": "c1"}, 7: {"hole": "c3"}}))
    assert is_clean(found)


@pytest.mark.parametrize(("night", "is_met"), [(12, True), (13, False)])
def test_a_surge_is_told_in_its_night(night: int, is_met: bool) -> None:
    """Growth of the class's cluster in that night meets a surge; a night later it is a false alarm."""
    found = score(lived([truth("surge", "hole")], {night: [grows("c2")]}, delivered={12: ["hole"] * 9}))
    assert found.met(0) is is_met
    assert bool(found.false_alarms) is not is_met


def test_a_surge_of_a_class_without_a_cluster_is_met_by_its_birth() -> None:
    """Holes get a cluster of their own in the night in which they surge."""
    found = score(
        lived(
            [truth("surge", "hole")],
            {12: [new("c3")]},
            delivered={12: ["hole"] * 9},
            clusters={0: {"hole": "c1"}, 12: {"hole": "c3"}},
        )
    )
    assert is_clean(found)


@pytest.mark.parametrize(("night", "met", "false"), [(3, False, 1), (9, True, 0), (20, True, 0), (26, False, 0)])
def test_growth_is_told_from_its_begin_until_five_nights_after_doubling(night: int, met: bool, false: int) -> None:
    """Before it begins it is a false alarm, early is in time, and late is late."""
    grown = truth("growth", "hole", begins=8, first=18, last=23)
    found = score(lived([grown], {night: [grows("c2")]}))
    assert (found.met(0), len(found.false_alarms)) == (met, false)


def test_growth_of_another_cluster_is_a_false_alarm() -> None:
    """The good ones do not grow because the holes do."""
    found = score(lived([truth("growth", "hole", begins=8, first=18, last=23)], {20: [grows("c1")]}))
    assert [one.event for one in found.false_alarms] == [GROWING]


def test_a_new_cluster_may_grow() -> None:
    """A class that was told as new has a right to grow for ten nights; then it is a false alarm."""
    events = {13: [new("c3")], 20: [grows("c3")], 25: [grows("c3")]}
    found = score(lived([BEGINS], events, delivered=SCRATCHES, clusters={13: {"scratch": "c3"}}))
    assert [one.night for one in found.false_alarms] == [25]


@pytest.mark.parametrize("kind", ["jump", "second camera"])
def test_a_change_of_the_camera_is_answered_by_drift(kind: TruthKind) -> None:
    """Drift of any kind of the images answers it; that of the camera says so in words."""
    changed = truth(kind, last=13)
    by_rarity, by_name = (
        score(lived([changed], {12: [drifts(what)]}, marks={12: kind})) for what in ("rarity", "sharpness")
    )
    assert is_clean(by_rarity)
    assert is_clean(by_name)
    assert (by_rarity.said_camera, by_name.said_camera) == (set(), {0})


def test_consequences_of_a_change_are_explained_for_two_weeks() -> None:
    """Drift and clusters made of images after the jump are explained until the history has caught up."""
    jump = truth("jump", last=13)
    events = {
        12: [drifts("rarity")],
        20: [drifts("rarity"), grows("c2")],
        26: [drifts("rarity")],
        27: [drifts("rarity")],
    }
    found = score(lived([jump], events, marks={12: "jump"}))
    assert [(one.night, one.event) for one in found.false_alarms] == [(27, f"{DRIFT} rarity")]


def test_drift_without_a_reason_is_a_false_alarm() -> None:
    """Nothing has changed: a false alarm of its own kind, counted a category night."""
    record = lived([], {12: [drifts("rarity")], 15: [drifts("camera")]})
    found = score(record)
    assert [one.event for one in found.false_alarms] == [f"{DRIFT} rarity", f"{DRIFT} camera"]
    printed = "\n".join(table([record_with_scores(record)], [found]))
    assert f"| {DRIFT} rarity | 1 | 1.00 |" in printed
    assert "| all | 2 | 2.00 |" in printed


def test_a_surge_is_no_fault_of_the_camera() -> None:
    """Rarity may rise because of many defects; saying that it is the camera is wrong."""
    surge = truth("surge", "hole")
    found = score(lived([surge], {12: [grows("c2"), drifts("rarity"), drifts("brightness")]}))
    assert [one.event for one in found.false_alarms] == [f"{DRIFT} brightness"]


@pytest.mark.parametrize(
    ("kind", "what", "is_met"),
    [
        ("missing", "missing", True),
        ("missing", "rarity", False),
        ("half", "count", True),
        ("half", "unknown", False),
        ("alike", "alike", True),
        ("alike", "missing", True),
        ("alike", "rarity", False),
    ],
)
def test_a_silent_or_stuck_camera_is_told_in_its_words(kind: TruthKind, what: str, is_met: bool) -> None:
    """A night without images, with half of them or with one picture is met by drift that is about that."""
    assert score(lived([truth(kind)], {12: [drifts(what)]})).met(0) is is_met


def test_a_gap_of_the_week_is_no_news_after_two_weeks() -> None:
    """A category that has seen two weekends knows the third."""
    gaps = [truth("gap", begins=night, first=night, last=night) for night in (6, 13, 20)]
    found = score(lived(gaps, {night: [drifts("missing")] for night in (6, 13, 20)}))
    assert [one.night for one in found.false_alarms] == [20]
    assert found.missed() == []


def test_an_event_of_another_kind_is_a_false_alarm() -> None:
    """No stream has files that cannot be used."""
    assert len(score(lived([], {3: [("anoclust.quarantine", {"n_images": 2})]})).false_alarms) == 1


GONE = "anoclust.cluster.gone"
BORN = {13: {"scratch": "c3"}}


def test_a_swallowed_cluster_is_counted_once() -> None:
    """Scratches were told as c3 and are with the holes from night 20 on, as in the case with the four rings."""
    found = score(lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters={**BORN, 20: {"scratch": "c2"}}))
    assert [(one.night, one.cluster, one.label, one.into) for one in found.swallowed] == [(20, "c3", "scratch", "c2")]


def test_swallowed_in_words_is_still_swallowed() -> None:
    """Telling that it is gone does not make it right where its images are in a cluster of another class."""
    found = score(
        lived(
            [BEGINS],
            {13: [new("c3")], 20: [(GONE, {"cluster": "c3", "into": "c2"})]},
            delivered=SCRATCHES,
            clusters={**BORN, 20: {"scratch": "c2"}},
        )
    )
    assert len(found.swallowed) == 1
    assert [one.event for one in found.false_alarms] == [GONE]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_cluster_that_goes_to_one_of_its_class_has_to_be_named(is_told: bool) -> None:
    """Another identity for the same images is no loss where it is told, and swallowed where it is not."""
    events: Events = {13: [new("c3")], 20: [("anoclust.cluster.merged", {"clusters": ["c3"]})] if is_told else []}
    found = score(lived([BEGINS], events, delivered=SCRATCHES, clusters={**BORN, 20: {"scratch": "c4"}}))
    assert len(found.swallowed) == (0 if is_told else 1)


def test_a_cluster_that_its_own_night_takes_back_is_swallowed() -> None:
    """Scratches are born and told as c3, and the re-clustering of the same night puts them to the holes."""
    record = lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters={13: {"scratch": "c2"}})
    born = {"c3": ("12/8.png", "13/8.png", "13/9.png")}
    nights = tuple(replace(night, born=born) if night.number == 13 else night for night in record.nights)
    found = score(replace(record, nights=nights))
    assert found.met(0)
    assert [(one.night, one.label, one.into) for one in found.swallowed] == [(13, "scratch", "c2")]


def test_a_cluster_that_stays_is_not_swallowed() -> None:
    """Thirty nights of a cluster that keeps its images."""
    assert is_clean(score(lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters=BORN)))


def test_a_cluster_whose_classes_change_is_not_swallowed_by_itself() -> None:
    """Holes that are put to the scratches' cluster, until they are most of it, take nothing away."""
    mixed = {20: {"scratch": "c3", "hole": "c3"}}
    found = score(lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters={**BORN, **mixed}))
    assert found.swallowed == []


def record_with_scores(record: Record) -> Record:
    names = ("scratch", "scratch_auto", "nights", "agreement")
    return Record(record.name, record.truths, record.nights, dict.fromkeys(names, 0.8))


def test_the_table_has_shares_and_delays() -> None:
    """One new class of two is met; the other one is told four nights late."""
    other = lived([BEGINS], {17: [new("c3")]}, delivered=SCRATCHES, clusters={17: {"scratch": "c3"}})
    one = lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters=BORN)
    found = [score(one), score(other)]
    printed = "\n".join(table([record_with_scores(one), record_with_scores(other)], found))
    assert "| new | 1 of 2 | 50% | 2 | 2 |" in printed
    assert "2 streams, 60 category nights" in printed
    assert "swallowed clusters: 0" in printed
    assert list(details(other, found[1])) == ["made: new scratch of night 12, to tell until 14: told on night 17"]


def test_the_page_has_both_versions_and_what_went_wrong() -> None:
    """A page says which seeds, and has the table, that of the version before, and every fault."""
    printed = list(page("0:2", ["now"], ["before"], ["000: something"]))
    assert any("seeds 0:2" in line for line in printed)
    assert printed.index("now") < printed.index("before") < printed.index("- 000: something")
    assert "## An earlier version, on the same streams or some of them" not in list(page("0:2", ["now"], [], []))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A record that is there is taken as it is; one that is not there is none."""
    record = lived([BEGINS], {13: [new("c3")]}, delivered=SCRATCHES, clusters=BORN, marks={20: "jump"})
    records.save(record, tmp_path / "records" / "made.json")
    read = records.load(tmp_path / "records" / "made.json")
    assert read == record
    assert read is not None
    assert dict(read.partitions().__next__()[1]) == {f"00/{at}.png": "c1" if at < 5 else "c2" for at in range(8)}
    assert records.load(tmp_path / "records" / "other.json") is None


def test_a_new_image_is_right_if_the_next_reclustering_leaves_it() -> None:
    """Night 5 is sure of a good image and wrong about a hole that it takes for good; night 6 re-clusters."""
    record = lived()
    sure, wrong, late = ("05/0.png", "c1", 0.9), ("05/5.png", "c1", 0.6), ("07/0.png", "c1", 0.8)
    of_born = ("05/6.png", "c9", 1.0)
    nights = list(record.nights)
    for number, given in ((5, (sure, wrong, of_born)), (7, (late,))):
        nights[number] = replace(nights[number], assigned={path: (cluster, by) for path, cluster, by in given})
    nights[6] = replace(nights[6], reclustered="the last clustering is 7 nights old")
    found = list(judgements(replace(record, nights=tuple(nights))))
    assert found == [
        (0.9, True, True),
        (0.6, False, False),
        (1.0, False, True),
    ]  # nothing was re-clustered after night 7
    assert unknown(replace(record, nights=tuple(nights))) == (12, 16)  # two nights of eight, four images assigned


def test_what_perfect_clusters_would_let_tell() -> None:
    """A surge of a class is told of whatever the clusters were; one that chance makes as often is not."""
    surge = truth("surge", "hole")
    mixed = {0: {"good": "c1", "hole": "c1"}}
    large = lived([surge], delivered={12: ["hole"] * 12}, clusters=mixed)
    assert score(large).missed() == [surge]
    told = score(with_perfect_clusters(large))
    assert (told.missed(), told.false_alarms) == ([], [])
    small = score(with_perfect_clusters(lived([surge], delivered={12: ["hole"] * 2})))
    assert (small.missed(), small.false_alarms) == ([surge], [])
