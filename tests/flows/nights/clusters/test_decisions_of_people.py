"""What people decide in the morning holds in the nights after it: moved, wrong, no defect, adopted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.streams import CATEGORY, TWO, Stream, day, identity_of, night_config
from helpers.typed import Typed
from typer.testing import CliRunner

from flows.cli import app
from flows.run import run_data
from tasks.stores.catalog.rebuild import rebuild_catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.arrivals import NightRules

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def of_class(partition: Mapping[str, str], label: str) -> list[str]:
    return sorted(path for path in partition if label in path)


def living(partition: Mapping[str, str]) -> set[str]:
    """Clusters that have images."""
    return set(partition.values()) - {"unknown"}


def test_decisions_hold_through_a_night_and_a_reclustering(stream: Stream, typed: Typed) -> None:
    """Images moved stay, wrong ones do not come back, a mark is in the report; the same from a rebuilt catalog."""
    before = stream.partition()
    good, holes = identity_of(before, "good"), identity_of(before, "hole")
    moved, wrong = of_class(before, "good")[0], of_class(before, "hole")[0]
    assert (before[moved], before[wrong]) == (good, holes)
    told = typed("clusters", "move", CATEGORY, moved, "--to", holes, "--by", "kim")
    assert told.exit_code == 0, told.output
    assert "1 image of board moved to" in told.stdout
    told = typed("clusters", "wrong", CATEGORY, wrong, "--by", "lee")
    assert told.exit_code == 0, told.output
    assert typed("clusters", "ordinary", CATEGORY, holes).exit_code == 0
    assert "confirmed, no defect" in typed("clusters", "list", CATEGORY).stdout
    stream.deliver(2, TWO[:4])
    stream.night(2)
    stream.deliver(3, TWO[:4])
    assert stream.night(3, recluster=True).reclustered == "asked for"
    after = stream.partition()
    assert after[moved] == holes
    assert after[wrong] != holes
    others = {path: cluster for path, cluster in after.items() if path not in {moved, wrong}}
    assert (identity_of(others, "good"), identity_of(others, "hole")) == (good, holes)
    assert after == {**others, moved: holes, wrong: after[wrong]}
    summary = json.loads((StoreLayout(stream.store).night(CATEGORY, day(3)) / "summary.json").read_text())
    assert {one["cluster"] for one in summary["clusters"] if one["is_ordinary"]} >= {holes}
    if stream.config.night.catalog is None:
        for path in stream.store.glob("catalog.sqlite*"):
            path.unlink()
        layout = StoreLayout(stream.store)
        rebuild_catalog(layout, layout.catalog, NightRules.of(stream.config.night))
        assert stream.partition() == after


def test_a_person_who_comes_second_is_told(stream: Stream, typed: Typed) -> None:
    """The version that `show` prints is refused after somebody else's decision, with what that was."""
    asked = typed("clusters", "show", CATEGORY, "c1", "--json")
    assert asked.exit_code == 0, asked.output
    shown = json.loads(asked.stdout)
    seen = f"c1={shown['version']}"
    assert f"version {shown['version']}" in typed("clusters", "show", CATEGORY, "c1").stdout
    assert typed("clusters", "rename", CATEGORY, "c1", "pits", "--by", "kim", "--expected", seen).exit_code == 0
    late = typed("clusters", "retire", CATEGORY, "c1", "--by", "lee", "--expected", seen)
    assert late.exit_code == 2
    assert "c1 of board has changed since you saw it: kim named c1 pits (20" in late.stderr
    assert (
        "--expected takes a cluster and its version"
        in typed("clusters", "retire", CATEGORY, "c1", "--expected", "41").stderr
    )


@pytest.fixture
def plain_run(tmp_path: Path, checkpoint: Path) -> tuple[Stream, str]:
    """Make a plain run over the images of two nights, cut into three; gives its name too."""
    stream = Stream(tmp_path, night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO)
    stream.deliver(1, TWO)
    as_run = stream.config.model_copy(update={"group": stream.config.group.model_copy(update={"n_clusters": 3})})
    (outcome,) = run_data(stream.manifest, stream.store, as_run)
    assert outcome.run is not None, outcome.error
    return stream, outcome.run.name


def test_a_run_becomes_the_start_of_nights(plain_run: tuple[Stream, str]) -> None:
    """The next night goes on from its three clusters and only looks at what is new; nobody asks for three again."""
    stream, run = plain_run
    typed = Typed(stream)
    told = typed("clusters", "adopt", CATEGORY, "--run", "latest", "--by", "kim")
    assert told.exit_code == 0, told.output
    assert f"nights of board start from 3 clusters of run {run} (20 images)" in told.stdout
    before = stream.partition()
    assert (len(before), set(before.values())) == (20, {"c1", "c2", "c3"})
    with stream.catalog() as catalog:
        assert {image.night for image in catalog.images(CATEGORY)} == {day(0), day(1)}
        assert [one.who for one in catalog.history(CATEGORY) if one.kind == "adopt"] == ["kim"]
    stream.deliver(2, TWO[:4])
    (found,) = typed.json("nightly", stream.manifest, "--as-of", day(2))
    assert (found["new"], found["reclustered"], found["seen"]) == (4, None, 24)
    after = stream.partition()
    assert {path: after[path] for path in before} == before
    assert stream.night(2, recluster=True).reclustered == "asked for"
    again = typed("clusters", "adopt", CATEGORY, "--run", run)
    assert again.exit_code == 2
    assert f"board has nights already, the last on {day(2)}" in again.stderr
    late = typed("clusters", "undo", CATEGORY)
    assert late.exit_code == 2
    assert "cannot be undone any more" in late.stderr


