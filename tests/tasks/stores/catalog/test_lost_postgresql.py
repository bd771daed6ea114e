"""A PostgreSQL server that goes away or hangs while a night writes to the catalog."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, make_url

from anoclust_core.errors import StoreError
from tasks.stores.catalog import opening
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import NightFact

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
NIGHT = NightFact("tile", date(2026, 11, 1), "done", "k", NOON, NOON, {"seen": 1})


def end_connections(server: Path, url: str) -> None:
    """End all connections to a database, as a server does that is stopped."""
    import psycopg

    with psycopg.connect(host=str(server), user="postgres", dbname="postgres", autocommit=True) as connection:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(query, [make_url(url).database])


@pytest.mark.parametrize("moment", [1, 2, 3, "commit"])
def test_database_that_goes_away_in_a_transaction(
    new_postgresql_url: Callable[[], str], postgresql: Path, moment: int | str
) -> None:
    """One paragraph with exit code 4 that says to see to the database; nothing half is there, and it goes on after."""
    url = new_postgresql_url()
    with Catalog.open(url) as catalog:
        statements = itertools.count(1)

        def cut(*_: object) -> None:
            if moment == "commit" or next(statements) == moment:
                end_connections(postgresql, url)

        hook = "commit" if moment == "commit" else "before_cursor_execute"
        event.listen(catalog._engine, hook, cut)
        with pytest.raises(
            StoreError, match=r"the catalog postgresql.* cannot be used: .*check that it can be reached"
        ):
            catalog.conclude_night(NIGHT)
        event.remove(catalog._engine, hook, cut)
        assert catalog.night("tile", NIGHT.night) is None
        catalog.conclude_night(NIGHT)
        assert catalog.night("tile", NIGHT.night) == NIGHT


def test_server_that_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a connection and says nothing is not waited for for ever."""
    pytest.importorskip("psycopg")
    monkeypatch.setattr(opening, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(StoreError, match="check that it can be reached"):
            Catalog.open(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/anoclust")
        assert time.monotonic() - began < 30
