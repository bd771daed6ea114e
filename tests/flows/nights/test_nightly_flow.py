"""The flow that deployments call: the same nights, under names that a person can read."""

from __future__ import annotations

import json

import pytest
from helpers.streams import CATEGORY, TWO, Stream, day

from anoclust_core.errors import BusyError
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock

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


def test_a_deployment_runs_the_same_night(stream: Stream) -> None:
    """Given JSON values only, it does what the command does, gives JSON back, and its runs have readable names."""
    from prefect.artifacts import Artifact
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName

    from flows.nights.nightly import nightly

    stream.deliver(2, TWO[:2])
    asked = {"data": str(stream.manifest), "store": str(stream.store), "settings": settings_of(stream)}
    found = nightly(**json.loads(json.dumps({**asked, "as_of": str(day(2))})))
    assert json.loads(json.dumps(found))[CATEGORY]["new"] == 2
    assert found[CATEGORY]["reclustered"] is None
    with get_client(sync_client=True) as client:
        wanted = {f"nightly all {day(2)}", f"{CATEGORY} {day(2)} (2 new)"}
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=sorted(wanted))))
        nights = [run for run in runs if run.name.startswith(CATEGORY)]  # that of another catalog's test may be there
        ids = [run.id for run in nights]
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
    assert {run.name for run in runs} == wanted
    assert all(set(run.tags) == {"night", CATEGORY} for run in nights)
    assert tasks
    assert not any(task.tags for task in tasks)  # each tag of a task is a wait for the server
    for key in ("night-board", "night-report-board"):
        assert Artifact.get(key) is not None
    again = nightly(**asked, as_of=str(day(2)))
    assert again[CATEGORY]["is_new"] is False


def test_a_deployment_takes_the_same_lock(stream: Stream) -> None:
    """While a command works on the category, the flow fails and says so, and nothing is recorded."""
    from flows.nights.nightly import nightly

    stream.deliver(2, TWO[:2])
    with category_lock(StoreLayout(stream.store), CATEGORY), pytest.raises(BusyError, match="another run of category"):
        nightly(str(stream.manifest), str(stream.store), settings_of(stream), [CATEGORY], str(day(2)))
    assert len(stream.partition()) == 16
