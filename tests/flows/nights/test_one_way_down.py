"""A night goes one way down: it decides once whether everything is re-clustered, and reads once what is new."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from helpers.streams import CATEGORY, TWO, Stream
from pydantic import SecretStr

from anoclust_core.config import RunConfig
from anoclust_core.records import EmbeddingSpec
from flows.nights import run
from flows.nights.request import NightRequest
from tasks.stores import manifests

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

SPEC = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (8, 8), 48)


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Decisions whether everything is re-clustered: the module that asked for each, and the answer."""
    from flows.nights import flow

    found: list[tuple[str, str | None]] = []

    def noting(module: str, asked: Callable[..., str | None]) -> Callable[..., str | None]:
        def due(*given: Any, **named: Any) -> str | None:
            found.append((module, asked(*given, **named)))
            return found[-1][1]

        return due

    for module in (run, flow):
        monkeypatch.setattr(module, "due", noting(module.__name__.rpartition(".")[2], module.due))
    return found


def test_a_night_decides_once_whether_everything_is_reclustered(
    stream: Stream, decisions: list[tuple[str, str | None]]
) -> None:
    """With new images the flow decides, after it has recorded them; without, the command does, and the flow obeys."""
    stream.night(2)
    assert decisions == [("run", None)]
    decisions.clear()
    stream.deliver(2, TWO[:2])
    assert stream.night(2).reclustered is None
    assert decisions == [("flow", None)]
    decisions.clear()
    assert stream.night(2, recluster=True).reclustered == "asked for"
    assert decisions == [("run", "asked for")]
    decisions.clear()
    stream.deliver(3, TWO[:2])
    assert stream.night(3, recluster=True).reclustered == "asked for"
    assert decisions == [("flow", "asked for")]


def test_what_is_new_is_written_and_read_once(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """One manifest says what is new and is read once; one says what is compared, for the stages embed and pair."""
    written, read = Counter[Path](), Counter[Path]()
    write, load = manifests.write_json, manifests._loaded.__wrapped__

    def writing(path: Path, content: object) -> None:
        written[path] += 1
        write(path, content)

    def loading(path: Path, state: tuple[int, ...]) -> object:
        read[path] += 1
        return load(path, state)

    monkeypatch.setattr(manifests, "write_json", writing)
    monkeypatch.setattr(manifests, "_loaded", loading)
    stream.deliver(2, TWO[:2])
    assert stream.night(2).counters["assigned"] == 2
    new, compared = written
    assert written == {new: 1, compared: 1}
    assert (read[new], read[compared]) == (1, 2)


def test_prefect_keeps_a_small_request_without_secrets() -> None:
    """The parameters that Prefect records say what is asked for, and neither images nor a password."""
    from flows.nights.flow import category_night

    catalog = SecretStr("postgresql://me:Zq7Zq7@127.0.0.1:9/x")
    asked = NightRequest(
        CATEGORY, date(2026, 1, 2), 3, 5, "manifest", "store", catalog, RunConfig(), SPEC, recluster=False, due=None
    )
    kept = category_night.serialize_parameters({"asked": asked})["asked"]
    assert (kept["category"], kept["night"], kept["n_new"]) == (CATEGORY, "2026-01-02", 3)
    assert "Zq7Zq7" not in json.dumps(kept)
    assert "Zq7Zq7" not in repr(asked)
    assert len(json.dumps(kept)) < 4096
