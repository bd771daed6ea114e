"""A Prefect server and workers of the tests' own, as processes, and what the server knows."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import psutil

START_SECONDS = 120
Found = TypeVar("Found")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(look: Callable[[], Found], *, seconds: float = 60, every: float = 0.3) -> Found:
    """Look until there is something; gives what was seen last."""
    until = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < until:
        time.sleep(every)
    return found


def own_environment(home: Path) -> dict[str, str]:
    """Environment of a Prefect that shares nothing with the user's or with other tests."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ANOCLUST_DATA__SETTLE_SECONDS": "0",
        # the flows that stand in are in tests/helpers; tests/flows must not hide the product's
        "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[up]) for up in (2, 1)),
    }


def start(arguments: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start ``python -m`` something in a session of its own."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """List a process and everything below it."""
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """End a process and everything below it."""
    members = family(process)
    for member in members:
        try:
            member.kill() if kill or member.pid != process.pid else member.terminate()
        except psutil.NoSuchProcess:
            continue
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    psutil.wait_procs(members, timeout=20)


@contextmanager
def running_command(
    arguments: list[str], environment: dict[str, str], log: Path, cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``anoclust`` in a session of its own; whatever it left behind is ended afterwards."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process, kill=True)


class Webhook:
    """A web address on this machine that keeps what is sent to it."""

    def __init__(self) -> None:
        heard: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_request(self, *_: object) -> None:
                pass

        self.heard = heard
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Stack:
    """A server, perhaps with a worker.

    Attributes
    ----------
    url
        Of its API.
    root
        Folder of all of it.
    environment
        For processes that use it.
    workers
        That run now.
    secret
        File of what the server has to be shown; None where it answers everybody.
    process
        Of the command that has started the server.
    """

    url: str
    root: Path
    environment: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    secret: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def headers(self, method: str) -> dict[str, str]:
        """What a request has to say to be answered."""
        if self.secret is None:
            return {}
        token = base64.b64encode(self.secret.read_bytes().strip()).decode()
        headers = {"Authorization": f"Basic {token}"}
        if method != "GET":
            given = httpx.get(f"{self.url}/csrf-token?client=tests", headers=headers, timeout=90).json()
            headers |= {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": given["token"]}
        return headers

    def ask(self, method: str, path: str, content: Any = None, *, timeout: float = 90) -> httpx.Response:
        """Ask the server as one of those it is meant for; a busy SQLite answers 503 now and then."""

        def asked() -> httpx.Response:
            return httpx.request(
                method, f"{self.url}/{path}", json=content, headers=self.headers(method), timeout=timeout
            )

        return eventually(lambda: answer if (answer := asked()).status_code != 503 else None) or asked()

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker, named as `anoclust up` names it."""
        name = f"anoclust@{socket.gethostname()}"
        arguments = ["prefect", "worker", "start", "--pool", "anoclust", "--type", "process", "--name", name]
        worker = start(arguments, {**self.environment, "PREFECT_WORKER_QUERY_SECONDS": "2"}, self.root / "worker.log")
        self.workers.append(worker)
        return worker

    def stop_workers(self, *, kill: bool = False) -> None:
        """End all workers and their runs."""
        while self.workers:
            end(self.workers.pop(), kill=kill)

    def find(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        """Ask the server."""
        answer = self.ask("POST", f"{what}/filter", wanted)
        answer.raise_for_status()
        content = answer.json()
        found: list[dict[str, Any]] = content["events"] if what == "events" else content
        return found

    def runs(self, deployment: UUID | str) -> list[dict[str, Any]]:
        """Runs of a deployment, the earliest first."""
        found = self.find("flow_runs", flow_runs={"deployment_id": {"any_": [str(deployment)]}})
        return sorted(found, key=lambda run: str(run["expected_start_time"]))

    def states(self, deployment: UUID | str) -> list[str]:
        """Names of the states of a deployment's runs, in alphabetical order."""
        return sorted(run["state_name"] for run in self.runs(deployment))

    def run(self, identity: UUID | str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = self.ask("GET", f"flow_runs/{identity}").json()
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        """Find a deployment by its full name."""
        answer = self.ask("GET", f"deployments/name/{name}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def create_run(self, deployment: UUID | str) -> str:
        """Ask for a run of a deployment."""
        answer = self.ask("POST", f"deployments/{deployment}/create_flow_run", {})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def delete_deployment(self, deployment: UUID | str) -> None:
        """Delete a deployment and what it has scheduled."""
        assert self.ask("DELETE", f"deployments/{deployment}").status_code in {204, 404}


def seconds_of(run: dict[str, Any]) -> tuple[float, float]:
    """When a run began and ended."""
    return tuple(datetime.fromisoformat(run[name]).timestamp() for name in ("start_time", "end_time"))  # type: ignore[return-value]


@contextmanager
def prefect_server(root: Path, **settings: str) -> Iterator[Stack]:
    """Start a server on a free port of this machine."""
    port = free_port()
    root.mkdir(parents=True, exist_ok=True)
    environment = {
        **own_environment(root / "prefect"),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        **settings,
    }
    process = start(["prefect", "server", "start"], environment, root / "server.log")
    url = f"http://127.0.0.1:{port}/api"
    stack = Stack(url, root, {**environment, "PREFECT_API_URL": url})
    try:
        until = time.monotonic() + START_SECONDS
        while not answers(url):
            assert process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < until, "the server did not answer in time"
            time.sleep(0.3)
        yield stack
    finally:
        stack.stop_workers()
        end(process)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
