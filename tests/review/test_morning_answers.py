"""The morning list: what is asked and in which order, what answers do, and that undone ones leave nothing behind."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from html import unescape
from pathlib import Path

import pytest
from answering import WHO, answer_everything, broken, decided, result
from generated import generate, next_morning
from rich.console import Console
from serving import served
from typer.testing import CliRunner

from anoclust_core.errors import ConfigError
from anoclust_core.matching.morning_list import ORDER
from anoclust_core.matching.partitions import match_partitions
from flows.cli import app
from flows.terminal.morning import Asking
from tasks.review.morning.answers import give, given_since, offers, take_back, told
from tasks.review.morning.listed import Question, morning_list
from tasks.review.reading import Reading
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.seen import ChangedSinceError
from tasks.stores.catalog.facts import AssignmentFact, QuestionFact
from tasks.stores.files import category_address
from tasks.stores.layout import StoreLayout

BOTTLE = "bottle"


@pytest.fixture
def reading(busy: StoreLayout) -> Iterator[Reading]:
    """Read a store with many questions."""
    with Catalog.open(busy.catalog, store=busy) as catalog:
        yield Reading(busy, catalog)


def first(reading: Reading, kind: str) -> Question:
    return next(one for one in morning_list(reading, BOTTLE) if one.kind == kind)


def answered(reading: Reading, question: Question, answer: str, text: str = "", **given: object) -> str:
    made = give(reading.catalog, reading.state(BOTTLE), question, answer, text, who=WHO, **given)  # type: ignore[arg-type]
    decisions = [one for one in reading.catalog.history(BOTTLE) if one.number in made]
    return told(decisions, reading.state(BOTTLE))


def test_the_list_has_every_kind_once_and_in_order(reading: Reading) -> None:
    """Alarms and new clusters first; no image and no cluster is asked about twice; each question has its answers."""
    found = morning_list(reading, BOTTLE)
    kinds = [one.kind for one in found]
    assert len(found) >= 60
    assert kinds == sorted(kinds, key=ORDER.__getitem__)
    assert set(kinds) == {"camera", "new", "growing", "surge", "drift", "unnamed", "unknown", "between", "telling"}
    assert max(Counter(kinds).values()) <= 20
    assert len({one.name for one in found}) == len(found)
    abouts = Counter(one.content or one.cluster for one in found if one.content or one.cluster)
    assert max(abouts.values()) == 1
    for one in found:
        keys = "".join(offer.keys for offer in offers(one, reading.state(BOTTLE)))
        assert len(set(keys)) == len(keys) > 0, one
        assert not set(keys) & set("jkuvqh?"), one
    assert all(one.suggested not in {None, one.cluster} for one in found if one.kind in {"unknown", "between", "new"})


def test_what_answers_do_is_told_and_closes_the_question(reading: Reading) -> None:
    """A name, a merge, an image confirmed, moved, wrong, of a new kind, and what is set aside."""
    new = first(reading, "new")
    n_images = reading.state(BOTTLE).row(new.cluster or "").n_images  # type: ignore[union-attr]
    assert answered(reading, new, "name", " edge  chip ") == f"named c2 “edge chip”; {n_images} images"
    assert answered(reading, first(reading, "camera"), "dismiss").startswith("set aside: The camera, not the product")
    assert answered(reading, first(reading, "growing"), "ordinary").startswith("marked c3 as no defect; ")
    image = first(reading, "between")
    assert answered(reading, image, "right") == f"confirmed 1 image in {image.cluster}"
    image = first(reading, "between")
    assert answered(reading, image, "move") == f"moved 1 image to {image.suggested} (1 of {image.cluster})"
    image = first(reading, "between")
    words = answered(reading, image, "place", "kink")
    assert words == f"split 1 image off {image.cluster} as c6, and named c6 “kink”; 1 image"
    image = first(reading, "unknown")
    assert answered(reading, image, "place", "kink") == "moved 1 image to c6 (1 unknown)"
    image = first(reading, "unknown")
    words = answered(reading, image, "place", "burr")
    assert words == "started c7 with 1 image (1 unknown), and named c7 “burr”; 1 image"
    image = first(reading, "telling")
    assert answered(reading, image, "wrong") == f"said that 1 image is wrong in {image.cluster}"
    assert len(given_since(reading.catalog, BOTTLE, WHO, 5)) == 9
    assert broken(reading, BOTTLE, decided(reading.catalog, BOTTLE)) == []


def test_wrong_answers_are_refused(reading: Reading) -> None:
    """What is no answer, what lacks a name, a name that is taken, and a cluster that changed meanwhile."""
    new = first(reading, "new")
    with pytest.raises(ConfigError, match=r"expected one of the answers name, merge, .*, found 'wrong'"):
        answered(reading, new, "wrong")
    with pytest.raises(ConfigError, match="give a name"):
        answered(reading, new, "name", "  ")
    seen = reading.catalog.versions(BOTTLE)["c2"]
    reading.catalog.rename(BOTTLE, "c4", "scratch", who="Ben")
    with pytest.raises(ConfigError, match="c4 already has the name scratch"):
        answered(reading, new, "name", "scratch")
    reading.catalog.annotate(BOTTLE, "c2", "look", who="Ben")
    with pytest.raises(ChangedSinceError, match="Ben wrote a note on c2"):
        answered(reading, new, "name", "dent", seen=seen)
    image = first(reading, "unknown")
    with pytest.raises(ConfigError, match="expected a name of at most 100 characters that is not an identity"):
        answered(reading, image, "place", "c77")
    assert [one.kind for one in decided(reading.catalog, BOTTLE) if one.who == WHO] == []


def test_answers_hold_and_undone_ones_leave_no_trace(reading: Reading, tmp_path: Path) -> None:
    """After the next night and re-clustering: kept answers hold; undone ones give the result of a store without them.

    Sixty questions of all kinds and more; nothing that was answered is asked again.
    """
    shutil.copytree(reading.layout.root, tmp_path / "never")
    before = morning_list(reading, BOTTLE)
    asked = answer_everything(reading, BOTTLE)
    assert [one.name for one in asked] == [one.name for one in before]
    decisions = decided(reading.catalog, BOTTLE)
    assert broken(reading, BOTTLE, decisions) == []
    shutil.copytree(reading.layout.root, tmp_path / "kept")
    for given in reversed(given_since(reading.catalog, BOTTLE, WHO, 0)):
        take_back(reading.catalog, BOTTLE, given[0].number, who=WHO)
    assert decided(reading.catalog, BOTTLE) == []
    assert morning_list(reading, BOTTLE) == before
    never, kept = StoreLayout(tmp_path / "never"), StoreLayout(tmp_path / "kept")
    for layout in (reading.layout, never, kept):
        next_morning(layout)
    with Catalog.open(kept.catalog, store=kept) as catalog:
        assert broken(Reading(kept, catalog), BOTTLE, decisions) == []
        assert not {one.name for one in morning_list(Reading(kept, catalog), BOTTLE)} & {one.name for one in asked}
    with Catalog.open(never.catalog, store=never) as catalog:
        assert result(reading.catalog, BOTTLE) == result(catalog, BOTTLE)
        undone, other = reading.catalog.standing(BOTTLE), catalog.standing(BOTTLE)
        assert (undone.placed, undone.wrong, undone.known) == (other.placed, other.wrong, other.known)


def test_what_somebody_has_decided_elsewhere_is_not_asked(reading: Reading) -> None:
    """A cluster that was named or marked on its page asks for no name; its growth is settled by that, too."""
    reading.catalog.mark_ordinary(BOTTLE, "c4", True, who="Ben")
    reading.catalog.rename(BOTTLE, "c2", "chip", who="Ben")
    assert {"c2", "c4"}.isdisjoint(one.cluster for one in morning_list(reading, BOTTLE) if not one.content)
    reading.catalog.rename(BOTTLE, "c3", "dent", who="Ben")
    assert "growing" not in {one.kind for one in morning_list(reading, BOTTLE)}


def test_what_a_re_clustering_lost_or_left_open_is_asked(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open question is answered by yes or no; a lost cluster is brought back, or left."""
    catalog, state = reading.catalog, reading.state(BOTTLE)
    again = QuestionFact("9-c4-mark", "mark", "c4", "c2", 9, "is c4 no defect too?")
    lost = Question("gone-c2", "lost", "c2 is gone. Is that right?", "", "c2", undo=1)
    monkeypatch.setattr(type(catalog), "questions", lambda *_: [again])
    (asked,) = (one for one in morning_list(reading, BOTTLE) if one.kind == "again")
    assert (asked.text, [one.kind for one in offers(asked, state)]) == (again.text, ["yes", "no"])
    assert [one.label for one in offers(lost, state)] == ["No, bring c2 back", "Yes, leave it"]
    with pytest.raises(ConfigError, match="no question 9-c4-mark of bottle is open"):
        answered(reading, asked, "yes")
    assert answered(reading, lost, "dismiss") == "set aside: c2 is gone. Is that right?"


