"""What ``deployments/*.yaml`` declare: pools, queues, limits, automations; applying them again changes nothing."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from anoclust_core.errors import ConfigError
from anoclust_core.safe_text.masking import HIDDEN
from flows.prefect_server.closed import NOTIFY_KEY

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

FOLDER: Final = Path(__file__).resolve().parents[2] / "deployments"
"""The files of the repository; a wheel does not hold them."""

LIMITS: Final = "limits.yaml"
AUTOMATIONS: Final = "automations.yaml"

OWN_BLOCK: Final = "anoclust"
"""Name of the notification block that is made from an address."""

PROCESS: Final = "process"
"""Type of a work pool whose runs are processes of the worker's machine."""

CLOSED_TEMPLATE: Final = {
    "job_configuration": {"stream_output": True},  # Prefect wants something here; this is its default
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}
"""What a run may say about the process that it becomes: nothing.

Prefect's own template lets whoever creates a run choose its command, environment and folder. Without them the worker
starts Prefect's engine with its own environment.
"""

_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}")


def read_file(path: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read a file with ``${NAME:-default}`` and ``${NAME:?needed}`` in it, as Compose files have them.

    Parameters
    ----------
    path
        A YAML file.
    variables
        What the names stand for; those of the process by default.

    Raises
    ------
    ConfigError
        If it is not there, not YAML, or a variable without default is not set.
    """
    import yaml

    known = os.environ if variables is None else variables

    def value(found: re.Match[str]) -> str:
        given = known.get(found["name"]) or found["default"]
        if given is None:
            raise ConfigError(f"{path} needs the variable {found['name']}; set it")
        return given

    try:
        content = yaml.safe_load(_VARIABLE.sub(value, path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file {path}; give the folder of limits.yaml and automations.yaml with --files; in the "
            "repository it is deployments/"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} does not hold names with values; see deployments/README.md")
    return content


def apply_files(client: SyncPrefectClient, folder: Path, *, notify: str | None = None) -> list[str]:
    """Set up pools, queues, limits and automations as the files say.

    Parameters
    ----------
    client
        Of the server.
    folder
        Where the files are.
    notify
        Where automations send messages to: a web address that takes JSON, or a block as ``slack-webhook/quality``.
        None: those that send are left out.

    Returns
    -------
    changed
        What was made or changed, one line each; nothing the second time.

    Raises
    ------
    ConfigError
        If a file cannot be read or says something that Prefect does not know, or there is no such block.
    """
    limits = read_file(folder / LIMITS)
    automations = read_file(folder / AUTOMATIONS)
    changed = []
    for pool in limits.get("work_pools", []):
        changed += _apply_pool(client, pool)
    for limit in limits.get("concurrency_limits", []):
        changed += _apply_limit(client, limit["name"], int(limit["limit"]))
    block = None if notify is None else _block(client, notify, changed)
    for automation in automations.get("automations", []):
        changed += _apply_automation(client, automation, block)
    return changed


def _apply_pool(client: SyncPrefectClient, wanted: Mapping[str, Any]) -> list[str]:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    name, kind, limit = wanted["name"], wanted["type"], wanted.get("concurrency_limit")
    if kind != PROCESS:
        raise ConfigError(f"work pool {name} of {LIMITS} should be of the type {PROCESS}; found {kind!r}")
    changed = []
    try:
        known = client.read_work_pool(name)
        if known.type != PROCESS:
            raise ConfigError(
                f"the server has a work pool {name} of the type {known.type}, but {PROCESS} is needed; delete it, or "
                f"rename the one in {LIMITS}"
            )
        if known.concurrency_limit != limit:
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
            changed.append(f"work pool {name}: at most {limit} runs")
        if known.base_job_template != CLOSED_TEMPLATE:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=CLOSED_TEMPLATE))
            changed.append(f"work pool {name}: runs no longer choose their command, environment or folder")
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(name=name, type=kind, concurrency_limit=limit, base_job_template=CLOSED_TEMPLATE)
        )
        changed.append(f"work pool {name}")
    for queue in wanted.get("queues", []):
        changed += _apply_queue(client, name, queue)
    return changed


def _apply_queue(client: SyncPrefectClient, pool: str, wanted: Mapping[str, Any]) -> list[str]:
    from prefect.exceptions import ObjectNotFound

    name, limit, priority = wanted["name"], wanted.get("concurrency_limit"), wanted.get("priority")
    values = {"concurrency_limit": limit} | ({} if priority is None else {"priority": priority})
    try:
        known = client.read_work_queue_by_name(name, pool)
    except ObjectNotFound:
        known = client.create_work_queue(name, work_pool_name=pool, priority=priority, concurrency_limit=limit)
        return [f"queue {pool}/{name}"]
    if all(getattr(known, field) == value for field, value in values.items()):
        return []
    client.update_work_queue(known.id, **values)
    return [f"queue {pool}/{name}: {values}"]


def _apply_limit(client: SyncPrefectClient, name: str, limit: int) -> list[str]:
    from prefect.exceptions import ObjectNotFound

    try:
        if client.read_global_concurrency_limit_by_name(name).limit == limit:
            return []
    except ObjectNotFound:
        pass
    client.upsert_global_concurrency_limit_by_name(name, limit)
    return [f"limit {name}: {limit}"]


def _block(client: SyncPrefectClient, notify: str, changed: list[str]) -> UUID:
    """Find the block that sends messages, or make one of an address."""
    if re.match(r"https?://", notify):
        return _webhook(notify, changed)
    from prefect.exceptions import ObjectNotFound

    kind, _, name = notify.partition("/")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        raise ConfigError(
            f"--notify takes a web address or the KIND/NAME of a Prefect block; found {_shown_block(notify)}; `prefect "
            "block ls` lists the blocks, and you can create one on the page Blocks of the UI"
        ) from None


def _shown_block(notify: str) -> str:
    """What was given for a block; an address whose scheme was forgotten is a secret from end to end."""
    return repr(notify) if re.fullmatch(r"[a-z0-9-]+(/[A-Za-z0-9_-]{1,40})?", notify) else HIDDEN


def _webhook(url: str, changed: list[str]) -> UUID:
    """Make the block that sends to an address, which stands in it as a secret.

    Its name holds a fingerprint of the address: a server of `anoclust up` does not give the address out again.
    """
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    wanted = CustomWebhookNotificationBlock(
        name=f"Anoclust {hashlib.sha256(url.encode()).hexdigest()[:16]}",
        url=f"{{{{{NOTIFY_KEY}}}}}",
        secrets={NOTIFY_KEY: url},
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
    )
    try:
        known = CustomWebhookNotificationBlock.load(OWN_BLOCK)
    except ValueError:
        known = None
    identity = getattr(known, "_block_document_id", None)
    if identity is not None and (known.name, known.url) == (wanted.name, wanted.url):  # type: ignore[union-attr]
        return identity  # type: ignore[no-any-return]
    changed.append(f"block custom-webhook/{OWN_BLOCK}")
    saved: UUID = wanted.save(OWN_BLOCK, overwrite=True)  # type: ignore[assignment]  # asynchronous only in a loop
    return saved


def _apply_automation(client: SyncPrefectClient, declared: Mapping[str, Any], block: UUID | None) -> list[str]:
    from prefect.events.schemas.automations import AutomationCore
    from pydantic import ValidationError

    actions = [dict(action) for action in declared.get("actions", [])]
    for action in actions:
        if action.get("type") == "send-notification" and "block_document_id" not in action:
            if block is None:
                return []
            action["block_document_id"] = str(block)
    try:
        wanted = AutomationCore.model_validate({**declared, "actions": actions})
    except ValidationError as error:
        raise ConfigError(f"automation {declared.get('name')!r} is not valid for Prefect: {error}") from error
    own = set(AutomationCore.model_fields) - {"enabled", "owner_resource"}  # switched off in the UI it stays off
    for known in client.read_automations_by_name(wanted.name):
        # not as JSON: what a trigger expects is a set, and has another order in every process
        if known.model_dump(include=own) == wanted.model_dump(include=own):
            return []
        client.update_automation(known.id, wanted.model_copy(update={"enabled": known.enabled}))
        return [f"automation {wanted.name}"]
    client.create_automation(wanted)
    return [f"automation {wanted.name}"]
