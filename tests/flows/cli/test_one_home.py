"""A setting has one home, its field: flags, variables, files, help and docs/settings.md are made from it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from anoclust_core import config
from anoclust_core.config.setting import Command, Setting, settings_of
from flows.cli import COMMANDS, app, load_command
from flows.cli.arguments import shown_arguments
from flows.settings import SETTINGS, as_text, flag_of, variable_of

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "settings.md"
REWRITE = "REWRITE_DOCS"
"""Environment variable that lets this test write the page instead of comparing it."""

PAGE_TEXT = """# Settings

Flags override `ANOCLUST_*` variables, which override `anoclust.toml`, which overrides the defaults. The variable of
`weigh.tau` is `ANOCLUST_WEIGH__TAU`; in the file it is `tau` in the section `[weigh]`. `anoclust config show` prints
every value and where it comes from; `anoclust config init` writes a file with all settings.

One category alone has other settings in sections of its own: `[category.bottle]`, `[category.bottle.embed]`. They are a
part of the file, so variables and flags override them. What holds for all categories of a command cannot stand there:
`store`, `wait_seconds`, `data.settle_seconds` and `[night]`. `anoclust benchmark` measures all categories with the same
settings and leaves these sections out, which it says.

`REWRITE_DOCS=1 pytest tests/flows/cli/test_one_home.py` makes this page from the fields of `anoclust_core/config/`.
{sections}"""

LINE = (
    '    sharpness: Share = setting(0.5, "How sharp clusters are.", commands=("run",), takes="a share from 0 to 1")\n'
)
"""All that it takes to add a setting."""

PROGRAM = """
import importlib.util, json, sys
import anoclust_core

spec = importlib.util.spec_from_file_location("anoclust_core.config", sys.argv[1] + "/__init__.py")
sys.modules["anoclust_core.config"] = anoclust_core.config = importlib.util.module_from_spec(spec)
spec.loader.exec_module(anoclust_core.config)

import typer
from typer.testing import CliRunner
from flows.cli import app, run

def tell(data, found, *_, **__):
    typer.echo(f"{found.config.group.sharpness} {found.origins['group.sharpness']}")

run._cluster = tell
results = [CliRunner().invoke(app, arguments, env=variables) for arguments, variables in json.load(sys.stdin)]
print(json.dumps([(result.exit_code, result.output) for result in results]))
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its options, by the words that call it."""
    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())
        else:
            yield name, command


def flags(command: Any) -> set[str]:
    return {flag for option in command.params for flag in option.opts}


def with_the_line(folder: Path, line: str = LINE) -> Path:
    """Copy of the settings with one more line."""
    copy = folder / "config"
    shutil.copytree(Path(str(config.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    file = copy / "method.py"
    source = file.read_text(encoding="utf-8")
    before = "    # Ward over a Hausdorff distance"
    assert source.count(before) == 1
    typed = source.replace(
        "class GroupConfig(", "from anoclust_core.config.setting import Share\n\n\nclass GroupConfig("
    )
    file.write_text(typed.replace(before, line + before), encoding="utf-8")
    return copy


def imported(folder: Path) -> ModuleType:
    """Import a copy of the settings in place of them, and put them back."""
    name = config.__name__
    kept = {other: sys.modules.pop(other) for other in list(sys.modules) if f"{other}.".startswith(f"{name}.")}
    try:
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for other in [other for other in sys.modules if f"{other}.".startswith(f"{name}.")]:
            del sys.modules[other]
        sys.modules.update(kept)
    return module


def page(settings: Mapping[str, Setting]) -> str:
    """Text of docs/settings.md."""
    lines, heading = [], None
    for name, one in settings.items():
        if one.heading != heading:
            heading = one.heading
            lines += ["", f"## {heading or 'Everything'}", ""]
            lines += ["| setting | flag of `anoclust ...` | default | takes | what it does |", "|---|---|---|---|---|"]
        of = "all commands with settings" if one.commands == ("every",) else ", ".join(f"`{it}`" for it in one.commands)
        default = as_text(name, one.default) if name in SETTINGS else one.default
        lines.append(f"| `{name}` | `{flag_of(name)}` of {of} | `{default}` | {one.takes} | {one.help} |")
    return PAGE_TEXT.format(sections="\n".join(lines) + "\n")


def test_one_line_adds_a_setting_everywhere(tmp_path: Path) -> None:
    """One line in a copy of the model: there is a flag, a variable, an entry of the file, its help and its checks."""
    copy = with_the_line(tmp_path)
    file = tmp_path / "mine.toml"
    file.write_text("[group]\nsharpness = 0.1\n")
    variable = {"ANOCLUST_GROUP__SHARPNESS": "0.2"}
    asked: list[tuple[list[str], dict[str, str]]] = [
        (["run", "--help"], {"COLUMNS": "300"}),
        (["nightly", "--help"], {"COLUMNS": "300"}),
        (["config", "show", "--json"], {}),
        (["config", "init", "--out", str(tmp_path / "all.toml")], {}),
        (["run", "data"], {}),
        (["run", "data", "--config", str(file)], {}),
        (["run", "data", "--config", str(file)], variable),
        (["run", "data", "--config", str(file), "--sharpness", "0.3"], variable),
        (["run", "data", "--sharpness", "7"], {}),
        (["run", "data"], {"ANOCLUST_GROUP__SHARPNES": "0.2"}),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(copy)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    run, nightly, shown, init, *values, wrong, misspelt = json.loads(done.stdout)
    assert "--sharpness" in run[1]
    assert "How sharp clusters are." in run[1]
    assert "(0.5)" in run[1]
    assert "--sharpness" not in nightly[1]
    assert json.loads(shown[1])["group.sharpness"] == {"value": 0.5, "origin": "default"}
    assert init[0] == 0
    assert "# How sharp clusters are.\n# sharpness = 0.5\n" in (tmp_path / "all.toml").read_text()
    assert [output.strip() for _, output in values] == [
        "0.5 default",
        f"0.1 {file}",
        "0.2 ANOCLUST_GROUP__SHARPNESS",
        "0.3 --sharpness",
    ]
    assert wrong == [2, "anoclust: --sharpness takes a share from 0 to 1; found '7'\n"]
    assert "did you mean ANOCLUST_GROUP__SHARPNESS?" in misspelt[1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("    sharpness: float = 0.5\n", "group.sharpness is a setting: write it with `setting`"),
        ('    sharpness: Share = setting(0.5, "How sharp.", commands=())\n', "group.sharpness .* say it in words"),
        (
            '    sharpness: Share | None = setting(None, "How sharp.", commands=(), takes="auto or a share")\n',
            "group.sharpness .* with a word where it may be None",
        ),
    ],
)
def test_a_setting_that_says_too_little_is_noticed_at_once(tmp_path: Path, line: str, why: str) -> None:
    """A field that would be shown without words, or could not be written, stops the program at its start."""
    copy = imported(with_the_line(tmp_path, line))
    with pytest.raises(TypeError, match=why):
        settings_of(copy.StoreConfig, copy.RunConfig)


def test_one_line_adds_a_row_to_the_page(tmp_path: Path) -> None:
    """The page has the same line's setting."""
    copy = imported(with_the_line(tmp_path))
    with_it = page(settings_of(copy.StoreConfig, copy.RunConfig)).splitlines()
    row = "| `group.sharpness` | `--sharpness` of `run` | `0.5` | a share from 0 to 1 | How sharp clusters are. |"
    assert set(with_it) - set(page(SETTINGS).splitlines()) == {row}


