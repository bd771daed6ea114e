"""Prefect deployments of a store: one per category, and the one that marks dead runs; what becomes of late runs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anoclust_core.errors import ConfigError
from anoclust_core.keys import content_key
from flows.deploy.files import apply_files
from flows.deploy.secrets import forget_passwords
from flows.prefect_server.around import told_where_no_server_answers
from tasks.images.choosing import list_categories
from tasks.services.prefect_server import make_patient

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from flows.settings import Settings

POOL: Final = "anoclust"
"""Work pool of every deployment."""

EMBEDDING_QUEUE: Final = "gpu"
"""Queue of the runs that embed: as many at a time as there are GPUs, see ``deployments/limits.yaml``."""

DEFAULT_QUEUE: Final = "default"
"""Queue of everything that needs no GPU."""

REAP_CRON: Final = "*/5 * * * *"
"""How often dead runs are looked for."""

SCHEDULED_TAG: Final = "auto-scheduled"
"""What Prefect tags the runs with that a schedule has made."""

MAX_LATE: Final = 200
"""Late runs that are asked for at a time; the server gives no more."""


@dataclass(frozen=True)
class Nights:
    """Everything that the commands tell a server.

    Attributes
    ----------
    data, store
        Where images come from and everything is kept, as the workers see it.
    settings
        What the user has set, see `given_settings`.
    cron, timezone
        When the nights are worked on.
    files
        Folder of the files that declare limits and automations.
    notify
        Where messages go, see `apply_files`.
    variables
        What a worker of our own is given besides, see `worker_variables`.
    known
        Categories that the store has nights of: they are served while there is no image of any, in an empty inbox.
    """

    data: Path
    store: Path
    settings: Mapping[str, object]
    cron: str
    timezone: str
    files: Path
    notify: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    known: Sequence[str] = ()

    def apply(self, client: SyncPrefectClient) -> list[str]:
        """Set up the server as these and the files say; returns what was created or changed, nothing the second time.

        Raises
        ------
        AnoclustError
            If the data, a file or a name is of no use.
        """
        self.store.mkdir(parents=True, exist_ok=True)
        categories = self.categories()
        changed = apply_files(client, self.files, notify=self.notify)
        return [*changed, *self.register(client, categories), *forget_passwords(client)]

    def categories(self) -> list[str]:
        """Names of the categories that there are now; of an empty inbox, those that there have been.

        Raises
        ------
        DatasetError
            If the data is of no use, or has no image and there has been no night.
        """
        found = list_categories(self.data, exclude=self.store, may_be_empty=bool(self.known))
        return found or list(self.known)

    def register(self, client: SyncPrefectClient, categories: Iterable[str]) -> list[str]:
        """Register the nights of some categories and the finder of dead runs; returns what is new or changed."""
        store = self.store.absolute()
        nights = [
            nightly_deployment(
                category,
                name=name,
                data=self.data,
                store=store,
                settings=self.settings,
                cron=self.cron,
                timezone=self.timezone,
            )
            for category, name in deployment_names(categories).items()
        ]
        return register(client, [*nights, reaper_deployment(self.timezone)], folder=store)


@contextmanager
def connected() -> Iterator[SyncPrefectClient]:
    """Connect to the server that ``PREFECT_API_URL`` or a profile names.

    Raises
    ------
    ConfigError
        If none is named.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigError(
            "no Prefect server is given; set PREFECT_API_URL, or use `anoclust up`, which starts one on this machine"
        )
    make_patient()
    with told_where_no_server_answers(), get_client(sync_client=True) as client:
        yield client


@dataclass(frozen=True)
class Deployment:
    """What Prefect is told of a flow.

    Attributes
    ----------
    name
        Name within the flow.
    flow
        Name of the flow.
    entrypoint
        Importable name of the flow's function.
    parameters
        What every run is called with: JSON values.
    queue
        Queue in the work pool.
    cron, timezone
        When it runs by itself.
    description
        For the page of the deployment, Markdown.
    tags
        Of the deployment and its runs.
    """

    name: str
    flow: str
    entrypoint: str
    parameters: Mapping[str, Any]
    queue: str
    cron: str
    timezone: str
    description: str
    tags: Sequence[str] = field(default_factory=tuple)

    @property
    def full_name(self) -> str:
        """Name as Prefect's commands take it."""
        return f"{self.flow}/{self.name}"


def deployment_names(categories: Iterable[str]) -> dict[str, str]:
    """Name of every category's deployment: Prefect refuses some characters, and no two may have one name.

    Examples
    --------
    >>> deployment_names(["metal_nut", "a/b"])
    {'metal_nut': 'metal_nut', 'a/b': 'a-b'}
    >>> deployment_names(["a-b", "a/b"])["a/b"]
    'a-b-c14cdd'
    """
    names = {category: re.sub(r"[/%&<>]", "-", category) for category in categories}
    taken = Counter(names.values())
    return {
        category: name
        if name == category or taken[name] == 1
        else f"{name}-{hashlib.sha256(category.encode()).hexdigest()[:6]}"
        for category, name in names.items()
    }


def daily(at: str) -> str:
    """Cron expression of a time of day.

    Raises
    ------
    ConfigError
        If it is none.

    Examples
    --------
    >>> daily("04:15")
    '15 4 * * *'
    """
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if not found:
        raise ConfigError(f"--at takes a time of day from 00:00 to 23:59; found {at!r}")
    return f"{int(found[2])} {int(found[1])} * * *"


