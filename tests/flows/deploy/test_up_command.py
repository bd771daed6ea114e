"""``anoclust up``: two commands to a schedule that is visible in the UI, and Ctrl-C ends all of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import psutil
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder
from helpers.stack import Stack, end, eventually, free_port, own_environment, running_command

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]  # two cores may be busy


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of two categories."""
    root = tmp_path_factory.mktemp("data")
    for at, category in enumerate(("bolt", "nut")):
        flat_folder(root / category, range(100 * at, 100 * at + 12))
    return root


def below(process):
    return psutil.Process(process.pid).children(recursive=True)


def environment_of(root, checkpoint):
    return {
        **own_environment(root / "prefect"),
        "PYTHONUNBUFFERED": "1",
        "ANOCLUST_EMBED__BACKBONE": TINY_BACKBONE,
        "ANOCLUST_EMBED__CHECKPOINT": str(checkpoint),
        "ANOCLUST_EMBED__IMAGE_SIZE": str(TINY_SIDE),
        "ANOCLUST_EMBED__DEVICE": "cpu",
    }


def test_up_serves_a_night_and_ends_with_ctrl_c(tmp_path, checkpoint, data):
    """Server, deployments and worker are there; a night runs with artifacts; Ctrl-C in it leaves no process behind."""
    port, log = free_port(), tmp_path / "up.log"
    environment = environment_of(tmp_path, checkpoint)
    url = f"http://127.0.0.1:{port}"
    stack = Stack(f"{url}/api", tmp_path, environment, secret=tmp_path / "prefect" / "anoclust" / "secret")
    arguments = ["up", "--data", str(data), "--store", "store", "--port", str(port), "--timezone", "Europe/Berlin"]
    with running_command(arguments, environment, log, tmp_path) as process:
        assert eventually(lambda: "Ctrl-C ends it" in log.read_text(), seconds=250), log.read_text()
        assert url in log.read_text()
        assert httpx.get(url, follow_redirects=True).text.startswith("<!")
        nights = [stack.deployment(f"nightly/{category}") for category in ("bolt", "nut")]
        for night in nights:
            assert night["schedules"][0]["schedule"]["cron"] == "15 4 * * *"
            assert night["schedules"][0]["schedule"]["timezone"] == "Europe/Berlin"
            assert night["concurrency_limit"] == 1 or night["global_concurrency_limit"]["limit"] == 1
        assert stack.deployment("reap/dead-runs")["schedules"]
        assert eventually(lambda: len(stack.runs(nights[0]["id"])) >= 3), "no scheduled run"

        run = stack.create_run(nights[0]["id"])
        assert eventually(lambda: stack.run(run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=400)
        assert stack.run(run)["state_name"] == "Completed", stack.run(run)["state"]
        assert (tmp_path / "store").is_dir()
        came = r"nothing to do \(12 new images, .*\)"
        told = rf"(?m)^\d{{4}}-\d\d-\d\d \d\d:\d\d  bolt \d{{4}}-\d\d-\d\d: {came}; .*report\.html$"
        assert eventually(lambda: re.search(told, log.read_text()), seconds=120), log.read_text()
        artifacts = {row["key"] for row in stack.find("artifacts") if row["key"]}
        assert any("bolt" in key for key in artifacts), artifacts

        run = stack.create_run(nights[1]["id"])
        eventually(lambda: stack.run(run)["state_name"] == "Running")
        members = below(process)
        assert len(members) >= 5  # server, worker, the night, two watchers
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
        _, alive = psutil.wait_procs(members, timeout=10)
        assert alive == []
    assert "stopped" in log.read_text()
    with pytest.raises(httpx.TransportError):
        httpx.get(url)


def test_a_killed_up_leaves_nothing_running(tmp_path, data):
    """``kill -9`` of the command ends server and worker as well; the same command then starts again."""
    port, log = free_port(), tmp_path / "up.log"
    environment = own_environment(tmp_path / "prefect")
    arguments = ["up", "--data", str(data), "--store", "store", "--port", str(port)]
    with running_command(arguments, environment, log, tmp_path) as process:
        assert eventually(lambda: "Ctrl-C ends it" in log.read_text(), seconds=250), log.read_text()
        members = below(process)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(members, timeout=30)
        assert alive == []


def test_up_with_a_server_that_is_there(stack, tmp_path, data):
    """With ``PREFECT_API_URL`` no server is started; a category that comes later is registered without a restart."""
    log = tmp_path / "up.log"
    environment = {**stack.environment, "PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONUNBUFFERED": "1"}
    copied = tmp_path / "data"
    flat_folder(copied / "spring", range(3))
    arguments = ["up", "--data", str(copied), "--store", "store", "--at", "23:05"]
    program = (
        "import sys; from flows.deploy import serve; serve.NEW_CATEGORY_SECONDS = 1;from flows.cli import main; main()"
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**environment, "PREFECT_API_URL": stack.url},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert eventually(lambda: "Ctrl-C ends it" in log.read_text(), seconds=250), log.read_text()
        assert "registered nightly/spring" in log.read_text()
        assert not (tmp_path / "prefect" / "anoclust" / "server.log").exists()
        flat_folder(copied / "washer", range(3))
        assert eventually(lambda: "registered nightly/washer" in log.read_text(), seconds=30), log.read_text()
        assert stack.deployment("nightly/washer")["schedules"][0]["schedule"]["cron"] == "5 23 * * *"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        end(process, kill=True)
    assert httpx.get(f"{stack.url}/health").is_success
