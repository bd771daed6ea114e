"""``anoclust prepare``: the demo's images, and manifests of public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anoclust_core.errors import ConfigError
from flows.cli.messages import Messages
from flows.cli.options import Debug, DemoSeed, whole_number

app = typer.Typer(no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Manifest to write.")]
Source = Annotated[Path, typer.Argument(help="Folder of the unpacked data set.", show_default=False)]
PerLabel = Annotated[
    int | None,
    typer.Option(
        help="Take only the first images of each label, by path, at most this many.",
        parser=whole_number(1),
        metavar="<int>",
        show_default="all",
    ),
]


@app.command("demo")
def prepare_demo(
    out: Annotated[Path, typer.Argument(help="Folder to create; it must be new or empty.", show_default=False)],
    seed: DemoSeed = 0,
    debug: Debug = False,
) -> None:
    """Make the demo images: three surfaces with normals and four types of defect, in the MVTec layout with masks."""
    with Messages(debug):
        from tasks.stores.addresses import on_this_machine

        make_demo(on_this_machine(out, "OUT", ConfigError), seed)


@app.command("mtd")
def prepare_mtd(
    source: Source,
    train_list: Annotated[
        Path | None,
        typer.Option(
            help="File with one name per line: the Free tiles to use as training normals. Without it, all images are "
            "test images."
        ),
    ] = None,
    out: Out = Path("manifest.csv"),
    debug: Debug = False,
) -> None:
    """Write a manifest for Magnetic Tile Defect (folders MT_Blowhole, MT_Break, ...)."""
    with Messages(debug):
        from tasks.datasets.public import mtd_manifest

        _save_manifest(mtd_manifest(source, train_list=train_list), out)
        for found in [] if train_list else sorted(source.glob("*.txt")):
            typer.echo(f"  all are test images; if {found.name} lists the training images, add --train-list {found}")


@app.command("leaves")
def prepare_leaves(
    source: Source, out: Out = Path("manifest.csv"), per_label: PerLabel = None, debug: Debug = False
) -> None:
    """Write a manifest for the coffee leaves (dataset.csv and leaf/), without leaves that have several stresses."""
    with Messages(debug):
        from tasks.datasets.public import leaves_manifest

        _save_manifest(leaves_manifest(source), out, per_label)


@app.command("xsdd")
def prepare_xsdd(
    source: Source, out: Out = Path("manifest.csv"), per_label: PerLabel = None, debug: Debug = False
) -> None:
    """Write a manifest for X-SDD, steel strip with a folder for each type of defect: the folders become labels."""
    with Messages(debug):
        from tasks.datasets.public import xsdd_manifest

        _save_manifest(xsdd_manifest(source), out, per_label)


@app.command("mvtec")
def prepare_mvtec(source: Source, out: Out = Path("manifest.csv"), debug: Debug = False) -> None:
    """Write a manifest for MVTec AD, or one category of it."""
    with Messages(debug):
        from tasks.datasets.public import mvtec_manifest

        _save_manifest(mvtec_manifest(source), out)


def make_demo(out: Path, seed: int) -> None:
    """Write the demo's images with a progress bar."""
    from rich.console import Console

    from flows.terminal.progress import StageBars
    from tasks.datasets.demo import write_demo

    with StageBars(Console(stderr=True)) as bars:
        summary = write_demo(out, seed=seed, progress=lambda done, total: bars("", "demo", done, total))
    typer.echo(f"demo images of {', '.join(summary.categories)} are in {summary.root}")


def _save_manifest(made: Any, out: Path, per_label: int | None = None) -> None:
    from tasks.datasets.public import first_of_each_label, write_manifest
    from tasks.stores.addresses import on_this_machine

    out = on_this_machine(out, "--out", ConfigError)
    if per_label is not None:
        made = first_of_each_label(made, per_label)
    write_manifest(made.frame, out)
    counts = made.frame.groupby(["category", "split"]).size()
    typer.echo(f"{out}: {len(made.frame)} images")
    for (category, split), count in counts.items():
        typer.echo(f"  {category}, {split}: {count}")
    for why, count in made.left_out.items():
        if count:
            typer.echo(f"  left out, {why}: {count}")
