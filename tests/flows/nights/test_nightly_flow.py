"""The flow that deployments call: the same nights, under names that a person can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.streams import CATEGORY, TWO, Stream, day

from anoclust_core.errors import BusyError
from anoclust_core.matching.night_dates import night_of, zone_of
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, TaskRun

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def settings_of(stream: Stream) -> dict[str, object]:
    """Settings of a stream as JSON values, the way that a deployment gives them."""
    return {
        "embed.backbone": stream.config.embed.backbone,
        "embed.checkpoint": str(stream.config.embed.checkpoint),
        "embed.image_size": 64,
        "embed.device": "cpu",
        "data.settle_seconds": 0,
        "night.captured": "path:%Y-%m-%d",
        "night.recluster_every": "none",
        "night.catalog": stream.config.night.catalog or "auto",
    }


def runs_named(*names: str) -> list[FlowRun]:
    """Runs that the server has under these names."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=list(names))))


def inside(run: FlowRun) -> tuple[list[FlowRun], list[TaskRun]]:
    """Runs and tasks inside a run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId

    with get_client(sync_client=True) as client:
        runs = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
        tasks = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return client.read_flow_runs(flow_run_filter=runs), client.read_task_runs(flow_run_filter=tasks)


def test_a_deployment_runs_the_same_night(stream: Stream) -> None:
    """Given JSON values only, it does what the command does and gives JSON back, in one run with a readable name."""
    from prefect.artifacts import Artifact

    from flows.nights.nightly import nightly

    stream.deliver(2, TWO[:2])
    asked = {"data": str(stream.manifest), "store": str(stream.store), "settings": settings_of(stream)}
    before = {run.id for run in runs_named(f"{CATEGORY} {day(2)}")}
    found = nightly(**json.loads(json.dumps({**asked, "categories": [CATEGORY], "as_of": str(day(2))})))
    assert json.loads(json.dumps(found))[CATEGORY]["new"] == 2
    assert found[CATEGORY]["reclustered"] is None
    (run,) = (run for run in runs_named(f"{CATEGORY} {day(2)}") if run.id not in before)
    assert run.state is not None
    assert run.state.name == "Completed"
    line, report = str(run.state.message).split("; ")
    assert line.startswith(f"{CATEGORY} {day(2)}: nothing to do (2 new images, ")
    assert Path(report).is_file()
    runs, tasks = inside(run)
    assert runs == []  # the night is this run: one entry of the dashboard
    assert {task.name.split(f" {CATEGORY} ")[0] for task in tasks} >= {"assign", "watch", "night-report", "notify"}
    assert not any(task.tags for task in tasks)  # each tag of a task is a wait for the server
    for key in ("night-board", "night-report-board"):
        assert Artifact.get(key) is not None
    again = nightly(**asked, as_of=str(day(2)))
    assert again[CATEGORY]["is_new"] is False
    assert runs_named(f"all categories {day(2)}")


def test_a_run_of_tonight_is_named_by_the_night(stream: Stream) -> None:
    """Without a date, the name has the night that now belongs to, by the time zone and the beginning of nights."""
    from flows.nights.nightly import nightly

    settings = {**settings_of(stream), "night.timezone": "Pacific/Auckland", "night.day_starts": "07:00"}
    now = datetime.now(UTC)
    night = night_of(now, timezone=zone_of("Pacific/Auckland"), day_starts=time(7))
    found = nightly(str(stream.manifest), str(stream.store), settings, [CATEGORY])
    assert found[CATEGORY]["night"] == str(night)
    assert runs_named(f"{CATEGORY} {night}")


def test_a_recluster_of_the_command_is_part_of_the_nights_run(stream: Stream) -> None:
    """A night of `anoclust nightly` is one run too, whatever it clusters."""
    stream.deliver(3, TWO[:3])
    name = f"{CATEGORY} {day(3)} (3 new)"
    before = {run.id for run in runs_named(name)}
    assert stream.night(3, recluster=True).reclustered
    (run,) = (run for run in runs_named(name) if run.id not in before)
    assert run.parent_task_run_id is None
    assert set(run.tags) == {"night", CATEGORY}
    assert inside(run)[0] == []


def test_a_run_to_which_nothing_came_says_so(stream: Stream) -> None:
    """The state of the run has a name of its own, for automations, and the reason."""
    from flows.nights.nightly import NOTHING_CAME, nightly

    inbox = stream.root / "inbox"
    inbox.mkdir()
    name = f"{CATEGORY} {day(4)}"
    before = {run.id for run in runs_named(name)}
    nightly(str(inbox), str(stream.store), settings_of(stream), [CATEGORY], str(day(4)))
    (state,) = (run.state for run in runs_named(name) if run.id not in before)
    assert state is not None
    assert state.name == NOTHING_CAME
    assert state.is_completed()
    assert f"no image came: there is no folder {CATEGORY} in {inbox}" in str(state.message)


def test_a_deployment_takes_the_same_lock(stream: Stream) -> None:
    """While a command works on the category, the flow fails and says so, and nothing is recorded."""
    from flows.nights.nightly import nightly

    stream.deliver(2, TWO[:2])
    with category_lock(StoreLayout(stream.store), CATEGORY), pytest.raises(BusyError, match="another run of category"):
        nightly(str(stream.manifest), str(stream.store), settings_of(stream), [CATEGORY], str(day(2)))
    assert len(stream.partition()) == 16
