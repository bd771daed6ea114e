"""``anoclust run`` and ``anoclust demo``: cluster a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import AnoclustError, ConfigError, StoreError
from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages, say
from flows.cli.options import DemoSeed, Json
from flows.cli.prepare import make_demo

if TYPE_CHECKING:
    from flows.run import CategoryOutcome
    from flows.settings import Settings
    from flows.terminal.progress import StageBars
    from tasks.export.maps import ExportedMaps

DEFAULT_DEMO = Path("anoclust-demo")


@with_settings("run")
def run(
    asked: Asked,
    data: Annotated[
        Path,
        typer.Argument(
            help="Images: the MVTec layout (CATEGORY/train/good, CATEGORY/test/LABEL, optional "
            "CATEGORY/ground_truth/LABEL/NAME_mask.png), a folder of categories, a flat folder, or a manifest (.csv "
            "or .tsv with the columns path, category and optional split, label, mask, roi; further columns are carried "
            "through).",
            show_default=False,
        ),
    ],
    category: Annotated[
        list[str] | None, typer.Option(help="Run only this category; repeatable.", show_default="all")
    ] = None,
    export_maps: Annotated[
        Path | None,
        typer.Option(
            metavar="<folder>",
            help="Also write the rarity of every clustered image to this folder, as a NumPy file and as a picture, "
            "even if there is nothing else to do: `FOLDER/CATEGORY/IMAGE.npy` and `.png`, "
            "`FOLDER/CATEGORY/scale.json`.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Cluster the images of DATA by type of anomaly, one run for each category.

    Images that an earlier run embedded and pairs that it compared are not computed again. Run the same command again,
    and it does nothing.

    Several categories end in one page, `STORE/summary.html`: what came of each, with links to the reports. A section
    `[category.NAME]` of `anoclust.toml` has settings for one category alone.

    Results go to `STORE/runs/CATEGORY/RUN/`: `report.html` to look at, `assignments.csv` (or `.parquet`) and
    `summary.json` to work with, `figures/`. `STORE/runs/CATEGORY/latest.json` points to the last command's run.

    Every flag can be set in `anoclust.toml` or by an `ANOCLUST_*` variable: `anoclust config show` lists them.
    """
    with Messages(asked.debug):
        settings = asked.settings()
        _cluster(data, settings, category or [], maps=export_maps, as_json=as_json, debug=asked.debug)


@with_settings()
def demo(
    asked: Asked,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = DEFAULT_DEMO,
    seed: DemoSeed = 0,
) -> None:
    """Make images of three surfaces with four types of defect, cluster them, and print where the reports are.

    Nothing is downloaded: the photographs, the network's weights and all libraries are installed with Anoclust.
    """
    with Messages(asked.debug):
        from tasks.stores.addresses import on_this_machine

        out = on_this_machine(out, "--out", ConfigError)
        # nobody else writes these images, so there is nothing to wait for
        settings = asked.settings(overrides={"data.settle_seconds": 0})
        make_demo(out, seed)
        _cluster(out, settings, [], maps=None, as_json=False, debug=asked.debug)
        typer.echo("\nNext: open a report in a browser, then cluster your own images: anoclust run FOLDER")


def _cluster(
    data: Path, settings: Settings, categories: list[str], *, maps: Path | None, as_json: bool, debug: bool
) -> None:
    """Run, show progress and the table, and fail at the end if a category failed."""
    from rich.console import Console

    from flows.overview import write_runs_overview
    from flows.run import run_data
    from flows.terminal.progress import StageBars, outcome_lines, outcomes_json, results_table
    from flows.terminal.tables import short_path
    from tasks.stores.addresses import on_this_machine

    data = on_this_machine(data, "DATA")
    if maps is not None:
        maps = on_this_machine(maps, "--export-maps", ConfigError)
    if maps is not None and maps.resolve().is_relative_to(data.resolve()):
        raise ConfigError(
            f"--export-maps {maps} is inside {data}, where the next run would take the maps for images; name a folder "
            "outside it"
        )
    outcomes: list[CategoryOutcome] = []
    exported: list[str] = []
    with StageBars(Console(stderr=True)) as bars:
        for outcome in run_data(
            data, settings.store, settings.config, categories=categories, listener=bars, debug=debug
        ):
            if maps is not None and outcome.run is not None:
                try:
                    exported.append(_write_maps(outcome, outcome.run, settings.store, maps, bars))
                except AnoclustError as error:
                    outcome = replace(outcome, run=None, error=error)
            outcomes.append(outcome)
            if outcome.error is not None and debug:
                raise outcome.error
    page = write_runs_overview(settings.store, outcomes)
    if as_json:
        typer.echo(outcomes_json(outcomes))
    else:
        Console().print(results_table(outcomes))
    for outcome in outcomes:
        if outcome.error is not None:
            say(outcome_lines(outcome))
        elif not as_json:
            typer.echo(outcome_lines(outcome))
    for line in exported if not as_json else []:
        typer.echo(line)
    if page is not None and not as_json:
        typer.echo(f"all categories on one page:\n  {short_path(page)}")
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise typer.Exit(errors[0].exit_code)


def _write_maps(outcome: CategoryOutcome, run: Path, store: Path, maps: Path, bars: StageBars) -> str:
    """Write the maps of a finished run and say where they are.

    Raises
    ------
    StoreError
        If they cannot be made or written; the run is finished all the same.
    """
    from tasks.export.maps import export_maps
    from tasks.stores.layout import StoreLayout

    def progress(done: int, total: int) -> None:
        bars(outcome.category, "heat", done, total)

    try:
        return maps_line(outcome.category, export_maps(StoreLayout(store.absolute()), run, maps, progress=progress))
    except (StoreError, OSError) as error:
        raise StoreError(f"the run {run} is finished, but its maps could not be written: {error}") from error


def maps_line(category: str, made: ExportedMaps) -> str:
    """Where the maps of a category are, and how many show no image."""
    lonely = f", {made.n_without_source:,} without their image, because it is gone" if made.n_without_source else ""
    return f"{category}: maps of {made.n_images:,} images{lonely}\n  {made.folder}"
