"""One Prefect server with a worker, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.stack import Stack, Webhook, prefect_server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

EVERY_MINUTE = "* * * * *"


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    """Give an address that automations send to."""
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Stack]:
    """Start a server with limits, automations and a worker, and one deployment that its schedule starts."""
    from helpers.deploying import client_of, standin_deployment

    from flows.deploy.deployments import register
    from flows.deploy.files import FOLDER, apply_files

    root = tmp_path_factory.mktemp("stack")
    with prefect_server(root) as stack, client_of(stack) as client:
        apply_files(client, FOLDER, notify=webhook.url)
        minutely = standin_deployment(stack, "minutely", cron=EVERY_MINUTE)
        register(client, [minutely], folder=root)
        stack.start_worker()
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    """Give a client of the shared server."""
    from helpers.deploying import client_of

    with client_of(stack) as client:
        yield client


@pytest.fixture
def folder(stack: Stack) -> Path:
    """Folder that runs start in."""
    return stack.root
