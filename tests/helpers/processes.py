"""Runs in processes of their own, forked from one that has imported everything; some are killed on the way."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from anoclust_core.config import RunConfig

STAGES = ("embed", "pair", "whiten", "group", "report")
"""The parts that a run is cut into; ``embed`` begins with the run, ``group`` goes on to the report."""

_CHANGES = {"os.mkdir": (0, 2), "os.rename": (0, 2), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.link": (0, 2)}
"""Audit events that change the file system, and where in their arguments path and folder descriptor are."""

_starting = threading.Lock()

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Command:
    """What a process runs; ``api`` is the address of the tests' Prefect server."""

    data: Path
    store: Path
    config: RunConfig
    api: str


@dataclass(frozen=True)
class Moment:
    """When a process is killed: before the n-th change of a file in a stage, or some seconds after its start.

    Where a stage has fewer changes the process is killed at its end.
    """

    stage: str
    event: int = 0
    seconds: float = 0.0


@dataclass
class Stages:
    """Where a run is, and what it has changed there."""

    on_enter: Callable[[str], None]
    now: str = STAGES[0]
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def enter(self, stage: str) -> None:
        """Note that a stage begins."""
        self.now = stage
        self.seconds[stage] = time.monotonic()
        self.on_enter(stage)


def start(function: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process on a function of this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "helpers.preloaded"])
    with _starting, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server of Python 3.11 imports with its own
        patch.setenv("OMP_NUM_THREADS", "1")  # two runs side by side on two cores
        forkserver.ensure_running()
    process = context.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def finish(process: ForkServerProcess, seconds: float = 120) -> int:
    """Wait for a process; gives its exit code, negative for the signal that killed it."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"the process did not end within {seconds} s")
    code = process.exitcode
    process.close()
    return code


def run(command: Command, told: Path) -> None:
    """Run, and write what became of it to a file."""
    with _prepared(command):
        _run(command, told)


def record(command: Command, told: Path, snapshots: Path) -> None:
    """Run, copy the store at the beginning of every stage, and count the changes and seconds of each."""

    def copy(stage: str) -> None:
        shutil.copytree(command.store, snapshots / stage, dirs_exist_ok=True)

    stages = Stages(copy)
    with _prepared(command):
        stages.enter(STAGES[0])
        _watch(command.store, stages, lambda *_: None)
        _run(command, told)
    ends = [*list(stages.seconds.values())[1:], time.monotonic()]
    seconds = {stage: end - begin for (stage, begin), end in zip(stages.seconds.items(), ends, strict=True)}
    (snapshots / "stages.json").write_text(json.dumps({"events": stages.counts, "seconds": seconds}))


def run_until(command: Command, told: Path, moment: Moment) -> None:
    """Run until the moment comes, and die there as a killed process does: at once, without a word."""

    def die_in_time(stage: str) -> None:
        if moment.event and STAGES.index(stage) > STAGES.index(moment.stage):
            _die()  # fewer changes than before: two threads made the same folder, or a part was there already
        if moment.seconds and stage == moment.stage:
            threading.Thread(target=lambda: (time.sleep(moment.seconds), _die()), daemon=True).start()

    def die_at_event(stage: str, number: int) -> None:
        if (stage, number) == (moment.stage, moment.event):
            _die()

    stages = Stages(die_in_time)
    with _prepared(command):
        stages.enter(STAGES[0])
        _watch(command.store, stages, die_at_event)
        _run(command, told)


def hold_lock(store: Path, category: str, told: Path) -> None:
    """Hold the lock of a category until killed."""
    from tasks.stores.layout import StoreLayout
    from tasks.stores.locks import category_lock

    with category_lock(StoreLayout(store), category):
        told.touch()
        time.sleep(600)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run(command: Command, told: Path) -> None:
    from flows.run import run_data

    (outcome,) = run_data(command.data, command.store, command.config)
    content = {
        "run": str(outcome.run) if outcome.run else None,
        "is_new": outcome.is_new,
        "work": outcome.work,
        "summary": outcome.summary,
        "repairs": outcome.repairs,
        "error": repr(outcome.error) if outcome.error else None,
    }
    told.write_text(json.dumps(content))


@contextmanager
def _prepared(command: Command) -> Iterator[None]:
    """Take the tests' server; cut the work so small that a kill falls between parts of it.

    Neither figures are drawn nor events sent: that takes most of the time, and changes no file.
    """
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from anoclust_core.pairwise import tiling
    from anoclust_core.reporting.html import Figures
    from tasks.stages import report
    from tasks.stores import embeddings

    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: command.api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        EventsWorker.set_client_override(NullEventsClient)
        patch.setattr(embeddings, "CHUNK_IMAGES", 4)
        patch.setattr(embeddings, "SEGMENT_BYTES", 1)
        patch.setattr(tiling, "block_images", lambda *_, **__: 4)
        patch.setattr(tiling, "MAX_SLAB_IMAGES", 8)
        patch.setattr(report, "draw_figures", lambda _: Figures("<svg/>", "<svg/>"))
        patch.setattr(report, "render_report", lambda *_, **__: "<html/>")
        patch.setattr(report, "montage_jpeg", lambda *_, **__: b"")
        yield


def _watch(store: Path, stages: Stages, on_change: Callable[[str, int], None]) -> None:
    """Count what changes in the store, before it does, for the rest of the life of this process."""
    from tasks.stages.runner import StageRunner

    run_stage = StageRunner.__call__

    def run_noted_stage(self: StageRunner, task: Any, **work: Any) -> Any:
        if task.name in STAGES[1:]:
            stages.enter(task.name)
        return run_stage(self, task, **work)

    counters = {stage: itertools.count(1) for stage in STAGES}
    root = f"{store}/"

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES or not isinstance(path, (str, os.PathLike)):
                return
            changed = os.fspath(path)
        elif event in _CHANGES:
            changed = _full_path(*(arguments[at] for at in _CHANGES[event]))
        else:
            return
        if str(changed).startswith(root):
            stage = stages.now
            stages.counts[stage] = number = next(counters[stage])
            on_change(stage, number)

    StageRunner.__call__ = run_noted_stage  # type: ignore[method-assign]
    sys.addaudithook(hear)


def _full_path(path: Any, folder: object) -> str:
    name = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not name.startswith("/"):
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)  # noqa: PTH118, PTH115
    return name
