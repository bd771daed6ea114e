"""Find runs that Prefect shows as running but whose process has died, and mark them as crashed.

A worker marks a run whose process died. What dies together with its worker, by ``kill -9`` or a power cut, stays
"Running" for ever: nobody is left to say otherwise. Prefect's own remedy, a proactive automation, makes a server on
SQLite stall for a minute at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import psutil
from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Crashed

from flows.deploy.deployments import POOL

HEARTBEAT: Final = "prefect.flow-run.heartbeat"

STALE_SECONDS: Final = 600
"""Three heartbeats, which come every 180 s, and some patience."""

JUST_STARTED_SECONDS: Final = 15
"""How long a run may take from its state to its process: the worker tells the number of the process afterwards."""

_UNDER_WAY: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_PAGE: Final = 200


FLOW: Final = "reap"

NONE_FOUND: Final = "No dead run was found."


@flow(name=FLOW, flow_run_name="look for dead runs")
def reap(stale_seconds: int = STALE_SECONDS) -> State[list[str]]:
    """Mark dead runs as crashed. Earlier looks that found none are removed: the dashboard is for nights.

    Two signs of death: the process that the worker has told of is gone, on this machine; or, wherever it runs,
    there was no heartbeat for long. Only runs of our work pool, and what runs inside of them, are looked at.

    Parameters
    ----------
    stale_seconds
        How long a run may go without a heartbeat; at least three times their distance.

    Returns
    -------
    reaped
        Names of the runs, with why.
    """
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        reaped = mark_dead(client, stale_seconds=stale_seconds, but=str(this_run.id))
        forget_looks(client)
    for line in reaped:
        log.warning("%s", line)
    return Completed(message="\n".join(reaped) or NONE_FOUND, data=reaped)


def forget_looks(client: SyncPrefectClient) -> int:
    """Remove runs of `reap` that found nothing; gives their number. There would be 288 of them a day."""
    looks = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
        ),
        limit=_PAGE,
    )
    idle = [run for run in looks if run.state is not None and run.state.message == NONE_FOUND]
    for run in idle:
        with suppress(ObjectNotFound):  # another one was quicker
            client.delete_flow_run(run.id)
    return len(idle)


def mark_dead(client: SyncPrefectClient, *, stale_seconds: int = STALE_SECONDS, but: str = "") -> list[str]:
    """Mark dead runs, what ran inside them and their tasks; see `reap`.

    Parameters
    ----------
    client
        Of the server.
    stale_seconds
        How long a run may go without a heartbeat.
    but
        Identifier of a run that is known to live: the one that asks.
    """
    reaped = []
    for run in _under_way(client, FlowRunFilter()):
        if run.work_pool_name != POOL:  # others may use the server; what runs inside of ours is marked with it
            continue
        why = None if str(run.id) == but else _why_dead(client, run, stale_seconds)
        if why is not None and _goes_on(client, run):
            reaped += _crash(client, run, why)
    return reaped


def _under_way(client: SyncPrefectClient, chosen: FlowRunFilter) -> list[FlowRun]:
    chosen.state = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=chosen, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found


def _goes_on(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a run is still shown as running: one that ended since it was listed has no process any more either."""
    state = client.read_flow_run(run.id).state
    return state is not None and state.type in _UNDER_WAY


def _why_dead(client: SyncPrefectClient, run: FlowRun, stale_seconds: int) -> str | None:
    """Why a run is taken for dead, or None where it may live."""
    now = datetime.now(UTC)
    since = run.state.timestamp if run.state else run.created
    seconds = (now - since).total_seconds() if since else 0.0
    if seconds < JUST_STARTED_SECONDS:
        return None
    host = _host_of_worker(run)
    if host == socket.gethostname() and run.infrastructure_pid:
        process = _process_of(run.infrastructure_pid)
        if process is None:
            return f"process {run.infrastructure_pid} on {host} is gone"
        if _is_as_old(process, run.start_time):
            return None
    if seconds < stale_seconds or _has_heartbeat(client, run, now - timedelta(seconds=stale_seconds)):
        return None
    return f"no heartbeat for {stale_seconds} s"


def _host_of_worker(run: FlowRun) -> str | None:
    """Machine of the worker that started a run, where the worker is named ``NAME@MACHINE``."""
    name = str((run.labels or {}).get("prefect.worker.name", ""))
    return name.rpartition("@")[2] if "@" in name else None


def _process_of(pid: str) -> psutil.Process | None:
    """Process of a number, if one is there."""
    try:
        process = psutil.Process(int(pid.rpartition(":")[2]))
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.NoSuchProcess, ValueError):
        return None


def _is_as_old(process: psutil.Process, started: datetime | None) -> bool:
    """Whether a process can be the run's: the engine is born before it says that the run has started.

    If not, another one has got its number since, or the clock was set forward: a heartbeat has to tell.
    """
    with suppress(psutil.NoSuchProcess):
        return started is None or process.create_time() < started.timestamp() + JUST_STARTED_SECONDS
    return False


def _has_heartbeat(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    wanted = EventFilter(
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        occurred=EventOccurredFilter(since=since),
    )
    return bool(client.read_events(wanted, limit=1).events)


def _crash(client: SyncPrefectClient, run: FlowRun, why: str) -> list[str]:
    """Mark a run, the runs inside it and the tasks of each."""
    client.set_flow_run_state(run.id, Crashed(message=f"Found dead: {why}."), force=True)
    _crash_tasks(client, [run], why)
    lines = [f"{run.name}: {why}"]
    inside = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id]))
    for child in _under_way(client, inside):
        if child.deployment_id is None:  # a deployment's run has a process of its own
            lines += _crash(client, child, why)
    return lines


def _crash_tasks(client: SyncPrefectClient, runs: Iterable[FlowRun], why: str) -> None:
    under_way = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNDER_WAY))),
        limit=_PAGE,
    )
    for task in under_way:
        client.set_task_run_state(task.id, Crashed(message=f"Found dead: {why}."), force=True)
