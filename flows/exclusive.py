"""What runs and nights of a category share: nobody else works on it meanwhile, and what is damaged is rebuilt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from anoclust_core.errors import AnoclustError, DamagedError, StoreError
from tasks import telemetry
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.upkeep.recover import put_aside, sweep

Result = TypeVar("Result")

MAX_REPAIRS: Final = 20
"""Damaged folders that one run puts aside; a store with more has a failing disk, and a person must look at it."""


@contextmanager
def category_held(layout: StoreLayout, category: str, *, wait_seconds: float) -> Iterator[None]:
    """Hold a category exclusively; begin by removing what killed runs left.

    Raises
    ------
    BusyError
        If another run of the category goes on for longer than ``wait_seconds``.
    """
    notes = telemetry.current()

    def on_wait(waited: float) -> None:
        if notes.listener:
            notes.listener(category, "wait", int(waited), int(wait_seconds))

    with category_lock(layout, category, wait_seconds=wait_seconds, on_wait=on_wait):
        notes.started = time.time()  # waiting for another run is no part of this one
        sweep(layout, category)
        yield


def repairing(layout: StoreLayout, attempt: Callable[[], Result]) -> Result:
    """Call a function; put aside what turns out to be damaged, and call it again. The caller holds the lock.

    Keys are by content, so what was derived from a damaged part while it was sound stays valid.

    Raises
    ------
    AnoclustError
        Of the attempt, where no damage is behind it or putting it aside does not help.
    """
    repaired: list[Path] = []
    while True:
        try:
            return attempt()
        except AnoclustError as error:
            damage = _damage_behind(error)
            if damage is None or damage.folder in repaired[-1:] or len(repaired) == MAX_REPAIRS:
                raise
            telemetry.current().notes.append(put_aside(layout, damage))
            repaired.append(damage.folder)


def disk_error(layout: StoreLayout, error: OSError) -> StoreError:
    """Say what to do where the disk, not the data, is at fault."""
    told = StoreError(
        f"{layout.root}: {error}; check that you may write to it and that its disk is not full, then run again"
    )
    told.__cause__ = error
    return told


def _damage_behind(error: BaseException | None) -> DamagedError | None:
    while error is not None and not isinstance(error, DamagedError):
        error = error.__cause__
    return error
