"""The ``anoclust`` command: flags to settings, settings to one call, results to the terminal; the only echo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from anoclust_core.errors import AnoclustError, ConfigError

if TYPE_CHECKING:
    from anoclust_core.config import RunConfig
    from flows.run import CategoryOutcome

app = typer.Typer(
    help="Clusters production images by type of anomaly.\n\nTry `anoclust demo` first.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
prepare = typer.Typer(help="Make the demo images, or a manifest for a public data set.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")

Store = Annotated[
    Path, typer.Option(envvar="ANOCLUST_STORE", help="Folder that everything is kept in: embeddings, distances, runs.")
]
Seed = Annotated[int, typer.Option(help="Seed of every random draw; recipe `sohn` makes none.", min=0)]
DemoSeed = Annotated[int, typer.Option(help="Seed of the images.", min=0)]
Debug = Annotated[bool, typer.Option("--debug", help="Show Prefect's log, and a traceback where something fails.")]
Out = Annotated[Path, typer.Option(help="Manifest to write.")]
Source = Annotated[Path, typer.Argument(help="Folder of the data set, as it was unpacked.", show_default=False)]

DEFAULT_STORE = Path("anoclust-store")
DEFAULT_DEMO = Path("anoclust-demo")


@app.command()
def run(
    data: Annotated[
        Path,
        typer.Argument(
            help="Images: the MVTec layout (CATEGORY/train/good, CATEGORY/test/LABEL, optional "
            "CATEGORY/ground_truth/LABEL/NAME_mask.png), a folder of categories, a flat folder, or a manifest (.csv "
            "with the columns path, category and optional split, label, mask; further columns are carried through).",
            show_default=False,
        ),
    ],
    store: Store = DEFAULT_STORE,
    category: Annotated[
        list[str] | None, typer.Option(help="Run only this category; repeatable.", show_default="all")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Method: `sohn` (weighted average of rare patches, Ward), or `auto`, the best known; now `sohn`."
        ),
    ] = "auto",
    normals: Annotated[
        str,
        typer.Option(
            help="Known normal images to measure rarity against: `auto` takes split train, label good, where there "
            "is one; `none` leaves split train out and runs blind; or a folder of normal images."
        ),
    ] = "auto",
    splits: Annotated[
        str, typer.Option(help="`test` clusters split test where there are splits; `all` clusters every image.")
    ] = "test",
    n_clusters: Annotated[
        str,
        typer.Option(
            help="Number of clusters, or `auto`: the number of classes where every image has a label (the papers' "
            "protocol), else where the merge tree has its largest step."
        ),
    ] = "auto",
    tau: Annotated[
        str,
        typer.Option(
            help="Temperature of the weights: small looks at the rarest patch only, large at all alike. A number in "
            "embedding units (`0.02`) or in standard deviations of the rarity (`0.3sd`)."
        ),
    ] = "0.3sd",
    backbone: Annotated[
        str,
        typer.Option(
            help="Feature extractor: `efficientnet_lite2` is installed with Anoclust; `wide_resnet50_2` the papers'; "
            "any timm model that gives feature maps. timm downloads what is not cached."
        ),
    ] = "efficientnet_lite2",
    checkpoint: Annotated[
        str | None, typer.Option(help="File with weights for the backbone (.safetensors, or .pth with tensors only).")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Feature levels as timm numbers them, joined on the finest grid (`2,3`).", show_default="by backbone"
        ),
    ] = None,
    image_size: Annotated[int, typer.Option(help="Side in pixels of the square that images are squashed to.")] = 256,
    device: Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda` or `cuda:INDEX`.")] = "auto",
    dask: Annotated[
        str | None,
        typer.Option(
            help="Address of a Dask scheduler (`tcp://host:8786`) whose workers see the store.",
            show_default="this process",
        ),
    ] = None,
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Cluster the images of DATA by type of anomaly, one run for each category.

    Images that an earlier run embedded, and pairs that it compared, are not computed again; the same command twice does
    nothing the second time.

    Results go to `STORE/runs/CATEGORY/RUN/`: `report.html` to look at, `assignments.csv` and `summary.json` to work
    with, `figures/`. `STORE/runs/CATEGORY/latest.json` names the run of the last command.
    """
    with _messages(debug):
        config = _config(
            recipe=recipe, normals=normals, splits=splits, n_clusters=_number_or_auto(n_clusters), tau=tau,
            backbone=backbone, checkpoint=checkpoint, layers=_layers(layers), image_size=image_size, device=device,
            dask=dask, seed=seed,
        )  # fmt: skip
        _cluster(data, store, config, category or [], debug=debug)


