"""Content hashes remembered between runs, so that a file which has not changed need not be read again.

A file is taken as unchanged where size, both times, inode and device are what they were. Its status time is set by the
kernel at every change, and no program can set it back; so a new content under an old name and an old date is noticed.
What was changed shortly before it was read is not remembered: another change might fall into the same tick.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import DamagedError
from tasks.images.headers import look_at
from tasks.stores.files import DIGEST, read_json, told_as_damage, with_digest, without_digest, write_json

SETTLED_SECONDS: Final = 10.0
"""Age of a file's last change from which on it is remembered; file systems tell times at least every two seconds."""

_FILES: Final = "files"


class KnownHashes:
    """Content hashes by file, kept in one JSON file; used by several threads.

    They save reading and no more: where the file is missing, damaged or cannot be written, files are read once more.

    Parameters
    ----------
    path
        Where it is kept, or None to remember nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._before: dict[str, Any] | None = {}
        if path:
            try:
                self._before = read_known_hashes(path)
            except DamagedError:
                self._before = None  # written again, whatever is found
            except OSError:
                self._before = {}
        self._now: dict[str, Any] = {}

    def find(self, file: Path, status: os.stat_result) -> tuple[str, str] | None:
        """Hex digest and kind of picture of a file that is as it was when it was read, or None."""
        entry = self._before.get(str(file)) if self._before else None
        stamp = _stamp(status)
        if entry is None or entry[: len(stamp)] != stamp:
            return None
        if len(entry) == len(stamp) + 1:  # an earlier version looked at hashes only
            entry = [*entry, look_at(file)]
        sha256, special = entry[len(stamp) :]
        self._now[str(file)] = entry
        return str(sha256), str(special)

    def keep(self, file: Path, status: os.stat_result, sha256: str, special: str) -> None:
        """Remember the digest and kind of a file that has just been read, with its status from before that."""
        if time.time() - max(status.st_mtime, status.st_ctime) >= SETTLED_SECONDS:
            self._now[str(file)] = [*_stamp(status), sha256, special]

    def save(self) -> None:
        """Write what was found and kept; files that were not asked about are forgotten."""
        if self._path is not None and self._now != self._before:
            with suppress(OSError, DamagedError):
                write_json(self._path, with_digest({_FILES: self._now}))


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def read_known_hashes(path: Path) -> dict[str, Any]:
    """What is remembered of each file, as it is kept.

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    DamagedError
        If it is not what was written.
    """
    with told_as_damage(path):
        content = read_json(path)
        found = dict(without_digest(content)[_FILES])
        if DIGEST not in content:
            raise ValueError("it has no checksum")
        return found
