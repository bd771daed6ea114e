"""Promises of the pages: each still stands where docs/promises.md quotes it from, and is held by tests that exist."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"


@dataclass(frozen=True)
class Promise:
    """A row of the page."""

    text: str
    source: str
    tests: tuple[str, ...]


def promises(page: str) -> list[Promise]:
    rows = re.findall(r"(?m)^\| (.+) \| (\S+) \| (.+) \|$", page)
    return [
        Promise(text, source, tuple(re.findall(r"`([^`]+)`", tests))) for text, source, tests in rows if source != "in"
    ]


@cache
def words(source: str) -> str:
    """Text of a file with its line breaks, and those of string literals, taken out."""
    return " ".join(re.sub(r'"\n\s*"', "", (ROOT / source).read_text(encoding="utf-8")).split())


@cache
def names_in(path: str) -> set[str]:
    """Names of the test functions in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


PROMISES = promises(PAGE.read_text(encoding="utf-8"))


def test_the_page_is_read() -> None:
    """The page has promises of the README and of every new command, each with a test."""
    assert len(PROMISES) >= 40
    assert {"README.md", "docs/errors.md", "docs/summary.md", "flows/cli/store.py"} <= {p.source for p in PROMISES}
    assert all(promise.tests for promise in PROMISES)
    assert len({promise.text for promise in PROMISES}) == len(PROMISES)


def check(promise: Promise) -> None:
    assert " ".join(promise.text.split()) in words(promise.source)
    for name in promise.tests:
        path, _, function = name.partition("::")
        assert function in names_in(path), name


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:40])
def test_promise_stands_and_is_tested(promise: Promise) -> None:
    """The sentence stands word for word in its file, and every test named for it exists."""
    check(promise)


def test_every_row_is_understood() -> None:
    """No row of a table on the page is passed over."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    headers = [line for line in rows if line in ("| promise | in | tests |", "|---|---|---|")]
    assert len(rows) - len(headers) == len(PROMISES)


@pytest.mark.parametrize(
    "promise",
    [
        Promise("It never rains.", "README.md", ("tests/test_promises.py::test_the_page_is_read",)),
        Promise("No labels and no training", "README.md", ("tests/test_promises.py::test_gone",)),
    ],
    ids=["sentence", "test"],
)
def test_a_broken_promise_is_found(promise: Promise) -> None:
    """The check fails for a sentence that was edited and for a test that was renamed."""
    with pytest.raises(AssertionError):
        check(promise)
