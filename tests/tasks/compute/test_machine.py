"""What of the machine a process may use."""

from __future__ import annotations

from distributed.system import MEMORY_LIMIT

from tasks.compute.machine import memory_limit


def test_the_limit_of_memory_is_that_of_dask() -> None:
    """Dask reads the same places; its function is not used, since importing it takes half a second of every run."""
    assert memory_limit() == MEMORY_LIMIT
