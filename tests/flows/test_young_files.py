"""A folder that was copied a second ago: a run waits for it once, says so, and goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers.builders import flat_folder, tiny_config
from helpers.running import run_one

from flows.nights.run import run_nights
from flows.run import run_data
from flows.terminal.progress import StageBars
from tasks.images import file_check, listing
from tasks.images.listing import list_datasets

pytestmark = pytest.mark.usefixtures("prefect_db")

Heard = list[tuple[str, str, int, int]]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be as young as they are: other tests live an hour ahead."""
    monkeypatch.setattr(file_check, "now", time.time)


def heard_settling(heard: Heard) -> list[tuple[int, int]]:
    return [(done, total) for _, stage, done, total in heard if stage == "settle"]


def test_a_folder_that_was_just_copied(tmp_path, checkpoint):
    """Every file is too young: the run waits until they have settled, says so, and clusters all of them."""
    data, heard = flat_folder(tmp_path / "board", range(6)), Heard()
    began = time.monotonic()
    (outcome,) = run_data(
        data, tmp_path / "store", tiny_config(checkpoint, settle_seconds=1.5), listener=lambda *what: heard.append(what)
    )
    assert outcome.error is None
    assert outcome.summary["images"]["clustered"] == 6
    assert outcome.summary["deferred"] == []
    assert heard_settling(heard)
    assert time.monotonic() - began >= 1


def test_how_long_is_waited(tmp_path, monkeypatch):
    """As long as the youngest file needs, and never more than the time to settle and one second."""
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(listing.time, "sleep", sleep)
    monkeypatch.setattr(listing.time, "monotonic", lambda: clock[0])
    data = flat_folder(tmp_path / "board", range(3))
    start = 1_900_000_000.0
    monkeypatch.setattr(file_check, "now", lambda: start + clock[0])
    for age, expected in ((1.0, 9.1), (9.5, 0.6), (-5.0, 11.0)):  # the last is dated ahead by another clock
        slept.clear()
        for file in data.iterdir():
            os.utime(file, (start + clock[0] - age,) * 2)
        config = tiny_config(Path("none"), settle_seconds=10)
        (found,) = list_datasets(data, config, waits=lambda manifest: not manifest.images)
        assert sum(slept) == pytest.approx(expected)
        assert (len(found.images), len(found.deferred)) == ((3, 0) if age > 0 else (0, 3))
        assert max(slept) <= 1  # so that Ctrl-C is heard, and progress shown


def test_some_files_are_young(tmp_path, checkpoint, monkeypatch):
    """Where only some are, nobody waits: they are left for the next run, as ever."""
    data = flat_folder(tmp_path / "board", range(6))
    for number in range(5):
        os.utime(data / f"{number:03d}.png", (time.time() - 600,) * 2)
    monkeypatch.setattr(listing, "_wait", lambda *_: pytest.fail("it waits"))
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, settle_seconds=300))
    assert [entry["path"] for entry in outcome.summary["deferred"]] == ["005.png"]


def test_files_that_go_on_changing(tmp_path, checkpoint, monkeypatch):
    """Where the files are too young after the wait too, the run ends as ever; it waits once, for all categories."""
    for name in ("a", "b"):
        flat_folder(tmp_path / "data" / name, range(3))
    waits: list[float] = []

    def wait(seconds: float, *_: object) -> None:
        waits.append(seconds)
        for file in (tmp_path / "data").rglob("*.png"):
            os.utime(file)

    monkeypatch.setattr(listing, "_wait", wait)
    outcomes = list(run_data(tmp_path / "data", tmp_path / "store", tiny_config(checkpoint, settle_seconds=60)))
    assert len(waits) == 1
    assert [type(outcome.error).__name__ for outcome in outcomes] == ["DatasetError"] * 2
    assert "run again in a moment" in str(outcomes[0].error)


def test_too_few_without_the_young_files(tmp_path, checkpoint):
    """One image has settled, which is too few to run: the others are worth waiting for."""
    data = flat_folder(tmp_path / "board", range(6))
    os.utime(data / "000.png", (time.time() - 600,) * 2)
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint, settle_seconds=1.5))
    assert outcome.summary["images"]["clustered"] == 6


def test_a_first_night_of_files_just_copied(tmp_path, checkpoint):
    """A night whose every file is too young waits as well: a category does not begin a day late for a second."""
    data, heard = flat_folder(tmp_path / "board", range(6)), Heard()
    config = tiny_config(checkpoint, settle_seconds=1.5)
    (outcome,) = run_nights(data, tmp_path / "store", config, listener=lambda *what: heard.append(what))
    assert outcome.error is None
    assert (outcome.counters["new"], outcome.counters["deferred"]) == (6, 0)
    assert heard_settling(heard)


def test_ctrl_c_while_it_waits(tmp_path, checkpoint, monkeypatch):
    """Ctrl-C during the wait stops the run at once."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing.time, "sleep", interrupted)
    data = flat_folder(tmp_path / "board", range(3))
    with pytest.raises(KeyboardInterrupt):
        list(run_data(data, tmp_path / "store", tiny_config(checkpoint, settle_seconds=3600)))
    assert not (tmp_path / "store" / "runs").exists()


def test_it_says_so_without_a_terminal(capsys):
    """Where the output is no terminal the wait is one line with its seconds."""
    from rich.console import Console

    with StageBars(Console(stderr=True, width=200)) as bars:
        bars("", "settle", 0, 2)
        bars("", "settle", 1, 2)
    assert capsys.readouterr().err.splitlines() == [
        "files were changed just now; waiting until no more changes come, seconds: 2"
    ]
