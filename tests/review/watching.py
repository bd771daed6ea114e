"""A page in a real browser, watched for what it should not say or ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, sync_playwright
from serving import Served


@dataclass
class Watched:
    """A page, and what it said or asked for that it should not have."""

    page: Page
    base: str
    faults: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page of the server."""
        self.page.goto(self.base + path)
        return self.page


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Open Debian's Chromium; Playwright brings none.

    While it is open, Playwright's event loop counts as running in this thread, and `asyncio.run` fails: no night can
    be run meanwhile.
    """
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def watching(browser: Browser, review: Served) -> Iterator[Watched]:
    """Open a page with a fresh profile that was let in; no console message and no foreign request is allowed."""
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
