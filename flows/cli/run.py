"""``anoclust run`` and ``anoclust demo``: cluster a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anoclust_core.errors import AnoclustError, ConfigError, StoreError
from flows.cli.messages import Messages, say
from flows.cli.options import ConfigFile, Debug, DemoSeed, Json, Store, setting
from flows.cli.prepare import make_demo

if TYPE_CHECKING:
    from flows.run import CategoryOutcome
    from flows.settings import Settings
    from flows.terminal.progress import StageBars
    from tasks.export.maps import ExportedMaps

DEFAULT_DEMO = Path("anoclust-demo")


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
    store: Store = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Run only this category; repeatable.", show_default="all")
    ] = None,
    recipe: Annotated[str | None, setting("recipe", "auto")] = None,
    normals: Annotated[str | None, setting("data.normals", "auto")] = None,
    splits: Annotated[str | None, setting("data.splits", "test")] = None,
    settle_seconds: Annotated[str | None, setting("data.settle_seconds", "2")] = None,
    max_bad_share: Annotated[str | None, setting("data.max_bad_share", "0.3")] = None,
    trust_times: Annotated[str | None, setting("data.trust_times", "true")] = None,
    n_clusters: Annotated[str | None, setting("group.n_clusters", "auto")] = None,
    distance: Annotated[str | None, setting("group.distance", "weighted_average")] = None,
    linkage: Annotated[str | None, setting("group.linkage", "ward")] = None,
    weights: Annotated[str | None, setting("weigh.weights", "rarity")] = None,
    tau: Annotated[str | None, setting("weigh.tau", "0.3sd")] = None,
    variant: Annotated[str | None, setting("blind.variant", "program")] = None,
    vae: Annotated[str | None, setting("blind.vae", "true")] = None,
    contrastive: Annotated[str | None, setting("blind.contrastive", "true")] = None,
    threshold: Annotated[str | None, setting("blind.threshold", "robust")] = None,
    flat_field: Annotated[str | None, setting("blind.flat_field", "true")] = None,
    border: Annotated[str | None, setting("blind.border", "0")] = None,
    reference: Annotated[str | None, setting("pair.reference", "auto")] = None,
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
    wait_seconds: Annotated[str | None, setting("wait_seconds", "0")] = None,
    seed: Annotated[str | None, setting("seed", "0")] = None,
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
    config: ConfigFile = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Cluster the images of DATA by type of anomaly, one run for each category.

    Images that an earlier run embedded and pairs that it compared are not computed again. Run the same command again,
    and it does nothing.

    Results go to `STORE/runs/CATEGORY/RUN/`: `report.html` to look at, `assignments.csv` (or `.parquet`) and
    `summary.json` to work with, `figures/`. `STORE/runs/CATEGORY/latest.json` points to the last command's run.

    Every flag can be set in `anoclust.toml` or by an `ANOCLUST_*` variable: `anoclust config show` lists them.
    """
    flags: dict[str, object] = {
        "store": store, "recipe": recipe, "data.normals": normals, "data.splits": splits,
        "data.settle_seconds": settle_seconds, "data.max_bad_share": max_bad_share, "data.trust_times": trust_times,
        "group.n_clusters": n_clusters, "group.distance": distance, "group.linkage": linkage,
        "weigh.weights": weights, "weigh.tau": tau, "blind.variant": variant, "blind.vae": vae,
        "blind.contrastive": contrastive, "blind.threshold": threshold, "blind.flat_field": flat_field,
        "blind.border": border, "pair.reference": reference, "pair.store_budget": store_budget,
        "embed.backbone": backbone, "embed.checkpoint": checkpoint, "embed.layers": layers,
        "embed.image_size": image_size, "embed.device": device, "embed.precision": precision, "embed.engine": engine,
        "pair.dask": dask, "memory": memory,
        "wait_seconds": wait_seconds, "seed": seed,
    }  # fmt: skip
    with Messages(debug):
        from flows.settings import resolve

        _cluster(data, resolve(flags, file=config), category or [], maps=export_maps, as_json=as_json, debug=debug)


def demo(
    store: Store = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = DEFAULT_DEMO,
    seed: DemoSeed = 0,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Make images of three surfaces with four types of defect, cluster them, and print where the reports are.

    Nothing is downloaded: the photographs, the network's weights and all libraries are installed with Anoclust.
    """
    with Messages(debug):
        from flows.settings import resolve
        from tasks.stores.addresses import on_this_machine

        out = on_this_machine(out, "--out", ConfigError)
        # nobody else writes these images, so there is nothing to wait for
        settings = resolve({"store": store}, file=config, overrides={"data.settle_seconds": 0})
        make_demo(out, seed)
        _cluster(out, settings, [], maps=None, as_json=False, debug=debug)
        typer.echo("\nNext: open a report in a browser, then cluster your own images: anoclust run FOLDER")


def _cluster(
    data: Path, settings: Settings, categories: list[str], *, maps: Path | None, as_json: bool, debug: bool
) -> None:
    """Run, show progress and the table, and fail at the end if a category failed."""
    from rich.console import Console

    from flows.run import run_data
    from flows.terminal.progress import StageBars, outcome_lines, outcomes_json, results_table
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
