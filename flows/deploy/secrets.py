"""Passwords that an earlier version wrote into deployments and runs, where everybody who sees the UI reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anoclust_core.safe_text.masking import has_secret, masked

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Found = TypeVar("Found")

CATALOG: Final = "night.catalog"
"""Setting that held a password then."""

NIGHTLY: Final = "nightly"
"""Name of the flow that took the catalog's URL as a parameter."""

_PAGE: Final = 200
"""What is asked for at a time; the server gives no more."""


def forget_passwords(client: SyncPrefectClient) -> list[str]:
    """Take passwords out of the parameters of deployments and of runs, finished ones too; gives what was changed.

    A deployment that has lost its password takes the catalog from its worker's variable, as new ones do.
    """
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    flow = FlowFilter(name=FlowFilterName(any_=[NIGHTLY]))
    changed = []
    for deployment in _pages(lambda at: client.read_deployments(flow_filter=flow, limit=_PAGE, offset=at)):
        parameters = _without_password(deployment.parameters)
        if parameters is not None:
            client.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters))
            changed.append(f"{NIGHTLY}/{deployment.name}: the catalog's password is no longer among its parameters")
    n_runs = 0
    for run in _pages(lambda at: client.read_flow_runs(flow_filter=flow, limit=_PAGE, offset=at)):
        parameters = _without_password(run.parameters)
        if parameters is not None:
            client.update_flow_run(run.id, parameters=parameters)
            n_runs += 1
    return changed + ([f"{n_runs} runs: the catalog's password is no longer among their parameters"] if n_runs else [])


def _pages(read: Callable[[int], list[Found]]) -> Iterator[Found]:
    """Everything that a server gives in pages."""
    at = 0
    while page := read(at):
        yield from page
        at += len(page)


def _without_password(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Parameters whose catalog is shown only; None where there is nothing to hide."""
    settings = parameters.get("settings")
    catalog = settings.get(CATALOG) if isinstance(settings, Mapping) else None
    if not isinstance(catalog, str) or not has_secret(catalog):
        return None
    return {**parameters, "settings": {**dict(settings or {}), CATALOG: masked(catalog)}}
