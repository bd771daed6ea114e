"""``anoclust benchmark``: the papers' tables and figures for the data at hand, beside the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages


@dataclass(frozen=True)
class Experiments:
    """Flags that say what is compared."""

    protocol: Annotated[
        str,
        typer.Option(
            help="`sohn`, `ardelean` or `ncd`: which images count, and which F1. Tables of Ardelean & Weyrich always "
            "use their own."
        ),
    ] = "sohn"
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of Sohn et al.: 1 distances, 2 and 8 clustering methods, 3 purity, 4 whole image against "
            "patches, 5 variants, 7 every category, 9 and 10 error bars; or `all` of these. Of Ardelean & Weyrich: "
            "ardelean-1 clustering, ardelean-2 localisation, ardelean-3 ablation, ardelean-4 clustering methods, "
            "ardelean-s4 thresholds; or `ardelean-all`. Repeatable.",
            show_default="1, 2, 3, 5, 9",
        ),
    ] = None
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Figure of Sohn et al.: 3 weights over images, 4 and 13 purity, 5 cluster sheets, 6 temperature, "
            "7 top patches, 8 share of normals, 9 to 11 backbones; or `all` of these. Of Ardelean & Weyrich: "
            "ardelean-5 temperature, which trains once for each. Repeatable.",
            show_default="none",
        ),
    ] = None
    methods: Annotated[
        str,
        typer.Option(
            help="Methods to compare in tables of Sohn et al., separated by commas: `average`, `max-hausdorff`, "
            "`weighted`, `normals`, `masks` (oracle), `max`, `gem`, `spoc`, `bag-of-words`, `holistic`. Deep "
            "clustering is trained if it is named: `iic`, `gatcluster`, `scan`, `spice`, in tables 2 and ardelean-1; "
            "without another method and without --table, table 2 alone.",
            show_default="all but deep clustering",
        ),
    ] = ""
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Train deep clustering with the settings of its papers, on ResNet-50: hours on a GPU. The default is "
            "small enough for two cores.",
        ),
    ] = False
    subsets: Annotated[int, typer.Option(help="Random 90 % subsets behind every error bar.")] = 100
    backbones: Annotated[
        str, typer.Option(help="Backbones to compare with the main one in figures 9 to 11, separated by commas.")
    ] = ""

    detectors: Annotated[
        str,
        typer.Option(
            help="Folder with detectors for --table ardelean-2: `draem/CATEGORY.xml`, and `cfa`, `patchcore`, `padim`, "
            "as `anoclust detector train` writes them.",
            show_default="none",
        ),
    ] = ""
    ablation: Annotated[
        bool,
        typer.Option(
            "--ablation",
            help="Take recipe `auto` apart: each of its parts turned off, beside `sohn` and the plain average, blind "
            "and with normals, with error bars. Without --table and --figure, this alone.",
        ),
    ] = False


@with_settings("benchmark")
def benchmark(
    asked: Asked,
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Labelled images: one or more folders or manifests, as for `anoclust run`.", show_default=False
        ),
    ],
    experiments: Experiments,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and numbers.")] = Path("anoclust-benchmark"),
) -> None:
    """Print the tables of Sohn et al., or of Ardelean & Weyrich, for DATA, beside the published numbers.

    Embeddings, distances and anomaly maps are computed once and shared by every row; sweeps and error bars compare no
    image twice. If interrupted, run the same command to resume.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.benchmark.request import (
            ARDELEAN_TABLES,
            EXPERIMENT_OF_FIGURE,
            EXPERIMENT_OF_TABLE,
            BenchmarkRequest,
        )
        from flows.benchmark.run import run_benchmark
        from flows.terminal.progress import StageBars
        from tasks.stores.addresses import on_this_machine

        out = on_this_machine(out, "--out", ConfigError)
        settings = asked.settings()
        figures = _numbers(experiments.figure or (), {"all": tuple(EXPERIMENT_OF_FIGURE)})
        groups = {"all": tuple(EXPERIMENT_OF_TABLE), "ardelean-all": tuple(ARDELEAN_TABLES)}
        request = BenchmarkRequest(
            protocol=experiments.protocol,
            tables=_tables(experiments, groups, figures),
            figures=figures,
            n_subsets=experiments.subsets,
            backbones=_names(experiments.backbones),
            methods=_names(experiments.methods),
            ablation=experiments.ablation,
            as_published=experiments.as_published,
            detectors=experiments.detectors,
        )
        with StageBars(Console(stderr=True)) as bars:
            page = run_benchmark(
                data,
                settings.store,
                settings.config,
                request,
                out,
                listener=bars,
                say=lambda line: typer.echo(line, err=True),
                debug=asked.debug,
            )
        typer.echo(page.read_text(encoding="utf-8"))
        typer.echo(f"{page}: tables, figures and measurements.csv are beside it")


def _numbers(asked: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Tables or figures as asked for, with the members of groups in place of their names."""
    return tuple(dict.fromkeys(number for name in asked for number in groups.get(name, (name,))))


def _tables(experiments: Experiments, groups: Mapping[str, Sequence[str]], figures: tuple[str, ...]) -> tuple[str, ...]:
    from flows.benchmark.request import default_tables

    if experiments.table:
        return _numbers(experiments.table, groups)
    return () if experiments.ablation and not figures else default_tables(figures, _names(experiments.methods))


def _names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
