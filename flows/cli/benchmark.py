"""``anoclust benchmark``: the papers' tables and figures for the data at hand, beside the published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.messages import Messages
from flows.cli.options import ConfigFile, Debug, Store, setting


def benchmark(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Labelled images: one or more folders or manifests, as for `anoclust run`.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and numbers.")] = Path("anoclust-benchmark"),
    protocol: Annotated[
        str,
        typer.Option(
            help="`sohn`, `ardelean` or `ncd`: which images count, and which F1. Tables of Ardelean & Weyrich always "
            "use their own."
        ),
    ] = "sohn",
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Table of Sohn et al.: 1 distances, 2 and 8 clustering methods, 3 purity, 4 whole image against "
            "patches, 5 variants, 7 every category, 9 and 10 error bars; or `all` of these. Of Ardelean & Weyrich: "
            "ardelean-1 clustering, ardelean-2 localisation, ardelean-3 ablation, ardelean-4 clustering methods, "
            "ardelean-s4 thresholds; or `ardelean-all`. Repeatable.",
            show_default="1, 2, 3, 5, 9",
        ),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            help="Figure of Sohn et al.: 3 weights over images, 4 and 13 purity, 5 cluster sheets, 6 temperature, "
            "7 top patches, 8 share of normals, 9 to 11 backbones; or `all` of these. Of Ardelean & Weyrich: "
            "ardelean-5 temperature, which trains once for each. Repeatable.",
            show_default="none",
        ),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Methods to compare in tables of Sohn et al., separated by commas: `average`, `max-hausdorff`, "
            "`weighted`, `normals`, `masks` (oracle), `max`, `gem`, `spoc`, `bag-of-words`, `holistic`.",
            show_default="all",
        ),
    ] = "",
    subsets: Annotated[int, typer.Option(help="Random 90 % subsets behind every error bar.")] = 100,
    backbones: Annotated[
        str, typer.Option(help="Backbones to compare with the main one in figures 9 to 11, separated by commas.")
    ] = "",
    store: Store = None,
    normals: Annotated[str | None, setting("data.normals", "auto")] = None,
    tau: Annotated[str | None, setting("weigh.tau", "0.3sd")] = None,
    store_budget: Annotated[str | None, setting("pair.store_budget", "2GiB")] = None,
    backbone: Annotated[str | None, setting("embed.backbone", "efficientnet_lite2")] = None,
    checkpoint: Annotated[str | None, setting("embed.checkpoint", "none")] = None,
    layers: Annotated[str | None, setting("embed.layers", "auto")] = None,
    image_size: Annotated[str | None, setting("embed.image_size", "auto")] = None,
    device: Annotated[str | None, setting("embed.device", "auto")] = None,
    precision: Annotated[str | None, setting("embed.precision", "float32")] = None,
    engine: Annotated[str | None, setting("embed.engine", "auto")] = None,
    dask: Annotated[str | None, setting("pair.dask", "none")] = None,
    memory: Annotated[str | None, setting("memory", "auto")] = None,
    seed: Annotated[str | None, setting("seed", "0")] = None,
    variant: Annotated[str | None, setting("blind.variant", "program")] = None,
    threshold: Annotated[str | None, setting("blind.threshold", "robust")] = None,
    flat_field: Annotated[str | None, setting("blind.flat_field", "true")] = None,
    border: Annotated[str | None, setting("blind.border", "0")] = None,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Print the tables of Sohn et al., or of Ardelean & Weyrich, for DATA, beside the published numbers.

    Embeddings, distances and anomaly maps are computed once and shared by every row; sweeps and error bars compare no
    image twice. If interrupted, run the same command to resume.
    """
    flags: dict[str, object] = {
        "store": store, "data.normals": normals, "weigh.tau": tau, "pair.store_budget": store_budget,
        "embed.backbone": backbone, "embed.checkpoint": checkpoint, "embed.layers": layers,
        "embed.image_size": image_size, "embed.device": device, "embed.precision": precision, "embed.engine": engine,
        "pair.dask": dask, "memory": memory, "seed": seed,
        "blind.variant": variant, "blind.threshold": threshold, "blind.flat_field": flat_field,
        "blind.border": border,
    }  # fmt: skip
    with Messages(debug):
        from rich.console import Console

        from flows.benchmark.request import (
            ARDELEAN_TABLES,
            EXPERIMENT_OF_FIGURE,
            EXPERIMENT_OF_TABLE,
            BenchmarkRequest,
            default_tables,
        )
        from flows.benchmark.run import run_benchmark
        from flows.settings import resolve
        from flows.terminal.progress import StageBars
        from tasks.stores.addresses import on_this_machine

        out = on_this_machine(out, "--out", ConfigError)
        settings = resolve(flags, file=config)
        figures = _numbers(figure or (), {"all": tuple(EXPERIMENT_OF_FIGURE)})
        groups = {"all": tuple(EXPERIMENT_OF_TABLE), "ardelean-all": tuple(ARDELEAN_TABLES)}
        request = BenchmarkRequest(
            protocol=protocol,
            tables=_numbers(table, groups) if table else default_tables(figures),
            figures=figures,
            n_subsets=subsets,
            backbones=_names(backbones),
            methods=_names(methods),
        )
        with StageBars(Console(stderr=True)) as bars:
            page = run_benchmark(data, settings.store, settings.config, request, out, listener=bars, debug=debug)
        typer.echo(page.read_text(encoding="utf-8"))
        typer.echo(f"{page}: tables, figures and measurements.csv are beside it")


def _numbers(asked: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Tables or figures as asked for, with the members of groups in place of their names."""
    return tuple(dict.fromkeys(number for name in asked for number in groups.get(name, (name,))))


def _names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
