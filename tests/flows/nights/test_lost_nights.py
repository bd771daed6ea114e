"""Real nights whose catalog is lost: refused by every command, given back, and gone on with as if nothing had been."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.streams import CATEGORY, TWO, Stream, classes_of, day
from sqlalchemy import select
from typer.testing import CliRunner, Result

from flows.cli import app
from tasks.stores.catalog import opening
from tasks.stores.catalog.changes import TABLES
from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

ONE_OFF = {"checksum", "sent_at", "made_at", "began", "ended", "at", "first_seen"}
"""Columns of the moment at which something was done, and the checksum that covers these."""


@pytest.fixture
def in_a_file(stream: Stream) -> Stream:
    """Give the two nights with their catalog in the store."""
    if stream.config.night.catalog is not None:
        pytest.skip("what lies in PostgreSQL is tested in tests/tasks/stores/catalog")
    return stream


def typed(stream: Stream, *arguments: object) -> Result:
    """Run a command as a person types it."""
    file = stream.root / "anoclust.toml"
    file.write_text(
        f'store = "{stream.store}"\n[embed]\nbackbone = "test_resnet"\n'
        f'checkpoint = "{stream.config.embed.checkpoint}"\nimage_size = 64\ndevice = "cpu"\n'
        "[data]\nsettle_seconds = 0\n[night]\n"
        'captured = "path:%Y-%m-%d"\nrecluster_every = "none"\n'
    )
    return CliRunner().invoke(app, [*map(str, arguments), "--config", str(file)], env={"COLUMNS": "200"})


def rows(stream: Stream, *, timeless: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, without the moments if wanted."""
    engine = opening.connect(stream.store / "catalog.sqlite")
    with engine.connect() as connection:
        found = {
            table.name: [
                {name: value for name, value in row.items() if not (timeless and name in ONE_OFF)}
                for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in TABLES
        }
    engine.dispose()
    text = json.dumps(found, default=str).replace(str(stream.root), "ROOT")  # files and reports have their place
    loaded: dict[str, list[dict[str, Any]]] = json.loads(text)
    return loaded


def lose(stream: Stream, *, aside: Path | None = None) -> None:
    """Take the catalog away, as a lost disk or a person does."""
    for path in stream.store.glob("catalog.sqlite*"):
        if aside is not None:
            shutil.copy(path, aside / path.name)
        path.unlink()


def decide(stream: Stream) -> None:
    with stream.catalog() as catalog:
        catalog.rename(CATEGORY, "c1", "pits", who="kim")
        one = next(fact.content for fact in catalog.assignments(CATEGORY) if fact.cluster == "c2")
        new = catalog.split(CATEGORY, "c2", [one], who="kim")
        catalog.annotate(CATEGORY, new, "one of its kind", who="kim")
        catalog.retire(CATEGORY, new, who="kim")
        catalog.undo(CATEGORY, who="kim")
        catalog.undo(CATEGORY, who="kim")
        catalog.undo(CATEGORY, who="kim")


COMMANDS = (
    ("nightly", "MANIFEST"),
    ("backfill", "MANIFEST", "--from", day(0), "--to", day(1)),
    ("status",),
    ("clusters", "list", CATEGORY),
    ("clusters", "show", CATEGORY, "c1"),
    ("clusters", "history", CATEGORY),
    ("clusters", "rename", CATEGORY, "c1", "x"),
    ("clusters", "undo", CATEGORY),
    ("export", "clusters", CATEGORY),
    ("up", "--data", "MANIFEST"),
)


@pytest.mark.parametrize("harm", ["gone", "empty"])
def test_no_command_begins_a_new_catalog(in_a_file: Stream, harm: str) -> None:
    """Everything that reads or writes it ends with exit code 4 and says what to do; the check says so too."""
    stream, catalog = in_a_file, in_a_file.store / "catalog.sqlite"
    assert typed(stream, "store", "check").exit_code == 0
    lose(stream)
    if harm == "empty":
        catalog.touch()
    for command in COMMANDS:
        result = typed(stream, *(stream.manifest if word == "MANIFEST" else word for word in command))
        assert result.exit_code == 4, (command, result.output)
        for words in (f"is {harm}, but there have been nights", "backup", "rebuild-catalog", "--new-catalog"):
            assert words in result.stderr.replace("\n", " "), command
    check = typed(stream, "store", "check")
    assert check.exit_code == 4
    assert "rebuild-catalog" in check.stdout
    assert catalog.exists() == (harm == "empty")
    assert not catalog.exists() or catalog.stat().st_size == 0


def test_nights_go_on_as_those_of_an_undisturbed_twin(in_a_file: Stream, tmp_path: Path) -> None:
    """Births, decisions, a re-clustering; the catalog is lost, given back row by row, and gone on with alike."""
    stream = in_a_file
    stream.deliver(2, (*TWO[:2], "scratch", "scratch", "scratch"))
    stream.night(2)
    decide(stream)
    stream.deliver(3, TWO[:4])
    stream.night(3, recluster=True)
    with stream.catalog() as catalog:
        catalog.annotate(CATEGORY, "c1", "again", who="kim")
    before = rows(stream)
    shutil.copytree(stream.root, tmp_path / "twin")
    twin = stream.at(tmp_path / "twin", stream.config)
    lose(stream)
    told = typed(stream, "store", "rebuild-catalog")
    assert told.exit_code == 0, told.output
    assert f"+{len(before['images']):,} images" in told.stdout
    assert f"{len(before['decisions']):,} decisions" in told.stdout
    assert "not restored" not in told.stdout
    assert rows(stream) == before
    again = typed(stream, "store", "rebuild-catalog")
    assert "has everything" in again.stdout
    assert rows(stream) == before
    assert typed(stream, "store", "check").exit_code == 0
    for one in (stream, twin):
        one.deliver(4, (*TWO[:4], "scratch"))
        one.night(4)
        one.deliver(5, TWO[:2])
        one.night(5, recluster=True)
    mine, other = rows(stream, timeless=True), rows(twin, timeless=True)
    for row in (*mine["images"], *other["images"]):
        row["file"] = Path(row["file"]).name
    for row in (*mine["snapshots"], *other["snapshots"]):
        del row["details"]["run"], row["details"]["manifest"]  # the names of a moment, and of where the files are
    assert {name: found for name, found in mine.items() if name not in {"nights", "notices"}} == {
        name: found for name, found in other.items() if name not in {"nights", "notices"}
    }


def test_a_restored_backup_is_completed(in_a_file: Stream, tmp_path: Path) -> None:
    """It lacks a night and a decision, is refused, and gets both from the journal."""
    stream = in_a_file
    lose(stream, aside=tmp_path)
    for path in tmp_path.glob("catalog.sqlite*"):
        shutil.copy(path, stream.store / path.name)
    stream.deliver(2, TWO[:4])
    stream.night(2)
    decide(stream)
    before = rows(stream)
    lose(stream)
    for path in tmp_path.glob("catalog.sqlite*"):
        shutil.copy(path, stream.store / path.name)
    refused = typed(stream, "nightly", stream.manifest)
    assert refused.exit_code == 4
    assert f"lacks the night {day(2)} of {CATEGORY}" in refused.stderr.replace("\n", " ")
    assert typed(stream, "store", "rebuild-catalog").exit_code == 0
    assert rows(stream) == before


def test_starting_over_is_asked_for(in_a_file: Stream) -> None:
    """With the flag a new catalog begins at c1, old pages and journal are kept; a fine catalog is left alone."""
    stream = in_a_file
    fine = typed(stream, "nightly", stream.manifest, "--new-catalog")
    assert fine.exit_code == 2
    assert "omit the flag" in fine.stderr.replace("\n", " ")
    lose(stream)
    done = typed(stream, "nightly", stream.manifest, "--as-of", day(1), "--new-catalog")
    assert done.exit_code == 0, done.output
    assert len(stream.partition()) == 16
    (aside,) = (stream.store / "aside").iterdir()
    assert (aside / "nights" / CATEGORY / str(day(0)) / "report.html").is_file()
    assert (aside / "catalog" / "journal.jsonl").is_file()
    assert typed(stream, "store", "check").exit_code == 0
    assert typed(stream, "store", "gc", "--keep", "0h").exit_code == 0
    assert (aside / "nights").is_dir()


def test_nights_of_before_the_journal_come_back_as_far_as_their_pages_tell(in_a_file: Stream) -> None:
    """Images, nights, clusters with names, the snapshot and who is where; what is missing is said; nights go on."""
    stream = in_a_file
    with stream.catalog() as catalog:
        catalog.rename(CATEGORY, "c2", "pits", who="kim")
    stream.deliver(2, ("good", "good", "good", "hole"))  # clusters of two sizes, by which they are told apart
    stream.night(2)
    partition, before = stream.partition(), rows(stream)
    lose(stream)
    shutil.rmtree(StoreLayout(stream.store).identity.parent)  # as the version before left it
    refused = typed(stream, "status")
    assert refused.exit_code == 4
    told = typed(stream, "store", "rebuild-catalog")
    assert told.exit_code == 0, told.output
    assert "the pages of 3 nights" in told.stdout
    assert "not restored: board: notes, merges, splits" in told.stdout
    after = rows(stream)
    for table, columns in (
        ("images", ("content", "path", "night", "label")),
        ("nights", ("night", "state", "counters")),
        ("clusters", ("cluster", "state", "born", "name")),
    ):
        assert [[row[name] for name in columns] for row in after[table]] == [
            [row[name] for name in columns] for row in before[table]
        ], table
    (snapshot,) = after["snapshots"]  # the last; nothing goes on from those before
    assert [snapshot[name] for name in ("n_images", "merge_height")] in [
        [row[name] for name in ("n_images", "merge_height")] for row in before["snapshots"]
    ]
    assert stream.partition() == partition
    stream.deliver(3, TWO[:2])
    outcome = stream.night(3)
    assert outcome.reclustered is None
    new = {path: cluster for path, cluster in stream.partition().items() if path not in partition}
    old = {label: partition[path] for path, label in zip(partition, classes_of(partition), strict=True)}
    assert len(new) == 2
    assert set(new.values()) <= {*old.values(), "unknown"}
    assert typed(stream, "store", "rebuild-catalog").exit_code == 0
