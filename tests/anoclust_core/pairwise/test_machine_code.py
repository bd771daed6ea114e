"""Kernels that are compiled once and loaded by other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from anoclust_core.pairwise.kernels import machine_code
from anoclust_core.pairwise.kernels.machine_code import Function, Kernel, load


class Store:
    """Keeps code in memory, and counts."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.n_written = 0

    def read(self, kind: str) -> bytes | None:
        return self.kept.get(kind)

    def write(self, kind: str, code: bytes) -> None:
        self.kept[kind] = code
        self.n_written += 1


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    monkeypatch.setattr(machine_code, "_store", [made])
    yield made


def add_of(step: int) -> Callable[[], Mapping[str, Callable[..., None]]]:
    def make() -> Mapping[str, Callable[..., None]]:
        @numba.njit(error_model="numpy")
        def add(values: Any, n: int) -> None:
            for at in range(n):
                values[at] += np.float32(step)

        return {"add": add}

    return make


def adds_one(functions: Mapping[str, Function]) -> bool:
    values = np.zeros(3, np.float32)
    functions["add"](values, 2)
    return values.tolist() == [1, 1, 0]


def kernel(step: int, kind: str = "add") -> Kernel:
    return Kernel(kind, {"add": "pn"}, add_of(step), adds_one)


def test_code_is_compiled_once(store: Store) -> None:
    """What is kept is loaded; nothing is compiled again."""
    assert adds_one(load(kernel(1)))

    def never() -> Mapping[str, Callable[..., None]]:
        raise AssertionError

    assert adds_one(load(Kernel("add", {"add": "pn"}, never, adds_one)))
    assert store.n_written == 1


def test_code_that_computes_something_else_is_compiled_again(store: Store) -> None:
    """Whatever the reason why kept code is wrong: it is replaced before it is used."""
    load(kernel(2, "wrong"))
    store.kept["add"] = store.kept.pop("wrong")
    assert adds_one(load(kernel(1)))
    assert store.n_written == 2
    assert adds_one(load(kernel(1)))
    assert store.n_written == 2


def test_code_that_needs_the_compiler_is_refused(store: Store) -> None:
    """Another process would have to import it; so it is noticed when the kernel is written."""

    def make() -> Mapping[str, Callable[..., None]]:
        @numba.njit
        def add(values: Any, n: int) -> None:
            room = np.zeros(n, np.float32)
            for at in range(n):
                values[at] += room[at]

        return {"add": add}

    with pytest.raises(AssertionError, match=r"is not on its own: it needs .*NRT"):
        load(Kernel("add", {"add": "pn"}, make, adds_one))
    assert not store.kept


ANOTHER_PROCESS = """
import sys
import numpy as np
from tasks.compute.pair_device import mutual_nearest_distances
from anoclust_core.bags import normalize_patches
rng = np.random.default_rng(0)
bags = [normalize_patches(rng.standard_normal((2, 20, 30))) for _ in range(2)]
forward, backward = mutual_nearest_distances(*bags, device="cpu")
print("numba" in sys.modules, forward.tobytes().hex(), backward.tobytes().hex())
"""


def test_another_process_compares_without_the_compiler(tmp_path: Path) -> None:
    """The first process imports it; the second does not, and finds the same distances; damaged code is made again."""

    def compared(cache: Path) -> list[str]:
        environment = {**os.environ, "ANOCLUST_CACHE": str(cache)}
        command = [sys.executable, "-c", ANOTHER_PROCESS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout.split()

    first, second = compared(tmp_path / "cache"), compared(tmp_path / "cache")
    assert (first[0], second[0]) == ("True", "False")
    assert first[1:] == second[1:]
    for file in (tmp_path / "cache" / "kernels").iterdir():
        file.write_bytes(b"\x7fELF" + file.read_bytes()[4:])
    assert compared(tmp_path / "cache") == first
