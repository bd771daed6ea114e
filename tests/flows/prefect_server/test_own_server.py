"""The server that Prefect gets of its own: started ahead, waited for, and gone with the process that wanted it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = pytest.mark.slow

END_SECONDS = 30

STARTED = """
from threading import Thread
import httpx
from flows.prefect_server.around import prepare_prefect
prepare_prefect(debug=False)
from flows.prefect_server.own import start_own_server
server = start_own_server()
assert start_own_server() is server
print(server.process.pid, flush=True)
"""
"""The server is on its way and tells its number."""

ASKED = """
answers = []
def ask():
    server.wait()
    answers.append(httpx.get(f"{server.url}/health").json())
threads = [Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*answers, len(server.watchers))
"""
"""Several clients ask for it at once while it starts."""

CLIENT = """
from prefect.client.orchestration import get_client
from tasks.services.prefect_server import make_patient
make_patient()
with get_client(sync_client=True) as client:
    print(server.url, flush=True)
    assert client.read_flow_runs() == []
    assert client.create_flow_from_name("a flow")
    print("known", flush=True)
import time
time.sleep(600)
"""
"""A client of the program uses the server, and lets others try."""


USED = """
from prefect.client.orchestration import get_client
from tasks.services.prefect_server import make_patient
make_patient()
with get_client(sync_client=True) as client:
    print(client.hello().status_code, flush=True)
"""
"""What a flow does first; it waits for a server that is starting."""


KILLED = """
import os, signal
from tasks.services.prefect_server import ServerGoneError
os.kill(server.process.pid, signal.SIGKILL)
server.process.wait()
try:
    with get_client(sync_client=True) as client:
        client.hello()
except ServerGoneError as error:
    print(error, flush=True)
start_own_server()
with get_client(sync_client=True) as client:
    print(client.hello().status_code, flush=True)
"""
"""It dies; then another category begins."""


@contextmanager
def program(code: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.kill()


def ends(pid: int) -> bool:
    """Whether a process ends by itself."""
    until = time.monotonic() + END_SECONDS
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_whoever_asks_for_it_waits_until_it_answers():
    """Clients that ask while it starts get no half of it and no second one; it ends with the program."""
    with program(STARTED + ASKED) as process:
        pid = int(read_line(process))
        assert read_line(process).split() == [*["True"] * 4, "1"]
    assert ends(pid)


def test_it_ends_with_a_program_that_is_killed_over_its_start():
    """Nobody is left to end it then but its watcher."""
    with program(STARTED + ASKED) as process:
        pid = int(read_line(process))
        os.kill(process.pid, signal.SIGKILL)
        assert ends(pid)


def test_no_proxy_comes_between_a_program_and_its_server():
    """Dead proxies of every kind in the environment, one that no client understands among them: the server is used."""
    dead = "http://user:secret@127.0.0.1:9"
    proxies = {"HTTP_PROXY": dead, "https_proxy": dead, "ALL_PROXY": "socks://127.0.0.1:9", "NO_PROXY": "corp.example"}
    with program(STARTED + USED, **proxies) as process:
        read_line(process)
        assert read_line(process).split() == ["200"]


def test_it_answers_nobody_but_its_program(tmp_path: Path):
    """Another program of this machine reads nothing and changes nothing; the program's own clients do.

    Its home is its own: other tests leave flow runs in the one they share.
    """
    with program(STARTED + CLIENT, PREFECT_HOME=str(tmp_path)) as process:
        pid, url = int(read_line(process)), read_line(process).strip()
        assert read_line(process) == "known\n"
        for path in ("flow_runs/filter", "deployments/filter", "block_documents/filter", "logs/filter"):
            assert httpx.post(f"{url}/{path}", json={}).status_code in {401, 403}
        assert httpx.get(f"{url}/admin/version").status_code == 401
        for headers in ({"Host": "evil.example"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}):
            assert httpx.get(f"{url}/health", headers=headers).status_code == 403
        server = psutil.Process(pid)
        secret = server.environ()["PREFECT_SERVER_API_AUTH_STRING"].partition(":")[2]
        assert len(secret) >= 32
        assert all(secret not in " ".join(one.cmdline()) for one in (server, psutil.Process(process.pid)))
        assert {one.laddr.ip for one in server.net_connections("inet") if one.status == psutil.CONN_LISTEN} == {
            "127.0.0.1"
        }


def test_every_program_has_a_secret_of_its_own():
    """What one run's server is shown means nothing to another's."""
    secrets = set()
    for _ in range(2):
        with program(STARTED + "import time; time.sleep(600)") as process:
            environment = psutil.Process(int(read_line(process))).environ()
            secrets.add(environment["PREFECT_SERVER_API_AUTH_STRING"])
    assert len(secrets) == 2


def test_server_that_died_is_started_again_for_the_next_category():
    """Who used it is told at once; the next category gets another server instead of the same error."""
    with program(STARTED + USED + KILLED) as process:
        read_line(process)
        assert read_line(process).split() == ["200"]
        assert "started for itself has stopped answering" in read_line(process)
        assert read_line(process).split() == ["200"]
