from __future__ import annotations

import ast
from datetime import date
from pathlib import Path

import pytest
from rich.console import Console

from flows.nights.outcome import NightOutcome
from flows.nights.status import CategoryStatus
from flows.run import CategoryOutcome
from flows.terminal.nights import night_lines, question_lines, status_table
from flows.terminal.progress import StageBars, outcome_lines
from tasks.stores.catalog.facts import QuestionFact

NIGHT = date(2026, 11, 20)

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


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    """One image, one pair, one file: runs, nights and the status say it as a person would."""
    summary = {"images": {"clustered": 2, "quarantined": 1, "deferred": 1}}
    work = {"images_embedded": 1, "pair_products": 1}
    of_run = outcome_lines(CategoryOutcome("tile", Path("run"), True, summary, 1.0, work))
    for words in ("1 image embedded, 1 image pair compared", "1 file could not be used", "1 file deferred"):
        assert words in of_run
    of_night = night_lines(NightOutcome("tile", NIGHT, True, {"new": 1, "quarantined": 1, "deferred": 1}))
    for words in ("1 new image", "1 file could not be used", "1 file deferred"):
        assert words in of_night
    status = CategoryStatus("tile", NIGHT, "done", 9, 0, 0, 2, 0, NIGHT, 1, None)
    console = Console(width=200)
    with console.capture() as printed:
        console.print(status_table([status]))
    assert f"{NIGHT}, 1 image since" in printed.get()


def test_commands_can_be_copied_as_they_are() -> None:
    """A category's name with a blank in it is quoted in the command that answers a question."""
    asked = QuestionFact("7:c3", "mark", "c3", "c1", 7, "Is c3 no defect either?")
    (_, command) = question_lines([asked], "metal nut")
    assert "anoclust clusters answer 'metal nut' 7:c3 --yes" in command
