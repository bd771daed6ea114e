"""A Dask scheduler and its workers as processes that tests may stop and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from distributed import Client

START_SECONDS = 60


class Cluster:
    """A scheduler with workers; ``address`` is where clients find it."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        self._file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        until = time.monotonic() + START_SECONDS
        while not self._file.exists() or not self._file.read_text():
            assert time.monotonic() < until, "the scheduler did not start in time"
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_text())["address"]
        self.workers = [self.start_worker() for _ in range(n_workers)]
        if not n_workers:
            return
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=START_SECONDS)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        return self._start("dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--scheduler-file", str(self._file), *options]
        # its tests define the jobs, and workers import them
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        return subprocess.Popen(command, env=paths, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self, *_: Any) -> None:
        """End all of it, also what is stopped."""
        for process in (*self.workers, self.scheduler):
            process.send_signal(signal.SIGKILL)
            process.wait()
