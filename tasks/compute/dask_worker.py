"""What workers of a Dask scheduler are given before their first job."""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin
from threadpoolctl import threadpool_limits


class OneBlasThread(WorkerPlugin):
    """Many image pairs side by side, each product on one thread."""

    name = "anoclust-one-blas-thread"

    def setup(self, worker: Any) -> None:  # noqa: ARG002
        """Limit BLAS for the life of the worker process."""
        threadpool_limits(1, user_api="blas")
