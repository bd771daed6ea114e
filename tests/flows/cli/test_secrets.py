"""Passwords in addresses: on no way that a person or another process can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from anoclust_core.errors import AnoclustError, ConfigError, ResourceError
from flows.cli import app
from flows.deploy.deployments import given_settings, nightly_deployment, worker_variables
from flows.deploy.secrets import CATALOG
from flows.deploy.serve import _wait_for
from flows.prefect_server.around import told_where_no_server_answers
from flows.settings import resolve, with_secrets
from tasks.compute.dask_jobs import count_workers
from tasks.night.place import Place
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout

MARK = "Zq7Zq7"
VARIABLE = "ANOCLUST_NIGHT__CATALOG"
NOWHERE = "127.0.0.1:9"
"""Where nothing listens."""

FORMS = {
    "plain": f"postgresql://me:{MARK}@{NOWHERE}/x",
    "no user": f"postgresql://:{MARK}@{NOWHERE}/x",
    "as a parameter": f"postgresql://{NOWHERE}/x?password={MARK}",
    "as a second parameter": f"postgresql://me@{NOWHERE}/x?sslmode=disable&sslpassword={MARK}",
    "a file of passwords": f"postgresql://me@{NOWHERE}/x?passfile=/home/{MARK}",
    "a parameter with an at sign": f"postgresql://{NOWHERE}/x?password=a@{MARK}",
    "a parameter and no database": f"postgresql://{NOWHERE}?password=a@{MARK}",
    "slash": f"postgresql://me:a/{MARK}@{NOWHERE}/x",
    "digits, slash": f"postgresql://me:12/{MARK}@{NOWHERE}/x",
    "at sign": f"postgresql://me:a@{MARK}@{NOWHERE}/x",
    "at sign, slash": f"postgresql://me:a@b/{MARK}@{NOWHERE}/x",
    "slash, question mark": f"postgresql://me:a/b?{MARK}@{NOWHERE}/x",
    "colon": f"postgresql://me:a:{MARK}@{NOWHERE}/x",
    "number sign": f"postgresql://me:a#{MARK}@{NOWHERE}/x",
    "question mark": f"postgresql://me:a?{MARK}@{NOWHERE}/x",
    "per cent": f"postgresql://me:a%{MARK}@{NOWHERE}/x",
    "blank and quotes": f"postgresql://me:a b'\"{MARK}@{NOWHERE}/x",
    "quoted": f"postgresql://me:{quote('a/b@c:d#e?f%g ' + MARK, safe='')}@{NOWHERE}/x",
    "no scheme": f"me:{MARK}@{NOWHERE}/x",
    "no slashes": f"postgresql:me:{MARK}@{NOWHERE}/x",
    "key and value": f"host=127.0.0.1 port=9 password={MARK}",
    "key and quoted value": f"host=127.0.0.1 port=9 password='a {MARK}'",
    "IPv6": f"postgresql://me:{MARK}@[::1]:9/x",
    "half an IPv6": f"postgresql://me:{MARK}@[::1:9/x",
    "wrong port": f"postgresql://me:{MARK}@127.0.0.1:port/x",
    "port too large": f"postgresql://me:{MARK}@127.0.0.1:99999/x",
    "password for a port": f"postgresql://me:{MARK}",
    "in quotes": f"'postgresql://me:{MARK}@{NOWHERE}/x'",
    "another driver": f"postgresql+asyncpg://me:{MARK}@{NOWHERE}/x",
    "another database": f"mysql://me:{MARK}@{NOWHERE}/x",
    "SQLite with a password": f"sqlite://me:{MARK}@{NOWHERE}/x",
}


@pytest.mark.parametrize("url", FORMS.values(), ids=FORMS)
def test_no_command_shows_the_catalogs_password(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not `config show`, as a table and as JSON, nor the error of a command that opens the catalog."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, url)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "store").mkdir()
    runner = CliRunner()
    table = runner.invoke(app, ["config", "show"])
    rows = runner.invoke(app, ["config", "show", "--json"])
    assert (table.exit_code, rows.exit_code) == (0, 0)
    assert "***" in json.loads(rows.stdout)[CATALOG]["value"]
    status = runner.invoke(app, ["status", "--store", "store"])
    assert status.exit_code in {2, 4}, status.output
    assert len(status.stderr.strip().splitlines()) == 1
    assert MARK not in table.output + rows.output + status.output


@pytest.mark.parametrize("url", FORMS.values(), ids=FORMS)
def test_deployments_keep_no_password(url: str, tmp_path: Path) -> None:
    """What a server is told has none; the worker's variable has it whole, and a run without it does not begin."""
    found = resolve({CATALOG: url}, environment={})
    deployment = nightly_deployment(
        "board",
        name="board",
        data=tmp_path,
        store=tmp_path,
        settings=given_settings(found),
        cron="15 4 * * *",
        timezone="UTC",
    )
    kept = deployment.parameters["settings"]
    assert MARK not in repr(deployment)
    assert worker_variables(found) == {VARIABLE: url}
    again = resolve(with_secrets(kept, {VARIABLE: url}), environment={VARIABLE: url})
    assert again.config == found.config
    with pytest.raises(ConfigError, match=VARIABLE):
        with_secrets(kept, {})


