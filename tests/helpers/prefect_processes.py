"""A Prefect server as a process that tests may stop, kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

START_SECONDS = 180


class PrefectServer:
    """A server on a free port of this machine; ``url`` is that of its API."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
        }
        self.start()

    def start(self) -> None:
        """Start its process, which finds what one before it has left."""
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < until, "the server did not answer in time"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
        self.process.wait()

    def runs(self) -> list[str]:
        """States of the flow runs that it knows."""
        answer = httpx.post(f"{self.url}/flow_runs/filter", json={}, timeout=30, trust_env=False)
        return [run["state_type"] for run in answer.raise_for_status().json()]