def test_an_adopted_run_can_be_undone_and_others_are_refused(plain_run: tuple[Stream, str]) -> None:
    """Until the first night; a run of other settings, or one that is not there, is told."""
    stream, run = plain_run
    typed = Typed(stream)
    missing = typed("clusters", "adopt", CATEGORY, "--run", "2020")
    assert missing.exit_code == 2
    assert f"0 runs of board in {stream.store} are named '2020'; it has {run}" in missing.stderr
    asked = ["clusters", "adopt", CATEGORY, "--run", run, "--config", str(stream.root / "anoclust.toml")]
    other = CliRunner().invoke(app, asked, env={"ANOCLUST_RECIPE": "sohn"})
    assert other.exit_code == 2
    assert "was made with other settings than `anoclust nightly` has now (they differ in" in other.stderr
    nobody_knows = CliRunner().invoke(app, asked, env={"ANOCLUST_NIGHT__CAPTURED": "path:%d.%m.%Y"})
    assert nobody_knows.exit_code == 10
    assert typed("clusters", "adopt", CATEGORY, "--run", run[:12]).exit_code == 0
    assert typed("clusters", "undo", CATEGORY).exit_code == 0
    assert stream.partition() == {}
    assert typed("clusters", "adopt", CATEGORY, "--run", run).exit_code == 0
    assert set(stream.partition().values()) == {"c4", "c5", "c6"}
    assert typed("clusters", "cut", CATEGORY, "2").exit_code == 0
    assert len(two := set(stream.partition().values())) == 2
    assert two < {"c4", "c5", "c6"}
    stream.deliver(2, TWO[:2])
    assert stream.night(2).reclustered is None


def test_a_cut_makes_the_clusters_and_later_clusterings_keep_them(stream: Stream, typed: Typed) -> None:
    """Of two clusters three, then nights and a re-clustering go on from them; images that came since follow."""
    before = stream.partition()
    assert living(before) == {"c1", "c2"}
    typed("clusters", "rename", CATEGORY, "c1", "pits")
    told = typed("clusters", "cut", CATEGORY, "3", "--by", "kim")
    assert told.exit_code == 0, told.output
    assert "board now has the clusters c1, c2, c3; new: c3" in told.stdout
    three = stream.partition()
    assert (living(three), len(three)) == ({"c1", "c2", "c3"}, 16)
    assert len({before[path] for path, cluster in three.items() if cluster == "c3"}) == 1
    assert {path for path, cluster in three.items() if cluster == "unknown"} == {
        path for path, cluster in before.items() if cluster == "unknown"
    }
    with stream.catalog() as catalog:
        cut = next(one for one in catalog.history(CATEGORY) if one.kind == "cut")
        assert (cut.who, cut.after["number"], cut.after["clusters"]) == ("kim", 3, ["c1", "c2", "c3"])
        assert catalog.standing(CATEGORY).known == {"c1", "c2", "c3"}
        assert catalog.cluster(CATEGORY, "c1").name == "pits"
    assert typed("store", "check").exit_code == 0
    stream.deliver(2, TWO[:2])  # with more there were twice as many images as when all were clustered
    assert stream.night(2).reclustered is None
    after = stream.partition()
    assert {path: after[path] for path in three} == three
    stream.deliver(3, TWO[:2])
    assert stream.night(3, recluster=True).reclustered == "asked for"
    gone = {
        payload["cluster"]
        for event in ("anoclust.cluster.gone", "anoclust.cluster.merged")
        for _, payload in stream.told(event)
    }
    assert {"c1", "c2", "c3"} - gone <= living(stream.partition())
    late = typed("clusters", "undo", CATEGORY, str(cut.number))
    assert late.exit_code == 2
    assert "was clustered again after decision" in late.stderr


def test_a_cut_can_be_undone_also_after_a_night(stream: Stream, typed: Typed) -> None:
    """One cluster of two, and back; of three, a night, and back: images of that night go with their cluster."""
    before = stream.partition()
    assert "gone: c2" in typed("clusters", "cut", CATEGORY, "1").stdout
    assert living(stream.partition()) == {"c1"}
    assert typed("clusters", "undo", CATEGORY).exit_code == 0
    assert stream.partition() == before
    assert typed("clusters", "cut", CATEGORY, "3").exit_code == 0
    stream.deliver(2, TWO[:2])
    stream.night(2)
    assert typed("clusters", "undo", CATEGORY).exit_code == 0
    after = stream.partition()
    assert {path: after[path] for path in before} == before
    assert living(after) == {"c1", "c2"}
    stream.deliver(3, TWO[:1])
    assert stream.night(3).reclustered is None
    assert typed("store", "check").exit_code == 0
    for number, word in ((0, "takes a whole number from 1"), (11, "has 10 images, and cannot be cut into 11 groups")):
        refused = typed("clusters", "cut", CATEGORY, number)
        assert refused.exit_code == 2
        assert word in refused.stderr
