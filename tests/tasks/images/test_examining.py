from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from helpers.builders import config_of, save_image, surface

from tasks.images import file_check
from tasks.images.file_check import Examined, examine
from tasks.images.listing import list_datasets

NOW = 1_900_000_000.0


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_check, "now", lambda: NOW)
    return save_image(tmp_path / "board" / "a.png", surface(1))


@pytest.mark.parametrize(
    ("age", "settle_seconds", "deferred"),
    [
        (0.0, 2.0, True),
        (1.9, 2.0, True),
        (2.1, 2.0, False),
        (-1.9, 2.0, True),
        (-2.1, 2.0, False),
        (-1e8, 2.0, False),
        (0.0, 0.0, False),
        (59.0, 60.0, True),
    ],
)
def test_age_below_which_a_file_is_left_to_the_next_run(image, age, settle_seconds, deferred):
    """A file is deferred while its age is below settle_seconds either way; one far ahead has another clock; 0 never."""
    os.utime(image, (NOW - age,) * 2)
    found = examine(image, settle_seconds=settle_seconds)
    assert bool(found.later) == deferred
    assert not found.bad
    if not deferred:
        assert found == Examined(hashlib.sha256(image.read_bytes()).hexdigest(), image.stat().st_mtime_ns)


@pytest.mark.parametrize("change", ["grows", "is rewritten at the same size", "is replaced"])
def test_file_that_changes_while_it_is_hashed(image, monkeypatch, change):
    """A hash of a file that changed meanwhile stands for nothing: the file is deferred."""
    honest = file_check.sha256_file

    def hash_and_change(path: Path) -> str:
        digest = honest(path)
        if change == "grows":
            path.write_bytes(path.read_bytes() + b"more")
        elif change == "is rewritten at the same size":
            path.write_bytes(bytes(path.stat().st_size))
        else:
            save_image(path.with_name("new.png"), surface(2)).replace(path)
        return digest

    monkeypatch.setattr(file_check, "sha256_file", hash_and_change)
    os.utime(image, (NOW - 60,) * 2)
    found = examine(image, settle_seconds=2)
    assert found.later == "changed while it was read; the next run takes it up"


def test_reader_does_not_change_a_file(image):
    """Looking at a file leaves its time as it is, so that the next run finds it unchanged."""
    before = image.stat().st_mtime_ns
    assert examine(image, settle_seconds=0) == examine(image, settle_seconds=0)
    assert image.stat().st_mtime_ns == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.timeout(20)
def test_pipe_is_never_opened(tmp_path):
    """A named pipe among the images, which would block its reader for good, is told and passed by."""
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in examine(tmp_path / "pipe.png", settle_seconds=0).bad


def test_folder_in_a_manifest(tmp_path):
    """A manifest that names a folder as an image is told so."""
    assert examine(tmp_path, settle_seconds=0).bad == "is a folder"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_locked_file(image):
    """A file that the user may not read is quarantined with the system's words, and is tried again by every run."""
    image.chmod(0)
    assert examine(image, settle_seconds=0).bad == "cannot be read: Permission denied"
    image.chmod(0o600)
    assert examine(image, settle_seconds=0).sha256


def test_times_of_files_are_kept(image):
    """The manifest knows when each file was changed, which tells a later run what to try again."""
    (listed,) = list_datasets(image.parent, config_of(settle_seconds=0))
    assert [entry.mtime_ns for entry in listed.images] == [image.stat().st_mtime_ns]
