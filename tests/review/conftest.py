"""A generated store, and the review page on a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from generated import generate
from playwright.sync_api import Browser
from serving import Served, served
from watching import Watched, opened_browser, watching

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
    """Open a browser once. Not for the session: no later test could run a night."""
    with opened_browser() as found:
        yield found


@pytest.fixture
def watched(browser: Browser, review: Served) -> Iterator[Watched]:
    """Give a page of the copy."""
    with watching(browser, review) as found:
        yield found