@app.command()
def demo(
    store: Store = DEFAULT_STORE,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = DEFAULT_DEMO,
    seed: DemoSeed = 0,
    debug: Debug = False,
) -> None:
    """Make images of three surfaces with four types of defect, cluster them, and say where to look.

    Nothing is downloaded: the photographs, the network's weights and every engine are installed with Anoclust.
    """
    with _messages(debug):
        _make_demo(out, seed)
        _cluster(out, store, _config(), [], debug=debug)
        typer.echo("\nNext: open a report in a browser, then try your own images: anoclust run FOLDER")


@prepare.command("demo")
def prepare_demo(
    out: Annotated[Path, typer.Argument(help="Folder to make; new, or empty.", show_default=False)],
    seed: DemoSeed = 0,
    debug: Debug = False,
) -> None:
    """Make the demo images: three surfaces with normals and four types of defect, in the MVTec layout with masks."""
    with _messages(debug):
        _make_demo(out, seed)


@prepare.command("mtd")
def prepare_mtd(
    source: Source,
    train_list: Annotated[
        Path | None,
        typer.Option(
            help="File with one name a line: the Free tiles that are training normals. Without it all are test images."
        ),
    ] = None,
    out: Out = Path("manifest.csv"),
    debug: Debug = False,
) -> None:
    """Write a manifest for Magnetic Tile Defect (folders MT_Blowhole, MT_Break, ...)."""
    with _messages(debug):
        from tasks.datasets.public import mtd_manifest

        _save_manifest(mtd_manifest(source, train_list=train_list), out)


@prepare.command("leaves")
def prepare_leaves(source: Source, out: Out = Path("manifest.csv"), debug: Debug = False) -> None:
    """Write a manifest for the coffee leaves (dataset.csv and leaf/); leaves with several stresses are left out."""
    with _messages(debug):
        from tasks.datasets.public import leaves_manifest

        _save_manifest(leaves_manifest(source), out)


@prepare.command("mvtec")
def prepare_mvtec(source: Source, out: Out = Path("manifest.csv"), debug: Debug = False) -> None:
    """Write a manifest for MVTec AD, or one category of it."""
    with _messages(debug):
        from tasks.datasets.public import mvtec_manifest

        _save_manifest(mvtec_manifest(source), out)


def main() -> None:
    """Entry point of the installed command."""
    app()


class _messages:  # noqa: N801 - reads as a statement
    """Turn errors that the user can act on into one paragraph and an exit code; leave tracebacks to ``--debug``."""

    def __init__(self, debug: bool) -> None:
        self._debug = debug

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AnoclustError) and not self._debug:
            _fail(error)


def _fail(error: AnoclustError) -> NoReturn:
    typer.secho(f"anoclust: {error}", err=True, fg="red" if sys.stderr.isatty() else None)
    raise typer.Exit(error.exit_code)


def _config(**settings: Any) -> RunConfig:
    """Validate settings; the message names the flag."""
    from pydantic import ValidationError

    from anoclust_core.config import RunConfig

    try:
        return RunConfig(**settings)
    except ValidationError as error:
        problem = error.errors()[0]
        flag = "--" + str(problem["loc"][0]).replace("_", "-")
        raise ConfigError(f"{flag}: {problem['msg']}; found {problem['input']!r}") from error


def _number_or_auto(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--n-clusters takes auto or a whole number from 1; found {text!r}")
    return int(text)


def _layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--layers takes numbers of feature levels separated by commas (2,3); found {text!r}")
    return tuple(int(part) for part in parts)


def _cluster(data: Path, store: Path, config: RunConfig, categories: list[str], *, debug: bool) -> None:
    """Run, show progress and the table, and fail at the end if a category failed."""
    from rich.console import Console

    from flows.console import StageBars, outcome_lines, results_table
    from flows.run import run_data

    outcomes: list[CategoryOutcome] = []
    with StageBars(Console(stderr=True)) as bars:
        for outcome in run_data(data, store, config, categories=categories, listener=bars, debug=debug):
            outcomes.append(outcome)
            if outcome.error is not None and debug:
                raise outcome.error
    Console().print(results_table(outcomes))
    for outcome in outcomes:
        typer.echo(outcome_lines(outcome), err=outcome.error is not None)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise typer.Exit(errors[0].exit_code)


def _make_demo(out: Path, seed: int) -> None:
    from rich.console import Console

    from flows.console import StageBars
    from tasks.datasets.demo import write_demo

    with StageBars(Console(stderr=True)) as bars:
        summary = write_demo(out, seed=seed, progress=lambda done, total: bars("", "demo", done, total))
    typer.echo(f"demo images of {', '.join(summary.categories)} are in {summary.root}")


def _save_manifest(made: Any, out: Path) -> None:
    from tasks.datasets.public import write_manifest

    write_manifest(made.frame, out)
    counts = made.frame.groupby(["category", "split"]).size()
    typer.echo(f"{out}: {len(made.frame)} images")
    for (category, split), count in counts.items():
        typer.echo(f"  {category}, {split}: {count}")
    for why, count in made.left_out.items():
        if count:
            typer.echo(f"  left out, {why}: {count}")
