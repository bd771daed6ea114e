"""The layers of the program, read from its source: flows decide, tasks touch the world, core computes."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("anoclust_core", "tasks", "flows")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@dataclass(frozen=True)
class Rule:
    """Modules that a part of the program must not import; ``only_in`` names the one file or folder that may."""

    where: tuple[str, ...]
    banned: frozenset[str]
    only_in: str | None = None


CORE_RULE = "core imports no engine, no layer above it and no console"
NETWORK = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib"}

RULES = {
    CORE_RULE: Rule(
        ("anoclust_core/",),
        frozenset(
            {"prefect", "dask", "distributed", "zarr", "sqlalchemy", "fsspec", "typer", "rich", "tasks", "flows"}
        ),
    ),
    "core opens no connection": Rule(("anoclust_core/",), frozenset(NETWORK)),
    "tasks import no flow and no command line": Rule(("tasks/",), frozenset({"flows", "typer"})),
    "stores and data sets know no Prefect": Rule(("tasks/stores/", "tasks/datasets/"), frozenset({"prefect"})),
    "one file knows Zarr": Rule(
        ("anoclust_core/", "tasks/", "flows/"), frozenset({"zarr", "numcodecs"}), "tasks/stores/arrays.py"
    ),
    "one file knows Dask": Rule(
        ("anoclust_core/", "tasks/", "flows/"), frozenset({"dask", "distributed"}), "tasks/compute/dask_"
    ),
    "anomalib is a guest of one module": Rule(
        ("anoclust_core/", "tasks/", "flows/"),
        frozenset({"anomalib", "lightning", "kornia"}),
        "tasks/networks/anomalib_detectors.py",
    ),
    "pages are served by flows alone": Rule(
        ("anoclust_core/", "tasks/"), frozenset({"fastapi", "starlette", "uvicorn"})
    ),
    "one folder knows the database": Rule(
        ("anoclust_core/", "tasks/", "flows/"),
        frozenset({"sqlalchemy", "sqlite3", "alembic", "psycopg"}),
        "tasks/stores/catalog/",
    ),
    "the program does not need its tests": Rule(
        ("anoclust_core/", "tasks/", "flows/"), frozenset({"tests", "benchmarks", "pytest", "hypothesis"})
    ),
}

CONSOLE = "flows/cli/"
REPORT_TEMPLATES = "anoclust_core/reporting/html.py"
LOADERS = {"load", "save", "savez", "savez_compressed", "savetxt", "loadtxt", "fromfile", "memmap", "read_csv"}


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(source)))


@cache
def calls(source: str) -> tuple[tuple[int, ast.Call, str], ...]:
    """Line, node and text of what is called."""
    return tuple((node.lineno, node, ast.unparse(node.func)) for node in nodes(source) if isinstance(node, ast.Call))


def imported(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a file imports, anywhere in it; relative names are made absolute."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in nodes(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
    for line, call, text in calls(source):
        by_name = text.split(".")[-1] in {"import_module", "__import__"}
        if by_name and call.args and isinstance(call.args[0], ast.Constant):
            yield line, str(call.args[0].value)


def import_violations(path: str, source: str, rule: Rule) -> list[str]:
    if not path.startswith(rule.where) or (rule.only_in and path.startswith(rule.only_in)):
        return []
    return [
        f"{path}:{line} imports {name}" for line, name in imported(path, source) if name.split(".")[0] in rule.banned
    ]


def file_violations(path: str, source: str) -> list[str]:
    """Places where core opens a file. The report's own templates, and pictures from bytes in memory, are no files."""
    found = []
    for line, call, text in calls(source):
        receiver, _, name = text.rpartition(".")
        if name == "open":
            from_memory = bool(call.args) and ast.unparse(call.args[0]).startswith(("io.BytesIO(", "BytesIO("))
            is_file = not (receiver == "Image" and from_memory)
        elif name == "read_text":
            is_file = not (path == REPORT_TEMPLATES and receiver.startswith("resources.files("))
        elif name in LOADERS:
            is_file = receiver in {"np", "numpy", "torch", "pd", "pandas"}
        else:
            is_file = name in {"read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "touch", "urlopen"}
        if is_file:
            found.append(f"{path}:{line} calls {text}")
    return found if path.startswith("anoclust_core/") else []


def echo_violations(path: str, source: str) -> list[str]:
    """Places outside the command line that write to the terminal by themselves."""
    if path.startswith(CONSOLE):
        return []
    terminal = {"print", "pprint", "echo", "secho", "typer.echo", "typer.secho", "rich.print"}
    streams = ("sys.stdout.", "sys.stderr.", "sys.__stdout__.", "sys.__stderr__.")
    return [
        f"{path}:{line} calls {text}"
        for line, _, text in calls(source)
        if text in terminal or text.endswith((".echo", ".secho")) or (text.startswith(streams) and "write" in text)
    ]


def test_the_source_is_there() -> None:
    """The checks below read all three packages, folders within them included."""
    for name in (
        "anoclust_core/bags.py",
        "anoclust_core/reporting/html.py",
        "tasks/stores/arrays.py",
        "flows/cli/run.py",
    ):
        assert name in SOURCES


@pytest.mark.parametrize("name", RULES)
def test_imports_go_in_one_direction(name: str) -> None:
    """No file imports what its layer must not know, not even inside a function."""
    rule = RULES[name]
    assert [text for path, source in SOURCES.items() for text in import_violations(path, source, rule)] == []


def test_anomalib_is_an_extra() -> None:
    """`pip install anoclust` brings no anomalib; the extra `detectors` does, and `dev` has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any(needed.startswith("anomalib") for needed in project["dependencies"])
    extras = project["optional-dependencies"]
    assert [needed.partition(">")[0] for needed in extras["detectors"]] == ["anomalib"]
    assert any("detectors" in needed for needed in extras["dev"])


def test_core_opens_no_file() -> None:
    """Core computes on what it is given; reading and writing is left to the tasks."""
    assert [text for path, source in SOURCES.items() for text in file_violations(path, source)] == []


def test_only_the_command_line_prints() -> None:
    """Used as a library, Anoclust writes nothing to the terminal by itself."""
    assert [text for path, source in SOURCES.items() for text in echo_violations(path, source)] == []


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_help_is_fast() -> None:
    """`anoclust --help` loads neither torch, timm nor Prefect, and nothing else that takes long."""
    loaded = loaded_by("import flows.cli")
    assert "typer" in loaded
    assert not loaded & {"torch", "timm", "prefect", "zarr", "dask", "distributed", "sklearn", "pandas", "scipy"}


def test_deciding_that_nothing_is_to_do_is_fast() -> None:
    """Planning a run loads neither torch nor Prefect, so a night without new images ends quickly."""
    loaded = loaded_by("import flows.run, flows.plan, flows.cli.run, flows.overview, flows.terminal.progress")
    assert "pydantic" in loaded
    assert not loaded & {"torch", "timm", "prefect", "dask", "distributed", "sklearn"}
    assert not loaded & {"scipy", "matplotlib", "pandas", "pyarrow", "numba", "llvmlite"}


def test_a_run_imports_what_it_needs() -> None:
    """The flow loads neither Prefect's server, nor compilers, nor what other recipes and a Dask scheduler need."""
    prepared = "from flows.prefect_server.around import prepare_prefect; prepare_prefect(False)"
    loaded = loaded_by(f"{prepared}; import flows.cluster, tasks.services.prefect_server as one; one.make_patient()")
    assert {"torch", "timm", "prefect"} <= loaded
    assert not loaded & {"sqlalchemy", "alembic", "docket", "redis", "distributed", "sklearn", "numba", "openvino"}
    assert not loaded & {"sympy", "triton"}, "torch's compiler"


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("anoclust_core/bags.py", "import zarr", CORE_RULE),
        ("anoclust_core/bags.py", "import dask.array as da", CORE_RULE),
        ("anoclust_core/new/a.py", "def f():\n    from tasks import pair", CORE_RULE),
        ("anoclust_core/bags.py", "if TYPE_CHECKING:\n    import prefect", CORE_RULE),
        ("anoclust_core/bags.py", "importlib.import_module('rich.table')", CORE_RULE),
        ("anoclust_core/keys.py", "from urllib.request import urlopen", "core opens no connection"),
        ("tasks/stages/pair.py", "from flows.plan import plan_run", "tasks import no flow and no command line"),
        ("tasks/stores/files.py", "import prefect.artifacts", "stores and data sets know no Prefect"),
        ("tasks/stages/pair.py", "from zarr.codecs import Crc32cCodec", "one file knows Zarr"),
        ("flows/run.py", "from distributed import Client", "one file knows Dask"),
        ("tasks/stores/runs.py", "import sqlalchemy as sa", "one folder knows the database"),
        ("tasks/stores/cataloguing.py", "from alembic import op", "one folder knows the database"),
        ("tasks/networks/detectors.py", "from anomalib.models import Padim", "anomalib is a guest of one module"),
        ("tasks/stages/report.py", "from tests.report_example import example", "the program does not need its tests"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str, rule: str) -> None:
    """The check of the imports fails where it should: at module level, in a function, by name, for types."""
    assert len(import_violations(path, source, RULES[rule])) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tasks/stores/arrays.py", "import zarr"),
        ("tasks/compute/dask_jobs.py", "import dask, distributed"),
        ("tasks/stores/catalog/migrations/env.py", "import sqlalchemy, sqlite3, alembic, psycopg"),
        ("tasks/stages/embed.py", "import prefect, torch"),
        ("tasks/networks/anomalib_detectors.py", "import anomalib"),
        ("flows/cli/run.py", "import typer, rich, tasks.stages.pair, anoclust_core.keys"),
        ("anoclust_core/bags.py", "import numpy, zarrlike\nfrom anoclust_core.tasks_of_today import prefect"),
        ("anoclust_core/reporting/html.py", "from . import figures\nfrom .record import flows"),
    ],
)
def test_an_allowed_import_is_not_reported(path: str, source: str) -> None:
    """The check of the imports leaves alone what a layer may use, and names that only look like a package."""
    assert [import_violations(path, source, rule) for rule in RULES.values()] == [[]] * len(RULES)


