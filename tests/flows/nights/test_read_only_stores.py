"""A store on a disk that is mounted read-only, as a backup or another team's: everything that only reads works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.streams import CATEGORY, Stream
from typer.testing import CliRunner

from flows.cli import app
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.timeout(600)]

_MOUNTED = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
"""Runs a command in a file system of its own, where the first argument is a folder that cannot be written."""

_COMMANDS = """
import json, sys
from typer.testing import CliRunner
from flows.cli import app
told = []
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    told.append([result.exit_code, result.stdout, result.stderr])
print(json.dumps(told))
"""

_AGAIN = """
import json, sys
from pathlib import Path
from anoclust_core.config import RunConfig
from flows.nights.run import run_nights
from flows.run import run_data
data, store, config = Path(sys.argv[1]), Path(sys.argv[2]), RunConfig.model_validate_json(sys.argv[3])
told = []
for function in (run_data, run_nights):
    (outcome,) = function(data, store, config)
    error = outcome.error
    told.append([outcome.is_new, str(error) if error else None, error.exit_code if error else 0])
print(json.dumps(told))
"""


def read_only(store: Path, code: str, *arguments: str) -> list[list[object]]:
    """Run code while a store cannot be written; skips where this machine allows no mounts."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare: read-only mounts cannot be tried")
    own = [unshare, "-m"] if os.geteuid() == 0 else [unshare, "-rm"]
    mounted = [*own, "sh", "-c", _MOUNTED, "sh", str(store)]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no read-only mounts")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*mounted, sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_commands_that_read_answer_as_ever(stream: Stream, tmp_path: Path) -> None:
    """What only reads says the same words as where the store can be written, and changes nothing."""
    catalog = stream.config.night.catalog
    options = ["--store", str(stream.store)]
    reading = [
        ["show", *options],
        ["store", "size", *options],
        ["store", "check", *options],
        ["store", "gc", "--keep", "1h", "--dry-run", *options],
        ["export", "maps", "--out", str(tmp_path / "maps"), *options],
        *(
            [
                ["status", *options],
                ["clusters", "list", CATEGORY, *options],
                ["clusters", "show", CATEGORY, "c1", *options],
                ["clusters", "history", CATEGORY, *options],
                ["export", "clusters", CATEGORY, "--out", str(tmp_path / "clusters.csv"), *options],
            ]
            if catalog is None
            else []
        ),
    ]
    runner = CliRunner()
    expected = [runner.invoke(app, command, env={"COLUMNS": "200"}) for command in reading]
    before = files(stream.store)
    for command, result, (code, told, error) in zip(
        reading, expected, read_only(stream.store, _COMMANDS, json.dumps(reading)), strict=True
    ):
        assert (code, told) == (result.exit_code, result.stdout), (command, error)
        # the check misses a catalog in PostgreSQL that it is not told of
        assert code == 0 or (catalog is not None and command[:2] == ["store", "check"]), (command, error)
    assert files(stream.store) == before


def test_commands_that_write_say_that_it_is_read_only(stream: Stream) -> None:
    """What must write ends with exit code 4 and one paragraph that says so."""
    options = ["--store", str(stream.store)]
    writing = [["store", "gc", "--keep", "0h", *options]]
    if stream.config.night.catalog is None:
        writing.append(["clusters", "rename", CATEGORY, "c1", "scratch", *options])
    for command, (code, _, error) in zip(writing, read_only(stream.store, _COMMANDS, json.dumps(writing)), strict=True):
        assert code == 4, (command, error)
        assert len(str(error).strip().splitlines()) == 1
        assert "read-only" in str(error)


def test_run_and_nightly_again(stream: Stream) -> None:
    """A run that is finished is answered; a night, and a run with something to do, say that the store is read-only."""
    from flows.run import run_data

    (first,) = run_data(stream.manifest, stream.store, stream.config)
    assert first.error is None
    arguments = (str(stream.manifest), str(stream.store), stream.config.model_dump_json())
    (again, night) = read_only(stream.store, _AGAIN, *arguments)
    assert again == [False, None, 0]
    assert night[2] == 4
    assert "is read-only" in str(night[1])
    stream.deliver(2, ("good", "hole"))
    (more, _) = read_only(stream.store, _AGAIN, *arguments)
    assert more[2] == 4
    assert f"the store {StoreLayout(stream.store).root} is read-only" in str(more[1])
