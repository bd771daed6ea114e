"""What a killed run leaves and what a failing disk does: swept away, or put aside and rebuilt.

Nothing here may run beside another run of the same category: hold its lock.
"""

from __future__ import annotations

import glob
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from anoclust_core.errors import DamagedError
from tasks.stores import arrays
from tasks.stores.files import safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import ARRAY_FOLDERS
from tasks.stores.upkeep import inventory

SHARED_SECONDS: Final = 3600.0
"""Age from which what lies beside others' is a leftover: it is written and read in no time."""


def sweep(store: StoreLayout, category: str) -> None:
    """Remove what killed runs of a category left: temporary files and folders, and arrays without a seal."""
    for path in list(_leftovers(store, category)):
        if path.is_dir():
            with suppress(FileNotFoundError):  # another run sweeps what is shared, too
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _leftovers(store: StoreLayout, category: str) -> Iterator[Path]:
    name = safe_name(category)
    for kind in ARRAY_FOLDERS:
        yield from (path for path in inventory.array_folders(store, kind, name) if not arrays.is_complete(path))
    yield from inventory.temporary(store, name)
    # hashes are remembered without the lock: whoever is writing them now misses the file and does without
    of_category = (store.known_hashes(category), store.decoding(category), store.frame(category))
    for path in (store.lock(category).with_suffix(".json"), *of_category):
        yield from path.parent.glob(f".{glob.escape(path.name)}.*.partial")
    long_ago = time.time() - SHARED_SECONDS
    yield from (path for path in inventory.shared_strays(store) if inventory.newest_change(path) < long_ago)


def put_aside(store: StoreLayout, error: DamagedError) -> str:
    """Move what is damaged out of the way; nothing is deleted, `anoclust store gc` does that.

    Returns
    -------
    note
        What was damaged, and where it is kept: for the reader of the run that rebuilds it.

    Raises
    ------
    DamagedError
        ``error`` itself, if what is damaged lies outside of the store.
    """
    if not error.folder.is_relative_to(store.root):
        raise error
    kind, *inner = error.folder.relative_to(store.root).parts
    name = "-".join([kind, *inner[:1], *inner[1:][-1:]])
    note = f"rebuilt: {error.found}"
    if not error.folder.exists():
        return note
    store.damaged.mkdir(parents=True, exist_ok=True)
    kept = store.damaged / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    error.folder.rename(kept)
    return f"{note}; what was damaged is kept in {kept}"


def clear_place(store: StoreLayout, path: Path) -> None:
    """Put aside a folder that stands where a file of a store belongs: no file can be renamed over it."""
    if path.is_dir():
        put_aside(store, DamagedError(f"{path} is a folder where a file belongs", path))
