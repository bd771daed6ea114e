"""A disk that fails in any file of a store: the check finds it, and no command gives a wrong answer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.streams import CATEGORY, TWO, Stream, night_config
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.run import run_data
from tasks.store_check.findings import Fault
from tasks.store_check.store import check_store
from tasks.stores import arrays
from tasks.stores.files import FILES, read_json, with_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.results import RECORD
from tasks.stores.upkeep import inventory
from tasks.stores.upkeep.collect import collect, parse_age

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.timeout(900)]

FLIPS = 150


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Stream:
    """A store with a run, two nights, a converted network, an image that is none, and remembered hashes."""
    config = night_config(checkpoint, recluster_every="none", engine="openvino", n_clusters=2)
    stream = Stream(tmp_path_factory.mktemp("every") / "stream", config)
    stream.deliver(0, TWO)
    bad = stream.data / CATEGORY / "2026-11-01" / "bad.png"
    bad.write_text("no image")
    stream.list(bad, "good")
    stream.night(0)
    stream.deliver(1, TWO[:4])
    stream.night(1)
    old = time.time() - 3600
    for path in stream.data.rglob("*.png"):
        os.utime(path, (old, old))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.images.known_hashes.SETTLED_SECONDS", -1.0)
        assert run_again(stream) is not None
    return stream


@pytest.fixture
def stream(whole: Stream) -> Iterator[Stream]:
    """The store, put back as it was after each test: cached results are of one place only."""
    kept = whole.root / "kept"
    shutil.copytree(whole.store, kept)
    yield whole
    shutil.rmtree(whole.store)
    kept.rename(whole.store)


def run_again(stream: Stream) -> dict[str, Any]:
    """Run over all images; gives what a user reads of the outcome."""
    (outcome,) = run_data(stream.manifest, stream.store, stream.config)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.run is not None
    summary = dict(outcome.summary)
    for name in ("run_id", "created_at", "seconds", "work", "peak_memory_bytes", "digest", "notes", FILES):
        summary.pop(name, None)
    return {"summary": summary, "clusters": (outcome.run / "assignments.csv").read_text()}


def anoclust(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


COMMANDS = {
    "show": ("show",),
    "status": ("status",),
    "list": ("clusters", "list", CATEGORY),
    "history": ("clusters", "history", CATEGORY),
    "gc": ("store", "gc", "--keep", "90d", "--dry-run"),
    "export": ("export", "clusters", CATEGORY, "--out", "OUT/clusters.csv"),
    "maps": ("export", "maps", CATEGORY, "--out", "OUT/maps"),
}
"""Small commands that read a store."""

READS = {
    "runs": ("show", "gc", "maps"),
    "nights": ("status", "list", "history", "gc", "export"),
    **dict.fromkeys(("manifests", "weights", "trees"), ("gc", "maps")),
}
"""Commands that read a folder of the store; of the other folders only gc. All commands are tried once for each kind."""


def told(stream: Stream, names: Iterable[str] = COMMANDS) -> dict[str, tuple[int, list[str]]]:
    """Exit code and words of small commands."""
    store = ("--store", stream.store)
    out = stream.root / "out"
    found = {name: anoclust(*(word.replace("OUT", str(out)) for word in COMMANDS[name]), *store) for name in names}
    for name, result in found.items():
        assert result.exit_code in (0, 4), (name, result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (name, result.exception)
        assert result.exit_code == 0 or len(result.stderr.strip().splitlines()) == 1, (name, result.stderr)
    # what gc cannot judge it keeps, and says so in a line before the last one
    return {
        name: (result.exit_code, result.stdout.splitlines()[-1:] if name == "gc" else [result.stdout])
        for name, result in found.items()
    }


def files_by_kind(store: Path) -> list[list[Path]]:
    """Files that hold something, by kind; the catalog and its journal have tests of their own."""
    kinds: dict[tuple[str, str, str], list[Path]] = {}
    for path in sorted(store.rglob("*")):
        parts = path.relative_to(store).parts
        if path.is_file() and path.stat().st_size and not parts[0].startswith("catalog"):
            kinds.setdefault((parts[0], "c" if "c" in parts else path.name[-12:], path.suffix), []).append(path)
    return list(kinds.values())


def spoil(path: Path, how: str, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
    elif how == "cut off":
        path.write_bytes(data[: rng.integers(1, max(2, len(data)))])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()


def says_the_same(before: bytes, path: Path) -> bool:
    """Whether a change is one that nothing reads: of a part of an array's description, or of Prefect's version."""
    if path.name == "zarr.json":
        values = arrays.read(path.parent.parent, path.parent.name)
        now = path.read_bytes()
        path.write_bytes(before)
        same = np.array_equal(values, arrays.read(path.parent.parent, path.parent.name))
        path.write_bytes(now)
        return same
    return b"prefect_version" in before


def test_every_flip_is_found_and_answered_right(stream: Stream) -> None:
    """Of 150 flipped bits, each that is read is found by the check; commands answer as before, or with exit code 4."""
    layout = StoreLayout(stream.store)
    assert check_store(layout, catalog=layout.catalog).findings == ()
    undisturbed = told(stream)
    assert all(code == 0 for code, _ in undisturbed.values())
    kinds = files_by_kind(stream.store)
    assert {kind[0].relative_to(stream.store).parts[0] for kind in kinds} >= {
        *("backbones", "digests", "embeddings", "locks", "manifests", "nearest", "nights", "results", "runs"),
        *("trees", "weights"),
    }
    n_found = 0
    for number in range(FLIPS):
        rng = np.random.default_rng(number)
        kind = kinds[number % len(kinds)]
        path = kind[rng.integers(len(kind))]
        before = path.read_bytes()
        spoil(path, "flip", rng)
        damage = check_store(layout).damage
        name = path.relative_to(stream.store).as_posix()
        if damage:
            n_found += 1
            assert [one.kind for one in damage] == [Fault.DAMAGED], (name, damage)
            assert name.startswith(damage[0].path), (name, damage)
        else:
            assert says_the_same(before, path), name
        asked = READS.get(Path(name).parts[0], ("gc",)) if number >= len(kinds) else COMMANDS
        for command, (code, text) in told(stream, asked).items():
            assert code == 4 or text == undisturbed[command][1], (name, command, text)
        path.write_bytes(before)
    assert n_found > 0.9 * FLIPS


@pytest.mark.parametrize("how", ["cut off", "empty", "a folder"])
def test_files_cut_off_empty_or_folders(stream: Stream, how: str) -> None:
    """Any file that is cut off, empty or a folder is found; commands answer as before, or with exit code 4."""
    layout = StoreLayout(stream.store)
    undisturbed = told(stream)
    for number, kind in enumerate(files_by_kind(stream.store)):
        path = kind[-1]
        before = path.read_bytes()
        spoil(path, how, np.random.default_rng(number))
        name = path.relative_to(stream.store).as_posix()
        checked = check_store(layout)
        assert any(name.startswith(one.path) for one in checked.findings), (name, checked.findings)
        for command, (code, text) in told(stream, READS.get(Path(name).parts[0], ("gc",))).items():
            assert code == 4 or text == undisturbed[command][1], (name, command, text)
        if path.is_dir():
            path.rmdir()
        path.write_bytes(before)
    assert check_store(layout).findings == ()


@pytest.mark.parametrize("how", ["flip", "empty", "a folder"])
def test_the_next_run_and_night_make_everything_again(stream: Stream, how: str) -> None:
    """With a file of every kind spoiled, run and nightly come to what they came to before; then the store is whole."""
    layout = StoreLayout(stream.store)
    undisturbed = run_again(stream)
    partition = stream.partition()
    for number, kind in enumerate(files_by_kind(stream.store)):
        for path in (kind[0], kind[-1]):
            if path.is_file():
                spoil(path, how, np.random.default_rng(number))
    assert run_again(stream) == undisturbed
    for night in (0, 1):
        stream.night(night)
    assert stream.partition() == partition
    # known hashes save reading and no more: a folder in their place is a person's
    shutil.rmtree(layout.known_hashes(CATEGORY), ignore_errors=True)
    left = [one for one in check_store(layout).damage if not one.path.startswith("results/")]
    # runs that nobody asks for any more stay as they are, and what only the review page shows until it is shown
    folders = {"runs", "manifests", "weights", "models", "trees", "nearest", "near_duplicates", "embeddings"}
    folders |= {"projections", "thumbnails"}
    assert all(one.path.split("/")[0] in folders for one in left), left


def test_files_of_the_version_before_are_whole(stream: Stream) -> None:
    """Stores of the version before, whose small files had no checksums, are read and are not called damaged."""
    layout = StoreLayout(stream.store)
    for path in (*stream.store.glob("locks/*.json"), stream.store / "runs" / CATEGORY / "latest.json"):
        content = read_json(path)
        del content["digest"]
        write_json(path, content)
    for path in (*stream.store.glob("runs/*/*/summary.json"), *stream.store.glob("nights/*/*/summary.json")):
        content = read_json(path)
        del content["digest"], content[FILES]
        write_json(path, with_digest(content))
    for path in stream.store.glob(f"backbones/*{inventory.CHECKSUMS}"):
        path.unlink()
    undisturbed = told(stream)
    assert check_store(layout, catalog=layout.catalog).findings == ()
    assert all(code == 0 for code, _ in undisturbed.values())
    run_again(stream)


OLD_DAMAGE: dict[str, Callable[[Path], object]] = {
    "locks/board.json": lambda path: write_json(path, {"pid": "x", "host": "h", "since": "s"}),
    "runs/board/latest.json": lambda path: write_json(path, {"run_id": 5}),
    "runs/board/*/report.html": lambda path: path.write_text(path.read_text()[:1000]),
    "runs/board/*/assignments.parquet": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "nights/board/*/report.html": lambda path: path.unlink(),
    "backbones/*.npz": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "backbones/*.onnx": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("pattern", OLD_DAMAGE)
def test_files_without_checksums_are_looked_at(stream: Stream, pattern: str) -> None:
    """What has no checksum is checked as far as it can be: that it parses, its fields, the number of its rows."""
    layout = StoreLayout(stream.store)
    for path in (*stream.store.glob("runs/*/*/summary.json"), *stream.store.glob("nights/*/*/summary.json")):
        content = read_json(path)
        del content["digest"], content[FILES]
        write_json(path, with_digest(content))
    for path in stream.store.glob(f"backbones/*{inventory.CHECKSUMS}"):
        path.unlink()
    path = sorted(stream.store.glob(pattern))[-1]
    OLD_DAMAGE[pattern](path)
    (found,) = check_store(layout).damage
    assert path.relative_to(stream.store).as_posix().startswith(found.path)


def test_strays_are_listed_and_collected(stream: Stream) -> None:
    """What killed runs leave where no category has a place is listed, does no harm, and goes when it is an hour old."""
    layout = StoreLayout(stream.store)
    places = (
        f"results/{'ab' * 16}",
        "backbones/.x.json.a1b2.partial",
        "locks/.board.json.a1b2.partial",
        "digests/.nut.json.a1b2.partial",
        ".anything.json.a1b2.partial",
        f"nights/{CATEGORY}/2026-11-01/.summary.json.a1b2.partial",
    )
    foreign = ("results/notes.txt", "backbones/notes.txt", f"results/{'ab' * 15}")
    old = time.time() - 7200
    for name in (*places, *foreign):
        (stream.store / name).write_text("left")
        os.utime(stream.store / name, (old, old))
    young = stream.store / "results" / ("cd" * 16)
    young.write_text("left")
    checked = check_store(layout)
    assert {one.path for one in checked.findings} == {*places, young.relative_to(stream.store).as_posix()}
    assert {one.kind for one in checked.findings} == {Fault.LEFTOVER}
    result = anoclust("store", "check", "--store", stream.store)
    assert result.exit_code == 0, result.output
    assert f"left by killed runs: {len(places) + 1}" in result.stdout
    collect(layout, parse_age("0h"), dry_run=True)
    assert all((stream.store / name).exists() for name in places)
    collect(layout, parse_age("1h"))
    assert not any((stream.store / name).exists() for name in places)
    assert all((stream.store / name).exists() for name in foreign)
    assert young.exists()


def test_faults_are_told_by_kind_with_their_number(stream: Stream) -> None:
    """What was found is told by kind of fault, each with its number, and again in the last line; exit code 4."""
    for path in stream.store.glob("locks/*.json"):
        path.write_text("{")
    (stream.store / "backbones" / ".x.json.a1b2.partial").write_text("left")
    shutil.rmtree(next((stream.store / "trees" / CATEGORY).iterdir()))
    result = anoclust("store", "check", "--store", stream.store)
    assert result.exit_code == 4
    headings = [line for line in result.stdout.splitlines() if line[:1].isalpha()]
    assert headings[0] == "damaged: 1"
    assert headings[1].startswith("missing: ")
    assert "left by killed runs: 1" in headings
    assert "(1 damaged, " in result.stderr


def test_results_say_of_themselves_what_our_serializer_says() -> None:
    """The check knows, without Prefect, what Prefect goes by when it reads a result."""
    from tasks.stages.runner import CheckedJSONSerializer

    assert RECORD["serializer"] == CheckedJSONSerializer().model_dump()
