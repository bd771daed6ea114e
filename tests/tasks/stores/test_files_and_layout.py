from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stores.files import (
    MAX_NAME,
    new_folder,
    read_json,
    safe_name,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from tasks.stores.layout import StoreLayout

HOSTILE = (
    "..",
    ".",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    ".hidden",
    " ",
    "C:\\x",
    "%2E%2E",
    "...",
    "~",
)

categories = st.text(st.characters(codec="utf-8"), max_size=40)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_json_reads_back(tmp_path):
    """What is written as JSON is read back, whatever the script of its text, and missing folders are made."""
    value = {"größe": [1, 2.5, None, "日本"], "nested": {"a": True}}
    write_json(tmp_path / "new" / "deep" / "x.json", value)
    assert read_json(tmp_path / "new" / "deep" / "x.json") == value


def test_nan_is_no_json(tmp_path):
    """A value that JSON cannot hold is refused, and the old file stays."""
    write_json(tmp_path / "x.json", {"nmi": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"nmi": float("nan")})
    assert read_json(tmp_path / "x.json") == {"nmi": 1.0}
    assert names_in(tmp_path) == {"x.json"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch, step):
    """A disk that is full half-way leaves the old content and no litter."""
    write_text(tmp_path / "x.txt", "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "x.txt", b"new" * 1000)
    assert (tmp_path / "x.txt").read_text() == "old"
    assert names_in(tmp_path) == {"x.txt"}


def test_new_folder_appears_whole(tmp_path):
    """A folder has its name only once it is full; until then its name is hidden and ends in .partial."""
    with new_folder(tmp_path / "run") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "run").exists()
        assert draft.name.startswith(".")
        assert draft.name.endswith(".partial")
        (draft / "b").write_text("b")
    assert names_in(tmp_path) == {"run"}
    assert names_in(tmp_path / "run") == {"a", "b"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failing_new_folder_leaves_nothing(tmp_path, error):
    """A folder whose making fails or is interrupted leaves nothing behind."""
    with pytest.raises(error), new_folder(tmp_path / "run") as draft:
        (draft / "a").write_text("a")
        raise error
    assert names_in(tmp_path) == set()


def test_new_folder_keeps_an_earlier_one(tmp_path):
    """A finished folder of that name is not overwritten."""
    with new_folder(tmp_path / "run") as draft:
        (draft / "a").write_text("first")
    with pytest.raises(OSError, match=r"not empty|exists"), new_folder(tmp_path / "run") as draft:
        (draft / "a").write_text("second")
    assert (tmp_path / "run" / "a").read_text() == "first"
    assert names_in(tmp_path) == {"run"}


def test_digest_is_that_of_sha256sum(tmp_path):
    """A file's digest is the SHA-256 of its bytes."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(categories)
def test_safe_name_is_reversible(text):
    """The category can be read back from its folder's name, so two categories never share a folder."""
    if 0 < len(quote(text, safe="")) <= MAX_NAME:
        assert unquote(safe_name(text)) == text


def test_long_names_are_cut_and_stay_apart():
    """A category of any length has a folder name that a file system takes, and a similar one has another."""
    names = {safe_name(text) for text in ("磁" * 90, "磁" * 91, "磁" * 90 + "x", "a" * 400, "a" * 401)}
    assert len(names) == 5
    assert max(map(len, names)) < 200


def test_a_category_without_a_name_has_a_folder_too():
    """The nameless category of a file system's root does not write beside the other categories."""
    assert safe_name("") not in ("", safe_name("%"))


@given(categories | st.sampled_from(HOSTILE))
def test_safe_name_is_one_visible_name(text):
    """A folder's name has no separator, is never hidden, and never names a parent folder."""
    name = safe_name(text)
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert not set(name) & set("/\\:\0\n ")
    assert name.isascii()


@pytest.mark.parametrize("category", HOSTILE)
def test_every_path_stays_in_the_store(tmp_path, category):
    """A category named like a path or a parent folder writes inside the store, in a folder of its own."""
    layout = StoreLayout(tmp_path / "store")
    key = "0" * 32
    for path, depth in (
        (layout.manifest(category, key), 3),
        (layout.folder("embeddings", category, key), 3),
        (layout.folder("nearest", category, key), 3),
        (layout.folder("weights", category, key), 3),
        (layout.folder("trees", category, key), 3),
        (layout.runs(category), 2),
    ):
        resolved = Path(os.path.normpath(path))
        assert resolved.is_relative_to(layout.root)
        assert len(resolved.relative_to(layout.root).parts) == depth
