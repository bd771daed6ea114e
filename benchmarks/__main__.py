"""Measure everything that `docs/performance.md` tells, each figure against a reference measured in the same run.

    python -m benchmarks                          all sections, about an hour on two quiet cores
    python -m benchmarks pairwise overhead        some of them
    python -m benchmarks --large                  the large jobs, one run each, about an hour
    python -m benchmarks --data mtd.csv overhead  on your own images

Figures, machine and changes against the last record are printed; figures and machine are written to OUT/benchmarks.json
and OUT/benchmarks.md. Exit code 1 says that a ratio moved by more than 20 % against the record. With --renew the record
takes the new figures in, and OUT/benchmarks.md shows all that it holds.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.prefect_server.around import prepare_prefect

# the history of the machine's own runs lies in Prefect's database and slows it down
PREFECT_HOME = tempfile.mkdtemp(prefix="anoclust-benchmarks-")
atexit.register(shutil.rmtree, PREFECT_HOME, ignore_errors=True)
os.environ["PREFECT_HOME"] = PREFECT_HOME
prepare_prefect(debug=False)

from benchmarks import dask_workers, embedding, grouping, growth, memory, overhead, pairwise  # noqa: E402
from benchmarks.figures import Figure, as_record, changes, machine, read_record, renewed, table  # noqa: E402
from benchmarks.timing import RUNS  # noqa: E402

RECORD = Path(__file__).parents[1] / "docs" / "benchmarks.json"
"""Figures that later ones are compared with."""

Section = Callable[[argparse.Namespace], Iterator[Figure]]

SECTIONS: Mapping[str, Section] = {
    "pairwise": lambda asked: pairwise.measure(asked.runs, quick=asked.quick),
    "embedding": lambda asked: map(
        _embedding_figure, embedding.measure(asked.runs, quick=asked.quick, data=asked.data)
    ),
    "overhead": lambda asked: overhead.measure(asked.runs, quick=asked.quick, data=asked.data),
    "workers": lambda asked: dask_workers.measure(asked.runs, quick=asked.quick),
    "growth": lambda asked: growth.measure(quick=asked.quick, plot=asked.out / "growth.png"),
    "clustering": lambda asked: grouping.measure(min(3, asked.runs), quick=asked.quick),
}

LARGE: Mapping[str, Section] = {
    "clustering": lambda asked: grouping.measure_large(quick=asked.quick),
    "memory": lambda asked: memory.measure_large(quick=asked.quick),
}


def _embedding_figure(found: Mapping[str, Any]) -> Figure:
    unit = found["unit"]
    return Figure(
        "embedding", found["name"], f"{found['ours']:.1f} {unit}", f"eager torch: {found['reference']:.1f} {unit}",
        tuple(found["ratios"]), target=found["target"], peak_bytes=found["peak_bytes"],
    )  # fmt: skip


def main() -> int:
    """Run the sections asked for; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--large", action="store_true", help=f"the large jobs instead: {', '.join(LARGE)}")
    parser.add_argument("--runs", type=int, default=RUNS, help="paired runs of a figure (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that all of it works, measures nothing")
    parser.add_argument("--data", type=Path, help="images for embedding and overhead; by default the demo's")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder (default: %(default)s)")
    parser.add_argument("--record", type=Path, default=RECORD, help="figures to compare with")
    parser.add_argument("--renew", action="store_true", help="put the new figures into the record")
    asked = parser.parse_args()
    if asked.renew and asked.quick:
        parser.error("--quick measures nothing that could be recorded")
    offered = LARGE if asked.large else SECTIONS
    unknown = [name for name in asked.sections if name not in offered]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(offered)}")
    here = machine()
    record = read_record(asked.record) if asked.record.exists() and not asked.quick else as_record([])
    if asked.renew and any(record["machine"][part] != here[part] for part in ("processor", "cores")):
        parser.error(f"{asked.record} was measured on {record['machine']['processor']}; name another one with --record")
    asked.out.mkdir(parents=True, exist_ok=True)
    print(f"{here['processor']}, {here['cores']} cores, {here['memory']}; {here['system']}, Python {here['python']}\n")
    figures: list[Figure] = []
    for name in asked.sections or offered:
        for figure in offered[name](asked):
            figures.append(figure)
            print(table([figure]).splitlines()[-1], flush=True)
            _write(asked.out, figures)
    flagged = changes(figures, record)
    for line in flagged:
        print(f"CHANGED by more than 20 %: {line}")
    if asked.renew:
        _write(asked.out, renewed(record, figures))
        shutil.copyfile(asked.out / "benchmarks.json", asked.record)
    print(f"\n{asked.out / 'benchmarks.md'}, {asked.out / 'benchmarks.json'}")
    return 1 if flagged else 0


def _write(out: Path, figures: list[Figure]) -> None:
    (out / "benchmarks.md").write_text(table(figures), encoding="utf-8")
    (out / "benchmarks.json").write_text(json.dumps(as_record(figures), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
