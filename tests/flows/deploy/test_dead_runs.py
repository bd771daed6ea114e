"""What the look-out for dead runs marks, and what it leaves alone, on runs that are made up."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from flows.deploy import dead_runs

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
