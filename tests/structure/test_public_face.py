"""What a program of a user's imports from the library."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import anoclust_core


@pytest.mark.parametrize("room", ["clustering", "evaluation", "pairwise", "weighting"])
def test_every_name_of_a_room_is_there(room: str) -> None:
    """What a room says that it offers can be imported from it."""
    module = importlib.import_module(f"anoclust_core.{room}")
    assert module.__all__
    assert all(callable(getattr(module, name)) for name in module.__all__)


def test_a_room_loads_nothing_before_it_is_asked() -> None:
    """Importing the rooms costs no compiler and no scikit-learn."""
    program = (
        "from anoclust_core import clustering, evaluation, pairwise, weighting; import sys; "
        "print(*({'numba', 'scipy', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", sorted(anoclust_core._MOVED))
def test_a_module_that_has_moved_says_where(name: str) -> None:
    """A program from before ends at its import, and is told where the functions are; the place is there."""
    with pytest.raises(ImportError, match=f"anoclust_core.{name} has moved: .* from {anoclust_core._MOVED[name]}"):
        exec(f"from anoclust_core import {name}", {})
    importlib.import_module(anoclust_core._MOVED[name])
