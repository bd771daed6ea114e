"""The review page on a port of this machine, for as long as a test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from anoclust_core.config import RunConfig
from flows.review.app import review_app
from flows.review.door import CSRF, TOKEN, Keys
from flows.review.serve import listening_on
from tasks.review.reading import Reading
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout


@dataclass(frozen=True)
class Served:
    """A server that runs: its address, its keys, and what it reads."""

    base: str
    keys: Keys
    reading: Reading

    @property
    def opened(self) -> str:
        """Address that lets a browser in."""
        return f"{self.base}/?{TOKEN}={self.keys.token}"

    @contextmanager
    def client(self, *, who: str = "kim") -> Iterator[httpx.Client]:
        """Give a client that was let in, as a browser is."""
        with httpx.Client(base_url=self.base, follow_redirects=False, trust_env=False, timeout=60) as client:
            assert client.get(self.opened).status_code == 303
            client.cookies.set("anoclust_name", who)
            yield client

    def csrf(self, client: httpx.Client) -> str:
        """Token that forms of a client carry."""
        return self.keys.csrf(str(client.cookies[self.keys.cookie]))

    def post(self, client: httpx.Client, path: str, **form: object) -> httpx.Response:
        """Send a form, as a page of the server does."""
        return client.post(path, data={CSRF: self.csrf(client), **form}, headers={"Origin": self.base})


@contextmanager
def served(layout: StoreLayout, *, password: str | None = None, settings: RunConfig | None = None) -> Iterator[Served]:
    """Serve a store."""
    listening = listening_on("127.0.0.1", 0)
    port = listening.getsockname()[1]
    with Catalog.open(layout.catalog, store=layout) as catalog:
        reading, keys = Reading(layout, catalog), Keys(f"anoclust_review_{port}", password)
        config = uvicorn.Config(
            review_app(reading, keys, config=settings), access_log=False, log_level="warning", lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{port}", keys, reading)
        finally:
            server.should_exit = True
            thread.join()
            listening.close()
