"""Nobody whom it is not meant for gets anything from the server of ``anoclust up``; those who are meant do."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder
from helpers.chromium import driven, needs_chromium
from helpers.stack import Stack, eventually, free_port, own_environment, running_command
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]  # two cores may be busy

SOCKETS = (
    "events/in",
    "events/out",
    "logs/out",
    "task_runs/subscriptions/scheduled",
    "work_pools/anoclust/workers/connect",
)
OPEN_TO_ALL = {"/health", "/ready"}
"""What a service manager may ask: they say that the server lives and nothing else."""

NOBODY = "00000000-0000-0000-0000-000000000000"

ATTACK = """<!DOCTYPE html><title>attack</title><script>
async function attempt(what) {
  try { const answer = await what(); return answer.type + " " + answer.status + " " + await answer.text(); }
  catch (error) { return "refused " + error; }
}
function socket(address) {
  return new Promise(resolve => {
    const open = new WebSocket(address, ["prefect"]);
    open.onopen = () => resolve("open");
    open.onerror = open.onclose = () => resolve("refused");
  });
}
async function attack(api, run) {
  const json = {"Content-Type": "application/json"}, body = JSON.stringify({job_variables: {command: "touch x"}});
  const post = {method: "POST", headers: json, body: "{}"};
  return {
    list: await attempt(() => fetch(api + "/deployments/filter", post)),
    health: await attempt(() => fetch(api + "/health")),
    run: await attempt(() => fetch(api + run, {...post, body})),
    blind: await attempt(() => fetch(api + run, {method: "POST", mode: "no-cors", body})),
    socket: await socket(api.replace("http", "ws") + "/events/out"),
  };
}
</script><body></body>"""


@pytest.fixture(scope="module")
def up(tmp_path_factory, checkpoint, webhook):
    """Start ``anoclust up`` with one category, sending messages."""
    root = tmp_path_factory.mktemp("closed")
    data = flat_folder(root / "data" / "bolt", range(12)).parent
    port = free_port()
    environment = {
        **own_environment(root / "prefect"),
        "PYTHONUNBUFFERED": "1",
        "ANOCLUST_EMBED__BACKBONE": TINY_BACKBONE,
        "ANOCLUST_EMBED__CHECKPOINT": str(checkpoint),
        "ANOCLUST_EMBED__IMAGE_SIZE": str(TINY_SIDE),
        "ANOCLUST_EMBED__DEVICE": "cpu",
    }
    secret = root / "prefect" / "anoclust" / "secret"
    stack = Stack(f"http://127.0.0.1:{port}/api", root, environment, secret=secret)
    arguments = ["up", "--data", str(data), "--store", "store", "--port", str(port), "--notify", webhook.url]
    log = root / "up.log"
    with running_command(arguments, environment, log, root) as stack.process:
        assert eventually(lambda: "Ctrl-C ends it" in log.read_text(), seconds=250), log.read_text()
        yield stack


@pytest.fixture
def no_run(up):
    """Check that the test has made no run."""
    night = up.deployment("nightly/bolt")["id"]

    def asked_for():
        return [run["id"] for run in up.runs(night) if not run["auto_scheduled"]]

    before = asked_for()
    yield
    assert asked_for() == before


def test_a_client_without_the_secret_is_refused_everywhere(up, no_run):
    """Each of the API's addresses, with each method: refused before it does anything, but for two signs of life."""
    paths = up.ask("GET", "openapi.json").json()["paths"]
    assert len(paths) > 100
    with httpx.Client(base_url=up.url, timeout=60) as foreign:
        for path, methods in paths.items():
            address = re.sub(r"\{[^}]*\}", NOBODY, path.removeprefix("/api"))
            for method in methods:
                status = foreign.request(method, address, json={} if method != "get" else None).status_code
                assert status == (200 if address in OPEN_TO_ALL else 401 if method == "get" else 403), (method, address)
        wrong = foreign.get("/admin/version", headers={"Authorization": "Basic YWRtaW46cGFzcw=="})
        assert wrong.status_code == 401


