"""What the look-out for dead runs marks, and what it leaves alone, on runs that are made up."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from flows.deploy import dead_runs
from flows.deploy.deployments import POOL

NO_PROCESS = str(2**22 + 1)
"""Above the largest number that Linux gives to a process."""


def listed() -> FlowRun:
    """A run of a worker on this machine that has been under way for an hour; its process is gone."""
    since = datetime.now(UTC) - timedelta(hours=1)
    return FlowRun(
        id=uuid4(),
        name="amber-auk",
        flow_id=uuid4(),
        state=State(type=StateType.RUNNING, timestamp=since),
        start_time=since,
        work_pool_name=POOL,
        infrastructure_pid=NO_PROCESS,
        labels={"prefect.worker.name": f"anoclust@{socket.gethostname()}"},
    )


@pytest.mark.parametrize(("now", "is_marked"), [("RUNNING", True), ("COMPLETED", False), ("FAILED", False)])
def test_a_run_that_ends_meanwhile_keeps_its_state(now: str, is_marked: bool) -> None:
    """Its process is gone because it has ended, between the list of runs and the look at the processes."""
    run = listed()
    client = create_autospec(SyncPrefectClient, instance=True)
    client.read_flow_runs.side_effect = [[run], []]
    client.read_flow_run.return_value = run.model_copy(update={"state": State(type=StateType(now))})
    client.read_task_runs.return_value = []
    reaped = dead_runs.mark_dead(client)
    assert reaped == ([f"amber-auk: process {NO_PROCESS} on {socket.gethostname()} is gone"] if is_marked else [])
    assert client.set_flow_run_state.called == is_marked


def marked(run: FlowRun, *, has_heartbeat: bool = False) -> list[str]:
    """What is marked where there is one run."""
    client = create_autospec(SyncPrefectClient, instance=True)
    client.read_flow_runs.side_effect = [[run], []]
    client.read_flow_run.return_value = run
    client.read_task_runs.return_value = []
    client.read_events.return_value.events = [object()] if has_heartbeat else []
    return dead_runs.mark_dead(client)


def test_runs_of_others_are_left_alone() -> None:
    """A server may serve other work pools: their runs are not ours to mark."""
    assert marked(listed())
    assert marked(listed().model_copy(update={"work_pool_name": "theirs"})) == []
    assert marked(listed().model_copy(update={"work_pool_name": None})) == []


def test_a_clock_set_forward_kills_nobody() -> None:
    """The process seems younger than its run: a heartbeat tells that it lives, and its absence that it is another."""
    run = listed().model_copy(update={"infrastructure_pid": str(os.getpid())})
    assert marked(run, has_heartbeat=True) == []
    assert marked(run) == ["amber-auk: no heartbeat for 600 s"]
    young = run.model_copy(update={"start_time": datetime.now(UTC)})
    assert marked(young) == []  # as old as its run
