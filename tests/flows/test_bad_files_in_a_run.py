"""What a run does with files that it cannot use, and with those that it leaves to the next run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import bad_files
from helpers.bad_files import CLUSTERED, DEFERRED, QUARANTINED
from helpers.builders import flat_folder, mvtec_category, save_image, surface, tiny_config
from helpers.running import assignments, run_folder, run_one, work
from markupsafe import escape

from anoclust_core.errors import DatasetError
from anoclust_core.reporting import html
from flows.run import CategoryOutcome, run_data
from flows.terminal import progress
from tasks.images import file_check

pytestmark = pytest.mark.usefixtures("prefect_db")

REPEAT = """
import json, sys
from pathlib import Path
from anoclust_core.config import RunConfig
from flows.run import run_data
data, store, config = sys.argv[1:]
(outcome,) = run_data(Path(data), Path(store), RunConfig.model_validate_json(config))
heavy = [name for name in ("torch", "timm", "prefect", "dask", "matplotlib") if name in sys.modules]
print(json.dumps([outcome.is_new, str(outcome.error), heavy]))
"""


def adds_up(outcome: CategoryOutcome) -> bool:
    images = outcome.summary["images"]
    return bool(
        images["total"] == images["clustered"] + images["normals"] + images["quarantined"] + images["deferred"]
        and images["quarantined"] == len(outcome.summary["quarantine"])
        and images["deferred"] == len(outcome.summary["deferred"])
        and images["clustered"] == len(assignments(outcome))
    )


def touch(path: Path) -> None:
    """Date a file a minute later than it is."""
    os.utime(path, ns=(path.stat().st_mtime_ns + 60 * 10**9,) * 2)


@pytest.mark.skipif(sys.platform != "linux", reason="pipes, links and any bytes in names")
def test_the_zoo(tmp_path, checkpoint):
    """Over a hundred odd files beside twelve good ones: each is found exactly once, told, and no good label changes."""
    data, store = flat_folder(tmp_path / "board", range(12)), tmp_path / "store"
    config = tiny_config(checkpoint, settle_seconds=2.0, max_bad_share=1.0, n_clusters=3)
    alone = run_one(data, store, config)
    bad = bad_files.make(data, QUARANTINED, DEFERRED)
    with bad_files.world():
        with_bad = run_one(data, store, config)
        assert assignments(with_bad).equals(assignments(alone))
        assert with_bad.work == work(0, 0)
        assert adds_up(with_bad)
        odd = bad_files.make(data, CLUSTERED)
        outcome = run_one(data, store, config)
    assert adds_up(outcome)
    found = Counter(
        [
            *assignments(outcome).index,
            *(e["path"] for name in ("quarantine", "deferred") for e in outcome.summary[name]),
        ]
    )
    expected = {f"{n:03d}.png" for n in range(12)} | {s.path for s in (*bad, *odd)} - {"linked"}
    assert found == dict.fromkeys(expected | {"linked/inside.png"}, 1)
    places = {
        **dict.fromkeys(assignments(outcome).index, CLUSTERED),
        **{entry["path"]: QUARANTINED for entry in outcome.summary["quarantine"]},
        **{entry["path"]: DEFERRED for entry in outcome.summary["deferred"]},
    }
    assert {s.path: places[s.path] for s in (*bad, *odd) if s.name != "linked"} == {
        s.path: s.becomes for s in (*bad, *odd) if s.name != "linked"
    }
    assert {"relinked", "outside", "round"} <= places.keys()
    page = (run_folder(outcome) / "report.html").read_text(encoding="utf-8")
    for path in expected | {"linked/inside.png"}:
        assert str(escape(html._printable(path))) in page
    assert bad_files.SCRIPT_NAME not in page
    for entry in (*outcome.summary["quarantine"], *outcome.summary["deferred"]):
        assert str(escape(html._printable(entry["reason"]))) in page


def test_touched_file_is_tried_again(tmp_path, checkpoint):
    """A quarantined file is tried again once it was touched; still bad, it is as finished as before."""
    data, store, config = flat_folder(tmp_path / "board", range(6)), tmp_path / "store", tiny_config(checkpoint)
    (data / "bad.png").write_text("no image")
    first = run_one(data, store, config)
    assert not run_one(data, store, config).is_new
    touch(data / "bad.png")
    tried = run_one(data, store, config)
    assert tried.is_new
    assert tried.work == work(0, 0)
    assert tried.summary["quarantine"] == first.summary["quarantine"]
    assert tried.summary["key"] == first.summary["key"]
    again = run_one(data, store, config)
    assert not again.is_new
    assert run_folder(again) == run_folder(tried)
    save_image(data / "bad.png", surface(50))
    mended = run_one(data, store, config)
    assert mended.summary["quarantine"] == []
    assert mended.summary["images"]["clustered"] == 7
    assert mended.work == work(1, 6)


def test_nothing_heavy_is_imported_for_a_known_bad_file(tmp_path, checkpoint):
    """That a bad file is bad is known from the last run: neither torch nor Prefect is imported to find out."""
    data, store, config = flat_folder(tmp_path / "board", range(6)), tmp_path / "store", tiny_config(checkpoint)
    (data / "bad.png").write_text("no image")
    run_one(data, store, config)

    def repeat(**changes: Any) -> list[Any]:
        changed = config.model_copy(update={"data": config.data.model_copy(update=changes)})
        command = [sys.executable, "-c", REPEAT, str(data), str(store), changed.model_dump_json()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer: list[Any] = json.loads(done.stdout)
        return answer

    assert repeat() == [False, "None", []]
    is_new, error, heavy = repeat(max_bad_share=0.1)
    assert (is_new, heavy) == (False, [])
    assert "1 of the 7 files" in error


def test_file_being_written_is_taken_up_by_the_next_run(tmp_path, checkpoint, monkeypatch):
    """A fresh file is deferred and told; the next run clusters it."""
    data, store = flat_folder(tmp_path / "board", range(7)), tmp_path / "store"
    config = tiny_config(checkpoint, settle_seconds=2.0)
    written = (data / "006.png").stat().st_mtime
    for number in range(6):
        os.utime(data / f"{number:03d}.png", (written - 60,) * 2)
    monkeypatch.setattr(file_check, "now", lambda: written + 0.4)
    first = run_one(data, store, config)
    assert adds_up(first)
    assert first.summary["deferred"] == [
        {
            "path": "006.png",
            "reason": "changed less than 2 s ago and may still be being written; the next run takes it up",
        }
    ]
    assert "006.png" in (run_folder(first) / "report.html").read_text()
    assert "1 file deferred to the next run" in progress.outcome_lines(first)
    assert not run_one(data, store, config).is_new  # as long as nothing has changed
    monkeypatch.setattr(file_check, "now", lambda: written + 2.1)
    second = run_one(data, store, config)
    assert second.summary["deferred"] == []
    assert second.work == work(1, 6)
    assert set(assignments(second).index) == {f"{number:03d}.png" for number in range(7)}


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"half of another"), Path.unlink], ids=["new", "gone"]
)
def test_file_that_changes_between_listing_and_decoding(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    """A file that changes after it was listed is deferred, not quarantined; the next run takes it as it then is."""
    from tasks.compute import embedding

    data, store, config = flat_folder(tmp_path / "board", range(6)), tmp_path / "store", tiny_config(checkpoint)
    honest = embedding.read_picture

    def change_first(path: Path, **options: Any) -> Any:
        if path.name == "003.png" and path.exists():
            change(path)
        return honest(path, **options)

    monkeypatch.setattr(embedding, "read_picture", change_first)
    first = run_one(data, store, config)
    assert adds_up(first)
    assert first.summary["quarantine"] == []
    assert [entry["path"] for entry in first.summary["deferred"]] == ["003.png"]
    monkeypatch.setattr(embedding, "read_picture", honest)
    flat_folder(data, [3])
    second = run_one(data, store, config)
    assert second.is_new
    assert (second.summary["deferred"], second.summary["images"]["clustered"]) == ([], 6)


def test_another_copy_of_a_file_that_is_gone(tmp_path, checkpoint, monkeypatch):
    """Where one of two identical files is moved away before it is decoded, the other one is read."""
    from tasks.compute import embedding

    data = flat_folder(tmp_path / "board", range(6))
    (data / "copy.png").write_bytes((data / "003.png").read_bytes())
    honest = embedding.read_picture

    def move_first(path: Path, **options: Any) -> Any:
        (data / "003.png").unlink(missing_ok=True)
        return honest(path, **options)

    monkeypatch.setattr(embedding, "read_picture", move_first)
    outcome = run_one(data, tmp_path / "store", tiny_config(checkpoint))
    assert outcome.summary["images"]["clustered"] == 7
    assert adds_up(outcome)


def test_too_many_bad_files(tmp_path, checkpoint):
    """Past the share that is put up with the category fails with exit code 3 and says what is bad; at it, it runs."""
    data, store = flat_folder(tmp_path / "board", range(7)), tmp_path / "store"
    for number in range(3):
        (data / f"bad{number}.png").write_text(f"no image {number}")
    (data / "empty.png").touch()
    config = tiny_config(checkpoint, max_bad_share=0.3)
    for _ in range(2):  # found while decoding, then known
        (outcome,) = run_data(data, store, config)
        error = outcome.error
        assert isinstance(error, DatasetError)
        assert error.exit_code == 3
        for words in ("4 of the 11 files", "36%, and the limit is 30%", "bad0.png and 2 more: is not a PNG",
                      "empty.png: the file is empty", "--max-bad-share"):  # fmt: skip
            assert words in str(error)
        assert not list(store.glob("runs/*/*/summary.json"))
    (data / "empty.png").unlink()
    assert run_one(data, store, config).summary["images"]["quarantined"] == 3


def test_too_many_files_that_cannot_be_opened(tmp_path, checkpoint):
    """The share is checked before anything is embedded as well."""
    data = flat_folder(tmp_path / "board", range(4))
    for number in range(4):
        (data / f"gone{number}.png").symlink_to("nowhere")
    (outcome,) = run_data(data, tmp_path / "store", tiny_config(checkpoint))
    assert "4 of the 8 files" in str(outcome.error)
    assert not (tmp_path / "store" / "embeddings").exists()


def test_deferred_files_are_no_bad_files(tmp_path, checkpoint, monkeypatch):
    """Files that are being written do not count as bad, however many; where all are, the message says to wait."""
    data = flat_folder(tmp_path / "board", range(6))
    config = tiny_config(checkpoint, settle_seconds=2.0, max_bad_share=0.0)
    written = (data / "005.png").stat().st_mtime
    monkeypatch.setattr(file_check, "now", lambda: written)
    (outcome,) = run_data(data, tmp_path / "store", config)
    for words in ("all 6 images of category board", "changed less than 2 s ago", "run again", "--settle-seconds 0"):
        assert words in str(outcome.error)
    for number in range(2):
        os.utime(data / f"{number:03d}.png", (written - 60,) * 2)
    outcome = run_one(data, tmp_path / "store", replace_clusters(config))
    assert outcome.summary["images"]["deferred"] == 4
    assert adds_up(outcome)


def replace_clusters(config: Any) -> Any:
    return config.model_copy(update={"group": config.group.model_copy(update={"n_clusters": 1})})


def test_normals_that_are_being_written(tmp_path, checkpoint, monkeypatch):
    """Where every normal is deferred the category waits: a blind run is not what was asked for."""
    data = mvtec_category(tmp_path / "nut", {"test/good": 3, "test/hole": 3, "train/good": 2})
    written = (data / "train" / "good" / "001.png").stat().st_mtime
    for path in (data / "test").rglob("*.png"):
        os.utime(path, (written - 60,) * 2)
    monkeypatch.setattr(file_check, "now", lambda: written)
    (outcome,) = run_data(data, tmp_path / "store", tiny_config(checkpoint, settle_seconds=2.0))
    for words in ("none of the 2 normal images", "2 are left for the next run", "changed less than 2 s ago"):
        assert words in str(outcome.error)


def test_line_of_a_run_of_an_earlier_version():
    """A run whose summary counts no deferred files is still shown."""
    old = CategoryOutcome("nut", run=Path("runs/nut/1"), summary={"images": {"clustered": 6, "quarantined": 2}})
    line = progress.outcome_lines(old)
    assert "2 files could not be used" in line
    assert "deferred" not in line
