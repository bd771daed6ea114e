"""A measurement in a process that has nothing but the imports, whatever this process and other tests have done."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def measure_apart(stage: str, size: int, folder: Path) -> Any:
    """Measure in a process forked from a server that made the imports.

    To be called in a process of its own: a process has one server for all, with the imports of whoever started it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["measured"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, stage, size, folder).result(timeout=200)


def _measure(stage: str, size: int, folder: Path) -> Any:
    from measured import MEASURES

    return MEASURES[stage](size, folder)