def test_what_the_attack_of_the_trial_did_is_refused(up, no_run, webhook):
    """List deployments, start one with a command of one's own, read where messages go: no."""
    night = up.deployment("nightly/bolt")["id"]
    command = {"job_variables": {"command": f"touch {up.root / 'made'}"}}
    attempts = (
        ("deployments/filter", {}),
        (f"deployments/{night}/create_flow_run", command),
        ("block_documents/filter", {"include_secrets": True}),
    )
    for path, content in attempts:
        answer = httpx.post(f"{up.url}/{path}", json=content)
        assert answer.status_code == 403
        assert "bolt" not in answer.text
        assert webhook.url not in answer.text


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("token", [None, "admin:pass"])
def test_a_socket_without_the_secret_is_closed(up, path, token):
    """Events, logs and work are streamed to nobody who does not show the secret."""
    address = f"{up.url.replace('http', 'ws')}/{path}"
    with (
        pytest.raises((InvalidStatus, ConnectionClosed)),
        connect(address, subprotocols=["prefect"], proxy=None) as channel,
    ):
        channel.send(json.dumps({"type": "auth", "token": token}))
        channel.recv(30)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.", "[bad", ""]
)
def test_a_foreign_name_is_refused(up, host):
    """Whatever a name server was told: the server answers by its own names only, also to those with the secret."""
    token = up.headers("GET")
    for path in ("/api/health", "/api/admin/version", "/", "/ui-settings"):
        answer = httpx.get(up.url.removesuffix("/api") + path, headers={**token, "Host": host}, timeout=60)
        assert answer.status_code in {400, 403}, path
    for own in ("127.0.0.1", "localhost:1234", "[::1]:4200"):
        assert httpx.get(f"{up.url}/admin/version", headers={**token, "Host": own}, timeout=60).status_code == 200


def test_no_page_may_frame_the_ui(up):
    """A page that shows the UI inside itself could make people click on what they do not see."""
    answer = httpx.get(up.url.removesuffix("/api"), follow_redirects=True, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


def test_pages_that_load_foreign_scripts_are_closed(up):
    """FastAPI's own pages fetch programs of other servers, which would find the secret that the browser keeps."""
    for path in ("docs", "redoc", "openapi.json", "docs/oauth2-redirect"):
        assert httpx.get(f"{up.url.removesuffix('/api')}/{path}", timeout=60).status_code == 403


@pytest.fixture
def attacker(tmp_path):
    """Serve an attacking page on another port of this machine; gives its address."""
    (tmp_path / "page.html").write_text(ATTACK)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()
    server.server_close()


@needs_chromium
def test_a_page_of_another_address_gets_nothing(up, no_run, attacker, tmp_path):
    """In a real browser that is logged in to the UI a page reads nothing, starts nothing and opens no socket."""
    night = up.deployment("nightly/bolt")["id"]
    with driven(up.url.removesuffix("/api"), tmp_path) as page:
        log_in(page, up)
        page.go(attacker)
        assert eventually(lambda: page("document.title") == "attack")
        found = page(f"attack('{up.url}', '/deployments/{night}/create_flow_run')")
        assert found.pop("blind").startswith("opaque 0")  # sent, and refused: no run is there
        assert all(answer.startswith("refused") for answer in found.values()), found


@needs_chromium
def test_a_foreign_name_for_this_machine_gets_nothing(up, tmp_path):
    """A page whose name has come to lead to this machine counts as the server's own, and is refused all the same."""
    port = up.url.removesuffix("/api").rpartition(":")[2]
    rule = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with driven(f"http://evil.example:{port}/api/health", tmp_path, rule) as page:
        assert eventually(lambda: "not called" in str(page("document.body && document.body.innerText")))


def log_in(page, up):
    """Give the UI the secret that it asks for."""
    assert eventually(lambda: page("!!document.querySelector('input[type=password]')"), seconds=90)
    secret = json.dumps(up.secret.read_text().strip())
    page(
        "(() => { const field = document.querySelector('input[type=password]');"
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, " + secret + ");"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
        "setTimeout(() => document.querySelector('button').click(), 300); })()"
    )
    assert eventually(lambda: "Dashboard" in page("document.body.innerText"), seconds=60)


@needs_chromium
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_ui_opens_by_its_link(up, tmp_path, name):
    """It asks for the secret, and then shows the deployments, by either name of this machine."""
    address = up.url.removesuffix("/api").replace("127.0.0.1", name)
    with driven(address, tmp_path) as page:
        log_in(page, up)
        page.go(f"{address}/v2/deployments")
        assert eventually(lambda: "dead-runs" in str(page("document.body && document.body.innerText")), seconds=60)