@pytest.mark.parametrize(
    "source",
    [
        "open('a')",
        "path.open()",
        "io.open('a')",
        "Image.open(path)",
        "Path('a').read_text()",
        "path.read_bytes()",
        "path.write_text('a')",
        "np.load('a.npy')",
        "torch.load(path)",
        "resources.files('anoclust_core').joinpath('a').read_text()",
    ],
)
def test_an_opened_file_is_found(source: str) -> None:
    """The check for files in core fails where it should, also on package data outside the report's own module."""
    assert len(file_violations("anoclust_core/bags.py", source)) == 1
    assert file_violations("tasks/stages/embed.py", source) == []


def test_a_picture_in_memory_is_no_file() -> None:
    """Core may decode pictures that it was given as bytes, and the report may read its own templates."""
    assert file_violations(REPORT_TEMPLATES, "Image.open(io.BytesIO(data))\nresources.files('a').read_text()") == []


@pytest.mark.parametrize("source", ["print(1)", "typer.echo('a')", "click.secho('a')", "sys.stdout.write('a')"])
def test_a_print_is_found(source: str) -> None:
    """The check for output fails where it should, and only the command line may print."""
    assert len(echo_violations("tasks/stages/pair.py", source)) == 1
    assert echo_violations(CONSOLE, source) == []
