"""Proxies that the environment names: never between this machine and itself, and named without their password."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

from tasks.services.proxies import keep_proxies_from_loopback, proxy_note

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def proxied(*urls: str) -> list[bool]:
    """Which of these a client that follows the environment would ask a proxy for."""
    with httpx.Client() as client:
        return [client._transport_for_url(httpx.URL(url)) is not client._transport for url in urls]


@pytest.mark.parametrize("name", [*VARIABLES[:3], *(name.lower() for name in VARIABLES[:3])])
@pytest.mark.parametrize("kept", [{}, {"NO_PROXY": "corp.example"}, {"no_proxy": "corp.example"}, {"NO_PROXY": ""}])
def test_loopback_is_asked_directly(monkeypatch, name, kept):
    """Whatever variable names a proxy, in whatever case: this machine is asked directly, others are not."""
    monkeypatch.setenv(name, DEAD)
    for variable, value in kept.items():
        monkeypatch.setenv(variable, value)
    keep_proxies_from_loopback("http://127.0.0.5:4200/api")
    scheme = "https" if name.lower() == "https_proxy" else "http"
    here = [f"{scheme}://{host}:4200/api" for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.5")]
    answers = proxied(*here, f"{scheme}://prefect.example/api", f"{scheme}://corp.example/api")
    assert answers == [False] * 4 + [True, not any(kept.values())]


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:9", "socks4://127.0.0.1:9", "http://[::1", "quic://x:1"])
def test_proxy_that_no_client_can_be_made_with(monkeypatch, proxy):
    """A proxy of a kind that is not understood would keep clients from every server: it is left out."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("http_proxy", DEAD)
    keep_proxies_from_loopback()
    assert proxied("http://127.0.0.1:4200/api", "http://prefect.example/api") == [False, True]


def test_socks_without_its_library(monkeypatch):
    """SOCKS proxies need a library that need not be there."""
    monkeypatch.setattr("tasks.services.proxies.find_spec", lambda _: None)
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:9")
    keep_proxies_from_loopback()
    assert proxied("http://127.0.0.1:4200/api") == [False]


def test_nothing_is_changed_without_a_proxy(monkeypatch):
    """Where no proxy is named, the environment stays as it is."""
    environment = {"NO_PROXY": "corp.example", "HOME": "/root"}
    keep_proxies_from_loopback("http://localhost/api", environment=environment)
    assert environment == {"NO_PROXY": "corp.example", "HOME": "/root"}


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:secret@proxy.example:3128",
        "http://user:se@cret/p@proxy.example:3128",
        "user:secret@proxy.example:3128",
        "http://secret@proxy.example:3128",
    ],
)
@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_proxy_is_named_without_its_password(monkeypatch, proxy, name):
    """The note says which variable names which proxy, and shows neither user nor password."""
    monkeypatch.setenv(name, proxy)
    note = proxy_note("https://prefect.example/api")
    assert f"({name.upper()})" in note
    assert "add prefect.example to NO_PROXY" in note
    assert "http://***" in note or "http://user:***@proxy.example:3128" in note
    assert "cret" not in note


@pytest.mark.parametrize("url", ["http://127.0.0.1:4200/api", "http://localhost/api", "http://corp.example/api", ""])
def test_no_note_where_no_proxy_is_used(monkeypatch, url):
    """No word about a proxy that has nothing to do with it."""
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", "corp.example")
    assert proxy_note(url) == ""


@pytest.mark.slow
def test_command_names_the_proxy_before_another_server(tmp_path):
    """A team's server behind a proxy that is dead: exit 5, one paragraph with the proxy's name and no password."""
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": "http://prefect.example/api",
        "HTTP_PROXY": "http://user:secret@127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "deploy", "catch-up"],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    (told,) = done.stderr.splitlines()
    assert told.startswith("anoclust: no Prefect server answers (")
    assert "through the proxy http://user:***@127.0.0.1:9 (HTTP_PROXY)" in told
    assert "add prefect.example to NO_PROXY" in told
    assert "secret" not in told
