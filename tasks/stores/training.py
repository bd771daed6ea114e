"""Training that was begun: its state at rest, so that a killed run resumes where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.keys import content_key
from tasks.stores import arrays

STATE: Final = "state"
"""Name of the one array: all tensors in a row."""


def in_a_row(tensors: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], list[list[Any]]]:
    """Tensors as one array, float32, and what `by_name` needs to take them apart: names and shapes, as JSON values."""
    flat = np.concatenate([value.ravel() for value in tensors.values()]).astype(np.float32)
    return flat, [[name, list(value.shape)] for name, value in tensors.items()]


def by_name(flat: NDArray[np.float32], shapes: Sequence[Sequence[Any]]) -> dict[str, NDArray[np.float32]]:
    """Tensors by name, as `in_a_row` put them together."""
    tensors, start = {}, 0
    for name, shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        tensors[str(name)] = flat[start : start + size].reshape(shape)
        start += size
    return tensors


class TrainingStore:
    """The state of one training, under its content key.

    While training goes on, states are written in turn to two folders beside, so that one of them is whole at any time;
    the last one goes to the folder itself.

    Parameters
    ----------
    folder
        Named after the key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._slots = tuple(folder.with_name(content_key("slot", {"of": folder.name, "at": at})) for at in (0, 1))

    @property
    def is_complete(self) -> bool:
        """Whether training has come to its end."""
        return arrays.is_complete(self.folder)

    def newest(self) -> tuple[int, dict[str, NDArray[np.float32]]] | None:
        """The state that training has come to: its step and its tensors by name; None where it has not begun.

        Raises
        ------
        DamagedError
            If it is not what was written.
        """
        found = [
            (description["step"], slot)
            for slot in (self.folder, *self._slots)
            if (description := arrays.describe(slot))
        ]
        if not found:
            return None
        step, slot = max(found, key=lambda entry: entry[0])
        description = arrays.describe(slot) or {}
        return step, by_name(arrays.read(slot, STATE), description["tensors"])

    def keep(self, step: int, tensors: Mapping[str, NDArray[Any]], *, is_last: bool = False) -> None:
        """Write a state; the one before the last one is replaced, and the last one replaces all.

        Parameters
        ----------
        step
            Grows from state to state.
        tensors
            By name, float32.
        is_last
            Whether training is over.
        """
        flat, shapes = in_a_row(tensors)
        description = {"step": step, "tensors": shapes}
        if is_last:
            arrays.write_arrays(self.folder, {STATE: flat}, description)
            for slot in self._slots:
                arrays.discard(slot)
            return
        steps = [(arrays.describe(slot) or {"step": -1})["step"] for slot in self._slots]
        arrays.write_arrays(self._slots[int(np.argmin(steps))], {STATE: flat}, description)