def test_a_variable_of_the_worker_is_asked_for(tmp_path: Path) -> None:
    """Where a variable has the password already, deployments ask for it: a worker without would begin a catalog."""
    found = resolve({}, environment={VARIABLE: FORMS["plain"]}, file=None)
    assert given_settings(found) == {CATALOG: "postgresql://me:***@127.0.0.1:9/x"}


def test_a_catalog_without_password_is_kept_in_the_deployment() -> None:
    """As before: it is no secret, and workers need no variable."""
    found = resolve({CATALOG: "postgresql://me@host/x"}, environment={})
    assert given_settings(found) == {CATALOG: "postgresql://me@host/x"}
    assert worker_variables(found) == {}
    assert with_secrets(given_settings(found), {}) == given_settings(found)


def test_deployments_of_an_earlier_version_go_on() -> None:
    """They have the whole URL, which is taken until they are registered again."""
    assert with_secrets({CATALOG: FORMS["plain"], "seed": 1}, {}) == {CATALOG: FORMS["plain"], "seed": 1}


@settings(max_examples=60, deadline=None)
@example(password=f"@{MARK}?", database="/x", is_parameter=False, is_quoted=False)  # read as the host's name
@given(
    password=st.builds(
        lambda before, behind: before + MARK + behind, *[st.text("abc12/@:#?%&=+ '\"\\", max_size=6)] * 2
    ),
    database=st.sampled_from(["/x", "", "/x?sslmode=disable"]),
    is_parameter=st.booleans(),
    is_quoted=st.booleans(),
)
def test_no_error_of_a_connection_holds_a_password(
    password: str, database: str, is_parameter: bool, is_quoted: bool
) -> None:
    """Whatever it is made of: refused as an address, or tried and not reached, the message keeps it to itself."""
    written = quote(password, safe="") if is_quoted else password
    url = (
        f"postgresql://{NOWHERE}/x?password={written}"
        if is_parameter
        else f"postgresql://me:{written}@{NOWHERE}{database}"
    )
    with pytest.raises(AnoclustError) as caught:
        Catalog.open(url)
    assert caught.value.exit_code in {2, 4}
    assert MARK not in str(caught.value)
    assert MARK not in repr(resolve({CATALOG: url}, environment={}).values())


