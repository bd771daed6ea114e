"""One run of a category at a time, and none waits for a dead one."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder, tiny_config
from helpers.processes import hold_lock, start

from anoclust_core.errors import BusyError, StoreError
from flows.run import run_data
from tasks.stores.files import read_json
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock

pytestmark = pytest.mark.slow

AT_ONCE = 2.0
"""Seconds that count as at once on a busy machine; a lock that is taken by time takes longer."""


class Holder:
    """Another process that holds the lock of category ``board``."""

    def __init__(self, store: Path, told: Path) -> None:
        self._process = start(hold_lock, store, "board", told)
        while not told.exists():
            time.sleep(0.01)
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.join()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    holding = Holder(tmp_path / "store", tmp_path / "told")
    yield holding
    holding.kill()


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(tmp_path / "store")


def test_second_run_ends_with_a_message(holder, layout):
    """A second run of a category is told which one is going on, since when, and how to wait."""
    with pytest.raises(BusyError) as raised, category_lock(layout, "board"):
        pass
    assert raised.value.exit_code == 7
    message = str(raised.value)
    assert f"another run of category board is in progress (process {holder.pid} on " in message
    assert " UTC)" in message
    assert "--wait-seconds" in message


def test_killed_holder_holds_nothing(holder, layout):
    """A lock is free as soon as its holder is dead, however it died, and says who has it now."""
    holder.kill()
    began = time.monotonic()
    with category_lock(layout, "board"):
        assert time.monotonic() - began < AT_ONCE
        assert read_json(layout.lock("board").with_suffix(".json"))["pid"] == os.getpid()


def test_waiting_for_the_other_run(holder, layout):
    """A run that may wait gets its turn when the other one ends, and tells how long it has waited so far."""
    threading.Timer(1.5, holder.kill).start()
    heard: list[float] = []
    with category_lock(layout, "board", wait_seconds=60, on_wait=heard.append):
        assert heard
        assert heard == sorted(heard)
        assert max(heard) < 1.5 + AT_ONCE


def test_waiting_in_vain(holder, layout):
    """A run that waited long enough ends, and says how long that was."""
    began = time.monotonic()
    with (
        pytest.raises(BusyError, match=r"category board is still running after [01] s \(process"),
        category_lock(layout, "board", wait_seconds=0.5),
    ):
        pass
    assert 0.5 <= time.monotonic() - began < 0.5 + AT_ONCE


def test_other_categories_and_stores_go_on(holder, layout, tmp_path):
    """A lock is that of one category in one store."""
    for store, category in ((layout, "nut"), (layout, "board.lock"), (StoreLayout(tmp_path / "other"), "board")):
        with category_lock(store, category):
            pass


def test_lock_is_free_after_an_error(layout):
    """A run that fails, or is stopped with Ctrl-C, leaves no lock."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), category_lock(layout, "board"):
            raise error
    with category_lock(layout, "board"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_file_system_without_locks(layout, monkeypatch, number):
    """Where files cannot be locked a run ends with a message, rather than go on without or leave a lock for good."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        with (
            pytest.raises(StoreError, match=r"board\.lock cannot be locked .*local disk"),
            category_lock(layout, "board"),
        ):
            pass


def test_unwritable_store_is_told_as_such(layout):
    """A lock that cannot be written for want of a right is no want of locks."""
    layout.root.write_text("in the way")
    with pytest.raises(OSError, match="locks"), category_lock(layout, "board"):
        pass


def test_busy_category_does_not_keep_others_from_running(holder, tmp_path, checkpoint, prefect_db):
    """A data set with a category that another run works on: that one is told busy, the others are made."""
    for name in ("board", "nut"):
        flat_folder(tmp_path / "data" / name, range(4))
    board, nut = run_data(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, n_clusters=2))
    assert isinstance(board.error, BusyError)
    assert nut.error is None
    assert nut.is_new


def test_finished_run_needs_no_lock(tmp_path, checkpoint, prefect_db):
    """A command whose run is finished is answered although another run of the category is going on."""
    data, store, config = flat_folder(tmp_path / "board", range(4)), tmp_path / "store", tiny_config(checkpoint)
    (first,) = run_data(data, store, config)
    latest = store / "runs" / "board" / "latest.json"
    latest.write_text('{"run_id": "another"}')
    holder = Holder(store, tmp_path / "told")
    try:
        (again,) = run_data(data, store, config)
    finally:
        holder.kill()
    assert (again.run, again.is_new) == (first.run, False)
    assert read_json(latest)["run_id"] == first.run.name


def test_run_that_was_waited_for_is_the_answer(tmp_path, checkpoint, prefect_db):
    """Two runs of the same thing at a time: the second one waits, finds it done, and computes nothing."""
    data, store = flat_folder(tmp_path / "board", range(4)), tmp_path / "store"
    config = tiny_config(checkpoint, wait_seconds=60)
    holder = Holder(store, tmp_path / "told")
    found = []
    waiting = threading.Thread(target=lambda: found.extend(run_data(data, store, config)))
    waiting.start()
    time.sleep(0.5)
    (made,) = run_data(data, tmp_path / "elsewhere", config)
    (store / "runs").mkdir()
    assert made.run is not None
    made.run.parent.rename(store / "runs" / "board")  # as if the other run had made it
    holder.kill()
    waiting.join()
    (outcome,) = found
    assert outcome.error is None
    assert outcome.is_new is False
    assert outcome.run == store / "runs" / "board" / made.run.name


def test_killed_command_leaves_no_process_and_no_lock(tmp_path, checkpoint):
    """Kill -9 of the command itself: the Prefect server that it started ends too, and the lock is free."""
    data, store = flat_folder(tmp_path / "board", range(4)), tmp_path / "store"
    options = ["--backbone", TINY_BACKBONE, "--checkpoint", str(checkpoint), "--image-size", str(TINY_SIDE)]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    command = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(data), "--store", str(store), "--settle-seconds", "0", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server = _wait_for(lambda: _servers_of(command.pid), seconds=120)
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    with category_lock(StoreLayout(store), "board"):
        pass
    assert _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in server), seconds=30)


def _servers_of(pid: int) -> list[int]:
    """Processes that a command started: its Prefect server, once there is one, and the watcher beside it."""
    with suppress(psutil.NoSuchProcess):
        found = [child.pid for child in psutil.Process(pid).children()]
        if len(found) >= 2:
            return found
    return []


def _wait_for(look, *, seconds: float):
    """Look again and again until something is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError
