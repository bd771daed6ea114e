"""Files: written whole or not at all, hashed, and named so that any category makes a safe path."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from anoclust_core.errors import DamagedError

MAX_NAME: Final = 160
"""Longest folder name that is the text itself; file systems take 255 bytes, and temporary names are longer."""

DIGEST: Final = "digest"
"""Field of a JSON file that holds the checksum of the others."""

FILES: Final = "files"
"""Field of a JSON file that holds the checksums of files beside it, see `file_digests`."""

_SHA256: Final = re.compile("[0-9a-f]{64}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it: readers see the old one or the new one, never a part.

    Raises
    ------
    DamagedError
        If a folder stands in its place.
    """
    with _written_beside(path, data) as temporary:
        try:
            temporary.replace(path)
        except IsADirectoryError as error:
            raise DamagedError(f"{path} is a folder where a file belongs", path) from error


def remove_file(path: Path) -> None:
    """Remove a file, if there is one.

    Raises
    ------
    DamagedError
        If a folder stands in its place.
    """
    if path.is_dir():
        raise DamagedError(f"{path} is a folder where a file belongs", path)
    path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, readable by people: indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_checked(path: Path, *, blamed: Path | None = None) -> dict[str, Any]:
    """Read a JSON file that was made by `with_digest`; without its checksum.

    Parameters
    ----------
    path
        The file.
    blamed
        What is damaged if the file is; the file itself by default.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DamagedError
        If it is not what was written.
    """
    with told_as_damage(path, blamed=blamed):
        return without_digest(read_json(path))


@contextmanager
def told_as_damage(path: Path, *, blamed: Path | None = None) -> Iterator[None]:
    """Raise `DamagedError` where a file that is read in the block is a folder, or is not what was written."""
    try:
        yield
    except IsADirectoryError as error:
        raise DamagedError(f"{path} is a folder where a file belongs", blamed or path) from error
    except (ValueError, TypeError, LookupError) as error:
        raise DamagedError(f"{path} is damaged: {error}", blamed or path) from error


def with_digest(content: Mapping[str, object]) -> dict[str, Any]:
    """Content of a JSON file and, last, the SHA-256 of it as compact ASCII JSON, keys sorted."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(content), allow_nan=False))
    return {**plain, DIGEST: _digest(plain)}


def without_digest(content: Any) -> dict[str, Any]:
    """Content that `with_digest` was given.

    Raises
    ------
    ValueError
        If it is not what was written. Files of versions before there were digests pass; they end in no checksum under
        another name, as one whose name was damaged does.
    """
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - like every other damage of a JSON file
    plain = {name: value for name, value in content.items() if name != DIGEST}
    if DIGEST in content and content[DIGEST] != _digest(plain):
        raise ValueError("its checksum does not match")
    last = next(reversed(content.values()), None)
    if DIGEST not in content and isinstance(last, str) and _SHA256.fullmatch(last):
        raise ValueError("the name of its checksum is damaged")
    return plain


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by its path in there, for the field `FILES` of a JSON file in it."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def changed_files(folder: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Files that are not what `file_digests` found: what became of each, by its path in the folder."""
    found = {}
    for name, digest in digests.items():
        try:
            if sha256_file(folder / name) != digest:
                found[name] = "fails its checksum"
        except FileNotFoundError:
            found[name] = "is gone"
        except (IsADirectoryError, NotADirectoryError):
            found[name] = "is no file"
    return found


def _digest(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_once(path: Path, data: bytes) -> None:
    """Write a file whole unless it is there: of several processes at once one does, and readers never see a part."""
    with _written_beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                temporary.rename(path)


@contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Temporary file beside ``path``, with the data safely on disk: the block gives it its name, or it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own name when the block ends well, and is removed otherwise.

    A killed process leaves a name that starts with a dot and ends in ``.partial``: no reader takes it for a result.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that `write_bytes` and `new_folder` use on the way."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def sync_folder(folder: Path) -> None:
    """Let a rename survive a power cut, where the file system takes this wish: some refuse it for folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(text: str) -> str:
    """Folder name for any text: one for each text, without separators, never hidden, never ``..``, never too long.

    Examples
    --------
    >>> safe_name("metal_nut"), safe_name("../tile #1")
    ('metal_nut', '%2E.%2Ftile%20%231')
    """
    name = quote(text, safe="") or "%"
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}%{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return "%2E" + name[1:] if name.startswith(".") else name


def category_address(category: str) -> str:
    """Path of a category's page on the review server.

    Examples
    --------
    >>> category_address("metal_nut"), category_address("a/b")
    ('/c/metal_nut', '/c/a%252Fb')
    """
    return f"/c/{quote(safe_name(category), safe='')}"
