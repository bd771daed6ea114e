"""Stores that faults are done to, and what they should become."""

from __future__ import annotations

import csv
import json
import queue
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pytest

from helpers.builders import flat_folder, tiny_config
from helpers.processes import Command, Moment, finish, record, run, run_until, start
from tasks.stores import arrays

DONE = "done"
"""Snapshot of the store after the undisturbed run; the others are named after the stage that came next."""

_KILLED = -9
_MEASURED = {"run_id", "created_at", "seconds", "work", "peak_memory_bytes", "digest", "notes", "files"}
"""Fields of summary.json that differ between two runs of the same thing; notes are looked at one by one."""

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass
class State:
    """What a run said, and what is in its store.

    Attributes
    ----------
    told
        What became of the run.
    clusters
        By path of the image.
    files
        All paths but those of slabs, whose names depend on what was missing when, and remembered content hashes,
        which are kept once the images are some seconds old.
    unsealed
        Folders of arrays that are not complete.
    pairs
        Image pairs that have a distance, counted once for every slab.
    """

    told: dict[str, Any]
    clusters: dict[str, str]
    files: set[str]
    unsealed: list[str]
    pairs: int

    @classmethod
    def of(cls, store: Path, told: dict[str, Any]) -> State:
        """Read a store."""
        assert told["error"] is None, told["error"]
        with (Path(told["run"]) / "assignments.csv").open(newline="") as file:
            clusters = {row["path"]: row["cluster"] for row in csv.DictReader(file)}
        slabs = [path for path in (store / "nearest").glob("*/*/*") if path.is_dir()]
        segments = [path for path in (store / "embeddings").glob("*/*/*") if path.is_dir()]
        whole = [path for kind in ("weights", "trees") for path in (store / kind).glob("*/*")]
        sealed = [arrays.describe(path) for path in slabs]
        return cls(
            told=told,
            clusters=clusters,
            files={
                _timeless(path)
                for path in (found.relative_to(store) for found in store.rglob("*"))
                if path.parts[0] not in ("nearest", "digests")
            },
            unsealed=[str(path) for path in (*slabs, *segments, *whole) if not arrays.is_complete(path)],
            pairs=sum(len(slab["rows"]) * len(slab["columns"]) for slab in sealed if slab),
        )


def _timeless(path: Path) -> str:
    """Path in a store without the time in the name of a run."""
    parts = list(path.parts)
    if parts[0] == "runs" and len(parts) > 2 and "-" in parts[2]:
        parts[2] = parts[2].partition("-")[2]
    return "/".join(parts)


@dataclass
class Place:
    """A store at one place, its course undisturbed, and copies of it on the way.

    Results of Prefect name the place that they belong to, so a store is put back where it was, never elsewhere.

    Attributes
    ----------
    command
        What is run.
    snapshots
        Folder of the copies.
    expected
        What the undisturbed run came to.
    events, seconds
        Changes of files, and time, that each stage of it took.
    """

    command: Command
    snapshots: Path
    expected: State
    events: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.command.store

    def restore(self, snapshot: str) -> None:
        """Put back the store as it was before a stage, or when all was done."""
        shutil.rmtree(self.store)
        shutil.copytree(self.snapshots / snapshot, self.store)

    def finish(self) -> State:
        """Run to the end."""
        return State.of(self.store, _finished(self.command, self.snapshots / "told.json", run))

    def kill(self, moment: Moment) -> bool:
        """Run until the moment; gives whether it came before the end."""
        return finish(start(run_until, self.command, self.snapshots / "told.json", moment)) == _KILLED


def _finished(command: Command, told: Path, function: Callable[..., None], *more: object) -> dict[str, Any]:
    told.unlink(missing_ok=True)
    assert finish(start(function, command, told, *more)) == 0
    content: dict[str, Any] = json.loads(told.read_text())
    return content


def make_places(root: Path, checkpoint: Path, api: str) -> list[Place]:
    """Two stores with a run of six images, and the course of an undisturbed run of eight more and a bad one."""
    config = tiny_config(checkpoint, n_clusters=3)
    before = flat_folder(root / "before" / "board", range(6))
    data = flat_folder(root / "data" / "board", range(14))
    (data / "fake.png").write_text(_last_by_hash())

    def make(number: int) -> Place:
        store, snapshots = root / f"place{number}" / "store", root / f"place{number}" / "snapshots"
        snapshots.mkdir(parents=True)
        command, told = Command(data, store, config, api), snapshots / "told.json"
        _finished(replace(command, data=before), told, run)
        expected = State.of(store, _finished(command, told, record, snapshots))
        shutil.copytree(store, snapshots / DONE)
        course = json.loads((snapshots / "stages.json").read_text())
        return Place(command, snapshots, expected, course["events"], course["seconds"])

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, range(2)))


def _last_by_hash() -> str:
    """Text that is no image and comes after all images in the order of the run: batches are cut as without it."""
    return next(text for n in range(100_000) if sha256((text := f"no image {n}").encode()).hexdigest() > "fff")


def everywhere(
    places: Sequence[Place], jobs: Sequence[Job], work: Callable[[Place, Job], Result]
) -> list[Result | Exception]:
    """Do all jobs, as many at a time as there are places; results in the order of the jobs, or why there is none."""
    waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
    for numbered in enumerate(jobs):
        waiting.put(numbered)
    results: dict[int, Result | Exception] = {}

    def work_on(place: Place) -> None:
        while not waiting.empty():
            try:
                number, job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[number] = work(place, job)
            except Exception as error:  # noqa: BLE001 - the test of this job raises it
                results[number] = error

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(work_on, places))
    return [results[number] for number in range(len(jobs))]


def check_same_result(ours: State, expected: State) -> None:
    """Compare what a run came to after a fault with what it comes to without."""
    assert ours.clusters == expected.clusters
    summary, undisturbed = dict(ours.told["summary"]), dict(expected.told["summary"])
    assert summary.pop("tau") == pytest.approx(undisturbed.pop("tau"), rel=1e-4)  # other blocks, other rounding
    assert {name: value for name, value in summary.items() if name not in _MEASURED} == {
        name: value for name, value in undisturbed.items() if name not in _MEASURED
    }
    assert ours.unsealed == []
    assert ours.pairs >= expected.pairs
