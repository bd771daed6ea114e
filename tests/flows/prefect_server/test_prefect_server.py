"""What a person sees of a run in the Prefect UI, asked from a real server's API."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, mvtec_category

pytestmark = pytest.mark.slow

STAGES = ("embed", "pair", "near_duplicates", "whiten", "group", "evaluate", "report")
START_SECONDS = 90
SETTLE_SECONDS = 60
"""The server writes task runs down in the background, some seconds after they ended."""


class Server:
    """A running server: what it answers, and runs that report to it."""

    def __init__(self, url: str, environment: dict[str, str], root: Path, checkpoint: Path) -> None:
        self.url = url
        self.environment = {**environment, "PREFECT_API_URL": url}
        self.root = root
        self.checkpoint = checkpoint

    def find(self, what: str) -> list[dict[str, Any]]:
        """All flow runs, task runs or artifacts."""
        answer = httpx.post(f"{self.url}/{what}/filter", json={}, timeout=30)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def run(self, *settings: str) -> None:
        """Run the data set of the test, as from a terminal."""
        command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(self.root / "metal_nut")]
        own = ["--backbone", TINY_BACKBONE, "--checkpoint", str(self.checkpoint), "--image-size", str(TINY_SIDE)]
        done = subprocess.run(
            [*command, *own, "--device", "cpu", "--store", str(self.root / "store"), *settings],
            env=self.environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def settled(look: Callable[[], list[dict[str, Any]]], is_enough: Callable[[list[dict[str, Any]]], bool]) -> Any:
    """Ask again until the server has written everything down."""
    until = time.monotonic() + SETTLE_SECONDS
    while not is_enough(found := look()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def ended(n: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda found: len(found) >= n and all(run["state_type"] == "COMPLETED" for run in found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Server]:
    """Start a server with an empty database on a free port of this machine, and one run that reports to it."""
    root = tmp_path_factory.mktemp("server")
    mvtec_category(root / "metal_nut", {"test/good": 4, "test/hole": 4, "test/scratch": 4})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ANOCLUST_DATA__SETTLE_SECONDS": "0",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
    }
    log = (root / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start"], env=environment, stdout=log, stderr=log
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        until = time.monotonic() + START_SECONDS
        while not answers(url):
            assert process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < until, "the server did not answer in time"
            time.sleep(0.5)
        server = Server(url, environment, root, checkpoint)
        server.run()
        settled(lambda: server.find("task_runs"), ended(len(STAGES)))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def first_run(server: Server) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Give the earliest flow run and its task runs in the order of their start."""
    flow = min(server.find("flow_runs"), key=lambda run: run["start_time"])
    tasks = [run for run in server.find("task_runs") if run["flow_run_id"] == flow["id"]]
    return flow, sorted(tasks, key=lambda run: run["start_time"])


def test_flow_run_is_named_for_people(server):
    """The run is there under its category's name, and is completed."""
    flow, _ = first_run(server)
    assert flow["name"] == "cluster metal_nut"
    assert flow["state_type"] == "COMPLETED"


def test_every_stage_is_one_readable_task_run(server):
    """One task run a stage, in the order of the method; each name says what the stage worked on."""
    _, tasks = first_run(server)
    names = [run["name"] for run in tasks]
    assert [name.split()[0] for name in names] == list(STAGES)
    patterns = (
        r"embed metal_nut \(12 new images\)",
        r"pair metal_nut \(66 new image pairs\)",
        r"near_duplicates metal_nut \(12 images\)",
        r"whiten metal_nut \(rarity, tau 0\.3sd\)",
        r"group metal_nut \(12 images, weighted_average, ward\)",
        r"evaluate metal_nut \(protocol sohn\)",
        r"report metal_nut \(3 clusters\)",
    )
    for name, pattern in zip(names, patterns, strict=True):
        assert re.fullmatch(pattern, name), name
    assert {run["state_name"] for run in tasks} == {"Completed"}


def test_artifacts_of_every_kind(server):
    """Scores as a table, a summary in words, the clusters as a picture, progress, and the way to the report."""
    flow, _ = first_run(server)
    artifacts = {
        artifact["key"]: artifact for artifact in server.find("artifacts") if artifact["flow_run_id"] == flow["id"]
    }
    kinds = {key: artifact["type"] for key, artifact in artifacts.items() if artifact["type"] != "result"}
    assert kinds == {
        "scores-metal-nut": "table",
        "summary-metal-nut": "markdown",
        "clusters-metal-nut": "image",
        "report-metal-nut": "markdown",  # Prefect keeps a link as markdown
        "progress-embed-metal-nut": "progress",
        "progress-pair-metal-nut": "progress",
        "progress-report-metal-nut": "progress",
    }
    assert {artifacts[key]["data"] for key, kind in kinds.items() if kind == "progress"} == {100.0}
    reports = (server.root / "store" / "runs" / "metal_nut").glob("*/report.html")  # other tests may have run too
    assert any(report.as_uri() in artifacts["report-metal-nut"]["data"] for report in reports)
    assert "nmi" in artifacts["scores-metal-nut"]["data"]
    assert artifacts["clusters-metal-nut"]["data"].startswith("data:image/jpeg;base64,")


def test_another_temperature_takes_embeddings_and_pairs_from_the_cache(server):
    """With another tau embed and pair are Cached, what depends on tau is computed; the numbers of new work are 0."""
    known = {run["id"] for run in server.find("task_runs")}
    server.run("--tau", "0.05")
    settled(lambda: server.find("task_runs"), ended(len(known) + len(STAGES)))
    states = {
        run["name"].split()[0]: (run["state_name"], run["name"])
        for run in server.find("task_runs")
        if run["id"] not in known
    }
    assert {stage: state for stage, (state, _) in states.items()} == {
        "embed": "Cached",
        "pair": "Cached",
        "near_duplicates": "Cached",
        "whiten": "Completed",
        "group": "Completed",
        "evaluate": "Completed",
        "report": "Completed",
    }
    assert states["embed"][1] == "embed metal_nut (0 new images)"
    assert states["pair"][1] == "pair metal_nut (0 new image pairs)"


def test_same_run_again_is_no_flow_run(server):
    """A run that has nothing to do leaves no trace on the server."""
    server.run("--tau", "0.07")
    before = len(server.find("flow_runs"))
    server.run("--tau", "0.07")
    assert len(server.find("flow_runs")) == before
