"""A look at one input file: its hash, or why it cannot be used, or why it is left to the next run."""

from __future__ import annotations

import errno
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tasks.images.decoding import MAX_BYTES
from tasks.images.folders import is_link, one_line, printable
from tasks.images.headers import look_at
from tasks.images.known_hashes import KnownHashes
from tasks.stores.files import sha256_file

MAY_BE_WRITTEN: Final = "may still be being written"
"""In the reason of every file that is too young; of no other."""


def now() -> float:
    """Seconds since 1970, as files are dated; tests set it ahead."""
    return time.time()


@dataclass(frozen=True)
class Examined:
    """What a look at a file gave: its hash and time, or why it cannot be used, or why it is left to the next run.

    ``special`` is the kind of a picture that is not a plain one of 8 bits.
    """

    sha256: str = ""
    mtime_ns: int = 0
    special: str = ""
    bad: str = ""
    later: str = ""
    settles_in: float = 0.0
    """Seconds until a file that is too young is old enough, if nobody changes it; else 0."""


def examine(file: Path, *, settle_seconds: float, known_hashes: KnownHashes | None = None) -> Examined:
    """Hash a file, or say why not; anything but a regular file is never opened, which may block for good.

    Parameters
    ----------
    file
        Path to look at.
    settle_seconds
        Age below which a file may still be being written. A file from the future counts as old: its clock is another
        one.
    known_hashes
        What is known of files that have not changed; a file that is read is added. None knows nothing.
    """
    if printable(str(file)) != str(file):
        whose = "its name" if printable(file.name) != file.name else "the name of its folder"
        return Examined(bad=f"{whose} is not UTF-8; rename it")
    try:
        before = file.stat()
        if stat.S_ISDIR(before.st_mode):
            return Examined(bad="is a folder")
        if not stat.S_ISREG(before.st_mode):
            return Examined(bad="is no regular file but a pipe, a socket or a device")
        if before.st_size > MAX_BYTES:
            return Examined(bad=f"has {before.st_size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.1f} GB")
        if abs(now() - before.st_mtime) < settle_seconds:
            age = f"changed less than {settle_seconds:g} s ago"
            settles_in = before.st_mtime + settle_seconds - now()
            return Examined(later=f"{age} and {MAY_BE_WRITTEN}; the next run takes it up", settles_in=settles_in)
        known = known_hashes.find(file, before) if known_hashes else None
        if known:
            return Examined(sha256=known[0], mtime_ns=before.st_mtime_ns, special=known[1])
        sha256 = sha256_file(file)
        special = look_at(file)
        after = file.stat()
    except OSError as error:
        return Examined(bad=_why_not_read(file, error))
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return Examined(later="changed while it was read; the next run takes it up")
    if known_hashes:
        known_hashes.keep(file, before, sha256, special)
    return Examined(sha256=sha256, mtime_ns=before.st_mtime_ns, special=special)


def _why_not_read(file: Path, error: OSError) -> str:
    if not is_link(file):
        return f"cannot be read: {error.strerror or error}"
    if error.errno == errno.ELOOP:
        return "is a symbolic link that leads back to itself"
    what = "which does not exist" if isinstance(error, FileNotFoundError) else f"which cannot be read: {error.strerror}"
    return f"is a symbolic link to {one_line(str(file.readlink()))}, {what}"