def given_settings(settings: Settings) -> dict[str, object]:
    """Pick what flags and the file set, which runs do not see; variables they inherit from the worker.

    Parameters of a deployment are read by everybody who sees the UI: of a catalog's URL with a password they have only
    what may be shown, and a run takes the whole from its worker's variable, see `worker_variables`.
    """
    from flows.settings import DEFAULT, PREFIX, STORE, own_setting

    given = {
        name: value
        for name, value in settings.values().items()
        if name != STORE and settings.origins[name] != DEFAULT and not settings.origins[name].startswith(PREFIX)
    }
    for name in settings.secrets():  # by a variable too: a worker that lacks it must not begin another catalog
        given[name] = settings.values()[name]
    found = {name: _absolute(name, value) for name, value in given.items()}
    own = {name: _absolute(own_setting(name), value) for name, (value, _) in settings.own_values().items()}
    return found | own


def worker_variables(settings: Settings) -> dict[str, str]:
    """Give what runs need and deployments do not tell: variables for the worker's process."""
    from flows.settings import variable_of

    return {variable_of(name): value for name, value in settings.secrets().items()}


def _absolute(setting: str, value: object) -> object:
    """Make the path in a setting's value absolute: runs start at another folder."""
    from flows.settings import SETTINGS

    word, path = SETTINGS[setting].path_in(value) or ("", "")
    return f"{word}{Path(path).absolute()}" if path and Path(path).exists() else value


def nightly_deployment(
    category: str, *, name: str, data: Path, store: Path, settings: Mapping[str, object], cron: str, timezone: str
) -> Deployment:
    """Describe the nights of a category; ``name`` is that of `deployment_names`."""
    return Deployment(
        name=name,
        flow="nightly",
        entrypoint="flows.nights.nightly.nightly",
        parameters={
            "data": str(data.absolute()),
            "store": str(store.absolute()),
            "settings": dict(settings),
            "categories": [category],
        },
        queue=EMBEDDING_QUEUE,
        cron=cron,
        timezone=timezone,
        description=f"New images of **{category}**: embedded, assigned to clusters, reported.",
        tags=("anoclust", category),
    )


def reaper_deployment(timezone: str) -> Deployment:
    """Describe the deployment that finds dead runs."""
    return Deployment(
        name="dead-runs",
        flow="reap",
        entrypoint="flows.deploy.dead_runs.reap",
        parameters={},
        queue=DEFAULT_QUEUE,
        cron=REAP_CRON,
        timezone=timezone,
        description="Marks runs as crashed if their process has died without notice.",
        tags=("anoclust", "housekeeping"),
    )


def register(client: SyncPrefectClient, wanted: Iterable[Deployment], *, folder: Path) -> list[str]:
    """Register deployments with Prefect; an existing one stays as it is, with all changes made in the UI.

    Parameters
    ----------
    client
        Of the server.
    wanted
        What there should be.
    folder
        Where runs start: relative paths mean nothing there, and nothing of the caller's folder is imported.

    Returns
    -------
    changed
        Names of those that are new or described differently now.
    """
    return [deployment.full_name for deployment in wanted if _register_one(client, deployment, folder)]


def _register_one(client: SyncPrefectClient, deployment: Deployment, folder: Path) -> bool:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.callables import parameter_schema_from_entrypoint

    start = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    # read from the source: importing the flow would load torch into a process that only waits
    schema = parameter_schema_from_entrypoint(deployment.entrypoint).model_dump_for_openapi()
    version = content_key("deployment", {**asdict(deployment), "start": start, "schema": schema})[:16]
    try:
        known = client.read_deployment_by_name(deployment.full_name)
        runs = (known.entrypoint, known.pull_steps, known.job_variables or {})
        if known.version == version and runs == (deployment.entrypoint, [start], {}):
            return False
    except ObjectNotFound:
        pass
    client.create_deployment(
        client.create_flow_from_name(deployment.flow),
        deployment.name,
        version=version,
        entrypoint=deployment.entrypoint,
        parameters=dict(deployment.parameters),
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        description=deployment.description,
        tags=list(deployment.tags),
        work_pool_name=POOL,
        work_queue_name=deployment.queue,
        pull_steps=[start],
        job_variables={},
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=deployment.cron, timezone=deployment.timezone), slug=deployment.flow
            )
        ],
    )
    return True


def cancel_late(client: SyncPrefectClient) -> list[str]:
    """Cancel scheduled runs that no worker has started, all but the newest of every deployment.

    One run takes up everything that has come in the meantime. Runs that somebody asked for, a backfill's, are kept.

    Returns
    -------
    cancelled
        Names of the runs.
    """
    from prefect.states import Cancelled

    kept: set[UUID | None] = set()
    cancelled = []
    for run in _late_runs(client):
        if run.deployment_id in kept:
            client.set_flow_run_state(
                run.id, Cancelled(message="Late: a newer run of this deployment catches up."), force=True
            )
            cancelled.append(run.name)
        kept.add(run.deployment_id)
    return cancelled


def _late_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """Overdue runs that the schedules made, the newest first."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    overdue = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
        tags=FlowRunFilterTags(all_=[SCHEDULED_TAG]),
    )
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_run_filter=overdue,
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=MAX_LATE,
            offset=len(found),
        )
        found += page
        if len(page) < MAX_LATE:
            return found
