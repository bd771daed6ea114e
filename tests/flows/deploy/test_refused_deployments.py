"""``anoclust up`` and ``anoclust deploy`` where they cannot work: one paragraph, and nothing is started."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.builders import flat_folder
from helpers.stack import own_environment

from anoclust_core.errors import DatasetError
from flows.deploy.deployments import Nights
from flows.deploy.files import FOLDER

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "--data", "nowhere"], "nowhere"),
        (["up", "--data", ".", "--at", "25:00"], "--at takes a time of day"),
        (["up", "--data", ".", "--timezone", "Mars/Olympus"], "--timezone"),
        (["deploy", "apply", "--data", "."], "PREFECT_API_URL"),
        (["deploy", "catch-up"], "PREFECT_API_URL"),
    ],
)
def test_what_cannot_be_served_is_told(arguments, says, tmp_path):
    """A wrong flag or a missing server is one paragraph and an exit code; nothing is started."""
    environment = own_environment(tmp_path / "prefect")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in {2, 3}, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_empty_inbox_is_served_by_what_there_has_been(tmp_path):
    """After a restart with all files processed and gone; a folder without images and without nights is a mistake."""
    nights = Nights(tmp_path, tmp_path / "store", {}, "15 4 * * *", "UTC", FOLDER, known=("board", "nut"))
    assert nights.categories() == ["board", "nut"]
    flat_folder(tmp_path / "bolt", range(1))
    assert nights.categories() == ["bolt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match="no image"):
        replace(nights, data=empty, known=()).categories()


def test_a_taken_port_is_told(tmp_path):
    """Where something answers at the port already, the message says how to use it or another one."""
    data = flat_folder(tmp_path / "data" / "bolt", range(3)).parent
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = ["up", "--data", str(data), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=own_environment(tmp_path / "prefect"), cwd=tmp_path, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    assert done.returncode == 5
    assert "PREFECT_API_URL" in done.stderr
    assert "--port" in done.stderr
