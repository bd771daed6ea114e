"""Files that have not changed are not read again; whatever changed is, however well it hides."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import config_of, flat_folder
from helpers.deep_files import png

from tasks.images import file_check, known_hashes
from tasks.images.known_hashes import SETTLED_SECONDS, KnownHashes, read_known_hashes
from tasks.images.listing import list_datasets
from tasks.stores.files import with_digest, write_json


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    original = file_check.sha256_file

    def counted(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(file_check, "sha256_file", counted)
    return names


@pytest.fixture
def aged(monkeypatch) -> None:
    """Files may be remembered at once."""
    monkeypatch.setattr(known_hashes, "SETTLED_SECONDS", -1.0)


@pytest.fixture
def data(tmp_path) -> Path:
    return flat_folder(tmp_path / "board", range(3))


def listed(data: Path, *, trust_times: bool = True) -> dict[str, str]:
    """Content hashes by path."""
    (manifest,) = list_datasets(
        data,
        config_of(settle_seconds=0, trust_times=trust_times),
        known_hashes=lambda category: data.parent / "store" / "digests" / f"{category}.json",
    )
    return {image.path: image.sha256 for image in manifest.images}


@pytest.mark.usefixtures("aged")
def test_what_has_not_changed_is_not_read_again(data, read):
    """The second listing reads no file and says the same."""
    first = listed(data)
    assert len(read) == len(first) == 3
    read.clear()
    assert listed(data) == first
    assert read == []


@pytest.mark.usefixtures("aged")
def test_new_files_alone_are_read(data, read):
    """A night costs what is new."""
    first = listed(data)
    read.clear()
    flat_folder(data, [7])
    again = listed(data)
    assert len(read) == 1
    assert first.items() < again.items()


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize("how", ["in place", "another file"])
def test_new_bytes_with_old_name_size_and_date_are_noticed(data, read, how):
    """A program may set a file's date back, but not the time at which the kernel saw the change, nor its inode."""
    first = listed(data)
    file = sorted(data.iterdir())[0]
    status, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    target = file if how == "in place" else data.parent / "other"
    target.write_bytes(content)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    target.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    read.clear()
    again = listed(data)
    assert read == [file.name]
    assert [name for name in first if first[name] != again[name]] == [file.name]


def test_what_changed_just_now_is_not_remembered(data, read):
    """Two changes may fall into the same tick of the file system's clock."""
    old = sorted(data.iterdir())[0]
    os.utime(old, (1e9, 1e9))  # dated back, but touched now
    listed(data)
    read.clear()
    listed(data)
    assert len(read) == 3
    assert SETTLED_SECONDS > 2  # the tick of FAT


@pytest.mark.usefixtures("aged")
def test_times_need_not_be_trusted(data, read):
    """`--trust-times false` reads everything again."""
    listed(data)
    read.clear()
    listed(data, trust_times=False)
    assert len(read) == 3


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": {"a": [1]}}', b'{"files": 1, "digest": "0"}', None])
def test_a_damaged_memory_is_none(data, read, damage):
    """What is wrong with it is noticed; files are read again and remembered again."""
    first = listed(data)
    (memory,) = (data.parent / "store" / "digests").iterdir()
    if damage is None:  # one digit of one hash
        text = memory.read_text()
        some = next(iter(first.values()))
        damage = text.replace(some, some[:-1] + ("0" if some[-1] != "0" else "1")).encode()
    memory.write_bytes(damage)
    read.clear()
    assert listed(data) == first
    assert len(read) == 3
    read.clear()
    assert listed(data) == first
    assert read == []


@pytest.mark.usefixtures("aged")
def test_a_memory_that_cannot_be_written_is_no_error(data, read):
    """The files are read each time."""
    (data.parent / "store").write_text("a file where a folder should be")
    assert len(listed(data)) == 3
    read.clear()
    assert len(listed(data)) == 3
    assert len(read) == 3


@pytest.mark.usefixtures("aged")
def test_files_that_are_gone_are_forgotten(data):
    """The memory is as large as the data, however many files there have been."""
    listed(data)
    (memory,) = (data.parent / "store" / "digests").iterdir()
    gone = sorted(data.iterdir())[0]
    assert gone.name in memory.read_text()
    gone.unlink()
    listed(data)
    assert gone.name not in memory.read_text()


def test_memory_of_an_earlier_version_is_completed(tmp_path):
    """A file whose hash was remembered, but not its kind of picture, is looked at once and not read again."""
    deep, memory = tmp_path / "a.png", tmp_path / "digests.json"
    deep.write_bytes(png(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    status = deep.stat()
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
    write_json(memory, with_digest({"files": {str(deep): [*stamp, "0" * 64]}}))
    remembered = KnownHashes(memory)
    assert remembered.find(deep, status) == ("0" * 64, "uint16")
    remembered.save()
    assert KnownHashes(memory).find(deep, status) == ("0" * 64, "uint16")
    assert read_known_hashes(memory)[str(deep)][-1] == "uint16"