def test_the_page_lists_every_setting() -> None:
    """docs/settings.md is made from the fields; `REWRITE_DOCS=1 pytest` on this file writes it again."""
    if os.environ.get(REWRITE):
        PAGE.write_text(page(SETTINGS), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(SETTINGS), (
        f"{REWRITE}=1 pytest {Path(__file__).name} writes the page again"
    )


def test_a_command_has_a_flag_for_every_setting_that_names_it() -> None:
    """A field says which commands have its flag: these have it and no others; every command that it names exists."""
    found = {name: flags(command) for name, command in commands()}
    with_settings = {name for name, its in found.items() if {"--store", "--config", "--debug"} <= its}
    assert set(get_args(Command)) <= {"every", *with_settings}
    for name, its in found.items():
        named = {flag_of(one.name) for one in SETTINGS.values() if {"every", name} & set(one.commands)}
        own = {"--seed"} if name in {"demo", "prepare demo"} else set()  # of the images, not of the draws
        own |= {"--by"} if name.startswith("clusters ") else set()  # who decides, not what is clustered
        assert its & {flag_of(one) for one in SETTINGS} - own == (named if name in with_settings else set()), name


def test_the_options_to_know_are_options() -> None:
    """Every option that docs/usage.md tells people to know is one of `anoclust run`."""
    rows = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8").partition("## Settings")[0].splitlines()
    told = {flag for row in rows if row.startswith("| `--") for flag in re.findall(r"--[a-z-]+", row.split(" | ")[0])}
    assert "--n-clusters" in told
    assert told <= flags(load_command("run"))


def test_the_list_of_commands_says_what_they_say() -> None:
    """`anoclust --help` imports no command, and shows of each what its own help begins with."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout
    for name, (_, text) in COMMANDS.items():
        assert " ".join(load_command(name).help.partition("\n\n")[0].split()) == text
        assert text.replace("`", "") in shown


def test_help_imports_no_command() -> None:
    """`anoclust --help` needs no settings and no pydantic, which take most of its time elsewhere."""
    program = (
        "import sys; from flows.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'pydantic', 'anoclust_core.config', 'flows.settings', 'flows.cli.run'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name, one in SETTINGS.items() if one.is_secret])
def test_a_secret_is_hidden_on_the_command_line(name: str) -> None:
    """A setting that may hold a password is hidden from `ps` when it is given as a flag."""
    given = ["run", flag_of(name), "postgresql://me:secret@host/x"]
    assert "secret" not in " ".join(shown_arguments(given))


def test_variables_and_flags_are_told_from_the_name() -> None:
    """Nobody writes the name of a flag or of a variable down."""
    assert (flag_of("weigh.tau"), variable_of("weigh.tau")) == ("--tau", "ANOCLUST_WEIGH__TAU")
