"""One stream to live through, in a process of its own: memory and Prefect's server end with it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anoclust_core.synthesis.streams import plan_stream
from benchmarks.mornings import records
from benchmarks.mornings.direct import leave_prefect_out

SIDE: Final = 128
"""Side that streams are embedded at: 8 x 8 patches."""

NEW_FROM: Final = 12
"""Night on which the class of a dealt data set begins."""


@dataclass(frozen=True)
class Job:
    """One stream to live through: a seed, or a manifest that is dealt out with it."""

    seed: int
    n_nights: int
    work: Path
    manifest: Path | None = None
    new_class: str | None = None
    with_prefect: bool = False

    @property
    def name(self) -> str:
        """Of its record."""
        made_of = f"{self.manifest.stem}-{self.new_class}-" if self.manifest else ""
        return f"{made_of}{self.seed:03d}-{self.n_nights}"

    @property
    def record(self) -> Path:
        """File of its record."""
        return self.work / "records" / f"{self.name}.json"


def live_job(job: Job) -> tuple[str, float]:
    """Live through one stream and write its record; gives its name and the seconds it took."""
    start = time.perf_counter()
    work = job.work / job.name
    shutil.rmtree(work, ignore_errors=True)
    (work / "prefect").mkdir(parents=True)
    os.environ["PREFECT_HOME"] = str(work / "prefect")
    if not job.with_prefect:
        leave_prefect_out()
    from flows.prefect_server.around import prepare_prefect

    prepare_prefect(debug=False)
    from benchmarks import nights
    from benchmarks.mornings import living
    from flows.settings import resolve

    settings: dict[str, object] = {"night.day_starts": "00:00", "data.settle_seconds": 0}
    source: living.Source
    if job.manifest is None or job.new_class is None:
        settings |= {"night.captured": "path:%Y-%m-%d", "embed.image_size": SIDE}
        source = living.StreamSource(plan_stream(job.seed, n_nights=job.n_nights), work)
    else:
        begins = nights.Begins(job.new_class, NEW_FROM)
        settings |= {"night.captured": f"column:{nights.COLUMN}"}
        source = living.dealt_source(job.name, job.manifest, work, n_nights=job.n_nights, seed=job.seed, begins=begins)
    records.save(living.live(source, work, resolve(settings).config), job.record)
    shutil.rmtree(work)
    return job.name, time.perf_counter() - start
