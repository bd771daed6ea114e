"""``anoclust store``: show its size, check it, remove what it no longer needs, rebuild its catalog."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.asked import Asked, with_settings
from flows.cli.messages import Messages, fail
from flows.cli.options import Json

if TYPE_CHECKING:
    from flows.settings import Settings
    from tasks.stores.layout import StoreLayout

app = typer.Typer(no_args_is_help=True)


@app.command("size")
@with_settings()
def size(asked: Asked, as_json: Json = False) -> None:
    """Print the bytes on disk of every category, by what they are for."""
    with Messages(asked.debug):
        from flows.terminal.runs import sizes_table
        from flows.terminal.tables import print_table
        from tasks.stores.upkeep.inventory import store_size

        found = store_size(_layout(asked.settings()))
        if as_json:
            rows = [{**asdict(row), "total": row.total} for row in found.categories]
            typer.echo(json.dumps({**asdict(found), "categories": rows, "total": found.total}, indent=2))
        else:
            print_table(sizes_table(found))


@app.command("check")
@with_settings()
def check(
    asked: Asked,
    category: Annotated[
        list[str] | None, typer.Option(help="Check only this category; repeatable.", show_default="all")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read everything in the store once: every checksum, and every reference from one thing to another.

    Nothing is changed. Findings are listed by kind, each with what to do about it. Ends with exit code 4 if something
    is damaged or missing; what killed runs left behind is listed and does no harm.
    """
    with Messages(asked.debug):
        from rich.console import Console
        from rich.filesize import decimal

        from anoclust_core.errors import StoreError
        from flows.terminal.progress import StageBars
        from tasks.store_check.store import check_store

        settings = asked.settings()
        layout = _layout(settings)
        with StageBars(Console(stderr=True)) as bars:
            checked = check_store(
                layout,
                category or [],
                catalog=settings.config.night.catalog or layout.catalog,
                progress=lambda done, total: bars("", "check", done >> 20, total >> 20),
            )
        damage = checked.damage
        if as_json:
            rows = [{**asdict(finding), "is_harmless": finding.is_harmless} for finding in checked.findings]
            typer.echo(json.dumps({"folders": checked.folders, "bytes": checked.bytes, "findings": rows}, indent=2))
        else:
            for kind, findings in checked.by_kind.items():
                typer.echo(f"{kind}: {len(findings):,}")
                for finding in findings:
                    mark = "-" if finding.is_harmless else "!"
                    typer.echo(f"{mark} {finding.path}\n    {finding.what}; {finding.advice}")
        read = f"{checked.folders:,} folders, {decimal(checked.bytes)}"
        if damage:
            counts = ", ".join(
                f"{len(found):,} {kind}" for kind, found in checked.by_kind.items() if not found[0].is_harmless
            )
            fail(StoreError(f"damaged or missing in {layout.root}: {len(damage):,} ({counts}), see above ({read})"))
        if not as_json:
            typer.echo(f"all {read} fine in {layout.root}")


@app.command("gc")
@with_settings("store gc")
def gc(
    asked: Asked,
    keep: Annotated[
        str, typer.Option(help="Keep everything younger than this age, as in 12h, 90d or 4w.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove runs older than KEEP. Then remove everything else of that age that no remaining run needs.

    The newest run of every category stays, and so does the one that `latest.json` names. Embeddings, distances and
    weights of removed images go too, and what was put aside as damaged; they are computed again if ever needed. Files
    that are not Anoclust's are never touched.
    """
    with Messages(asked.debug):
        from rich.filesize import decimal

        from flows.terminal.runs import removals_table
        from flows.terminal.tables import print_table
        from tasks.stores.upkeep.collect import collect, parse_age

        age = parse_age(keep)
        settings = asked.settings()
        layout = _layout(settings)
        found = collect(layout, age, dry_run=dry_run, wait_seconds=settings.config.wait_seconds)
        if as_json:
            rows = [{**asdict(removal), "path": str(removal.path)} for removal in found.removals]
            content = {"dry_run": dry_run, "bytes": found.bytes, "removed": rows, "notes": found.notes}
            typer.echo(json.dumps(content, indent=2))
            return
        for note in found.notes:
            typer.echo(note)
        if found.removals:
            print_table(removals_table(found.removals))
        verb = "would be freed" if dry_run else "freed"
        typer.echo(f"{decimal(found.bytes)} {verb} in {layout.root}")


@app.command("rebuild-catalog")
@with_settings("store rebuild-catalog")
def rebuild_catalog(asked: Asked, as_json: Json = False) -> None:
    """Rebuild a lost catalog, or complete an older copy of it, from the store's journal and nights.

    The journal has every change of the catalog since this version first opened it: images, nights, clusters, names,
    every decision. Of earlier nights only what their pages tell can be restored. Running it again changes nothing.
    What is damaged is kept in `STORE/aside`.
    """
    with Messages(asked.debug):
        from rich.console import Console

        from flows.terminal.nights import rebuilt_lines
        from flows.terminal.progress import StageBars
        from tasks.stores.catalog.rebuild import rebuild_catalog as rebuild
        from tasks.stores.nights.arrivals import NightRules

        settings = asked.settings()
        layout = _layout(settings)
        with StageBars(Console(stderr=True)) as bars:
            found = rebuild(
                layout,
                settings.config.night.catalog or layout.catalog,
                NightRules.of(settings.config.night),
                wait_seconds=settings.config.wait_seconds,
                progress=lambda done, total: bars("", "rebuild", done, total),
            )
        if as_json:
            content = {**asdict(found), "aside": str(found.aside) if found.aside else None}
            typer.echo(json.dumps(content, indent=2))
            return
        for line in rebuilt_lines(found, layout.root):
            typer.echo(line)


def _layout(settings: Settings) -> StoreLayout:
    """Paths of a store that has to be there.

    Raises
    ------
    StoreError
        If it is not.
    """
    from tasks.stores.layout import existing_store

    return existing_store(settings.store)
