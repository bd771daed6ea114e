"""The secret of a user's Prefect servers: one file that nobody else reads."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from anoclust_core.errors import ConfigError
from flows.prefect_server.secret import kept_secret


def test_it_is_made_once_and_kept(tmp_path):
    """The first call makes folder and file for the owner's eyes only, whatever the umask; later ones read them."""
    before = os.umask(0)
    try:
        secret = kept_secret(tmp_path / "prefect")
    finally:
        os.umask(before)
    path = tmp_path / "prefect" / "anoclust" / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert kept_secret(tmp_path / "prefect") == secret
    assert len(secret.partition(":")[2]) >= 32
    assert [child.name for child in path.parent.iterdir()] == ["secret"]


def test_many_at_once_get_the_same(tmp_path):
    """Commands that start together agree on one."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kept_secret(tmp_path), range(32)))
    assert len(set(found)) == 1


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    """The secret is kept there too, and nothing is left beside it."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    secret = kept_secret(tmp_path)
    assert kept_secret(tmp_path) == secret
    assert [child.name for child in (tmp_path / "anoclust").iterdir()] == ["secret"]


def test_two_users_have_two(tmp_path):
    """Nobody can guess another's."""
    assert kept_secret(tmp_path / "a") != kept_secret(tmp_path / "b")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_one_that_others_could_read_is_replaced(tmp_path, mode):
    """A copy or a backup may have lost the mode: what others may have read is no secret any more."""
    known = kept_secret(tmp_path)
    path = tmp_path / "anoclust" / "secret"
    path.chmod(mode)
    assert kept_secret(tmp_path) != known
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_others_could_open_is_closed(tmp_path):
    """An earlier version made it, for the logs, as open as the umask let it."""
    (tmp_path / "anoclust").mkdir(mode=0o755)
    kept_secret(tmp_path)
    assert stat.S_IMODE((tmp_path / "anoclust").stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "\n", "anoclust:", "anoclust:short", "somebody:" + "x" * 60])
def test_a_file_without_a_secret_is_told(tmp_path, content):
    """An empty or cut-off file would let in whoever shows nothing."""
    path = tmp_path / "anoclust" / "secret"
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"remove the file"):
        kept_secret(tmp_path)
