"""Machine code kept between processes: used only when it is beyond doubt, and never in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.compute import kept_code
from tasks.compute.kept_code import MOST_KEPT, KeptCode, code_folder

CODE = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds one file of code."""
    KeptCode(tmp_path / "code").write("loops", CODE)
    return tmp_path / "code"


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_code_that_was_kept_is_read(folder: Path) -> None:
    """By the kind that it was written as, and by no other; the folder is the user's alone."""
    assert KeptCode(folder).read("loops") == CODE
    assert KeptCode(folder).read("other") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_file(folder).stat().st_mode & 0o077 == 0


def test_a_flipped_bit_anywhere_is_noticed(folder: Path) -> None:
    """In the header, in the checksum or in the code: there is no code then."""
    file = only_file(folder)
    whole = file.read_bytes()
    places = {*range(0, len(whole), 97), *range(0, 500, 7), len(whole) - 1}
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert KeptCode(folder).read("loops") is None, place
    file.write_bytes(whole)
    assert KeptCode(folder).read("loops") == CODE


@pytest.mark.parametrize("left", [0, 1, 24, 60, 400, -1])
def test_a_file_that_was_cut_off_is_no_code(folder: Path, left: int) -> None:
    """A full disk leaves any part of a file."""
    file = only_file(folder)
    file.write_bytes(file.read_bytes()[:left])
    assert KeptCode(folder).read("loops") is None


@pytest.mark.parametrize("what", ["numba", "llvmlite", "processor", "sources", "machine"])
def test_code_of_another_version_or_processor_is_not_used(
    folder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even under the very name that this one's would have; a home may be shared by machines."""
    foreign = only_file(folder)
    made_by = {**kept_code._made_by(), what: "another"}
    monkeypatch.setattr(kept_code, "_made_by", lambda: made_by)
    assert KeptCode(folder).read("loops") is None
    foreign.rename(folder / kept_code._name("loops"))
    assert KeptCode(folder).read("loops") is None
    KeptCode(folder).write("loops", CODE[:100])
    assert KeptCode(folder).read("loops") == CODE[:100]


def _of_everybody(file: Path) -> None:
    file.chmod(0o666)


def _folder_of_everybody(file: Path) -> None:
    file.parent.chmod(0o777)


def _linked(file: Path) -> None:
    elsewhere = file.parent.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("doubtful", [_of_everybody, _folder_of_everybody, _linked, _pipe, _folder])
def test_what_others_may_have_written_is_not_run(folder: Path, doubtful: Callable[[Path], None]) -> None:
    """Code runs with all that the user may do."""
    doubtful(only_file(folder))
    assert KeptCode(folder).read("loops") is None


def test_a_folder_that_others_write_into_gets_no_code(folder: Path) -> None:
    """Nothing is kept there: it would not be read."""
    folder.chmod(0o777)
    KeptCode(folder).write("other", CODE)
    assert only_file(folder).name.startswith("loops")


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    """A read-only home, or a file in the folder's place: everything is compiled, as without it."""
    (tmp_path / "file").write_text("")
    for nowhere in (tmp_path / "file" / "code", Path("/proc/anoclust"), None):
        KeptCode(nowhere).write("loops", CODE)
        assert KeptCode(nowhere).read("loops") is None


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    """Who reads meanwhile gets all of one's code, or none; and nothing is left over."""
    kept = KeptCode(tmp_path)

    def write_and_read(n: int) -> bytes | None:
        kept.write("loops", bytes([n]) * 50_000)
        return kept.read("loops")

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(write_and_read, range(40)):
            assert found is not None
            assert len(found) == 50_000
            assert len(set(found)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_files_do_not_pile_up(tmp_path: Path) -> None:
    """Of many versions the ones used last stay, and what killed processes left goes."""
    kept = KeptCode(tmp_path)
    left = tmp_path / ".tmpkilled"
    left.write_bytes(b"part")
    os.utime(left, (0, 0))
    kept.write("used", CODE)
    for n in range(MOST_KEPT + 3):
        kept.write(f"version{n}", CODE)
        os.utime(tmp_path / kept_code._name(f"version{n}"), (n, n))
        assert kept.read("used") == CODE
    assert len(list(tmp_path.iterdir())) == MOST_KEPT
    assert not left.exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ANOCLUST_CACHE": "/fast/disk", "XDG_CACHE_HOME": "/x"}, Path("/fast/disk/kernels")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/anoclust/kernels")),
        ({"XDG_CACHE_HOME": "relative"}, None),
    ],
)
def test_where_code_is_kept(environment: dict[str, str], expected: Path | None) -> None:
    """Where a variable says."""
    assert code_folder(environment) == expected


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's user may have none: then nothing is kept."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert code_folder({}) is None
