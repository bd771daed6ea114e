"""`anoclust backfill --max-parallel 2`: two categories side by side, each in the order of dates; killed and gone on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from helpers.builders import save_image, surface
from helpers.streams import FIRST, TWO, day, night_config

from flows.nights.backfill import run_backfill
from tasks.stores.catalog.catalog import Catalog

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800), pytest.mark.usefixtures("prefect_db")]

CATEGORIES = ("board", "nut")
NIGHTS = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images of two categories, taken on three nights."""
    for category in CATEGORIES:
        for number in range(NIGHTS):
            for at, label in enumerate(TWO[: 8 if number == 0 else 4]):
                seed = 1000 * CATEGORIES.index(category) + 100 * number + at
                save_image(tmp_path / "data" / category / str(day(number)) / f"{at}-{label}.png", surface(seed, label))
    return tmp_path / "data"


class Backfill:
    """The command, as a process of its own."""

    def __init__(self, data: Path, store: Path, checkpoint: Path) -> None:
        self.store = store
        (store.parent / "anoclust.toml").write_text(
            f'store = "{store}"\n[embed]\nbackbone = "test_resnet"\ncheckpoint = "{checkpoint}"\n'
            'image_size = 64\ndevice = "cpu"\n[data]\nsettle_seconds = 0\n[night]\ncaptured = "path:%Y-%m-%d"\n'
        )
        program = [sys.executable, "-m", "flows.cli", "backfill", str(data), "--json", "--max-parallel", "2"]
        named = [word for category in CATEGORIES for word in ("--category", category)]
        span = ["--from", str(FIRST), "--to", str(FIRST + timedelta(days=NIGHTS - 1))]
        self._command = [*program, *named, *span]
        self._environment = {**os.environ, "PREFECT_HOME": str(store.parent / "prefect")}
        self._environment.pop("PREFECT_API_URL", None)

    def __call__(self) -> list[dict[str, object]]:
        """Run to the end; gives what it printed."""
        done = subprocess.run(
            self._command,
            env=self._environment,
            cwd=self.store.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found

    def killed_after_a_night(self) -> list[psutil.Process]:
        """Kill the command once a night is done; gives the processes that it had started."""
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self.store.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 500
            while nights_done(self.store) == 0:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
            return psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
            process.wait()


def nights_done(store: Path) -> int:
    """Nights that are recorded so far."""
    if not (store / "catalog.sqlite").exists():
        return 0
    with Catalog.open(store / "catalog.sqlite") as catalog:
        return sum(night.state == "done" for night in catalog.nights())


def partitions(store: Path) -> list[dict[str, str]]:
    with Catalog.open(store / "catalog.sqlite") as catalog:
        return [catalog.partition(category) for category in CATEGORIES]


def test_two_categories_side_by_side(tmp_path: Path, checkpoint: Path, data: Path) -> None:
    """Killed in the middle no process stays; the same command finishes in the order of dates; again it does nothing."""
    backfill = Backfill(data, tmp_path / "store", checkpoint)
    members = backfill.killed_after_a_night()
    _, alive = psutil.wait_procs(members, timeout=120)
    assert alive == []
    assert nights_done(backfill.store) < NIGHTS * len(CATEGORIES)

    found = backfill()
    assert len(found) == NIGHTS * len(CATEGORIES)
    with Catalog.open(backfill.store / "catalog.sqlite") as catalog:
        for category in CATEGORIES:
            recorded = sorted(catalog.nights(category), key=lambda night: night.ended)
            assert [night.night for night in recorded] == [day(number) for number in range(NIGHTS)]
            assert [night.counters["new"] for night in recorded] == [8, 4, 4]
    assert [one["is_new"] for one in backfill()] == [False] * len(found)

    config = night_config(checkpoint)
    nights = [day(number) for number in range(NIGHTS)]
    alone = list(run_backfill(data, tmp_path / "alone", config, categories=CATEGORIES, nights=nights))
    assert [outcome.error for outcome in alone] == [None] * len(found)
    assert partitions(backfill.store) == partitions(tmp_path / "alone")
