"""What a disk does to a store: a flipped bit, a file cut off, a folder gone; noticed, named and rebuilt."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.places import DONE, Place, State, check_same_result, everywhere

from anoclust_core.errors import DamagedError, StoreError
from flows.exclusive import MAX_REPAIRS, repairing
from tasks import telemetry
from tasks.compute.dask_jobs import run_jobs
from tasks.stores import arrays, runs
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def flip(file: Path, rng: np.random.Generator) -> None:
    """Change one bit."""
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def truncate(file: Path, rng: np.random.Generator) -> None:
    """Cut a file off somewhere."""
    data = file.read_bytes()
    file.write_bytes(data[: rng.integers(len(data))])


def delete(path: Path, rng: np.random.Generator) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


FAULTS = {"flip": flip, "truncate": truncate, "delete": delete}


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes
    ----------
    name
        Of the test.
    patterns
        What is hit: the newest path in the store that fits each.
    fault
        What happens to it.
    told
        Kinds that the run must say it has rebuilt. It need not where it writes the thing anyway, or where what is there
        is not complete. None: whatever it finds.
    removed
        Folders of the store that are deleted besides, so that what is hit has to be read.
    everything
        Whether all paths that fit are hit.
    """

    name: str
    patterns: tuple[str, ...]
    fault: str
    told: frozenset[str] | None
    removed: tuple[str, ...] = ("runs",)
    everything: bool = False


KINDS = {"embeddings": "bags", "nearest": "distances", "weights": "rarity", "trees": "labels"}
"""Folders of arrays, and an array of each that a run reads."""

CHUNKS = tuple(f"{kind}/board/**/{name}/c/**/[0-9]*" for kind, name in KINDS.items())
DESCRIPTIONS = tuple(f"{kind}/board/**/{name}/zarr.json" for kind, name in KINDS.items())
SEALS = ("embeddings/*/*/*/complete.json", "nearest/*/*/*/complete.json")
BAD_IMAGES = "embeddings/*/*/unreadable.json"
WRITTEN_ANYWAY = ("results/*/*/*", "manifests/*/*", "backbones/*")
SUMMARY = "runs/*/*/summary.json"
ALL = frozenset(KINDS)
NOTHING: frozenset[str] = frozenset()

CASES = [
    *(Case("a chunk of every kind", CHUNKS, fault, ALL) for fault in FAULTS),
    Case("a description of every kind", DESCRIPTIONS, "flip", None),  # some bits say nothing, like those of a space
    *(Case("a description of every kind", DESCRIPTIONS, fault, ALL) for fault in ("truncate", "delete")),
    *(Case("seals", SEALS, fault, frozenset({"embeddings", "nearest"})) for fault in ("flip", "truncate")),
    Case("all seals", ("**/complete.json",), "delete", NOTHING, everything=True),
    *(
        Case("list of bad images", (BAD_IMAGES,), fault, frozenset({"embeddings"}), ())
        for fault in ("flip", "truncate")
    ),
    *(Case("what is written anyway", WRITTEN_ANYWAY, fault, NOTHING, everything=True) for fault in FAULTS),
    *(Case("finished runs", (SUMMARY,), fault, frozenset({"runs"}), (), True) for fault in ("flip", "truncate")),
    Case("segment that a worker reads", CHUNKS[:1], "flip", frozenset({"embeddings"}), ("nearest", "weights", "runs")),
    Case("all arrays", tuple(KINDS), "delete", NOTHING),
    *(
        Case(f"every file ({n})", ("**/*.json", *CHUNKS, "results/*/*/*"), "flip", None, everything=True)
        for n in range(2)
    ),
    Case("every chunk", CHUNKS, "flip", ALL, everything=True),
    Case("every file", ("**/*.json", *CHUNKS, "results/*/*/*"), "truncate", None, everything=True),
]


