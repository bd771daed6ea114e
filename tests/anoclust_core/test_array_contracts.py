"""Whatever a public function is given for an array, it takes it or says what it expected and what it found."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from array_functions import EXAMPLES, NEED_MORE, function, parameters

from anoclust_core.arrays import checked_array
from anoclust_core.errors import ArrayContractError, ConfigError

PARAMETERS = list(parameters())

WRONG: dict[str, Any] = {
    "None": None,
    "an empty list": [],
    "an empty list of lists": [[]],
    "a text": "abc",
    "an empty text": "",
    "a number": 3,
    "an object": object(),
    "a dictionary": {"a": 1},
    "rows of different lengths": [[1.0, 2.0], [3.0]],
    "a list of None": [None],
    "no dimension": np.array(1.0),
    "no dimension, empty tensor": torch.tensor(1.0),
    **{f"{n} dimensions": np.ones((2,) * n) for n in range(1, 7)},
    **{f"{n} dimensions, empty": np.ones((0,) * n) for n in range(1, 6)},
    "objects": np.array([object(), None], dtype=object),
    "texts": np.array(["a", "b"]),
    "complex": np.ones((2, 2), np.complex64),
    "dates": np.array(["2026-01-01"], dtype="datetime64[D]"),
    "records": np.zeros(2, dtype=[("a", "f4")]),
}
"""What may stand at the place of an array."""

TAKES_ALL = {"reporting.figures.rarity_overlay_png"}
"""Draws what is not finite as the end of the scale."""

BAD_VALUES = {"NaN": np.nan, "infinity": np.inf, "minus infinity": -np.inf}


def of_another_kind(value: Any) -> dict[str, Any]:
    """Give the right value with another type of numbers, or an axis of length 0."""
    if not isinstance(value, np.ndarray):
        return {}
    kinds = {str(np.dtype(kind)): value.astype(kind) for kind in (object, str, np.complex128)}
    empty = {f"axis {axis} empty": value.take([], axis=axis) for axis in range(value.ndim)}
    return kinds | empty | {"an axis more": value[None], "an axis less": value[0], "as lists": value.tolist()}


def outcome(name: str, arguments: dict[str, Any]) -> str | None:
    """Call a function; gives the message of its own error, or None where it took the arguments."""
    try:
        with np.errstate(all="ignore"):
            function(name)(**arguments)
    except (ArrayContractError, ConfigError) as error:
        return str(error)
    return None


def test_every_function_has_an_example() -> None:
    """A new function that takes arrays is tried here too."""
    missing = {name for name, _, _ in PARAMETERS} - EXAMPLES.keys()
    assert not missing, sorted(missing)


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - NEED_MORE))
def test_the_examples_are_taken(name: str) -> None:
    """What is right is taken: otherwise the errors below would say nothing."""
    assert outcome(name, EXAMPLES[name]) is None


@pytest.mark.parametrize(("name", "parameter", "told"), PARAMETERS, ids=[f"{n}-{p}" for n, p, _ in PARAMETERS])
def test_what_is_no_such_array_is_refused(name: str, parameter: str, told: str) -> None:
    """An error of ours that says what was expected and what was found; what happens to fit is computed."""
    right = EXAMPLES[name].get(parameter)
    for what, value in {**WRONG, **of_another_kind(right)}.items():
        if value is None and "None" in told:
            continue
        try:
            message = outcome(name, {**EXAMPLES[name], parameter: value})
        except Exception as error:  # noqa: BLE001 - any other error is the fault that is looked for
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        if message is not None:
            assert re.search(r"expected|must|need|at least|has |does |are |is ", message), message
            assert "found" in message or "got" in message, message
        elif value is None or isinstance(value, (str, dict, int)) or type(value) is object:
            pytest.fail(f"{what} was taken")


@pytest.mark.parametrize(("name", "parameter", "told"), PARAMETERS, ids=[f"{n}-{p}" for n, p, _ in PARAMETERS])
def test_values_that_are_no_numbers_end_in_no_foreign_error(name: str, parameter: str, told: str) -> None:
    """NaN and infinity are refused by an error of ours where finite values are promised, and never end otherwise."""
    right = EXAMPLES[name].get(parameter)
    if not isinstance(right, np.ndarray) or right.dtype.kind != "f":
        pytest.skip("no floating numbers")
    promises = "finite" in (function(name).__doc__ or "") and name not in TAKES_ALL
    for what, bad in BAD_VALUES.items():
        value = right.copy()
        value.flat[value.size // 2] = bad
        if name not in NEED_MORE:
            message = outcome(name, {**EXAMPLES[name], parameter: value})
            assert message is not None or not promises, f"{what} was taken"


@pytest.mark.parametrize("grid", [None, (), (2,), (2, 2, 2), "22", (1.5, 2), 4, np.ones((2, 2))])
@pytest.mark.parametrize(
    "name",
    [
        "weighting.pooling.spoc_pool",
        "weighting.weights.map_scores",
        "weighting.weights.mask_weights",
        "weighting.weights.map_weights",
    ],
)
def test_what_is_no_grid_is_a_wrong_setting(name: str, grid: Any) -> None:
    """Options that are no arrays end in a `ConfigError`."""
    with pytest.raises(ConfigError, match="found"):
        function(name)(**{**EXAMPLES[name], "grid": grid})


def test_the_message_says_both() -> None:
    """What was expected, by name, kind and shape, and what was found."""
    with pytest.raises(ArrayContractError) as caught:
        checked_array("bags", np.ones((2, 2, 2, 2), np.float32), "(n_images, n_patches, dim)")
    assert str(caught.value) == (
        "expected bags to be an array of real numbers of shape (n_images, n_patches, dim), found float32 of shape "
        "(2, 2, 2, 2)"
    )


def test_what_is_read_piece_by_piece_is_not_loaded() -> None:
    """Arrays on disk pass as they are."""

    class OnDisk:
        shape, ndim, dtype = (2, 3), 2, np.dtype(np.float32)

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
            raise AssertionError("loaded")

    found = OnDisk()
    assert checked_array("x", found, "(n, dim)") is found  # type: ignore[comparison-overlap]
