"""Deployments of the stand-in flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploy.deployments import DEFAULT_QUEUE, Deployment, register
from helpers.stack import Stack

NEVER = "0 0 29 2 *"
"""A schedule of leap years."""


@contextmanager
def client_of(stack: Stack) -> Iterator[SyncPrefectClient]:
    """Connect to a server; blocks and events of this process go there too."""
    with temporary_settings({PREFECT_API_URL: stack.url}), get_client(sync_client=True) as client:
        yield client


def standin_deployment(
    stack: Stack, category: str, *, seconds: float = 0.0, queue: str = DEFAULT_QUEUE, cron: str = NEVER
) -> Deployment:
    """Describe a stand-in for the nights of a category."""
    return Deployment(
        name=category,
        flow="standin",
        entrypoint="helpers.standin.standin",
        parameters={"category": category, "store": str(stack.root / "store"), "seconds": seconds},
        queue=queue,
        cron=cron,
        timezone="UTC",
        description="A stand-in.",
        tags=("anoclust", category),
    )


def registered(client: SyncPrefectClient, stack: Stack, category: str, **settings: object) -> UUID:
    """Register a stand-in; gives its identifier."""
    deployment = standin_deployment(stack, category, **settings)  # type: ignore[arg-type]
    register(client, [deployment], folder=stack.root)
    return client.read_deployment_by_name(deployment.full_name).id
