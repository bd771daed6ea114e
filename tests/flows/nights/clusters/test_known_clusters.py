"""What people know stays: clusters that were told, named or split off, through re-clusterings that would join them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.streams import CATEGORY, TWO, Stream, day, identity_of, night_config
from typer.testing import CliRunner

from flows.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


@pytest.fixture
def told(tmp_path: Path, checkpoint: Path) -> Stream:
    """Make two nights: good boards and holes, cut into two clusters; then scratches, which are born and told."""
    stream = Stream(tmp_path, night_config(checkpoint, n_clusters=2, recluster_every="none"))
    stream.deliver(0, TWO + TWO)
    stream.night(0)
    stream.deliver(1, ["scratch"] * 6)
    stream.night(1)
    assert [night for night, _ in stream.told()] == [day(1)] * len(stream.told())
    assert stream.told()
    return stream


def test_a_told_cluster_stays_where_the_cut_would_join_it(told: Stream) -> None:
    """Re-clustered into two, the scratches keep the cluster that was told, beside the two."""
    scratches = identity_of(told.partition(), "scratch")
    told.deliver(2, TWO[:2])
    outcome = told.night(2, recluster=True)
    assert outcome.reclustered == "asked for"
    after = told.partition()
    assert identity_of(after, "scratch") == scratches
    assert all(cluster != scratches for path, cluster in after.items() if "scratch" not in path)
    assert told.told("anoclust.cluster.gone") == told.told("anoclust.cluster.merged") == []
    with told.catalog() as catalog:
        (kept,) = [one for one in catalog.history(CATEGORY, scratches) if one.kind == "kept"]
    assert kept.after["separation"] >= 3


def test_where_nothing_is_known_the_cut_decides(tmp_path: Path, checkpoint: Path) -> None:
    """The same images in one night: nothing was told, and a re-clustering is that of a run from scratch."""
    stream = Stream(tmp_path, night_config(checkpoint, n_clusters=2, recluster_every="none"))
    stream.deliver(0, TWO + TWO + ("scratch",) * 6)
    stream.night(0)
    stream.deliver(1, TWO[:2])
    stream.night(1, recluster=True)
    assert len(set(stream.partition().values())) == 2


def test_one_that_goes_is_told_and_can_be_brought_back(told: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a known cluster does not lie apart it is joined: an event says so, and undo brings it back for good."""
    scratches = identity_of(told.partition(), "scratch")
    with told.catalog() as catalog:
        catalog.rename(CATEGORY, scratches, "groove", who="kim")
    monkeypatch.setattr("anoclust_core.matching.keeping.STILL_APART", 1e9)
    told.deliver(2, TWO[:2])
    told.night(2, recluster=True)
    ((night, payload),) = told.told("anoclust.cluster.merged") + told.told("anoclust.cluster.gone")
    assert (night, payload["cluster"]) == (day(2), scratches)
    assert scratches not in told.partition().values()
    with told.catalog() as catalog:
        (lost,) = [one for one in catalog.history(CATEGORY, scratches) if one.kind in {"merged", "retired"}]
    done = CliRunner().invoke(app, ["clusters", "undo", CATEGORY, str(lost.number), "--store", str(told.store)])
    assert done.exit_code == 0, done.output
    assert identity_of(told.partition(), "scratch") == scratches
    told.deliver(3, TWO[:2])
    told.night(3, recluster=True)
    assert identity_of(told.partition(), "scratch") == scratches


def test_the_suggested_number_starts_from_what_is_known(tmp_path: Path, checkpoint: Path) -> None:
    """With two told clusters a suggestion between one and two clusters is two."""
    stream = Stream(tmp_path, night_config(checkpoint, n_clusters="1:3", recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    names = sorted(set(stream.partition().values()))[:2]
    with stream.catalog() as catalog:
        for at, name in enumerate(names):
            catalog.rename(CATEGORY, name, f"kind {at}", who="kim")
    stream.deliver(1, TWO[:2])
    stream.night(1, recluster=True)
    assert set(names) <= set(stream.partition().values())
