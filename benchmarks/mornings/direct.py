"""Nights without a Prefect server: flows and tasks are called as the functions that they wrap.

A night decides the same either way. A server, what is sent to it, and the drawings of the pages take longer than the
rest of a small night. Left out are results that Prefect caches, retries, artifacts, drawings, and sending events, which
are marked as sent.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from uuid import UUID

_NOBODY = "http://127.0.0.1:9/api"
"""Address of a server that is never asked."""


def leave_prefect_out() -> None:
    """Do without Prefect in this process; to be called before anything of `tasks` or `flows` is imported."""
    os.environ["PREFECT_API_URL"] = _NOBODY
    import prefect
    import prefect.artifacts
    import prefect.events
    import prefect.logging
    from prefect.utilities.annotations import BaseAnnotation

    def plain(value: object) -> object:
        return value.unwrap() if isinstance(value, BaseAnnotation) else value

    results: dict[tuple[str, ...], Any] = {}

    def call_task(task: Any, *given: object, **named: object) -> Any:
        """Call a task; a stage whose result is still complete is not run again."""
        arguments = {name: plain(value) for name, value in named.items()}
        stage = (task.name, str(arguments.get("key")), str(arguments.get("folder")))
        if task.refresh_cache is False and stage in results:
            return results[stage]
        result = task.fn(*map(plain, given), **arguments)
        if task.refresh_cache is not None:
            results[stage] = result
        return result

    def call_flow(flow: Any, *given: object, **named: object) -> Any:
        return flow.fn(*given, **named)

    prefect.Task.__call__ = call_task  # type: ignore[method-assign, assignment]
    prefect.Flow.__call__ = call_flow  # type: ignore[method-assign, assignment]
    for name in dir(prefect.artifacts):
        if name.startswith(("create_", "update_")) and name.endswith("_artifact"):
            setattr(prefect.artifacts, name, _silent)
    setattr(prefect.events, "emit_event", _silent)  # noqa: B010 -- it has another signature
    for module in (prefect, prefect.logging):
        module.get_run_logger = _logger  # type: ignore[attr-defined]
    import tasks.services.prefect_server as services

    services.wait_for_events = _nothing

    from anoclust_core.reporting import figures

    figures.to_svg = _no_drawing


def _logger(*_: object, **__: object) -> logging.Logger:
    return logging.getLogger("anoclust.benchmark")


def _no_drawing(*_: object, **__: object) -> str:
    return "<svg></svg>"


def _silent(*_: object, **__: object) -> UUID:
    return UUID(int=0)


def _nothing(*_: object, **__: object) -> None:
    return None
