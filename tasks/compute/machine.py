"""What of the machine this process may use."""

from __future__ import annotations

import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import psutil

_CONTAINER_LIMITS: Final = (
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory/memory.soft_limit_in_bytes",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.high",
    "/sys/fs/cgroup/memory.low",
)
"""Where Linux tells a container its limits, by cgroups of both versions: the same places that Dask reads."""


@cache
def memory_limit() -> int:
    """Bytes that this process may have: the machine's, or fewer where its container or its user has a limit.

    Dask's own function of this name gives the same; importing it takes half a second.
    """
    limits: list[int] = [psutil.virtual_memory().total, resource.getrlimit(resource.RLIMIT_RSS)[1]]
    for file in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # ValueError: "max", where there is no limit
            limits.append(int(Path(file).read_text(encoding="ascii")))
    return min(limit for limit in limits if limit > 0)
