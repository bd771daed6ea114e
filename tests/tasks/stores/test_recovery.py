"""What killed runs leave is removed, and nothing else; what is damaged is put aside, and nothing is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from anoclust_core.errors import DamagedError
from tasks.stores import arrays
from tasks.stores.files import read_json, with_digest, without_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep import recover
from tasks.stores.upkeep.recover import put_aside, sweep

KEY, OTHER_KEY, PART = "0" * 32, "1" * 32, "2" * 16


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(tmp_path / "store")


def sealed(folder: Path) -> Path:
    arrays.write_arrays(folder, {"labels": np.arange(3)}, {})
    return folder


def unsealed(folder: Path) -> Path:
    (sealed(folder) / arrays.MARKER).unlink()
    return folder


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_leftovers_are_removed(layout):
    """Arrays without a seal, and whatever bears a temporary name, are gone after a sweep; what is whole stays."""
    leftovers = [
        unsealed(layout.folder("embeddings", "board", KEY) / PART),
        unsealed(layout.folder("nearest", "board", KEY) / PART),
        unsealed(layout.folder("weights", "board", KEY)),
        unsealed(layout.folder("trees", "board", KEY)),
        touched(layout.folder("embeddings", "board", KEY) / ".unreadable.json.a1b2.partial"),
        touched(layout.manifest("board", KEY).with_name(f".{KEY}.json.a1b2.partial")),
        touched(layout.runs("board") / ".20261122T015450Z-1de487475605.a1b2.partial" / "summary.json").parent,
        touched(layout.runs("board") / ".latest.json.a1b2.partial"),
        touched(layout.lock("board").with_name(".board.json.a1b2.partial")),
    ]
    kept = [
        sealed(layout.folder("embeddings", "board", OTHER_KEY) / PART),
        sealed(layout.folder("weights", "board", OTHER_KEY)),
        sealed(layout.folder("trees", "board", OTHER_KEY)),
        touched(layout.manifest("board", OTHER_KEY)),
        touched(layout.lock("board")),
    ]
    sweep(layout, "board")
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in kept)


def test_other_categories_and_peoples_files_stay(layout):
    """A sweep is of one category, of whose folders it touches only what bears a name of Anoclust's."""
    kept = [
        unsealed(layout.folder("weights", "nut", KEY)),
        unsealed(layout.folder("weights", "board", KEY).with_name("my own arrays")),
        touched(layout.runs("board") / "notes.txt"),
        touched(layout.lock("board").with_name(".board.json.json.a1b2.partial.txt")),
        touched(layout.lock("board").with_name(".nut.json.a1b2.partial")),
    ]
    sweep(layout, "board")
    assert all(path.exists() for path in kept)


def test_shared_files_go_when_they_are_old(layout):
    """Where other categories write too, only what has been there for hours counts as left behind."""
    young = touched(layout.backbone(KEY).with_name(".young.json.a1b2.partial"))
    old = touched(layout.backbone(KEY).with_name(".old.json.a1b2.partial"))
    os.utime(old, (time.time() - 7200,) * 2)
    sweep(layout, "board")
    assert young.exists()
    assert not old.exists()


def test_what_another_run_moves_away_meanwhile_is_no_fault(layout, monkeypatch):
    """Two categories begin at once: a shared temporary file is listed, and then renamed or swept by the other one."""
    old = touched(layout.backbone(KEY) / ".old.json.a1b2.partial" / "part").parent
    os.utime(old / "part", (time.time() - 7200,) * 2)
    os.utime(old, (time.time() - 7200,) * 2)
    gone = old.with_name(".gone.json.a1b2.partial")
    monkeypatch.setattr(recover.inventory, "shared_strays", lambda _: iter([gone, old]))
    swept = []

    def too_late(path):
        swept.append(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(recover.shutil, "rmtree", too_late)
    sweep(layout, "board")
    assert swept == [old]


def test_remembered_hashes_stay_and_their_temporary_files_go(layout):
    """The memory of a category's files is no leftover; one that was being written is."""
    hashes = layout.known_hashes("board")
    kept = [touched(hashes), touched(hashes.with_name(".nut.json.a1b2.partial"))]
    gone = touched(hashes.with_name(".board.json.a1b2.partial"))
    sweep(layout, "board")
    assert all(path.exists() for path in kept)
    assert not gone.exists()


def test_sweep_of_nothing(layout):
    """A store that is not there yet has nothing to sweep."""
    sweep(layout, "board")
    assert not layout.root.exists()


def test_damage_is_put_aside_with_its_name(layout):
    """A damaged folder keeps its content under a name that says kind, category and part; the note says where."""
    folder = sealed(layout.folder("embeddings", "a/b", KEY) / PART)
    note = put_aside(layout, DamagedError(f"{folder} is damaged", folder))
    (kept,) = layout.damaged.iterdir()
    assert kept.name.startswith(f"embeddings-a%2Fb-{PART}-")
    assert note == f"rebuilt: {folder} is damaged; what was damaged is kept in {kept}"
    assert arrays.is_complete(kept)
    assert not folder.exists()


def test_what_is_gone_already_is_only_told(layout):
    """A part that has vanished altogether leaves nothing to keep."""
    folder = layout.folder("trees", "board", KEY)
    assert put_aside(layout, DamagedError(f"{folder} is missing", folder)) == f"rebuilt: {folder} is missing"
    assert not layout.damaged.exists()


def test_digest_goes_with_the_content(tmp_path):
    """A JSON file with a digest gives back what was written, and a change of any letter is noticed."""
    content = {"hashes": ["ab", "ü"], "tau": 0.1, "n": 3}
    file = tmp_path / "file.json"
    write_json(file, with_digest(content))
    assert without_digest(read_json(file)) == content
    file.write_text(file.read_text().replace("0.1", "0.2"))
    with pytest.raises(ValueError, match="checksum"):
        without_digest(read_json(file))


def test_files_before_there_were_digests_pass():
    """A file of an earlier version has no digest, and is taken as it is; one that holds something else is not."""
    assert without_digest({"hashes": []}) == {"hashes": []}
    with pytest.raises(ValueError, match="no JSON object"):
        without_digest(["hashes"])