def test_a_lost_cluster_is_brought_back(reading: Reading) -> None:
    """With the images that it had before the re-clustering; that counts as an answer."""
    catalog, found = reading.catalog, reading.catalog.standing(BOTTLE)
    before = catalog.latest_snapshot(BOTTLE)
    assert before is not None
    labels = {content: 4 if cluster == "c5" else int(cluster[1:]) for content, cluster in found.partition.items()}
    match = match_partitions(found.partition, labels, taken=found.identities, merged_into={})
    catalog.record_snapshot(
        replace(before, key="s2"),
        night=date(2026, 11, 6),
        match=match,
        assignments=[AssignmentFact(content, match.ids[label], 0.5, 0.9) for content, label in labels.items()],
        found=found,
    )
    number = next(one.number for one in catalog.history(BOTTLE, "c5") if one.kind == "merged")
    lost = Question("merged-c5-2026-11-06", "lost", "c5 went into c4. Is that right?", "", "c5", undo=number)
    assert answered(reading, lost, "back") == "brought c5 back"
    now = {place.content: place.cluster for place in catalog.assignments(BOTTLE)}
    assert {at for at, cluster in now.items() if cluster == "c5"} == {
        at for at, cluster in found.partition.items() if cluster == "c5"
    }
    assert len(given_since(catalog, BOTTLE, WHO, number)) == 1


