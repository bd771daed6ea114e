"""Nights that a worker has finished: one line of each, for the terminal of ``anoclust up``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anoclust_core.safe_text.masking import masked_text

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

FLOW: Final = "nightly"
"""Flow of every night's run, `flows.nights.nightly.nightly`."""

_OVERLAP: Final = timedelta(minutes=10)
"""How far back each look begins before the end of the last run: a server may write down an end late."""

_PAGE: Final = 200
_RAISED: Final = "Flow run encountered an exception: "
"""What Prefect puts before an error."""


class EndedNights:
    """Runs of nights that ended since this was made, each told once.

    Parameters
    ----------
    client
        Of the server.
    store
        Folder of the store: other stores may share the server.
    since
        When to begin.
    timezone
        Of the times that are told.
    """

    def __init__(self, client: SyncPrefectClient, store: Path, since: datetime, timezone: tzinfo) -> None:
        self._client, self._store, self._since, self._timezone = client, str(store.absolute()), since, timezone
        self._told: set[UUID] = set()

    def lines(self) -> Iterator[str]:
        """When a night ended and what came of it, one line each; of what was told before nothing is told again."""
        runs = self._ended()
        new = [run for run in runs if run.id not in self._told]
        self._told = {run.id for run in runs}
        self._since = max([self._since, *(run.end_time - _OVERLAP for run in runs if run.end_time)])
        for run in new:
            if run.parameters.get("store") == self._store:
                ended = run.end_time.astimezone(self._timezone) if run.end_time else None
                for line in _told(run):
                    yield f"{ended:%Y-%m-%d %H:%M}  {line}" if ended else line

    def _ended(self) -> list[FlowRun]:
        """Runs that have started and ended; those that were cancelled before they began are left out."""
        from prefect.client.schemas.filters import (
            FlowFilter,
            FlowFilterName,
            FlowRunFilter,
            FlowRunFilterEndTime,
            FlowRunFilterStartTime,
        )
        from prefect.client.schemas.sorting import FlowRunSort

        found: list[FlowRun] = []
        while True:
            page = self._client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
                flow_run_filter=FlowRunFilter(
                    end_time=FlowRunFilterEndTime(after_=self._since), start_time=FlowRunFilterStartTime(is_null_=False)
                ),
                sort=FlowRunSort.START_TIME_ASC,
                limit=_PAGE,
                offset=len(found),
            )
            found += page
            if len(page) < _PAGE:
                return found


def _told(run: FlowRun) -> list[str]:
    """What a run says of its nights; of a run that did not complete, how it ended and why."""
    state = run.state
    message = masked_text((state.message if state else None) or "")
    if state is not None and state.is_completed():
        return message.splitlines() or [f"{run.name}: done"]
    how = state.name.lower() if state is not None and state.name else "ended"
    return [" ".join(f"{run.name}: {how}: {message.removeprefix(_RAISED)}".split())]
