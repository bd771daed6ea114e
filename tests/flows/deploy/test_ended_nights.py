"""What `anoclust up` says of nights that have ended, and that idle looks for dead runs leave no trace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import create_autospec
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from anoclust_core.matching.night_dates import zone_of
from flows.deploy import dead_runs
from flows.deploy.ended import EndedNights

BEGAN = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)


def ended(name: str, message: str, *, store: Path, kind: StateType = StateType.COMPLETED, minutes: int = 1) -> FlowRun:
    """A run of a night that ended some minutes after it began."""
    return FlowRun(
        id=uuid4(),
        name=name,
        flow_id=uuid4(),
        parameters={"store": str(store)},
        start_time=BEGAN,
        end_time=BEGAN + timedelta(minutes=minutes),
        state=State(type=kind, message=message),
    )


def test_each_ended_night_is_told_once(tmp_path: Path) -> None:
    """When it ended, by the clock of the nights, and what came of it; failures too; other stores are left out."""
    client = create_autospec(SyncPrefectClient, instance=True)
    line = "bolt 2026-11-20: 12 new images, 1 new cluster, 8 s; report.html"
    raised = "Flow run encountered an exception: DatasetError: no image\nin sight"
    done = ended("bolt 2026-11-20", line, store=tmp_path)
    failed = ended("nut 2026-11-20", raised, store=tmp_path, kind=StateType.FAILED, minutes=5)
    elsewhere = ended("nut 2026-11-20", "nut", store=tmp_path / "other")
    look = EndedNights(client, tmp_path, BEGAN, zone_of("Europe/Berlin"))
    client.read_flow_runs.return_value = [done, elsewhere]
    assert list(look.lines()) == [f"2026-11-21 04:16  {line}"]
    client.read_flow_runs.return_value = [done, elsewhere, failed]
    assert list(look.lines()) == ["2026-11-21 04:20  nut 2026-11-20: failed: DatasetError: no image in sight"]
    assert list(look.lines()) == []


def test_idle_looks_for_dead_runs_are_removed() -> None:
    """The dashboard is for nights: a look that found nothing goes with the next one, others stay."""
    client = create_autospec(SyncPrefectClient, instance=True)
    idle = ended("look for dead runs", dead_runs.NONE_FOUND, store=Path())
    telling = ended("look for dead runs", "bolt: process 1 on a is gone", store=Path())
    client.read_flow_runs.return_value = [idle, telling]
    assert dead_runs.forget_looks(client) == 1
    client.delete_flow_run.assert_called_once_with(idle.id)
