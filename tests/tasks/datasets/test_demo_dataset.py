from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anoclust_core.errors import ConfigError, DatasetError
from anoclust_core.synthesis import DEFECT_TYPES
from tasks.datasets import demo
from tasks.datasets.demo import CATEGORIES, MARKER, write_demo
from tasks.datasets.public import mvtec_manifest


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests quick: a demo of the usual layout with two images in each folder."""
    for count in ("TRAIN_GOOD", "TEST_GOOD", "TEST_PER_DEFECT"):
        monkeypatch.setattr(demo, count, 2)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(tmp_path):
    """Two demos of one seed are byte-identical wherever they lie; another seed changes every image."""
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_demo(tmp_path / folder, seed=seed)
    first, same, other = (contents(tmp_path / folder) for folder in "abc")
    assert first == same
    assert first.keys() == other.keys()
    images = [name for name in first if name.endswith(".png")]
    assert all(first[name] != other[name] for name in images)
    assert len({first[name] for name in images}) == len(images)


def test_larger_demo_keeps_the_earlier_images(tmp_path, monkeypatch):
    """Every image depends on the seed and its own name only: more images elsewhere change none of them."""
    write_demo(tmp_path / "small")
    monkeypatch.setattr(demo, "TRAIN_GOOD", 3)
    write_demo(tmp_path / "large")
    small, large = contents(tmp_path / "small"), contents(tmp_path / "large")
    assert len(large) == len(small) + len(CATEGORIES)
    assert small.items() <= large.items()


def test_layout_is_that_of_mvtec(tmp_path):
    """The demo reads as an MVTec data set: every defect image has a mask of its size with 255 on the defect only."""
    summary = write_demo(tmp_path / "demo")
    frame = mvtec_manifest(tmp_path / "demo").frame
    found = frame.groupby(["category", "split", "label"]).size()
    assert {"/".join(group): count for group, count in found.items()} == dict(summary.counts)
    assert sorted(set(frame["category"])) == sorted(summary.categories)
    assert set(frame["label"]) == {"good", *DEFECT_TYPES}
    assert ((frame["mask"] != "") == (frame["label"] != "good")).all()
    for path, mask in zip(frame["path"], frame["mask"], strict=True):
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((256, 256), "RGB")
        if mask:
            with Image.open(mask) as image:
                assert (image.size, image.mode) == ((256, 256), "L")
                assert set(np.unique(np.asarray(image))) == {0, 255}


@pytest.mark.slow
def test_full_size_is_as_documented(tmp_path, monkeypatch):
    """A demo holds 40 training images a category, and 16 good and 14 of each defect type for the test."""
    monkeypatch.undo()
    counts = write_demo(tmp_path / "demo").counts
    assert {name.split("/", 1)[1]: count for name, count in counts.items()} == {
        "train/good": 40,
        "test/good": 16,
        **{f"test/{defect}": 14 for defect in DEFECT_TYPES},
    }
    assert len(list((tmp_path / "demo").rglob("test/*/*.png"))) == 3 * (16 + 4 * 14)


def test_complete_demo_is_left_alone(tmp_path):
    """Asking again for a demo that is there writes nothing and tells the same."""
    first = write_demo(tmp_path / "demo")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*")}
    calls: list[tuple[int, int]] = []
    assert write_demo(tmp_path / "demo", progress=lambda done, total: calls.append((done, total))) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*")} == before
    assert calls == []


def test_other_seed_is_refused(tmp_path):
    """A demo of another seed or generator version is not overwritten; the message names both and the way out."""
    write_demo(tmp_path / "demo", seed=1)
    with pytest.raises(DatasetError, match=r"'seed': 2.*'seed': 1.*choose another folder, or remove this one"):
        write_demo(tmp_path / "demo", seed=2)
    (tmp_path / "demo" / MARKER).write_text(json.dumps({"generator_version": 0, "seed": 1}))
    with pytest.raises(DatasetError, match="'generator_version': 0"):
        write_demo(tmp_path / "demo", seed=1)


def test_damaged_demo_is_refused(tmp_path):
    """A demo that lost a file is not taken for complete; the message says which file and what to do."""
    write_demo(tmp_path / "demo")
    (tmp_path / "demo" / "grass" / "ground_truth" / "hole" / "001_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"1 are missing .*grass/ground_truth/hole/001_mask\.png.*remove the folder"):
        write_demo(tmp_path / "demo")


@pytest.mark.parametrize("marker", [None, "", "not json"], ids=["none", "empty", "garbage"])
def test_foreign_folder_is_refused(tmp_path, marker):
    """A folder with anything else in it is never written into."""
    (tmp_path / "photo.png").write_bytes(b"mine")
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="choose another folder"):
        write_demo(tmp_path)
    assert contents(tmp_path) == before


def test_file_in_the_way_is_refused(tmp_path):
    """A file of the name of the folder is refused and kept."""
    (tmp_path / "demo").write_bytes(b"mine")
    with pytest.raises(DatasetError, match="choose another folder"):
        write_demo(tmp_path / "demo")
    assert (tmp_path / "demo").read_bytes() == b"mine"


def test_empty_folder_is_used(tmp_path):
    """An empty folder is filled, and missing parents are made."""
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "new" / "deep"):
        assert write_demo(out).root == out.resolve()
        assert (out / MARKER).is_file()


def test_interrupted_run_leaves_nothing(tmp_path):
    """Stopped half-way, no folder of that name exists, and the next run makes the whole demo."""

    def stop(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", progress=stop)
    assert not (tmp_path / "demo").exists()
    write_demo(tmp_path / "demo")
    write_demo(tmp_path / "undisturbed")
    assert contents(tmp_path / "demo") == contents(tmp_path / "undisturbed")


def test_progress_counts_every_image(tmp_path):
    """Progress goes from the first image to the last in steps of one."""
    calls: list[tuple[int, int]] = []
    summary = write_demo(tmp_path / "demo", progress=lambda done, total: calls.append((done, total)))
    total = sum(summary.counts.values())
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    """The demo is made without opening a connection."""

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("the demo opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    write_demo(tmp_path / "demo")


def test_origin_is_stated(tmp_path):
    """The demo says where its photographs come from and that its defects are drawn."""
    write_demo(tmp_path / "demo")
    licence = (tmp_path / "demo" / "LICENSE.txt").read_text(encoding="utf-8")
    readme = (tmp_path / "demo" / "README.txt").read_text(encoding="utf-8")
    assert "CC0" in licence
    assert all(category in licence for category in CATEGORIES)
    assert "scikit-image" in readme
    assert "not real" in readme


def test_negative_seed_is_refused(tmp_path):
    """A negative seed is refused before anything is written."""
    with pytest.raises(ConfigError, match="seed of 0 or more"):
        write_demo(tmp_path / "demo", seed=-1)
    assert list(tmp_path.iterdir()) == []
