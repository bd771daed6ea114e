"""A page as a browser shows it: Chromium without a window, a fresh profile each time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="needs the browser `chromium` on PATH")


def browse(address: str, folder: Path, *extra: str, seconds: int = 10) -> tuple[str, str]:
    """Open a page, its scripts given so many seconds; give its DOM (if dumped) and what the console said."""
    assert _CHROMIUM is not None
    command = [
        _CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--window-size=1500,1100",
        f"--virtual-time-budget={1000 * seconds}",
        f"--user-data-dir={folder / 'profile'}",
        *extra,
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
