"""The morning list in a terminal: one question after the other, answered by single keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from anoclust_core.errors import ConfigError
from flows.terminal.tables import new_table
from tasks.review.morning.answers import Offer, give, given_since, offers, take_back, told
from tasks.review.morning.listed import KINDS, Question, morning_list

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from tasks.review.reading import Reading
    from tasks.stores.catalog.facts import DecisionFact

_NEXT: Final = ("j", "l", " ", "\x1b[C", "\x1bOC")
_BACK: Final = ("k", "\x1b[D", "\x1bOD")
_QUIT: Final = ("q", "\x04")
"""Keys: letters, arrows as terminals send them, and Ctrl-D."""

_HELP: Final = (
    "n name or new cluster   m suggested cluster   o another cluster   y yes   x no defect, or no   w wrong here",
    "r bring back   d do not ask again   u undo the last answer   v view   j or → next   k or ← back   q end",
)


def questions_table(questions: Sequence[Question]) -> Table:
    """One row a question."""
    table = new_table("question", "kind", "what", "suggested", "why")
    for one in questions:
        name = one.name if one.content is None else one.name[:18]
        table.add_row(escape(name), KINDS[one.kind].lower(), escape(one.text), one.suggested or "", escape(one.why))
    return table


@dataclass
class Asking:
    """One person at one category's list.

    Parameters
    ----------
    reading, category
        What is looked at.
    who
        Decides.
    console
        Is written to.
    read_key, read_line
        Give one key, or one line after a prompt; None where the line was left.
    view
        Opens a picture.
    """

    reading: Reading
    category: str
    who: str
    console: Console
    read_key: Callable[[], str]
    read_line: Callable[[str], str | None]
    view: Callable[[Path], None]

    def __post_init__(self) -> None:
        self.who = " ".join(self.who.split())
        self._since = max((one.number for one in self.reading.catalog.history(self.category)), default=0)
        self._at: str | None = None
        self._seen: int | None = None
        self._is_over = False

    def go(self) -> None:
        """Ask until the list is through, or the person ends it; then say what the answers did."""
        while not self._is_over:
            questions = morning_list(self.reading, self.category)
            place = self._place(questions)
            if place is None:
                break
            self._show(questions, place)
            self._take(questions, place, self.read_key())
        self._say_what_was_done()

    def _place(self, questions: Sequence[Question]) -> int | None:
        names = [one.name for one in questions]
        if not names or self._at == "":
            return None
        return names.index(self._at) if self._at in names else 0

    def _show(self, questions: Sequence[Question], place: int) -> None:
        question, state = questions[place], self.reading.state(self.category)
        self._seen = self.reading.catalog.versions(self.category).get(question.cluster or "")
        n_given = len(self._given())
        self._print(f"\n[dim]{place + 1} of {len(questions)} open, {n_given} answered[/dim]")
        self._print(f"[bold]{escape(question.text)}[/bold]  [dim]{KINDS[question.kind].lower()}[/dim]")
        self._print(f"  {escape(question.why)}")
        for path in self._paths(question):
            self._print(f"  [dim]{escape(path)}[/dim]")
        taken = "  ".join(f"[bold]{one.keys[0]}[/bold] {escape(one.label)}" for one in offers(question, state))
        self._print(f"  {taken}  [dim]j next  k back  u undo  v view  ? keys  q end[/dim]")

    def _paths(self, question: Question) -> list[str]:
        """Path of the image, or of three typical ones of the cluster."""
        facts = self.reading.catalog.known_images(self.category, self._contents(question))
        return [fact.path for fact in facts.values()]

    def _contents(self, question: Question) -> list[str]:
        from tasks.stores.catalog.browsing import Chosen

        if question.content is not None:
            return [question.content]
        if question.cluster is None:
            return []
        return list(self.reading.members(self.category, question.cluster, Chosen())[:3])

    def _take(self, questions: Sequence[Question], place: int, key: str) -> None:
        question, state = questions[place], self.reading.state(self.category)
        offer = next((one for one in offers(question, state) if key in one.keys), None)
        try:
            if offer is not None:
                self._answer(questions, place, offer)
            elif key in _NEXT:
                self._at = _name_of(questions, place + 1)
            elif key in _BACK:
                self._at = questions[max(0, place - 1)].name
            elif key == "u":
                self._undo(questions)
            elif key == "v":
                self._view(question)
            elif key in _QUIT:
                self._is_over = True
            else:
                for line in _HELP:
                    self._print(f"  {line}")
                self._at = question.name
        except ConfigError as error:
            self._print(f"  [red]{escape(str(error))}[/red]")
            self._at = question.name

    def _answer(self, questions: Sequence[Question], place: int, offer: Offer) -> None:
        question, catalog = questions[place], self.reading.catalog
        text = "" if offer.takes == "nothing" else self.read_line(f"  {offer.label}: ")
        if text is None or (offer.takes != "nothing" and not text.strip()):
            self._at = question.name
            return
        state = self.reading.state(self.category)
        made = give(catalog, state, question, offer.kind, text, who=self.who, seen=self._seen)
        decisions = [one for one in catalog.history(self.category) if one.number in made]
        self._print(f"  [green]{escape(told(decisions, self.reading.state(self.category)))}[/green]")
        left = {one.name for one in morning_list(self.reading, self.category)}
        self._at = next((one.name for one in questions[place + 1 :] if one.name in left), "")

    def _undo(self, questions: Sequence[Question]) -> None:
        given = self._given()
        if not given:
            raise ConfigError("nothing was answered yet that could be undone")
        take_back(self.reading.catalog, self.category, given[-1][0].number, who=self.who)
        before = {one.name for one in questions}
        now = morning_list(self.reading, self.category)
        self._at = next((one.name for one in now if one.name not in before), self._at)
        self._print("  undone")

    def _view(self, question: Question) -> None:
        contents = self._contents(question)
        facts = self.reading.catalog.known_images(self.category, contents[:1])
        for fact in facts.values():
            from pathlib import Path

            self.view(Path(fact.file or ""))
        self._at = question.name

    def _given(self) -> list[list[DecisionFact]]:
        return given_since(self.reading.catalog, self.category, self.who, self._since)

    def _say_what_was_done(self) -> None:
        given, state = self._given(), self.reading.state(self.category)
        n_left = len(morning_list(self.reading, self.category))
        for one in given:
            self._print(f"  {escape(told(one, state))}")
        self._print(f"{len(given)} answered, {n_left} left; `anoclust clusters history` shows and undoes them")

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False)


def _name_of(questions: Sequence[Question], place: int) -> str:
    """Name of a question, or nothing behind the last."""
    return questions[place].name if place < len(questions) else ""
