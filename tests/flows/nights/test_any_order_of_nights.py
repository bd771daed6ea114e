"""Whatever the order and the batches that images come in: re-clustered, it is what one run over all of them gives."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from helpers.streams import Stream, day, night_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.run import run_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("prefect_db")]

CLASSES = ("good", "hole", "scratch") * 3


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> set[frozenset[str]]:
    """Clusters of one run over all images, as sets of names."""
    stream = Stream(tmp_path_factory.mktemp("at-once"), night_config(checkpoint))
    stream.deliver(0, CLASSES)
    (outcome,) = run_data(stream.manifest, stream.store, stream.config)
    assert outcome.run is not None
    found: dict[str, set[str]] = {}
    with (outcome.run / "assignments.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["cluster"], set()).add(Path(row["path"]).name)
    return {frozenset(names) for names in found.values()}


@given(order=st.permutations(range(len(CLASSES))), cuts=st.sets(st.integers(1, len(CLASSES) - 1), max_size=3))
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_batches(
    at_once: set[frozenset[str]],
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Path,
    order: list[int],
    cuts: set[int],
) -> None:
    """Nights in any order and of any size end, re-clustered, in the clusters of a run at once."""
    from helpers.builders import surface

    stream = Stream(tmp_path_factory.mktemp("any-order"), night_config(checkpoint))
    ends = [*sorted(cuts), len(order)]
    start = 0
    for number, end in enumerate(ends):
        for at in order[start:end]:
            path = stream.data / "board" / str(day(number)) / f"{at:02d}-{CLASSES[at]}.png"
            stream.put(path, surface(at, CLASSES[at]), CLASSES[at])
        stream.night(number)
        start = end
    stream.night(len(ends) - 1, recluster=True)
    found: dict[str, set[str]] = {}
    for path, cluster in stream.partition().items():
        found.setdefault(cluster, set()).add(Path(path).name)
    assert {frozenset(names) for names in found.values()} == at_once
