"""The rooms of the program, read from its source: no circle, no arrow up, no crowded hall, every room on the map."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("anoclust_core", "tasks", "flows")
MAX_ENTRIES = 20
MAX_PARAMETERS = 8

ROOMS = (
    ("anoclust_core",),
    ("tasks.stores",),
    ("tasks.telemetry", "tasks.services"),
    ("tasks.images", "tasks.networks", "tasks.compute"),
    ("tasks.export", "tasks.datasets", "tasks.stages", "tasks.store_check", "tasks.check"),
    ("tasks.night", "tasks.benchmark", "tasks.review"),
    ("flows",),
)
"""From the ground floor up. A room imports from floors below it, and from rooms of its own floor."""


@cache
def modules() -> Mapping[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def imports(name: str, source: str, known: Iterable[str]) -> set[str]:
    """Modules of ours that a module imports, also inside functions and for types only."""
    there = set(known)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {whole if (whole := f"{module}.{alias.name}") in there else module for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & there) - {name}


@cache
def arrows() -> Mapping[str, frozenset[str]]:
    """What every module imports of ours."""
    known = modules()
    return {name: frozenset(imports(name, path.read_text(encoding="utf-8"), known)) for name, path in known.items()}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules of one circle of imports, or none."""
    done: set[str] = set()
    for start in graph:
        way: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(graph[start])))] if start not in done else []
        way += [start] if stack else []
        while stack:
            name, rest = stack[-1]
            follower = next(rest, None)
            if follower is None:
                done.add(name)
                stack.pop()
                way.pop()
            elif follower in way:
                return [*way[way.index(follower) :], follower]
            elif follower not in done:
                stack.append((follower, iter(sorted(graph[follower]))))
                way.append(follower)
    return []


def floor(name: str) -> int | None:
    """Floor of a module; None for the packages themselves."""
    for number, rooms in enumerate(ROOMS):
        if any(name == room or name.startswith(f"{room}.") for room in rooms):
            return number
    return None


def against_the_floors(graph: Mapping[str, Iterable[str]]) -> list[str]:
    found = []
    for name, imported in graph.items():
        here = floor(name)
        for other in sorted(imported):
            there = floor(other)
            if here is not None and there is not None and there > here:
                found.append(f"{name} imports {other}, which is above it")
    return found


def crowded(path: str, source: str) -> list[str]:
    """Public functions and methods with more parameters than a reader can hold; self does not count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            given = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            n_given = len([name for name in given if name not in {"self", "cls"}])
            if n_given > MAX_PARAMETERS:
                found.append(f"{path}:{node.lineno} {node.name} takes {n_given}")
    return found


def folders() -> list[Path]:
    """Every folder with code of the three layers and the tests."""
    tops = [ROOT / name for name in (*PACKAGES, "tests")]
    return [folder for top in tops for folder in (top, *sorted(top.rglob("*"))) if folder.is_dir() and is_code(folder)]


def is_code(folder: Path) -> bool:
    return "__pycache__" not in folder.parts and any(folder.rglob("*.py"))


def test_no_circle_of_imports() -> None:
    """No file imports one that, over however many others, imports it."""
    assert circle(arrows()) == []


def test_no_arrow_runs_back_up() -> None:
    """Rooms import from below: the store knows nothing else of the tasks, stages know no night."""
    assert against_the_floors(arrows()) == []


def test_every_room_of_the_tasks_has_a_floor() -> None:
    """A new room has to say where it stands."""
    assert [name for name in modules() if floor(name) is None] == ["tasks"]


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_no_folder_is_crowded(folder: Path) -> None:
    """A newcomer can take in at a glance what a folder holds."""
    entries = [
        entry.name
        for entry in folder.iterdir()
        if not entry.name.startswith((".", "__")) and entry.name != "py.typed" and (entry.is_file() or is_code(entry))
    ]
    assert len(entries) <= MAX_ENTRIES or folder.name == "versions", sorted(entries)


def test_no_public_function_takes_too_much() -> None:
    """What travels together is one object: no public function of flows and tasks has more than eight parameters."""
    sources = {
        name: path.read_text(encoding="utf-8") for name, path in modules().items() if not name.startswith(PACKAGES[0])
    }
    assert [text for name, source in sources.items() for text in crowded(name, source)] == []


def test_no_two_test_files_share_a_name() -> None:
    """Pytest imports test files by name alone: of two with one name, only the first is run."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, after in pairwise(names) if name == after] == []


def test_every_file_says_what_it_is_for() -> None:
    """The first line of every module is a sentence that ends on that line or the paragraph's."""
    silent = []
    for name, path in modules().items():
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if not re.match(r".{15,}?[.:](\s|$)", told.partition("\n\n")[0].replace("\n", " ")):
            silent.append(name)
    assert silent == []


def test_every_room_is_on_the_map() -> None:
    """docs/architecture.md has a row for every folder of the three layers, and none for a folder that is gone."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        match
        for row in page.splitlines()
        if row.startswith("| `")
        for match in re.findall(r"`([\w/]+)/`", row.split("|")[1])
    }
    there = {
        folder.relative_to(ROOT).as_posix()
        for folder in folders()
        if folder.relative_to(ROOT).parts[0] != "tests" and "migrations" not in folder.parts
    }
    assert rooms == there


def test_the_checks_find_what_they_look_for() -> None:
    """A circle over three files, an arrow up and a function with nine parameters are found."""
    assert crowded("x", "class A:\n    def f(self, a, b, c, /, d, e, *, f, g, h): ...") == []
    assert crowded("x", "class A:\n    def f(self, a, b, c, /, d, e, *, f, g, h, i): ...") == ["x:2 f takes 9"]
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"], "d": []}) == ["a", "b", "c", "a"]
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
    up = {
        "tasks.stores.files": imports(
            "tasks.stores.files", "def f():\n    from tasks.images import listing", ["tasks.images.listing"]
        )
    }
    assert against_the_floors(up) == ["tasks.stores.files imports tasks.images.listing, which is above it"]
