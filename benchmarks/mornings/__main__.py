"""Live through streams of nights whose truth is known, and compare what was told with it.

    python -m benchmarks.mornings --work FOLDER --seeds 0:20 --jobs 2
    python -m benchmarks.mornings --work FOLDER --seeds 0:20 --report
    python -m benchmarks.mornings --work FOLDER --seeds 60:80 --report --page docs/results-mornings.md --beside EARLIER
    python -m benchmarks.mornings --work FOLDER --manifest mtd.csv --new-class Fray

Seeds 0 to 59 are for tuning. Seeds 60 to 79 are for reporting only: never look at them while anything is being tuned.

A stream that was lived through has a record in FOLDER/records, and is not lived through again until that is removed.
With --report the table is made from records alone. Settings come from `ANOCLUST_*` variables and `anoclust.toml`; made
streams are embedded at 128 pixels. Which truth explains what: `benchmarks/mornings/explaining.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from anoclust_core.errors import ConfigError
from anoclust_core.synthesis.streams import DEFAULT_NIGHTS
from benchmarks.mornings import records
from benchmarks.mornings.jobs import NEW_FROM, Job, live_job
from benchmarks.mornings.records import Record
from benchmarks.mornings.reliability import judgements, plot_reliability
from benchmarks.mornings.scoring import score
from benchmarks.mornings.tables import details, page, table

DEALT_NIGHTS = 30


def main() -> None:
    """Live through what has no record, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mornings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for images, stores and records")
    parser.add_argument("--seeds", default="0:4", help="FIRST:END or one seed; 0:20 to tune, 60:80 to report")
    parser.add_argument("--nights", type=int, help=f"of a stream; {DEFAULT_NIGHTS}, of a manifest {DEALT_NIGHTS}")
    parser.add_argument("--jobs", type=int, default=1, help="streams at a time, each in a process of its own")
    parser.add_argument("--manifest", type=Path, help="labelled images to deal out instead; a seed is a shuffle")
    parser.add_argument("--new-class", help=f"class of the manifest that begins on night {NEW_FROM}")
    parser.add_argument("--with-prefect", action="store_true", help="under a Prefect server: the same, but slower")
    parser.add_argument("--report", action="store_true", help="only print, from the records that are there")
    parser.add_argument("--details", action="store_true", help="print everything that went wrong, too")
    parser.add_argument("--page", type=Path, help="write the table as a page, with everything that went wrong")
    parser.add_argument("--plot", type=Path, help="PNG of how often nights were right about new images")
    parser.add_argument("--beside", type=Path, help="work folder of an earlier version, whose table the page has too")
    asked = parser.parse_args()
    if bool(asked.manifest) != bool(asked.new_class):
        parser.error("--manifest and --new-class go together")
    first, _, end = asked.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    n_nights = asked.nights or (DEALT_NIGHTS if asked.manifest else DEFAULT_NIGHTS)
    jobs = [
        Job(seed, n_nights, asked.work.absolute(), asked.manifest, asked.new_class, asked.with_prefect)
        for seed in seeds
    ]
    found = list(_records(jobs, at_a_time=asked.jobs, only_read=asked.report))
    if not found:
        raise SystemExit(f"no record in {asked.work}; run this without --report first")
    scores = [score(record) for record in found]
    wrong = [line for record, one in zip(found, scores, strict=True) for line in details(record, one)]
    if asked.details:
        print(*wrong, "", sep="\n")
    print(*table(found, scores), sep="\n")
    if asked.plot:
        judged = [one for record in found for one in judgements(record)]
        plot_reliability(judged, asked.plot, title=f"{len(judged):,} new images of {len(found)} streams")
    if asked.page:
        before: list[str] = []
        if asked.beside:
            same = [replace(job, work=asked.beside.absolute()) for job in jobs]
            earlier = list(_records(same, at_a_time=1, only_read=True))
            before = list(table(earlier, [score(record) for record in earlier])) if earlier else []
        lines = page(asked.seeds, list(table(found, scores)), before, wrong)
        asked.page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _records(jobs: list[Job], *, at_a_time: int, only_read: bool) -> Iterator[Record]:
    """Records of some streams, in their order; those that have none are lived through first."""
    waiting = [] if only_read else [job for job in jobs if records.load(job.record) is None]
    if waiting:
        with multiprocessing.get_context("spawn").Pool(min(at_a_time, len(waiting)), maxtasksperchild=1) as pool:
            try:
                for name, seconds in pool.imap_unordered(live_job, waiting):
                    print(f"{name}: {seconds:.0f} s", flush=True)
            except ConfigError as error:
                raise SystemExit(str(error)) from error
    yield from (record for job in jobs if (record := records.load(job.record)) is not None)


if __name__ == "__main__":
    main()
