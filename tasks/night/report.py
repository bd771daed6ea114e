"""What people and scripts read of a night: its report and summary, and artifacts in the Prefect UI."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from anoclust_core.records import DatasetManifest
from anoclust_core.reporting.agenda import agenda, first_line
from anoclust_core.reporting.night import render_night
from anoclust_core.reporting.night_record import NightReport
from anoclust_core.wording import counted
from tasks.night.gather import DRAWN, night_record
from tasks.night.place import UNTRACKED, Place
from tasks.night.watch import Watched
from tasks.services.prefect_server import complete_anyway
from tasks.stages.runner import artifact_key
from tasks.stores.nights.folders import write_night
from tasks.stores.upkeep.inventory import NIGHT_REPORT

SUMMARY_VERSION: Final = 1

_IN_ARTIFACT: Final = 6
"""Pictures of a new cluster in the Prefect UI: they lie in its database."""


@task(name="night-report", **UNTRACKED)
def write_night_report(
    *,
    place: Place,
    given: DatasetManifest,
    watched: Watched,
    weights: str | None,
    reclustered: str | None,
    changes: Mapping[str, Sequence[str]],
) -> str:
    """Write the folder of a night and publish its artifacts; gives the folder.

    Parameters
    ----------
    place
        Where.
    given
        What was new.
    watched
        Tonight against its past.
    weights
        Folder of the rarity of new images, or None.
    reclustered, changes
        Why this call re-clustered everything, and what that did to clusters; without, those of an earlier call of the
        night are told, if there were any.
    """
    record = night_record(place, given, watched, weights, reclustered, changes)
    folder = place.layout.night(place.category, place.night)
    write_night(folder, render_night(record, max_drawn=DRAWN), _summary(record))
    with complete_anyway(f"{place.category}: the night {place.night}"):
        _publish(folder, record)
    return str(folder)


def _summary(record: NightReport) -> dict[str, Any]:
    """Content of summary.json; docs/nights.md describes every field."""
    return {
        "summary_version": SUMMARY_VERSION,
        "category": record.category,
        "night": record.night.isoformat(),
        "unit": record.unit,
        "created_at": record.created_at,
        "line": first_line(agenda(record)),
        "to_do": [asdict(one) for one in agenda(record)],
        "counters": dict(record.counters),
        "reclustered": record.reclustered,
        "changes": {kind: list(names) for kind, names in record.changes.items()},
        "clusters": [
            {
                "cluster": cluster.cluster,
                "name": cluster.name,
                "state": cluster.state,
                "born": cluster.born.isoformat(),
                "is_new": cluster.is_new,
                "n_images": cluster.n_images,
                "severity": cluster.severity,
                "is_ordinary": cluster.is_ordinary,
                **asdict(cluster.counts),
            }
            for cluster in record.clusters
        ],
        "unknown": asdict(record.unknown),
        "rarity_shift": asdict(record.rarity) if record.rarity else None,
        "quarantine": [{"path": path, "reason": reason} for path, reason in record.quarantine],
        "deferred": [{"path": path, "reason": reason} for path, reason in record.deferred],
        "notes": list(record.notes),
    }


def _publish(folder: Path, record: NightReport) -> None:
    """Show the night in the Prefect UI: counts of every cluster, pictures of new ones, the way to the report."""
    category = record.category
    rows = [
        {
            "cluster": cluster.cluster,
            "name": cluster.name or "",
            "tonight": cluster.counts.tonight,
            "last night": cluster.counts.last_night,
            "a night": round(cluster.counts.per_night, 1) if cluster.counts.per_night is not None else None,
            "in all": cluster.n_images,
            "": ", ".join(word for word, on in (("new", cluster.is_new), ("growing", cluster.counts.alarm)) if on),
        }
        for cluster in record.clusters
    ]
    description = f"{category}, night {record.night}: {first_line(agenda(record))}"
    create_table_artifact(rows, key=artifact_key("night", category), description=description)
    create_link_artifact(
        (folder / NIGHT_REPORT).as_uri(),
        key=artifact_key("night-report", category),
        link_text=f"Night report of {category}, {record.night}",
        description="Open it on the machine that holds the store",
    )
    new = [cluster for cluster in record.clusters if cluster.is_new]
    if new:
        lines = [f"# {category}, {record.night}: {counted(len(new), 'new cluster')}"]
        for cluster in new:
            lines.append(f"## {cluster.cluster}: {counted(cluster.n_images, record.unit)}")
            lines.append(
                " ".join(
                    f"![{number}](data:image/jpeg;base64,{base64.b64encode(picture.thumbnail).decode()})"
                    for number, picture in enumerate(
                        record.pictures[image.sha256]
                        for image in cluster.images[:_IN_ARTIFACT]
                        if image.sha256 in record.pictures
                    )
                )
            )
        create_markdown_artifact(
            "\n\n".join(lines), key=artifact_key("new-clusters", category), description=f"Night {record.night}"
        )
