"""What the page is made of: scripts of others with their licences, an address, a port."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import tomllib
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anoclust_core.errors import ConfigError, ResourceError
from flows.cli import app
from flows.review.charts import by_night
from flows.review.door import Keys
from flows.review.serve import listening_on
from flows.review.site import Address, chosen_of
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.layout import StoreLayout

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "flows" / "review" / "static" / "vendor"


def test_what_others_wrote_is_as_they_published_it() -> None:
    """Every file of others has its package, version and licence beside it, and the checksum that was written down."""
    sources = json.loads((VENDOR / "SOURCES.json").read_text())
    assert {path.name for path in VENDOR.iterdir()} == {*sources, "SOURCES.json"}
    for name, source in sources.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == source["sha256"], name
        assert source["version"]
        assert (VENDOR / source["licence_file"]).is_file()
        assert source["package"] in (ROOT / "docs" / "licences.md").read_text()


def test_the_wheel_has_all_files_of_the_page() -> None:
    """What pages are made of is package data: installed, the page has it too."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["flows.review"]
    folder = ROOT / "flows" / "review"
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    assert len(files) > 15
    assert [path.name for path in files if not any(fnmatch(str(path.relative_to(folder)), one) for one in data)] == []


def test_a_port_that_is_taken_is_told() -> None:
    """The message says what to do; a host that is none of this machine is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="choose another port with --port"):
            listening_on("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="--host takes a name or address"):
        listening_on("no such host.invalid", 0)


def test_what_is_sent_is_not_held_back() -> None:
    """Asyncio turns Nagle's algorithm off for a browser's connection; else it waits 40 ms for each picture."""
    found: list[int] = []

    async def connect() -> None:
        def heard(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listening_on("127.0.0.1", 0) as listening:
            server = await asyncio.start_server(heard, sock=listening)
            async with server:
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                assert await reader.read() == b""
                writer.close()

    asyncio.run(connect())
    assert len(found) == 1
    assert found[0]


def test_a_store_without_nights_is_told(tmp_path: Path) -> None:
    """There is nothing to look at before the first night: the command says so, and makes no catalog."""
    result = CliRunner().invoke(app, ["review", "--store", str(tmp_path)])
    assert result.exit_code != 0
    assert "anoclust nightly" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_chart_says_what_it_counts() -> None:
    """Who cannot see the bars is told of parts where parts are clustered."""
    nights, counts = [date(2026, 11, 1), date(2026, 11, 2)], [4, 2]
    for unit in ("image", "part"):
        chart = by_night(nights, counts, unit=unit)
        assert chart is not None
        assert chart.told == f"{unit}s a night, 20 Oct to 02 Nov: at most 4; the last ones 4, 2"


def test_an_address_has_the_choice_and_nothing_of_a_name() -> None:
    """Any name and value makes an address that means the same when it is read."""
    chosen = Chosen(columns={"a&b=c": "é/?", "line": "3"})
    text = Address().asked("/x", chosen, page=2, heat=None)
    from urllib.parse import parse_qsl

    assert chosen_of(dict(parse_qsl(text.partition("?")[2]))) == chosen
    assert Address().category("../a/b") == "/c/%252E.%252Fa%252Fb"


def test_cookies_of_another_start_do_not_open() -> None:
    """Keys are new with every server: neither session nor form of an earlier one counts, nor one that was changed."""
    first, second = Keys("c"), Keys("c")
    session = first.new_session()
    assert first.is_session(session)
    assert not second.is_session(session)
    assert not first.is_session(f"x{session}")
    assert not first.is_session("")
    assert first.csrf(session) != second.csrf(session)
    assert first.csrf(session) != first.csrf(first.new_session())
    assert not Keys("c", "secret word").is_token(first.token)
    assert "secret word" not in repr(Keys("c", "secret word"))


def test_categories_of_a_store_are_known_by_their_folders(layout: StoreLayout) -> None:
    """A folder's name that is none of a category leads nowhere."""
    from tasks.review.reading import Reading
    from tasks.stores.catalog.catalog import Catalog

    with Catalog.open(layout.catalog, store=layout, create=False) as catalog:
        reading = Reading(layout, catalog)
        assert reading.category("bottle") == "bottle"
        assert reading.category("bottl") is None
        assert reading.category("..") is None