def test_a_run_chooses_no_command(up, no_run):
    """Nor those who know the secret say what a run's process is: command, environment and folder are no variables."""
    night = up.deployment("nightly/bolt")["id"]
    for variable in ({"command": "true"}, {"env": {"A": "1"}}, {"env.A": "1"}, {"working_dir": "/"}, {"name": "a"}):
        answer = up.ask("POST", f"deployments/{night}/create_flow_run", {"job_variables": variable})
        assert answer.status_code == 422, variable
        assert "not allowed" in answer.text


def test_where_messages_go_is_not_read_back(up, webhook):
    """The address of --notify is a secret: not even those who know the server's are told."""
    (block,) = up.find("block_documents", include_secrets=True)
    assert block["name"] == "anoclust"
    by_name = "block_types/slug/custom-webhook/block_documents"
    for path in (f"block_documents/{block['id']}", f"{by_name}/name/anoclust", by_name):
        answer = up.ask("GET", f"{path}?include_secrets=true")
        assert answer.status_code == 200
        assert "********" in answer.text
        assert webhook.url not in answer.text
    assert webhook.url not in json.dumps(block)
    for what in ("automations", "events", "artifacts", "logs"):
        assert webhook.url not in json.dumps(up.find(what))


def test_own_commands_work_with_the_secret_and_say_what_is_missing_without(up):
    """Another terminal names server and secret; the same again changes nothing, with the messages' address as well."""
    command = [sys.executable, "-m", "flows.cli", "deploy", "apply", "--data", "data", "--store", "store"]
    environment = {**up.environment, "PREFECT_API_URL": up.url}
    known = {**environment, "PREFECT_API_AUTH_STRING": up.secret.read_text().strip()}
    ask = partial(subprocess.run, cwd=up.root, capture_output=True, text=True, timeout=200, check=False)
    notified = (up.root / "up.log").read_text()
    assert "registered block custom-webhook/anoclust" in notified
    done = ask(command, env=known)
    assert (done.returncode, done.stdout) == (0, "nothing to change\n"), done.stderr
    refused = ask(command, env=environment)
    assert refused.returncode == 2
    assert "PREFECT_API_AUTH_STRING" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_night_runs_and_its_message_is_sent(up, webhook):
    """The worker, its run and the automations of the server work with the secret that they were given."""
    night = up.deployment("nightly/bolt")
    run = up.create_run(night["id"])
    eventually(lambda: up.run(run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=400)
    assert up.run(run)["state_name"] == "Completed", up.run(run)["state"]
    inside = [one["id"] for one in up.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run]}})]
    assert eventually(lambda: up.find("logs", logs={"flow_run_id": {"any_": [run, *inside]}}))
    assert eventually(lambda: [one for one in up.find("artifacts") if one["key"] and "bolt" in one["key"]])
    assert eventually(lambda: up.find("events", filter={"event": {"prefix": ["prefect.task-run."]}}))
    sent = f"closed {time.time()}"
    event = {
        "occurred": up.run(run)["start_time"],
        "event": "anoclust.drift",
        "resource": {"prefect.resource.id": "anoclust.category.bolt"},
        "payload": {"sent": sent},
        "id": NOBODY[:-1] + "1",
    }
    assert up.ask("POST", "events", [event]).status_code == 204
    assert eventually(lambda: [heard for heard in webhook.heard if sent in heard["body"]])


def test_the_secret_lies_in_one_file_and_nowhere_else(up):
    """Only its owner opens the folder and reads the file; no command line, log, database or store tells it."""
    assert stat.S_IMODE(up.secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(up.secret.parent.stat().st_mode) == 0o700
    secret = up.secret.read_text().strip().partition(":")[2]
    assert len(secret) >= 32
    process = psutil.Process(up.process.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) >= 3  # command, server, worker
    assert all(secret not in " ".join(one.cmdline()) for one in family)
    files = [path for path in up.root.rglob("*") if path.is_file() and path != up.secret]
    assert {"prefect.db", "up.log", "server.log", "worker.log"} <= {path.name for path in files}
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
