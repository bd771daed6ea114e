"""What every stage shares under Prefect: cached by content key, retried on I/O only, readable names, progress."""

from __future__ import annotations

import errno
import re
import time
from typing import Any, Final, TypeVar
from uuid import UUID

from prefect import Task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.serializers import JSONSerializer
from prefect.tasks import exponential_backoff
from pydantic import Field

from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from tasks import telemetry
from tasks.stages.category_run import CategoryRun
from tasks.stores.files import safe_name
from tasks.stores.results import SERIALIZER, read_result, with_checksum, without_checksum
from tasks.stores.upkeep.recover import clear_place

Result = TypeVar("Result")

PROGRESS_EVERY_SECONDS: Final = 2.0
"""Each update of a progress artifact is a request to the server."""

_TRANSIENT: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EIO,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ESTALE,
    }
)


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Result file of a stage, see `_result_name`."""
    return _result_name(context.task.name, parameters["run"].category, parameters["key"], parameters.get("folder"))


def _result_name(stage: str, category: str, key: str, folder: object) -> str:
    """Readable folders, then the content key that the flow hands in.

    A result names the folder that its arrays lie in; in a store that was moved or copied it is no result.
    """
    place = content_key("place", {"folder": folder})[:8]
    return f"{stage}/{safe_name(category)}/{key}-{place}"


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: connections, time-outs, a file system that hiccups; never our own errors."""
    error = state.data
    cause = getattr(error, "result", error) if not isinstance(error, BaseException) else error
    if isinstance(cause, (ConnectionError, TimeoutError)):
        return True
    return isinstance(cause, OSError) and cause.errno in _TRANSIENT


class CheckedJSONSerializer(JSONSerializer[Any]):
    """Results as JSON behind a checksum, as `tasks.stores.results` reads them."""

    type: str = Field(default=SERIALIZER, frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """Encode a result."""
        return with_checksum(super().dumps(obj))

    def loads(self, blob: bytes) -> Any:
        """Decode a result, which `StageRunner` has checked."""
        return super().loads(without_checksum(blob))


STAGE: Final[dict[str, Any]] = {
    "cache_policy": CacheKeyFnPolicy(cache_key_fn=_key),
    "persist_result": True,
    "result_serializer": CheckedJSONSerializer(),
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}
"""Options of every stage's task. A stage takes ``run`` and ``key`` besides what it works on."""


class StageRunner:
    """Runs the stages of one category as Prefect tasks.

    Parameters
    ----------
    run
        What every stage is given.
    """

    def __init__(self, run: CategoryRun) -> None:
        self.run = run

    def __call__(self, task: Task[..., Result], *, key: str, detail: str, is_complete: bool, **work: Any) -> Result:
        """Run a stage, or take its cached result if the store still holds what it points to.

        Parameters
        ----------
        task
            Made with ``STAGE``; its name is the stage's.
        key
            Content key of the result.
        detail
            How the task run's name goes on after stage and category.
        is_complete
            Whether the arrays of the stage are there: a cached handle of a deleted store is no result.
        work
            The stage's own parameters.
        """
        named = task.with_options(
            task_run_name=f"{task.name} {self.run.category} ({detail})".replace("{", "{{").replace("}", "}}"),
            refresh_cache=not is_complete or not self._readable(task.name, key, work),
            result_storage=self.run.layout.results,
        )
        with telemetry.timed(task.name):
            result: Result = named(run=self.run, key=key, **work)
            return result

    def _readable(self, stage: str, key: str, work: dict[str, Any]) -> bool:
        """Whether a cached result, if there is one, is what was written; a folder in its place is put aside."""
        name = _result_name(stage, self.run.category, key, work.get("folder"))
        file = self.run.layout.results / name
        try:
            read_result(file, name)
        except FileNotFoundError:
            return True
        except (OSError, DamagedError):
            clear_place(self.run.layout, file)
            return False
        return True


def artifact_key(*parts: str) -> str:
    """Artifact key from any text: Prefect takes lower-case letters, digits and dashes only.

    Examples
    --------
    >>> artifact_key("embed", "metal_nut")
    'embed-metal-nut'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "anoclust"


class Progress:
    """Progress of one stage: a Prefect artifact, and whoever listens to the run.

    Parameters
    ----------
    stage, category
        Name the artifact.
    """

    def __init__(self, stage: str, category: str) -> None:
        self._category, self._stage = category, stage
        self._listener = telemetry.current().listener
        self._told = time.monotonic()
        self._artifact: UUID = create_progress_artifact(  # type: ignore[assignment]
            0.0, key=artifact_key("progress", stage, category), description=f"{stage} {category}"
        )

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the stage is."""
        if self._listener:
            self._listener(self._category, self._stage, done, total)
        now = time.monotonic()
        if done >= total or now - self._told >= PROGRESS_EVERY_SECONDS:
            self._told = now
            update_progress_artifact(self._artifact, progress=100.0 * done / max(1, total))
