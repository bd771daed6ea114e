"""What others are told: Prefect events, each fact once; automations turn them into messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from prefect import task
from prefect.events import emit_event

from anoclust_core.errors import StoreError
from anoclust_core.keys import content_key
from tasks.night.place import Place
from tasks.services.prefect_server import wait_for_events
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import EventName, ImageFact, NoticeFact
from tasks.stores.catalog.standing import NEW
from tasks.stores.files import read_json
from tasks.stores.upkeep.inventory import NIGHT_SUMMARY

GROWING: Final[EventName] = "anoclust.cluster.growing"
MERGED: Final[EventName] = "anoclust.cluster.merged"
GONE: Final[EventName] = "anoclust.cluster.gone"
CAMERA: Final[EventName] = "anoclust.camera"
DRIFT: Final[EventName] = "anoclust.drift"
QUARANTINE: Final[EventName] = "anoclust.quarantine"

_NAMESPACE: Final = UUID("6f0a3c1e-6c0b-4e64-9d0e-0c7a4b6f2a11")
_NAMED: Final = 10
"""Files that a payload names."""


def resource_of(category: str) -> str:
    """Id of the resource that a category's events are about."""
    return f"anoclust.category.{category}"


def cluster_notice(category: str, cluster: str, n_images: int, night: date, report: str) -> NoticeFact:
    """Tell of a new cluster, once in its life; it has no name yet."""
    payload = {
        "category": category,
        "cluster": cluster,
        "name": None,
        "n_images": n_images,
        "night": night.isoformat(),
        "report": report,
    }
    return NoticeFact(category, f"new {cluster}", night, NEW, payload)


@dataclass(frozen=True)
class Gone:
    """A known cluster that a re-clustering lost, and the one that most of its images went to, if there is one."""

    cluster: str
    into: str | None


def gone_notice(category: str, gone: Gone, night: date, report: str) -> NoticeFact:
    """Tell of a known cluster that a re-clustering joined to another one or dissolved."""
    payload = {
        "category": category,
        "cluster": gone.cluster,
        "into": gone.into,
        "night": night.isoformat(),
        "report": report,
    }
    event = GONE if gone.into is None else MERGED
    return NoticeFact(category, f"{event.rpartition('.')[2]} {gone.cluster} {night}", night, event, payload)


def quarantine_notice(category: str, bad: Sequence[ImageFact], night: date, report: str) -> NoticeFact:
    """Tell of files that cannot be used, once each."""
    payload = {
        "category": category,
        "n_images": len(bad),
        "files": [{"path": fact.path, "reason": fact.quarantined} for fact in bad[:_NAMED]],
        "night": night.isoformat(),
        "report": report,
    }
    digest = content_key("quarantine", {"files": sorted(fact.content for fact in bad)})
    return NoticeFact(category, f"quarantine {digest[:16]}", night, QUARANTINE, payload)


def line_of(folder: Path) -> str | None:
    """Read what a night gives a person to do, from its summary; None where there is none."""
    try:
        line = read_json(folder / NIGHT_SUMMARY).get("line")
    except (OSError, ValueError, StoreError):
        return None
    return None if line is None else str(line)


@task(name="notify")
def notify(*, place: Place) -> list[str]:
    """Emit an event for every fact that was recorded and not told yet; gives their names.

    A fact has one event id for good: told again after a kill between sending and noting it, it is the same event.
    """
    category = place.category
    lines: dict[date, str | None] = {}
    with Catalog.open(place.catalog, store=place.layout) as opened:
        waiting = opened.notices(category, only_unsent=True)
        for notice in waiting:
            if notice.night not in lines:
                lines[notice.night] = line_of(place.layout.night(category, notice.night))
            emit_event(
                event=notice.event,
                resource={"prefect.resource.id": resource_of(category), "prefect.resource.name": category},
                payload={**notice.payload, "line": lines[notice.night]},
                id=uuid5(_NAMESPACE, f"{category}\n{notice.notice}"),
            )
        if waiting:
            wait_for_events()
        opened.mark_sent(category, [notice.notice for notice in waiting])
    return [notice.event for notice in waiting]