class Typist:
    """Somebody who types: keys, and lines where they are asked for."""

    def __init__(self, *typed: str) -> None:
        self._typed = list(typed)

    def key(self) -> str:
        return self._typed.pop(0)

    def line(self, _: str) -> str | None:
        return self._typed.pop(0)


def test_the_terminal_asks_the_same_list(reading: Reading) -> None:
    """By single keys: on, back, a name, undone and given again, a wrong one told, and what it did at the end."""
    keys = Typist("j", "k", "d", "n", "edge chip", "u", "?", "n", "", "n", "c9", "n", "dent", "q")
    shown, viewed = io.StringIO(), list[Path]()
    console = Console(file=shown, width=200)
    Asking(reading, BOTTLE, WHO, console, keys.key, keys.line, viewed.append).go()
    text = shown.getvalue()
    assert "What is c2?" in text
    assert "named c2 “edge chip”" in text
    assert "expected a name" in text
    assert text.rstrip().endswith("`anoclust clusters history` shows and undoes them")
    assert "2 answered" in text
    assert reading.catalog.cluster(BOTTLE, "c2").name == "dent"


def anoclust(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "250"})
    return done.exit_code, done.output


def test_the_commands_list_dismiss_and_export(busy: StoreLayout, tmp_path: Path) -> None:
    """A list for scripts, a question set aside by its name, images for a labeller; keys need a terminal."""
    store = ("--store", busy.root)
    code, text = anoclust("clusters", "ask", BOTTLE, "--json", *store)
    found = json.loads(text)
    assert (code, found[0]["kind"], found[0]["answers"]) == (0, "camera", ["dismiss"])
    assert "camera-2026-11-06" in anoclust("clusters", "ask", BOTTLE, "--list", *store)[1]
    code, text = anoclust("clusters", "ask", BOTTLE, *store)
    assert (code, "give --list or --json" in text) == (2, True)
    assert anoclust("clusters", "dismiss", BOTTLE, "camera", *store)[0] == 0
    assert len(json.loads(anoclust("clusters", "ask", BOTTLE, "--json", *store)[1])) == len(found) - 1
    assert anoclust("clusters", "dismiss", BOTTLE, "image-", *store)[0] == 2
    out = tmp_path / "label.csv"
    code, text = anoclust("export", "to-label", BOTTLE, "--images", 7, "--out", out, *store)
    assert (code, text.strip()) == (0, f"{out}: 7 images of bottle to label")
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert {"path", "cluster", "why"} <= rows[0].keys()
    assert len({row["cluster"] for row in rows}) == 6  # of every kind, the unknown among them


def test_the_command_of_the_list_can_be_copied(tmp_path: Path) -> None:
    """A category's name with a blank in it is quoted in the command that asks the same in a terminal."""
    layout = generate(tmp_path / "store", 60, category="metal nut", n_nights=2)
    with served(layout) as review, review.client(who=WHO) as client:
        page = client.get(f"{category_address('metal nut')}/morning").text
    assert "anoclust clusters ask <bdi>'metal nut'</bdi>" in unescape(page)


def test_pages_hand_on_what_commands_do(busy: StoreLayout) -> None:
    """Tables to send, how many questions wait, and a question that somebody else has answered."""
    with served(busy) as review, review.client(who=WHO) as client:
        where = f"/c/{BOTTLE}/morning"
        n_open = len(morning_list(review.reading, BOTTLE))
        assert f"{n_open} questions wait" in client.get(f"{where}/waiting").text
        rows = list(csv.DictReader(io.StringIO(client.get(f"{where}/questions.csv").text)))
        assert [row["question"] for row in rows] == [one.name for one in morning_list(review.reading, BOTTLE)]
        labelled = client.get(f"{where}/to-label.csv")
        assert labelled.headers["content-disposition"] == 'attachment; filename="bottle-to-label.csv"'
        assert len(list(csv.DictReader(io.StringIO(client.get(f"{where}/clusters.csv").text)))) == 600
        answer = review.post(client, f"{where}/answer", question="name-c2", answer="name", text="chip", since="5")
        assert answer.status_code == 303
        assert "named c2 “chip”" in client.get(answer.headers["location"]).text
        again = review.post(client, f"{where}/answer", question="name-c2", answer="name", text="dent", since="5")
        assert (again.status_code, "Somebody has answered this" in again.text) == (409, True)
        number = review.reading.catalog.history(BOTTLE)[-1].number
        back = review.post(client, f"{where}/undo", number=number, since="5")
        assert "at=name-c2" in back.headers["location"]
        client.cookies.delete("anoclust_name")
        nobody = review.post(client, f"{where}/answer", question="name-c2", answer="name", text="dent", since="5")
        assert "say who you are" in nobody.text
