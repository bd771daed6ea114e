"""Thirty nights of the demo's kind: identities last, a new class is told once, pairs follow the new images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.builders import config_of
from helpers.streams import CATEGORY, Stream, classes_of, day, demo_drawer, identity_of
from sklearn.metrics import adjusted_rand_score

from flows.nights.outcome import NightOutcome
from flows.run import run_data

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3000), pytest.mark.usefixtures("prefect_db")]

NIGHTS = 30
NEW_FROM, GONE_FROM = 12, 20
THROUGHOUT = ("good", "hole", "scratch")


def classes_on(number: int) -> list[str]:
    """Twenty images: four or five of each class; fibre comes on night 12, stain stops on night 20."""
    present = [*THROUGHOUT]
    present += ["stain"] if number < GONE_FROM else []
    present += ["fibre"] if number >= NEW_FROM else []
    return [present[at % len(present)] for at in range(20)]


@dataclass(frozen=True)
class Lived:
    """Thirty nights: what each did, and the clusters after each."""

    stream: Stream
    outcomes: list[NightOutcome]
    partitions: list[dict[str, str]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, prefect_db: None) -> Lived:
    """Live through thirty nights with the embedded backbone and the default settings."""
    config = config_of(settle_seconds=0, **{"night.captured": "path:%Y-%m-%d"})
    stream = Stream(tmp_path_factory.mktemp("thirty"), config)
    drawn = demo_drawer("brick")
    outcomes, partitions = [], []
    for number in range(NIGHTS):
        for at, label in enumerate(classes_on(number)):
            path = stream.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png"
            stream.put(path, drawn([number, at], label), label)
        outcomes.append(stream.night(number))
        partitions.append(stream.partition())
    return Lived(stream, outcomes, partitions)


def agreement(one: dict[str, str], other: dict[str, str]) -> float:
    paths = sorted(one)
    return float(adjusted_rand_score([one[path] for path in paths], [other[path] for path in paths]))


def test_identities_last(lived: Lived) -> None:
    """Classes that are there throughout have the same cluster after every night, also where all is re-clustered."""
    assert sum(outcome.reclustered is not None for outcome in lived.outcomes) >= 4
    first = {label: identity_of(lived.partitions[0], label) for label in THROUGHOUT}
    assert len(set(first.values())) == len(THROUGHOUT)
    for partition in lived.partitions:
        assert {label: identity_of(partition, label) for label in THROUGHOUT} == first


def test_a_new_class_is_told_once_within_two_nights(lived: Lived) -> None:
    """Exactly one event of a new cluster in thirty nights: that of the class which comes on night 12."""
    ((night, payload),) = lived.stream.told()
    assert day(NEW_FROM) <= night <= day(NEW_FROM + 1)
    assert payload["cluster"] == identity_of(lived.partitions[-1], "fibre")


def test_pairs_follow_the_new_images(lived: Lived, print_table: Callable[[Sequence[Sequence[object]]], None]) -> None:
    """Between re-clusterings a night compares its images with the snapshot's, and none with those since."""
    snapshot = 0
    rows: list[Sequence[object]] = [
        ("night", "new", "unknown", "new clusters", "pair products", "re-clustered", "ARI to labels")
    ]
    for number, (outcome, partition) in enumerate(zip(lived.outcomes, lived.partitions, strict=True)):
        products = outcome.counters["pair_products"]
        if outcome.reclustered is None:
            assert products == 20 * snapshot
        else:
            snapshot = len(partition)
        ari = adjusted_rand_score(classes_of(partition), list(partition.values()))
        counted = [outcome.counters[name] for name in ("new", "unknown", "new_clusters")]
        rows.append((number + 1, *counted, f"{products:,}", outcome.reclustered or "", f"{ari:.3f}"))
    print_table(rows)


def test_the_last_partition_is_near_a_run_from_scratch(
    lived: Lived, tmp_path: Path, print_table: Callable[[Sequence[Sequence[object]]], None]
) -> None:
    """Also where all is re-clustered on the last night: clusters that are known stay, so it is not quite the same."""
    (scratch,) = run_data(lived.stream.manifest, tmp_path / "store", lived.stream.config)
    assert scratch.run is not None
    with (scratch.run / "assignments.csv").open(encoding="utf-8", newline="") as file:
        expected = {row["path"]: row["cluster"] for row in csv.DictReader(file)}
    before = agreement(lived.partitions[-1], expected)
    lived.stream.night(NIGHTS - 1, recluster=True)
    after = agreement(lived.stream.partition(), expected)
    print_table([("after thirty nights", "ARI to a run from scratch"), ("as it is", before), ("re-clustered", after)])
    assert after >= 0.9
    assert before >= 0.85
