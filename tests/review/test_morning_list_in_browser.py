"""The morning list in a real browser, by keyboard alone: sixty questions, and what is left of them afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from answering import WHO, broken, decided, planned
from axe_playwright_python.sync_playwright import Axe
from generated import next_morning
from helpers.chromium import needs_chromium
from helpers.streams import CATEGORY, Stream, night_config
from playwright.sync_api import Browser, Page, expect
from serving import Served, served

from tasks.review.morning.answers import offers
from tasks.review.morning.listed import Question, morning_list
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, needs_chromium]

BOTTLE = "bottle"

KEYS = {
    "name": "n",
    "place": "o",
    "right": "y",
    "move": "m",
    "merge": "m",
    "ordinary": "x",
    "wrong": "w",
    "dismiss": "d",
}
"""Key of every answer of the plan."""


@pytest.fixture
def served_busy(busy: StoreLayout) -> Iterator[Served]:
    """Serve a store with many questions."""
    with served(busy) as found:
        yield found


def at(page: Page, question: str) -> None:
    """See that a question is shown, and that it has the focus."""
    expect(page.locator(f'#morning input[name="question"][value="{question}"]').first).to_be_attached()
    expect(page.locator("#question")).to_be_focused()


def say_who(page: Page) -> None:
    """Who decides, asked once."""
    expect(page.locator("#morning-name")).to_be_focused()
    page.keyboard.type(WHO)
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"You: {WHO}")).to_be_visible()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def answer(page: Page, question: Question, kind: str, text: str) -> None:
    page.keyboard.press(KEYS[kind])
    if text:
        field = page.locator(f"#field-{kind}")
        expect(field).to_be_focused()
        page.keyboard.type(text)
        page.keyboard.press("Enter")


def test_sixty_questions_by_keyboard_alone(browser: Browser, served_busy: Served) -> None:
    """Named, merged, moved, confirmed, set aside without a mouse; back, next and undo; all of it holds afterwards."""
    reading = served_busy.reading
    faults: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(served_busy.opened)
        expect(page.locator(".waiting")).to_have_text(re.compile(r"6\d questions wait"))
        page.get_by_role("link", name=re.compile("questions wait")).focus()
        page.keyboard.press("Enter")
        say_who(page)
        questions = list(morning_list(reading, BOTTLE))
        n_questions, plan = len(questions), planned()
        assert n_questions >= 60
        at(page, questions[0].name)
        press(page, "j")
        at(page, questions[1].name)
        press(page, "ArrowLeft")
        at(page, questions[0].name)
        press(page, "?")
        expect(page.locator(".keys table")).to_be_visible()
        for n_answered, question in enumerate(questions):
            at(page, question.name)
            kind, text = next(plan[question.kind])
            answer(page, question, kind, text)
            expect(page.locator(".tally")).to_have_text(
                f"{n_answered + 1} answered, {n_questions - n_answered - 1} left"
            )
            if n_answered in {1, 30}:  # taken back, and given again
                press(page, "u")
                at(page, question.name)
                expect(page.locator(".tally")).to_contain_text(f"{n_answered} answered")
                answer(page, question, kind, text)
        expect(page.locator("#question")).to_have_text("Nothing is left to decide")
        expect(page.locator(".did li")).to_have_count(n_questions)
        expect(page.locator(".did")).to_contain_text("named c2 “edge chip”; ")
    assert faults == []
    decisions = decided(reading.catalog, BOTTLE)
    assert broken(reading, BOTTLE, decisions) == []
    next_morning(reading.layout)
    assert broken(reading, BOTTLE, decisions) == []


@pytest.mark.timeout(900)
def test_sixty_answers_hold_in_the_next_night_and_a_reclustering(
    browser: Browser, tmp_path: Path, checkpoint: Path, prefect_db: None
) -> None:
    """A list of real nights by keyboard alone: every answer holds in the next night and through a re-clustering."""
    config = night_config(checkpoint, n_clusters=20, recluster_every="none", recluster_unknown=1.0)
    stream = Stream(tmp_path, config)
    stream.deliver(0, ("good", "hole", "scratch", "good") * 25)
    stream.night(0)
    stream.deliver(1, ("good", "hole", "scratch", "good") * 5)
    stream.night(1)
    with served(StoreLayout(stream.store)) as review, browser.new_context() as context:
        page, reading = context.new_page(), review.reading
        page.set_default_timeout(60_000)
        page.goto(f"{review.opened}")
        page.goto(f"{review.base}/c/{CATEGORY}/morning")
        say_who(page)
        n_answered = 0
        wanted = cycle(("name", "right", "move", "wrong", "merge", "dismiss"))
        is_taken_back = False
        while questions := {one.name: one for one in morning_list(reading, CATEGORY)}:
            expect(page.locator("#question")).to_be_focused()
            shown = page.locator('#morning input[name="question"]').first.input_value()
            if not shown:  # a cluster that grew by a merge is asked about before where the list was
                expect(page.locator("#question")).to_contain_text("still open")
                press(page, "j")
                expect(page.locator("#question")).not_to_contain_text("still open")
                continue
            question = questions[shown]
            kinds = {one.kind for one in offers(question, reading.state(CATEGORY))}
            kind = next(kind for kind in wanted if kind in kinds)
            answer(page, question, kind, f"kind {n_answered}" if kind == "name" else "")
            expect(page.locator(".tally")).to_contain_text(f"{n_answered + 1} answered")
            if n_answered == 4 and not is_taken_back:
                press(page, "u")
                at(page, question.name)
                is_taken_back = True
            else:
                n_answered += 1
        assert n_answered >= 60
        expect(page.locator("#question")).to_have_text("Nothing is left to decide")
        decisions = decided(reading.catalog, CATEGORY)
    assert {"rename", "move", "wrong", "merge", "dismiss"} <= {one.kind for one in decisions}
    stream.deliver(2, ("good", "hole", "scratch"))
    assert stream.night(2).reclustered is None
    stream.deliver(3, ("good", "hole", "scratch"))
    with served(StoreLayout(stream.store)) as review:
        assert broken(review.reading, CATEGORY, decisions) == []
        assert stream.night(3, recluster=True).reclustered == "asked for"
        assert broken(review.reading, CATEGORY, decisions) == []


def test_a_refused_answer_keys_off_and_the_end(browser: Browser, served_busy: Served) -> None:
    """A wrong name is told and the question stays; Escape leaves the field; keys can be switched off for good."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(served_busy.opened)
        page.goto(f"{served_busy.base}/c/{BOTTLE}/morning?at=name-c2")
        say_who(page)
        at(page, "name-c2")
        press(page, "o")
        page.keyboard.type("c9")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("there is no cluster c9")
        at(page, "name-c2")
        press(page, "n")
        page.keyboard.type("x")
        press(page, "Escape")
        at(page, "name-c2")
        press(page, "?")
        page.get_by_label("Single keys decide").uncheck()
        page.reload()
        at(page, "name-c2")
        expect(page.locator("body")).to_have_class(re.compile("no-keys"))
        press(page, "d", "j")
        at(page, "name-c2")
        page.goto(f"{served_busy.base}/c/{BOTTLE}/morning?at=end")
        expect(page.locator("#question")).to_contain_text("questions are still open")
        assert decided(served_busy.reading.catalog, BOTTLE) == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_list_has_no_serious_fault_of_access(
    browser: Browser, served_busy: Served, scheme: str, width: int
) -> None:
    """A cluster, an image, an alarm after an answer, who you are, and the end: axe finds nothing serious."""
    image = next(one.name for one in morning_list(served_busy.reading, BOTTLE) if one.kind == "between")
    viewport = {"width": width, "height": 844}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(served_busy.opened)
        look(page, served_busy, "", width)
        say_who(page)
        for place in ("name-c2", image, "end"):
            look(page, served_busy, place, width)
        page.goto(f"{served_busy.base}/c/{BOTTLE}/morning?since=0")
        expect(page.locator("#question")).to_be_focused()
        page.keyboard.press("d")
        expect(page.locator(".done")).to_be_visible()
        look(page, served_busy, None, width)


def look(page: Page, review: Served, place: str | None, width: int) -> None:
    """Open a place of the list, or stay, and ask axe."""
    if place is not None:
        page.goto(f"{review.base}/c/{BOTTLE}/morning?at={place}&since=0")
    for summary in page.locator(".morning-foot summary").all():
        summary.evaluate("(element) => { element.parentElement.open = true; }")
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}]
    assert serious == [], place
    assert page.evaluate("document.documentElement.scrollWidth") <= width, place
