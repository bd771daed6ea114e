"""Paths that people give: on this machine, or an address of an object store, a web server, another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from anoclust_core.errors import AnoclustError, DatasetError
from anoclust_core.safe_text.masking import masked

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""How a URL begins, where a path type may have taken one of its slashes away; one letter is a drive of Windows."""

_OTHER_MACHINE: Final = re.compile(r"[\w.-]+@[\w.-]+:|[\w-]+(\.[\w-]+)+:/")
"""How ``scp`` and NFS name a folder of another machine."""

_SHARE: Final = re.compile(r"\\\\[^\\/]+[\\/]")
"""How Windows names a folder of another machine."""

_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")

_KINDS: Final[Sequence[tuple[frozenset[str], str, str]]] = (
    (
        frozenset({"s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasb", "wasbs", "oss", "r2", "b2"}),
        "an address in an object store, which Anoclust cannot use yet",
        "mount it as a folder (as `rclone mount` does), or copy it to this machine",
    ),
    (
        frozenset({"http", "https", "ftp", "ftps", "webdav", "dav", "davs"}),
        "an address on the web, from which Anoclust loads nothing",
        "download it, and give the path here",
    ),
    (
        frozenset({"sftp", "ssh", "scp", "rsync"}),
        "an address on another machine, which Anoclust does not connect to",
        "mount it as a folder (as `sshfs` does), or copy it to this machine",
    ),
    (
        frozenset({"smb", "cifs", "nfs", "afp"}),
        "a share of another machine",
        "mount it, and give the path that it has here",
    ),
)
"""Schemes of addresses, what they are, and what to do instead."""

_REMOTE_SHARE: Final = f"is {_KINDS[3][1]}; {_KINDS[3][2]}"


def why_no_path(text: str) -> str | None:
    r"""Say what an address is that is no path of this machine, and what to do; None of a path.

    Examples
    --------
    >>> why_no_path("teil/000.png") is None, why_no_path("file:///data") is None
    (True, True)
    >>> why_no_path("s3:/bucket/teil")[:32]
    'is an address in an object store'
    >>> why_no_path(r"\\server\share")
    'is a share of another machine; mount it, and give the path that it has here'
    """
    found = _SCHEME.match(text)
    if found and _OTHER_MACHINE.match(text) is None:
        scheme = found[1].lower()
        if scheme == "file":
            return None if path_of_url(text) else _REMOTE_SHARE
        for schemes, what, advice in _KINDS:
            if scheme in schemes:
                return f"is {what}; {advice}"
        return "is an address, not a path; give the path of a file or folder on this machine"
    if _SHARE.match(text):
        return _REMOTE_SHARE
    if _OTHER_MACHINE.match(text):
        what, advice = _KINDS[2][1:]
        return f"is {what}; {advice}"
    if _DRIVE.match(text):
        return "is a path of Windows with a letter for a drive; give the path that it has on this machine"
    return None


def with_home(text: str) -> Path:
    """Path in which ``~`` and ``~name`` at the beginning are the home of a user; where there is none, a name as any.

    Examples
    --------
    >>> str(with_home("~no such user/a")), str(with_home("a/~")), with_home("~").is_absolute()
    ('~no such user/a', 'a/~', True)
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111 - that of Path raises where there is no such user


def path_of_url(text: str) -> str | None:
    """Path that a ``file:`` address means, be it that one of its slashes is gone; None of anything else.

    Examples
    --------
    >>> path_of_url("file:///data/my%20images"), path_of_url("file:/data"), path_of_url("/data")
    ('/data/my images', '/data', None)
    """
    if text[:6].lower() != "file:/":
        return None
    split = urlsplit(text)
    if split.netloc not in ("", "localhost"):
        return None
    return unquote(split.path) or None


def shown_address(text: str) -> str:
    """Address as messages may show it, without secrets, and with the slash that a path type has taken away.

    Examples
    --------
    >>> shown_address("s3:/key:secret@bucket/a"), shown_address("https:/host/a?signature=1"), shown_address("//a")
    ('s3://key:***@bucket/a', 'https://host/a?***', '//a')
    """
    found = _SCHEME.match(text)
    if found is None or _OTHER_MACHINE.match(text):
        return text
    return masked(f"{found[1]}://{text[found.end() :].lstrip('/')}")


def on_this_machine(given: Path | str, name: str, error: type[AnoclustError] = DatasetError) -> Path:
    """Path that is meant: a ``file:`` address is understood, any other is refused.

    Parameters
    ----------
    given
        As a person wrote it; a path of that very name is taken as it is.
    name
        What it is given as, for the message.
    error
        What to raise.

    Raises
    ------
    AnoclustError
        If it is an address that is no path; it says what it is and what to do.
    """
    text = str(given)
    if not os.path.lexists(text):
        url = path_of_url(text)
        if url is not None:
            return Path(url)
        why = why_no_path(text)
        if why is not None:
            raise error(f"{name} takes a path on this machine; found '{shown_address(text)}', which {why}")
    return Path(given)
