"""Flows that the tests' worker runs in place of a night: quick, and as long as they are told."""

from __future__ import annotations

import time

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock


@task
def work(seconds: float) -> None:
    """Take some time."""
    time.sleep(seconds)


@flow(name="inner", flow_run_name="inner {category}")
def inner(category: str, seconds: float) -> None:
    """Take some time in a run inside the run."""
    work(seconds)


@flow(name="standin", flow_run_name="stand-in {category}")
def standin(category: str, store: str, seconds: float = 0.0) -> dict[str, float]:
    """Hold the category's lock for some time, and tell as a night does."""
    from pathlib import Path

    begun = time.time()
    with category_lock(StoreLayout(Path(store)), category):
        inner(category, seconds)
    create_markdown_artifact(f"{category} is done", key=f"report-{category}")
    emit_event(
        "anoclust.cluster.new",
        resource={"prefect.resource.id": f"anoclust.category.{category}", "prefect.resource.name": category},
        payload={"cluster": "c7", "images": 4},
    )
    get_run_logger().info("worked from %s to %s", begun, time.time())
    return {"begun": begun, "ended": time.time()}
