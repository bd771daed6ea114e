"""Machine code kept between processes, so that each need not compile it for two seconds again.

A file is used only if it is this user's alone, whole, made of these sources by these versions for this processor; and
`machine_code` tries it on an example. In any doubt, and where nothing can be kept, the process compiles as if there
were no file. Nothing else depends on these files: they may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

from anoclust_core.pairwise.kernels.tiles import processor
from tasks.stores.addresses import with_home

VARIABLE: Final = "ANOCLUST_CACHE"
"""Names the folder; by default ``anoclust`` in ``XDG_CACHE_HOME``, or in ``~/.cache``."""

MOST_KEPT: Final = 16
"""Files, of several processors and versions, that share a home; the ones used last stay."""

LEFTOVER_SECONDS: Final = 3600
"""Age of a file under a temporary name that no process is writing any more."""

_HEAD: Final = b"anoclust machine code 1\n"
_DIGEST: Final = 65
"""Bytes of a SHA-256 in hexadecimal digits, and the end of its line."""

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class KeptCode:
    """Files of machine code in one folder.

    Parameters
    ----------
    folder
        Made when something is written, for this user alone; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, kind: str) -> bytes | None:
        """Code of a kind for this processor, if there is a file of it that is beyond doubt."""
        if self._folder is None:
            return None
        path = self._folder / _name(kind)
        try:
            if not _is_ours_alone(self._folder.stat()):
                return None
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not (stat.S_ISREG(found.st_mode) and _is_ours_alone(found)):
                    return None
                content = file.read()
        except OSError:
            return None
        head, digest, code = _parts(content)
        if head != _header(kind) or digest != _digest(head, code):
            return None
        with suppress(OSError):
            os.utime(path)  # used last
        return code

    def write(self, kind: str, code: bytes) -> None:
        """Keep code if the folder can be written and nobody else can write into it."""
        if self._folder is None:
            return
        head = _header(kind)
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
            if not _is_ours_alone(self._folder.stat()):
                return
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".tmp", delete=False) as file:
                file.write(head + _digest(head, code) + code)
            Path(file.name).replace(self._folder / _name(kind))
            self._tidy()

    def _tidy(self) -> None:
        """Remove what was used long ago, and what killed processes left."""
        kept = sorted(self._folder.glob("*.code"), key=lambda file: file.stat().st_mtime) if self._folder else []
        left = self._folder.glob(".tmp*") if self._folder else []
        old = [file for file in left if file.stat().st_mtime < time.time() - LEFTOVER_SECONDS]
        for file in (*kept[:-MOST_KEPT], *old):
            file.unlink(missing_ok=True)


def code_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Folder for machine code of this user; None for a user without a home."""
    if named := environment.get(VARIABLE):
        return with_home(named).absolute() / "kernels"
    try:
        above = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return above / "anoclust" / "kernels" if above.is_absolute() else None


def _is_ours_alone(found: os.stat_result) -> bool:
    """Whether nobody else can have written a file, or into a folder."""
    return found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _name(kind: str) -> str:
    return f"{kind}-{hashlib.sha256(_header(kind)).hexdigest()[:16]}.code"


def _digest(head: bytes, code: bytes) -> bytes:
    return hashlib.sha256(head + code).hexdigest().encode() + b"\n"


def _parts(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, digest and code of a file's content; of other content, what does not fit together."""
    end = content.find(b"\n", len(_HEAD)) + 1
    return content[:end], content[end : end + _DIGEST], content[end + _DIGEST :]


def _header(kind: str) -> bytes:
    """Everything that the code depends on: it stands in the file, whose name may be anything."""
    return _HEAD + json.dumps({"kind": kind, **_made_by()}, sort_keys=True).encode() + b"\n"


@cache
def _made_by() -> Mapping[str, object]:
    sources = hashlib.sha256()
    for file in sorted(files("anoclust_core.pairwise.kernels").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".py"):
            sources.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return {
        "sources": sources.hexdigest(),
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "processor": processor(),
        "machine": f"{sys.platform} {platform.machine()}",
    }
