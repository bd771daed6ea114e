"""A page as a browser shows it: Chromium without a window, a fresh profile each time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

_CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="needs the browser `chromium` on PATH")


_ALONE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
"""A browser without a window that asks nobody anything."""


def browse(address: str, folder: Path, *extra: str, seconds: int = 10) -> tuple[str, str]:
    """Open a page, its scripts given so many seconds; give its DOM (if dumped) and what the console said."""
    assert _CHROMIUM is not None
    command = [
        _CHROMIUM,
        *_ALONE,
        "--enable-logging=stderr",
        "--window-size=1500,1100",
        f"--virtual-time-budget={1000 * seconds}",
        f"--user-data-dir={folder / 'profile'}",
        *extra,
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


class Page:
    """A page in a browser that stays open.

    Parameters
    ----------
    channel
        To the page, by the browser's own protocol.
    """

    def __init__(self, channel: ClientConnection) -> None:
        self._channel = channel
        self._asked = 0

    def __call__(self, expression: str) -> Any:
        """Run a JavaScript expression, wait for what it promises, and give its value; None while a page loads."""
        parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        return self._ask("Runtime.evaluate", **parameters).get("result", {}).get("value")

    def go(self, address: str) -> None:
        """Open another page in its place."""
        self._ask("Page.navigate", url=address)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._asked += 1
        self._channel.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while (answer := json.loads(self._channel.recv(90))).get("id") != self._asked:
            pass
        found: dict[str, Any] = answer.get("result", {})
        return found


@contextmanager
def driven(address: str, folder: Path, *extra: str) -> Iterator[Page]:
    """Open a page in a browser with a fresh profile, for as long as the block."""
    assert _CHROMIUM is not None
    profile = Path(tempfile.mkdtemp(dir=folder))
    command = [_CHROMIUM, *_ALONE, *extra, "--remote-debugging-port=0", f"--user-data-dir={profile}", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        with connect(_address_of_page(profile), max_size=None, proxy=None, open_timeout=60) as channel:
            yield Page(channel)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address_of_page(profile: Path) -> str:
    """Where the browser can be told what to do with its page, once it has opened one."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with suppress(OSError, IndexError, httpx.HTTPError):
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            for one in httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json():
                if one["type"] == "page":
                    return str(one["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("the browser opens no page")
