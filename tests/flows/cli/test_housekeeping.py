"""What `anoclust store` finds and removes in stores that real runs have filled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import flat_folder, tiny_config
from helpers.running import cluster_by_content, pairs_among, run_folder, run_one, work
from typer.testing import CliRunner, Result

from anoclust_core.config import RunConfig
from anoclust_core.errors import DamagedError
from flows.cli import app
from flows.run import CategoryOutcome
from tasks.store_check.store import Checked, check_store
from tasks.stores import arrays, runs
from tasks.stores.files import read_json, safe_name, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.manifests import load_manifest
from tasks.stores.runs import parts_of
from tasks.stores.stage_keys import ARRAY_FOLDERS
from tasks.stores.upkeep import collect as collecting
from tasks.stores.upkeep import inventory
from tasks.stores.upkeep.collect import Collected, collect

pytestmark = pytest.mark.usefixtures("prefect_db")

CATEGORY = "board ü"
"""Its folder has another name than itself."""

FOLDER = safe_name(CATEGORY)
LATER = datetime.now(UTC) + timedelta(days=100)
DAYS_90 = timedelta(days=90)


@dataclass
class Store:
    """A store with three runs of one category: 8 images, then 4 more, then the last 4 and another 4."""

    root: Path
    data: Path
    config: RunConfig
    outcomes: list[CategoryOutcome]

    @property
    def layout(self) -> StoreLayout:
        return StoreLayout(self.root)

    @property
    def runs(self) -> list[Path]:
        """Folders of its runs, the oldest first."""
        return [self.root / "runs" / FOLDER / run_folder(outcome).name for outcome in self.outcomes]

    def cluster(self, numbers: range) -> CategoryOutcome:
        """Run with these images and no others."""
        if self.data.exists():
            shutil.rmtree(self.data)
        return run_one(flat_folder(self.data, numbers), self.root, self.config)

    def check(self) -> Checked:
        return check_store(self.layout)

    def collect(self, **how: Any) -> Collected:
        """Collect garbage as if a hundred days had gone by."""
        return collect(self.layout, DAYS_90, **{"now": LATER, **how})

    def contents(self) -> dict[str, bytes]:
        """Every file of the store, without locks."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.parent.name != "locks"
        }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Store:
    root = tmp_path_factory.mktemp("filled")
    store = Store(root / "store", root / "data" / CATEGORY, tiny_config(checkpoint, n_clusters=3), [])
    for numbers in (range(8), range(12), range(8, 16)):
        store.outcomes.append(store.cluster(numbers))
    for age, run in zip((3, 2, 1), store.runs, strict=True):
        _rename_run(run, f"2026010{4 - age}T000000Z")
    store.outcomes = [
        _renamed(outcome, f"2026010{4 - age}T000000Z") for age, outcome in zip((3, 2, 1), store.outcomes, strict=True)
    ]
    runs.point_latest(store.root / "runs" / FOLDER, store.runs[2].name)
    return store


def _rename_run(run: Path, when: str) -> None:
    """Let a run have begun at another time: tests start several within one second."""
    run.rename(run.with_name(f"{when}-{run.name.partition('-')[2]}"))


def _renamed(outcome: CategoryOutcome, when: str) -> CategoryOutcome:
    run = run_folder(outcome)
    return replace(outcome, run=run.with_name(f"{when}-{run.name.partition('-')[2]}"))


@pytest.fixture
def store(tmp_path: Path, filled: Store) -> Store:
    """Copy of the filled store; ages of its files are kept."""
    shutil.copytree(filled.root.parent, tmp_path / "copy")
    return Store(tmp_path / "copy" / "store", tmp_path / "copy" / "data" / CATEGORY, filled.config, filled.outcomes)


