"""``anoclust config``: show every setting and where it comes from, or write a file to change them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anoclust_core.errors import ConfigError
from flows.cli.messages import Messages
from flows.cli.options import ConfigFile, Debug, Json

app = typer.Typer(no_args_is_help=True)


@app.command("show")
def show(config: ConfigFile = None, as_json: Json = False, debug: Debug = False) -> None:
    """Print every setting, its value and where it came from."""
    with Messages(debug):
        from flows.settings import resolve, variable_of

        settings = resolve(file=config)
        values, own = settings.values(), settings.own_values()
        if as_json:
            import json

            rows = {name: {"value": value, "origin": settings.origins[name]} for name, value in values.items()}
            rows |= {name: {"value": value, "origin": origin} for name, (value, origin) in own.items()}
            typer.echo(json.dumps(rows, indent=2))
            return
        from flows.terminal.runs import settings_table
        from flows.terminal.tables import print_table

        values |= {name: value for name, (value, _) in own.items()}
        print_table(settings_table(values, {**settings.origins, **{name: origin for name, (_, origin) in own.items()}}))
        typer.echo(
            "Change a setting in anoclust.toml (`anoclust config init` writes the file), with a flag of `anoclust "
            f"run`, or with a variable: {variable_of('group.n_clusters')}=6 for group.n_clusters. Flags override "
            "variables, and variables override the file."
        )


@app.command("init")
def init(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("anoclust.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    debug: Debug = False,
) -> None:
    """Write a file with every setting, its meaning and its default, commented out."""
    with Messages(debug):
        from flows.settings import commented_file
        from tasks.stores.addresses import on_this_machine
        from tasks.stores.files import write_text

        out = on_this_machine(out, "--out", ConfigError)
        if out.exists() and not force:
            raise ConfigError(f"{out} already exists; replace it with --force, or name another file with --out")
        write_text(out, commented_file())
        typer.echo(f"{out}: every setting, commented out; uncomment what you want to change")
