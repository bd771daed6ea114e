from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rich.console import Console

from flows.terminal.progress import StageBars

ROOT = Path(__file__).parents[2]


def stages_told() -> set[str]:
    """Names that the code hands to a progress bar: `Progress("name", ...)` and `listener(category, "name", ...)`."""
    found = set()
    for folder in ("flows", "tasks"):
        for file in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text())):
                if isinstance(call, ast.Call):
                    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                    at = {"Progress": 0, "listener": 1}.get(name)
                    if at is not None and len(call.args) > at and isinstance(call.args[at], ast.Constant):
                        found.add(call.args[at].value)
    return found


@pytest.mark.parametrize("stage", sorted(stages_told()))
def test_every_stage_has_words_on_the_console(stage: str) -> None:
    """A bar that has no words for a stage would end the run with a fault of ours."""
    with StageBars(Console(quiet=True)) as bars:
        bars("tile", stage, 1, 2)


def test_stages_are_found() -> None:
    """The search above finds those that are known to be there."""
    assert {"embed", "pair", "temperatures", "list"} <= stages_told()