def anoclust(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def chunk_files(store: Store, kind: str) -> list[Path]:
    return sorted(path for path in (store.root / kind).rglob("c/**/*") if path.is_file())


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# check


def test_a_store_that_runs_have_left_is_whole(store: Store) -> None:
    """After runs that went well there is nothing to find, and the check says how much it has read."""
    checked = store.check()
    assert checked.findings == ()
    sealed = list(store.root.rglob("complete.json"))
    assert checked.folders == len(sealed) > 10
    assert checked.bytes > sum(inventory.tree_bytes(path.parent) for path in sealed)
    result = anoclust("store", "check", "--store", store.root)
    assert result.exit_code == 0, result.output
    assert f"all {len(sealed)} folders" in result.stdout


@pytest.mark.parametrize("kind", ARRAY_FOLDERS)
def test_every_flipped_bit_is_found(store: Store, kind: str) -> None:
    """One bit changed in any chunk of any array is found where it is read, by the folder to blame."""
    for path in chunk_files(store, kind):
        array = next(parent for parent in path.parents if (parent / "zarr.json").exists())
        before = path.read_bytes()
        flip(path)
        with pytest.raises(DamagedError) as caught:
            arrays.read(array.parent, array.name)
        assert caught.value.folder == array.parent
        path.write_bytes(before)
        assert arrays.read(array.parent, array.name).size


def test_a_check_reads_every_array(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array of the store is read by a check, so that no flipped bit is left."""
    seen = set()
    read = arrays.read

    def noted(folder: Path, name: str, *more: Any) -> Any:
        seen.add(folder / name)
        return read(folder, name, *more)

    monkeypatch.setattr(arrays, "read", noted)
    assert store.check().findings == ()
    assert seen >= {path.parent for path in store.root.rglob("zarr.json")} > set()


@pytest.mark.parametrize("kind", ARRAY_FOLDERS)
def test_a_check_blames_the_folder(store: Store, kind: str) -> None:
    """A bit that is flipped in any folder of arrays is told with that folder alone; the check changes nothing."""
    folders = {path.parent for path in (store.root / kind).rglob("complete.json")}
    for folder in sorted(folders):
        path = next(path for path in chunk_files(store, kind) if folder in path.parents)
        before = path.read_bytes()
        flip(path)
        contents = store.contents()
        (damage,) = store.check().damage
        assert store.contents() == contents
        assert damage.path == folder.relative_to(store.root).as_posix()
        path.write_bytes(before)
    assert store.check().findings == ()


def spoil_chunk(store: Store) -> None:
    chunk_files(store, "nearest")[0].unlink()


def spoil_array(store: Store) -> None:
    shutil.rmtree(next((store.root / "weights" / FOLDER).iterdir()) / "rarity")


def spoil_description(store: Store) -> None:
    marker = next((store.root / "embeddings" / FOLDER).glob("*/*/complete.json"))
    write_json(marker, {"hashes": read_json(marker)["hashes"][1:]})


def spoil_marker(store: Store) -> None:
    next((store.root / "trees" / FOLDER).glob("*/complete.json")).write_text("{")


def lose_weights(store: Store) -> None:
    shutil.rmtree(store.root / "weights" / FOLDER / read_json(store.runs[1] / "summary.json")["keys"]["weigh"])


def lose_tree(store: Store) -> None:
    shutil.rmtree(store.root / "trees" / FOLDER / read_json(store.runs[1] / "summary.json")["keys"]["group"])


def lose_manifest(store: Store) -> None:
    (store.root / read_json(store.runs[1] / "summary.json")["manifest"]).unlink()


def spoil_manifest(store: Store) -> None:
    path = store.root / read_json(store.runs[1] / "summary.json")["manifest"]
    path.write_text(path.read_text().replace("001.png", "002.png"))


def spoil_summary(store: Store) -> None:
    (store.runs[1] / "summary.json").write_text("{")


def newer_summary(store: Store) -> None:
    path = store.runs[1] / "summary.json"
    summary = read_json(path)
    del summary["digest"]
    write_json(path, {**summary, "summary_version": 99})


def lose_latest(store: Store) -> None:
    shutil.rmtree(store.runs[2])


def spoil_latest(store: Store) -> None:
    (store.root / "runs" / FOLDER / "latest.json").write_text("[]")


def lose_report(store: Store) -> None:
    (store.runs[0] / "report.html").unlink()


def cut_assignments(store: Store) -> None:
    path = store.runs[0] / "assignments.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def spoil_unreadable(store: Store) -> None:
    next((store.root / "embeddings" / FOLDER).iterdir()).joinpath("unreadable.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_chunk, ["nearest/", "has lost a part", "puts it aside and computes it again"]),
        (spoil_array, ["weights/", "has lost rarity"]),
        (spoil_description, ["embeddings/", "lists other images than its bags have"]),
        (spoil_marker, ["trees/", "complete.json"]),
        (lose_weights, ["runs/", "is made of weights/", "which is gone", "delete the run's folder"]),
        (lose_tree, ["runs/", "is made of trees/", "which is gone"]),
        (lose_manifest, ["runs/", "is made of manifests/", "which is gone"]),
        (spoil_manifest, ["manifests/", "checksum does not match", "delete it"]),
        (spoil_summary, ["runs/", "summary.json cannot be read", "run the same command to make it again"]),
        (newer_summary, ["runs/", "newer Anoclust (summary version 99"]),
        (lose_latest, ["latest.json", "which is gone"]),
        (spoil_latest, ["latest.json", "holds no JSON object", "writes it again"]),
        (lose_report, ["runs/", "its report.html is gone"]),
        (cut_assignments, ["runs/", "its assignments.csv fails its checksum"]),
        (spoil_unreadable, ["unreadable.json", "puts it aside"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_damaged_is_told(store: Store, spoil: Callable[[Store], None], words: list[str]) -> None:
    """Whatever is damaged, lost or points nowhere ends with exit code 4, what it is, and what to do about it."""
    spoil(store)
    result = anoclust("store", "check", "--store", store.root)
    assert result.exit_code == 4, result.output
    assert result.stderr.splitlines()[-1].startswith("anoclust: damaged or missing in ")
    for word in words:
        assert word in result.stdout
    found = json.loads(anoclust("store", "check", "--store", store.root, "--json").stdout)["findings"]
    assert [finding["is_harmless"] for finding in found] == [False]


def test_leftovers_of_killed_runs_are_no_damage(store: Store) -> None:
    """Unsealed folders, temporary names and cached results that lead nowhere are listed, and the exit code is 0."""
    segment = next((store.root / "embeddings" / FOLDER).glob("*/*/complete.json")).parent
    shutil.copytree(segment, segment.with_name("0" * 16))
    (segment.with_name("0" * 16) / "complete.json").unlink()
    (store.root / "runs" / FOLDER / ".20260101T000000Z-aa.0123abcd.partial").mkdir()
    (store.root / "manifests" / FOLDER / ".x.json.0123abcd.partial").write_text("{")
    results = [path for _, path in inventory.results(store.layout, FOLDER)]
    results[0].write_text(results[0].read_text()[:-20])
    (store.root / "damaged").mkdir()
    (store.root / "damaged" / f"weights-{FOLDER}-{'0' * 32}-20260101T000000000000Z").mkdir()
    result = anoclust("store", "check", "--store", store.root)
    assert result.exit_code == 0, result.output
    listed = [line[2:] for line in result.stdout.splitlines() if line.startswith("- ")]
    assert len(listed) == 5
    assert results[0].relative_to(store.root).as_posix() in listed


def test_a_moved_store_is_whole(store: Store) -> None:
    """In a store that was moved, cached results point elsewhere; that is no damage."""
    store.root.rename(store.root.with_name("moved"))
    checked = check_store(StoreLayout(store.root.with_name("moved")))
    assert checked.damage == []
    assert all(finding.path.startswith("results/") for finding in checked.findings)


def test_one_category_is_checked(store: Store) -> None:
    """--category reads nothing of the others; a misspelt one is refused with the nearest."""
    shutil.copytree(store.root / "trees" / FOLDER, store.root / "trees" / "other")
    flip(chunk_files(store, "trees/other")[0])
    assert anoclust("store", "check", "--store", store.root, "--category", CATEGORY).exit_code == 0
    assert anoclust("store", "check", "--store", store.root, "--category", "other").exit_code == 4
    wrong = anoclust("store", "check", "--store", store.root, "--category", "othr")
    assert wrong.exit_code == 2
    assert "did you mean other?" in wrong.stderr


# size


def test_sizes_add_up(store: Store) -> None:
    """Bytes by category and kind are those on disk, and what a user keeps in the store is counted apart."""
    (store.root / "notes.txt").write_bytes(b"x" * 1000)
    found = json.loads(anoclust("store", "size", "--store", store.root, "--json").stdout)

    def on_disk(*names: str) -> int:
        return sum(path.stat().st_size for name in names for path in (store.root / name).rglob("*") if path.is_file())

    (row,) = found["categories"]
    assert row["category"] == CATEGORY
    assert row["embeddings"] == on_disk("embeddings")
    assert row["distances"] == on_disk("nearest", "near_duplicates")
    assert row["weights"] == on_disk("weights", "models", "trees")
    assert row["runs"] == on_disk("runs", "manifests", "results")
    assert (found["other"], found["damaged"]) == (1000, 0)
    assert found["total"] == on_disk(".")
    table = anoclust("store", "size", "--store", store.root).stdout
    assert CATEGORY in table
    assert "not Anoclust's" in table


# gc


def test_old_runs_go_and_what_only_they_needed(store: Store) -> None:
    """After gc the newest run is whole, its labels come back without computing anything, and little else is left."""
    expected = [cluster_by_content(outcome) for outcome in store.outcomes]
    collected = store.collect()
    assert collected.notes == ()
    assert [path.name for path in runs.list_runs(store.root / "runs" / FOLDER)] == [store.runs[2].name]
    for kind in ("weights", "models", "trees", "manifests"):
        assert len(list((store.root / kind / FOLDER).iterdir())) == 1, kind
    # images 8-11 and 12-15, on two levels
    assert len(list((store.root / "embeddings" / FOLDER).glob("*/*/complete.json"))) == 4
    kept = {image.sha256 for image in load_manifest(parts_of(store.layout, store.outcomes[2].summary).manifest).images}
    slabs = [read_json(path) for path in (store.root / "nearest" / FOLDER).glob("*/*/complete.json")]
    assert slabs
    assert all(kept & set(slab["rows"]) and kept & set(slab["columns"]) for slab in slabs)
    assert {key for key, _ in inventory.results(store.layout, FOLDER)} <= set(
        store.outcomes[2].summary["keys"].values()
    )
    assert store.check().findings == ()

    assert store.cluster(range(8, 16)).is_new is False
    shutil.rmtree(store.root / "runs")
    again = store.cluster(range(8, 16))
    assert again.work == work(0, 0)
    assert cluster_by_content(again) == expected[2]
    first = store.cluster(range(8))
    assert first.work == work(8, pairs_among(8))
    assert cluster_by_content(first) == expected[0]
    both = store.cluster(range(12))
    assert both.work == work(0, 4 * 8)
    assert cluster_by_content(both) == expected[1]


def test_the_run_that_latest_names_stays(store: Store) -> None:
    """An old run that latest.json names, because its settings were asked for again, stays with all that it needs."""
    runs.point_latest(store.root / "runs" / FOLDER, store.runs[0].name)
    store.collect()
    assert {run.name for run in runs.list_runs(store.root / "runs" / FOLDER)} == {
        store.runs[0].name,
        store.runs[2].name,
    }
    assert store.check().findings == ()
    shutil.rmtree(store.root / "runs")
    assert store.cluster(range(8)).work == work(0, 0)
    assert store.cluster(range(8, 16)).work == work(0, 0)


def test_what_is_young_stays(store: Store) -> None:
    """Nothing that is younger than --keep goes, referenced or not: a killed run may come back for it."""
    shutil.rmtree(store.root / "runs")
    before = store.contents()
    assert collect(store.layout, DAYS_90).removals == ()
    assert store.contents() == before


def test_images_of_a_killed_run_stay(store: Store) -> None:
    """The embeddings of a run that was killed, of which only the manifest tells, stay while that is young."""
    shutil.rmtree(store.runs[0])
    manifest = store.root / read_json(run_folder(store.outcomes[0]) / "summary.json")["manifest"]
    os.utime(manifest, (LATER.timestamp(), LATER.timestamp()))
    store.collect()
    shutil.rmtree(store.root / "weights")
    assert store.cluster(range(8)).work == work(0, 0)


def test_a_dry_run_lists_what_goes_and_changes_nothing(store: Store) -> None:
    """--dry-run lists what the real command then removes, byte for byte what it frees, and removes nothing."""
    before = store.contents()
    planned = store.collect(dry_run=True)
    assert store.contents() == before
    done = store.collect()
    assert planned == done
    freed = sum(map(len, before.values())) - sum(map(len, store.contents().values()))
    assert done.bytes == freed > 100_000
    assert store.collect().removals == ()


FOREIGN = (
    "notes.txt",
    "runs/notes.txt",
    "runs/{category}/notes.txt",
    "runs/{category}/20260101T000000Z/notes.txt",
    "runs/{category}/{run}/notes.txt",
    "embeddings/{category}/mine/notes.txt",
    "embeddings/{category}/{embedding}/notes.txt",
    "nearest/{category}/notes.txt",
    "weights/{category}/copy of x/notes.txt",
    "weights/{category}/{weigh}/notes.txt",
    "trees/mine.csv",
    "manifests/{category}/mine.json",
    "results/mine/{category}/notes",
    "damaged/notes.txt",
    "locks/notes.txt",
    "backbones/notes.txt",
    "mine/20260101T000000Z-000000000000/summary.json",
)


def test_what_is_not_ours_stays(store: Store) -> None:
    """Files that a person keeps in the store stay wherever they are, and the folders that they lie in with them."""
    summary = read_json(store.runs[0] / "summary.json")
    names = {"category": FOLDER, "run": store.runs[0].name, **summary["keys"]}
    mine = [store.root / place.format_map(names) for place in FOREIGN]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        os.utime(path, (0, 0))
    links = [
        store.root / "trees" / FOLDER / ("f" * 32),
        store.root / "results" / "whiten" / FOLDER / f"{'f' * 32}-{'f' * 8}",
    ]
    for link in links:
        link.symlink_to(store.data if link.parts[-3] == "trees" else mine[0])
    collected = store.collect()
    assert [path for path in mine if not path.is_file() or path.read_text() != "mine"] == []
    assert all(link.is_symlink() for link in links)
    assert list(store.data.iterdir())
    assert not store.runs[1].exists()
    assert (store.runs[0] / "report.html").is_file()
    assert any(f"runs/{FOLDER}/{store.runs[0].name} stays: notes.txt" in note for note in collected.notes)


def test_a_run_with_notes_stays_with_all_that_it_needs(store: Store) -> None:
    """An old run in whose folder a person keeps notes stays whole, with everything that it is made of."""
    (store.runs[0] / "notes.txt").write_text("mine")
    store.collect()
    assert [run.name for run in runs.list_runs(store.runs[0].parent)] == [store.runs[2].name, store.runs[0].name]
    assert store.check().findings == ()


def test_leftovers_go_when_they_are_old(store: Store) -> None:
    """Temporary names, unsealed folders and what was put aside go once they are older than --keep."""
    group = next((store.root / "nearest" / FOLDER).iterdir())
    partial = store.root / "runs" / FOLDER / ".20260101T000000Z-aa.0123abcd.partial"
    (partial / "figures").mkdir(parents=True)
    unsealed = group / ("0" * 16)
    (unsealed / "distances").mkdir(parents=True)
    aside = [
        store.root / "damaged" / f"nearest-{FOLDER}-x-{LATER - age:%Y%m%dT%H%M%S%fZ}"
        for age in (DAYS_90 * 2, DAYS_90 / 2)
    ]
    for path in aside:
        path.mkdir(parents=True)
    collect(store.layout, DAYS_90, now=datetime.now(UTC))
    assert partial.exists()
    assert unsealed.exists()
    store.collect()
    assert not partial.exists()
    assert not unsealed.exists()
    assert [path.exists() for path in aside] == [False, True]


def test_a_run_of_another_version_keeps_everything(store: Store) -> None:
    """Where it is not known what a run is made of, nothing that it may need goes, and the reason is told."""
    path = store.runs[2] / "summary.json"
    summary = {name: value for name, value in read_json(path).items() if name not in ("keys", "manifest", "digest")}
    write_json(path, {**summary, "summary_version": 1})
    collected = store.collect()
    assert {removal.kind for removal in collected.removals} == {"runs"}
    assert "it is unknown what run " in collected.notes[0]


def test_a_busy_category_is_passed_over(store: Store) -> None:
    """While a run of a category goes on, gc leaves that category alone and says so."""
    before = store.contents()
    with category_lock(store.layout, CATEGORY):
        collected = store.collect()
    assert collected.removals == ()
    assert f"{CATEGORY} was skipped" in collected.notes[0]
    assert store.contents() == before


def test_a_killed_gc_leaves_a_whole_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any removal, the store is whole; the next gc removes the rest."""
    n_folders = sum(removal.path.is_dir() for removal in store.collect(dry_run=True).removals)
    really = shutil.rmtree
    for survived in range(0, n_folders, 2):
        copy = StoreLayout(store.root.with_name(f"killed{survived}"))
        shutil.copytree(store.root, copy.root)
        done: list[Path] = []

        def dying(path: Path, survived: int = survived, done: list[Path] = done) -> None:
            if len(done) == survived:
                next(file for file in sorted(path.rglob("*"), reverse=True) if file.is_file()).unlink()
                raise KeyboardInterrupt
            done.append(path)
            really(path)

        with monkeypatch.context() as patched:
            patched.setattr(collecting.shutil, "rmtree", dying)
            with pytest.raises(KeyboardInterrupt):
                collect(copy, DAYS_90, now=LATER)
        assert check_store(copy).damage == []
        collect(copy, DAYS_90, now=LATER + DAYS_90)
        assert [run.name for run in runs.list_runs(copy.root / "runs" / FOLDER)] == [store.runs[2].name]
        assert check_store(copy).findings == ()


def test_gc_says_what_went(store: Store) -> None:
    """The command prints what goes by category and kind, and the bytes; a script gets every path."""
    said = anoclust("store", "gc", "--keep", "0h", "--dry-run", "--store", store.root)
    assert said.exit_code == 0, said.output
    assert "would be freed" in said.stdout
    rows = {tuple(line.split()[-4:-2]) for line in said.stdout.splitlines() if line.startswith(CATEGORY)}
    assert ("runs", "2") in rows
    listed = json.loads(anoclust("store", "gc", "--keep", "0h", "--store", store.root, "--json").stdout)
    assert listed["dry_run"] is False
    assert listed["bytes"] == sum(removal["bytes"] for removal in listed["removed"]) > 0
    assert not any(Path(removal["path"]).exists() for removal in listed["removed"])
    assert anoclust("store", "gc", "--keep", "0h", "--store", store.root).stdout.startswith("0 bytes freed")


@pytest.mark.parametrize("age", ["90", "d", "90 days", "-1d", "1.5d", "90m", ""])
def test_age_that_is_none(store: Store, age: str) -> None:
    """--keep takes a number with h, d or w; anything else is refused and nothing is removed."""
    result = anoclust("store", "gc", f"--keep={age}", "--store", store.root)
    assert result.exit_code == 2
    assert "as in 12h, 90d or 4w" in result.stderr
    assert len(runs.list_runs(store.root / "runs" / FOLDER)) == 3


# show


def test_show_lists_runs(store: Store) -> None:
    """`anoclust show` names every run with its images, clusters and report, the newest first."""
    shown = anoclust("show", "--store", store.root)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0] == CATEGORY
    assert [line.strip() for line in lines[2::2]] == [str(run / "report.html") for run in reversed(store.runs)]
    assert [line.split("  ")[2] for line in lines[1::2]] == [
        "8 images, 3 clusters, structure uncertain, no labels (latest)",
        "12 images, 3 clusters, structure uncertain, no labels",
        "8 images, 3 clusters, structure uncertain, no labels",
    ]
    limited = anoclust("show", CATEGORY, "--limit", "1", "--store", store.root).stdout.splitlines()
    assert limited == lines[:3]
    found = json.loads(anoclust("show", CATEGORY, "--json", "--store", store.root).stdout)
    assert [row["summary"] for row in found] == [read_json(run / "summary.json") for run in reversed(store.runs)]
    assert [row["is_latest"] for row in found] == [True, False, False]


def test_show_goes_on_past_a_damaged_run(store: Store) -> None:
    """A run whose summary is damaged is named with the reason; the others are shown, and the exit code is 4."""
    spoil_summary(store)
    shown = anoclust("show", "--store", store.root)
    assert shown.exit_code == 4
    assert "1 of the files that describe these runs cannot be read: " in shown.stderr
    assert f"{store.runs[1].name}: " in shown.stdout
    assert shown.stdout.count("report.html") == 2


def test_show_of_nothing(tmp_path: Path, store: Store) -> None:
    """No store, no run and no such category each end with a message of their own."""
    assert anoclust("show", "--store", tmp_path / "gone").exit_code == 4
    (tmp_path / "empty").mkdir()
    empty = anoclust("show", "--store", tmp_path / "empty")
    assert (empty.exit_code, "there are no runs in" in empty.stderr) == (4, True)
    unknown = anoclust("show", "bord", "--store", store.root)
    assert (unknown.exit_code, f"did you mean {CATEGORY}?" in unknown.stderr) == (2, True)


def test_looking_back_is_quick() -> None:
    """Showing, checking, collecting and exporting import neither torch nor Prefect nor Dask."""
    code = (
        "import sys, flows.terminal.runs, tasks.export.maps\n"
        "import tasks.store_check.store, tasks.stores.upkeep.collect, tasks.stores.upkeep.past_runs\n"
        "sys.exit(bool({'torch', 'timm', 'prefect', 'dask', 'distributed'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
