"""A generated store, and the review page on a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import generate
from playwright.sync_api import Browser, sync_playwright
from serving import Served, served
from watching import Watched

from tasks.stores.layout import StoreLayout


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """Make a store of 240 images once, for tests to copy."""
    return generate(tmp_path_factory.mktemp("review") / "store", 240, n_nights=6)


@pytest.fixture(scope="session")
def made_busy(tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    """Make a store whose last night leaves more than sixty questions once, for tests to copy."""
    return generate(tmp_path_factory.mktemp("busy") / "store", 600, n_nights=6, alarms=True)


@pytest.fixture
def busy(made_busy: StoreLayout, tmp_path: Path) -> StoreLayout:
    """Copy that store."""
    shutil.copytree(made_busy.root, tmp_path / "busy")
    return StoreLayout(tmp_path / "busy")


@pytest.fixture
def layout(made: StoreLayout, tmp_path: Path) -> StoreLayout:
    """Copy the store; its pictures stay where they are."""
    shutil.copytree(made.root, tmp_path / "store")
    return StoreLayout(tmp_path / "store")


@pytest.fixture
def review(layout: StoreLayout) -> Iterator[Served]:
    """Serve the copy."""
    with served(layout) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give Debian's Chromium; Playwright brings none.

    Not for the session: while it is open, Playwright's event loop counts as running in this thread, and
    `asyncio.run` of any later test would fail.
    """
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def watched(browser: Browser, review: Served) -> Iterator[Watched]:
    """Give a browser with a fresh profile that was let in; no console message and no foreign request is allowed."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        found = Watched(context.new_page(), review.base)
        found.page.on("console", lambda message: found.faults.append(f"console: {message.text}"))
        found.page.on("pageerror", lambda error: found.faults.append(f"error: {error}"))
        found.page.on(
            "request",
            lambda request: None if request.url.startswith(review.base) else found.faults.append(request.url),
        )
        found.page.set_default_timeout(20_000)
        found.page.goto(review.opened)
        yield found
        assert found.faults == []