def hit(place: Place, case: Case, rng: np.random.Generator) -> None:
    """Do a fault to the store of a finished run."""
    place.restore(DONE)
    for kind in case.removed:
        shutil.rmtree(place.store / kind)
    for pattern in case.patterns:
        # the newest is what the finished run is made of; a store may hold an earlier run's beside it
        found = [path for path in place.store.glob(pattern) if path.is_file() or path.parent == place.store]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path))
        assert found, pattern
        for path in found if case.everything else found[-1:]:
            FAULTS[case.fault](path, rng)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, places: list[Place], print_table: Callable[[list[list[object]]], None]
) -> dict[Case, tuple[State, State] | Exception]:
    """What the run after each fault came to, and what it should have; two at a time."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    cases = [item.callspec.params["case"] for item in items if item.function is test_fault]

    def outcome(place: Place, case: Case) -> tuple[State, State]:
        hit(place, case, np.random.default_rng(CASES.index(case)))
        return place.finish(), place.expected

    found = dict(zip(cases, everywhere(places, cases, outcome), strict=True))
    told = [len(came[0].told["repairs"]) for came in found.values() if not isinstance(came, Exception)]
    print_table([["faults", "runs that told of repairs", "repairs"], [len(found), sum(map(bool, told)), sum(told)]])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}: {case.fault}")
def test_fault(outcomes, case):
    """After a fault the same command comes to the undisturbed result, and says what it had to rebuild."""
    if isinstance(outcomes[case], Exception):
        raise outcomes[case]
    ours, expected = outcomes[case]
    check_same_result(ours, expected)
    repairs = ours.told["repairs"]
    kinds = set()
    for repair in repairs:
        assert repair.startswith("rebuilt: ")
        kept = Path(repair.partition("what was damaged is kept in ")[2])
        assert kept.parent.name == "damaged"
        kinds.add(kept.name.split("-")[0])
        assert f"/{kept.name.split('-')[0]}/board/" in repair
    if case.told is not None:
        assert kinds == case.told
    if ours.told["is_new"]:
        assert [note for note in ours.told["summary"]["notes"] if note.startswith("rebuilt")] == repairs


def test_damaged_latest_is_written_again(places):
    """Whatever happens to latest.json, the same command names its run again, and makes no other."""
    place = places[0]
    for fault in FAULTS.values():
        place.restore(DONE)
        latest = place.store / "runs" / "board" / runs.LATEST
        content = latest.read_bytes()
        fault(latest, np.random.default_rng(0))
        ours = place.finish()
        assert ours.told["is_new"] is False
        assert latest.read_bytes() == content


def test_every_bit_of_arrays_counts(tmp_path):
    """A bit flipped anywhere in a folder of arrays is noticed, or leaves every number and the description as it was."""
    values = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float16)
    description = {"hashes": ["ab", "cd"]}
    folder = tmp_path / "arrays"
    arrays.write_arrays(folder, {"bags": values, "labels": np.arange(6)}, description)
    rng = np.random.default_rng(1)
    noticed = 0
    for _ in range(500):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        flip(file, rng)
        try:
            np.testing.assert_array_equal(arrays.read(folder, "bags"), values)
            np.testing.assert_array_equal(arrays.read(folder, "labels"), np.arange(6))
            assert (arrays.describe(folder) or {})["hashes"] == description["hashes"]
        except DamagedError as error:
            assert error.folder == folder
            noticed += 1
        file.write_bytes(content)
    assert noticed > 400


def test_damage_travels_between_processes():
    """Another process's error says on this side what is damaged."""
    error = pickle.loads(pickle.dumps(DamagedError("bags is damaged", Path("/store/x"))))
    assert (str(error), error.folder) == ("bags is damaged; run again to rebuild it", Path("/store/x"))


def read_lost_array(folder: Path) -> int:
    return len(arrays.read(folder, "bags"))


def test_damage_that_a_worker_meets_is_named(tmp_path):
    """So does a worker's, whatever error of another library is behind it."""
    with pytest.raises(DamagedError, match="bags is missing") as raised:
        run_jobs(read_lost_array, [tmp_path], address=None, on_done=lambda *_: None)
    assert raised.value.folder == tmp_path


@pytest.fixture
def failing_runs(tmp_path: Path) -> Callable[[list[Exception | None]], list[str]]:
    """Give runs that fail one after the other; None is a run that goes well. Gives the notes."""

    def failing(errors: list[Exception | None]) -> list[str]:
        waiting = iter(errors)

        def one_run() -> Path:
            if (error := next(waiting)) is not None:
                raise error
            return tmp_path

        with telemetry.recording() as notes:
            repairing(StoreLayout(tmp_path), one_run)
            return notes.notes

    return failing


def segment(store: Path, name: str) -> DamagedError:
    folder = store / "embeddings" / "board" / "key" / name
    folder.mkdir(parents=True, exist_ok=True)
    return DamagedError(f"{folder} is damaged", folder)


def test_damage_behind_another_error_is_repaired(failing_runs, tmp_path):
    """An error of the store that has its cause in damage is repaired like the damage itself."""
    wrapped = StoreError("stage weigh failed")
    wrapped.__cause__ = segment(tmp_path, "a")
    (note,) = failing_runs([wrapped, None])
    assert "embeddings/board/key/a is damaged" in note
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.name.startswith("embeddings-board-a-")


def test_damage_that_comes_back_is_an_error(failing_runs, tmp_path):
    """A folder that is damaged again as soon as it was rebuilt means a failing disk: the run gives up."""
    with pytest.raises(DamagedError, match="key/a is damaged"):
        failing_runs([segment(tmp_path, "a"), segment(tmp_path, "a")])


def test_too_much_damage_is_an_error(failing_runs, tmp_path):
    """So does damage everywhere; what was put aside is kept."""
    with pytest.raises(DamagedError):
        failing_runs([segment(tmp_path, f"s{n}") for n in range(MAX_REPAIRS + 1)])
    assert len(list((tmp_path / "damaged").iterdir())) == MAX_REPAIRS


def test_only_the_store_is_put_aside(failing_runs, tmp_path):
    """Nothing outside of the store is ever moved."""
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    with pytest.raises(DamagedError, match="outside"):
        failing_runs([DamagedError(f"{outside} is damaged", outside)])
    assert outside.is_dir()