@pytest.mark.parametrize(
    "name", ["wrong port", "at sign", "no scheme", "key and value", "half an IPv6", "port too large"]
)
def test_what_is_no_address_is_a_wrong_setting(name: str) -> None:
    """One paragraph and exit code 2, without the error of a library behind it that would show the address."""
    with pytest.raises(ConfigError) as caught:
        Catalog.open(FORMS[name])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "text",
    [
        f"night = 'postgresql://me:{MARK}@host/x'",
        f"[night]\ncatalog = ['postgresql://me:{MARK}@host/x']",
        f"store = 'postgresql://me:{MARK}@host/x'",
        f"[embed]\nimage_size = 'https://me:a b {MARK}@host/x'",
        f"[pair]\ndask = 'tcp://me:{MARK}@host:8786'",
    ],
)
def test_a_wrong_setting_is_told_without_password(text: str, tmp_path: Path) -> None:
    """Also where an address stands at a wrong place, or is of the wrong type."""
    file = tmp_path / "anoclust.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(file=file, environment={})
    assert MARK not in str(caught.value)


def test_arguments_of_a_process_hold_no_password(tmp_path: Path) -> None:
    """`ps` shows the arguments of every process to everybody; the command itself has them, its children do not."""
    code = """
import os, subprocess, sys
from pathlib import Path
from flows.cli.arguments import hide_secrets
hide_secrets()
print(repr(Path("/proc/self/cmdline").read_text()), sys.argv[1:], os.getpid())
print(subprocess.run(["env"], capture_output=True, text=True).stdout)
"""
    urls = [FORMS["plain"], FORMS["blank and quotes"], FORMS["no scheme"], FORMS["key and value"]]
    hook = f"https://hooks.example.com/services/{MARK}"
    arguments = ["--catalog", urls[0], f"--catalog={urls[1]}", "--notify", hook, "--catalog", urls[2], urls[3], "board"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=60)
    line, _, environment = output.partition("\n")
    shown, _, seen = line.partition(" [")
    assert MARK not in shown
    assert "--catalog" in shown
    assert "board" in shown
    assert f"[{seen}" == f"{arguments} {process.pid}"
    assert MARK not in environment


def test_a_prefect_server_is_told_without_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address may have one; neither a server that is gone nor Prefect's own error shows it."""
    monkeypatch.setattr("flows.deploy.serve.time.sleep", lambda _: None)
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr("flows.deploy.serve.time.monotonic", lambda: next(times))
    url = f"http://me:{MARK}@{NOWHERE}/api"
    with pytest.raises(ResourceError) as caught:
        _wait_for(url, None)
    assert f"http://me:***@{NOWHERE}/api" in str(caught.value)
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(ResourceError) as other,
        told_where_no_server_answers(),
    ):
        raise RuntimeError(f"Failed to reach API at {url}/")
    assert MARK not in f"{caught.value} {other.value}"


def test_a_dask_scheduler_is_told_without_password() -> None:
    """Dask knows no passwords in addresses; who writes one hears of it without reading it."""
    with pytest.raises(ResourceError) as caught:
        count_workers(f"tcp://me:{MARK}@127.0.0.1:9")
    assert MARK not in str(caught.value)


def test_a_place_is_printed_without_its_catalog(tmp_path: Path) -> None:
    """Prefect and tracebacks print what tasks are given."""
    from datetime import UTC, date, datetime

    from anoclust_core.config import RunConfig
    from anoclust_core.records import EmbeddingSpec
    from tasks.stages.category_run import CategoryRun

    spec = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (8, 8), 48)
    run = CategoryRun(StoreLayout(tmp_path), "board", RunConfig(), spec, 1 << 30)
    assert MARK not in repr(Place(run, FORMS["plain"], date(2026, 1, 1), datetime.now(UTC)))


def test_a_deployment_without_a_catalog_is_told_of_none(tmp_path):
    """The store's own catalog has no address: a night that was told of a hidden one would not begin."""
    from flows.deploy.deployments import given_settings, worker_variables
    from flows.settings import resolve

    settings = resolve({"store": tmp_path}, file=None)
    assert given_settings(settings) == {}
    assert worker_variables(settings) == {}
