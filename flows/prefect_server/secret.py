"""Secret of our own Prefect server, which clients must send: one per process, or one kept for ``anoclust up``."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from anoclust_core.errors import ConfigError

FOLDER: Final = "anoclust"
"""Folder of ours in ``PREFECT_HOME``: the secret and the logs of `anoclust up`."""

FILE: Final = "secret"

_USER: Final = "anoclust"
"""Prefect takes the secret as ``user:password``."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def new_secret() -> str:
    """Make a secret that nobody can guess."""
    return f"{_USER}:{secrets.token_urlsafe(32)}"


def own_folder(home: Path) -> Path:
    """Make our folder in ``PREFECT_HOME``, which nobody else may open."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(stat.S_IRWXU)
    return folder


def kept_secret(home: Path) -> str:
    """Read the secret of this user's servers; the first call makes it.

    Parameters
    ----------
    home
        ``PREFECT_HOME``.

    Raises
    ------
    ConfigError
        If it is empty, or others can read it and that cannot be changed.
    """
    path = own_folder(home) / FILE
    if not path.exists():
        _write_once(path, new_secret())
    if path.stat().st_mode & _OTHERS:
        _renew(path)
    secret = path.read_text(encoding="utf-8").strip()
    if not secret.startswith(f"{_USER}:") or len(secret) < len(new_secret()):
        raise ConfigError(
            f"{path} should hold the secret of the Prefect server, but does not; remove the file, and a new secret is "
            "made"
        )
    return secret


def _renew(path: Path) -> None:
    """Make another secret in place of one that others may have read."""
    path.unlink(missing_ok=True)
    _write_once(path, new_secret())
    if path.stat().st_mode & _OTHERS:
        raise ConfigError(
            f"{path} holds a secret, but the file system lets others read it; set PREFECT_HOME to a folder on a disk "
            "with file permissions, or set the secret yourself with PREFECT_SERVER_API_AUTH_STRING=user:password"
        )


def _write_once(path: Path, secret: str) -> None:
    """Write the file whole, or leave the one that another process has just written."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
        file.write(secret + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
