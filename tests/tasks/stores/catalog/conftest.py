"""A catalog to test with, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.stores.catalog.catalog import Catalog


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Give a place for a catalog that is not there yet."""
    if request.param == "sqlite":
        return tmp_path / "store" / "catalog.sqlite"
    return str(request.getfixturevalue("new_postgresql_url")())


@pytest.fixture
def catalog(where: Path | str) -> Iterator[Catalog]:
    """Give an empty catalog."""
    with Catalog.open(where) as opened:
        yield opened
