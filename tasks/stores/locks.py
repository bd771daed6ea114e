"""One run of a category at a time: a file lock, which the kernel frees when its holder dies, however it dies."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from anoclust_core.errors import BusyError, DamagedError, StoreError
from tasks.stores.files import read_checked, told_as_damage, with_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.upkeep.recover import clear_place

POLL_SECONDS: Final = 0.1
"""How often a waiting run tries to get the lock."""

TELL_SECONDS: Final = 1.0
"""How often a waiting run tells that it waits."""

_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})


@contextmanager
def category_lock(
    store: StoreLayout,
    category: str,
    *,
    wait_seconds: float = 0.0,
    on_wait: Callable[[float], None] | None = None,
) -> Iterator[None]:
    """Hold the lock of a category in the block: no other run writes it in this store.

    Parameters
    ----------
    store
        Where the category is kept.
    category
        Name of the product.
    wait_seconds
        How long to wait for another run to end.
    on_wait
        Called now and then with the seconds waited so far.

    Raises
    ------
    BusyError
        If another run has the lock for that long; the message says which.
    StoreError
        If the store's file system has no locks, or the store is read-only.
    """
    path = store.lock(category)
    holder = path.with_suffix(".json")
    # never a file in place of a lock: it would outlive its holder and block for good
    lock = FileLock(path, fallback_to_soft=False)
    try:
        with _told_where_read_only(store, path):
            clear_place(store, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, path, category, holder, wait_seconds, on_wait)
            clear_place(store, holder)
            write_json(holder, with_digest({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        yield
    finally:
        lock.release()


@contextmanager
def _told_where_read_only(store: StoreLayout, path: Path) -> Iterator[None]:
    """Say of a store that this process may not write into that it is read-only."""
    try:
        yield
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        raise StoreError(
            f"the store {store.root} is read-only: {path} cannot be written ({error.strerror}); this command writes to "
            "the store: mount it for writing, check its owner, or name another store with --store"
        ) from error


def _acquire(
    lock: FileLock,
    path: Path,
    category: str,
    holder: Path,
    wait_seconds: float,
    on_wait: Callable[[float], None] | None,
) -> None:
    start = time.monotonic()
    while True:
        waited = time.monotonic() - start
        left = max(0.0, wait_seconds - waited)
        try:
            lock.acquire(timeout=min(left, TELL_SECONDS), poll_interval=POLL_SECONDS)
        except Timeout:
            if left == 0.0:
                raise BusyError(_busy(category, holder, waited if wait_seconds else 0.0)) from None
            if on_wait:
                on_wait(time.monotonic() - start)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise StoreError(
                    f"{path} cannot be locked ({error}); without locks two runs of a category would damage each "
                    "other's work: keep the store on a local disk, or on a network file system with locks"
                ) from error
            raise
        else:
            return


def _busy(category: str, holder: Path, waited: float) -> str:
    try:
        found = read_holder(holder)
        who = f" (process {found['pid']} on {found['host']} since {found['since']})"
    except (OSError, DamagedError):
        who = ""  # it has only just begun
    if waited:
        return f"another run of category {category} is still running after {waited:.0f} s{who}; try again later"
    return (
        f"another run of category {category} is in progress{who}; wait until it ends, or give --wait-seconds 600 to "
        "wait here"
    )


def read_holder(path: Path) -> dict[str, Any]:
    """Who holds a lock, or did last: process, host, and since when.

    Raises
    ------
    OSError
        If nothing was noted.
    DamagedError
        If the note is not what was written.
    """
    found = read_checked(path)
    with told_as_damage(path):
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": str(found["since"])}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
