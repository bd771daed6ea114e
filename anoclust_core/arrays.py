"""What public functions ask of arrays, sequences, shares and names, and how they say what they found instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anoclust_core.errors import ArrayContractError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS: Final = "fiub"
"""Kinds of real numbers, as NumPy names them: floating, signed, unsigned, true and false."""

LABELS: Final = (str, type(None))
"""Types of the labels of images; None is no label."""

WHOLE: Final = "iu"
TRUTHS: Final = "b"

Named = TypeVar("Named")

_KINDS: Final = {NUMBERS: "real numbers", WHOLE: "whole numbers", TRUTHS: "true and false", "u": "8-bit values"}
_TOLD: Final = 60
"""Most characters of a value that a message repeats."""


def checked_array(
    name: str,
    value: object,
    shape: str,
    *,
    kinds: str = NUMBERS,
    dtype: DTypeLike | None = None,
    least: int | tuple[int, ...] = 0,
    lists: bool = True,
) -> NDArray[Any]:
    """Array of the wanted number of dimensions and kind of values; looks at no value, so that it costs microseconds.

    Parameters
    ----------
    name
        Of the argument, for the message.
    value
        What was given: an array, also one that is read from disk piece by piece, or lists of one length that make one.
    shape
        What the axes are, as in ``(n_images, dim)``; an ellipsis in front stands for any number of them.
    kinds
        Of values: `NUMBERS`, `WHOLE` or `TRUTHS`.
    dtype
        The only type that is taken.
    least
        Length that every axis needs, or one number an axis.
    lists
        Whether lists are taken; not where the caller goes on with what it was given.

    Raises
    ------
    ArrayContractError
        If it is none such; says what was expected and what was found.
    """
    lengths = least if isinstance(least, tuple) else (least,) * 32
    found: NDArray[Any] | None = _as_array(value) if lists or not isinstance(value, (list, tuple)) else None
    axes = [axis for axis in shape.strip("()").replace(" ", "").split(",") if axis]
    fits = (
        found is not None
        and (len(found.shape) >= len(axes) - 1 and found.ndim > 0 if axes[0] == "..." else found.ndim == len(axes))
        and found.dtype.kind in kinds
        and (dtype is None or found.dtype == np.dtype(dtype))
        and all(side >= length for side, length in zip(found.shape, lengths, strict=False))
    )
    if found is None or not fits:
        what = _KINDS[kinds] if dtype is None else str(np.dtype(dtype))
        at_least = f", at least {least} each" if least else ""
        raise ArrayContractError(
            f"expected {name} to be an array of {what} of shape {shape}{at_least}, found {told(value)}"
        )
    return found


def checked_arrays(
    name: str, values: object, shape: str, *, kinds: str = NUMBERS, least: int = 0
) -> list[NDArray[Any]]:
    """Sequence of arrays, each as `checked_array` wants it; one array is taken as the sequence of its rows."""
    if isinstance(values, np.ndarray) and values.ndim:
        values = list(values)
    parts = checked_sequence(name, values)
    return [checked_array(f"{name}[{at}]", part, shape, kinds=kinds, least=least) for at, part in enumerate(parts)]


def checked_iterable(name: str, value: object) -> Iterable[Any]:
    """Anything that members can be taken from, one after the other, but a text or a mapping.

    Raises
    ------
    ArrayContractError
        If it is none.
    """
    if (
        isinstance(value, Iterable)
        and not isinstance(value, (str, bytes, Mapping))
        and getattr(value, "shape", 1) != ()
    ):
        return value
    raise ArrayContractError(f"expected {name} to be a sequence or a generator, found {told(value)}")


def checked_sequence(name: str, value: object, of: tuple[type, ...] = (object,), *, least: int = 0) -> Sequence[Any]:
    """Sequence, or array of one dimension, whose members are of some types; at least so many.

    Raises
    ------
    ArrayContractError
        If it is something else: a text, nothing, a set, an array of other dimensions.
    """
    is_array = isinstance(value, np.ndarray)
    fits = (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, (str, bytes, Mapping))
        and len(getattr(value, "shape", (0,))) == 1
        and len(value) >= least
    )
    wrong = None
    if fits and of != (object,):
        members: Sequence[Any] = value.tolist() if is_array else value  # type: ignore[attr-defined, assignment]
        wrong = next((f" with {told(one)} at {at}" for at, one in enumerate(members) if not isinstance(one, of)), None)
    if not fits or wrong:
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in of if kind is not object)
        what = f" of {names}" if names else ""
        at_least = f", at least {least}" if least else ""
        raise ArrayContractError(f"expected {name} to be a sequence{what}{at_least}, found {told(value)}{wrong or ''}")
    return value  # type: ignore[return-value]


def checked_tensor(name: str, value: object, shape: str, *, least: int = 1) -> Tensor:
    """Tensor of floating numbers with the wanted number of dimensions; see `checked_array`."""
    import torch

    axes = [axis for axis in shape.strip("()").split(",") if axis.strip()]
    if (
        not isinstance(value, torch.Tensor)
        or value.ndim != len(axes)
        or not value.is_floating_point()
        or min(value.shape, default=0) < least
    ):
        raise ArrayContractError(
            f"expected {name} to be a tensor of floating numbers of shape {shape}, each axis at least {least}, found "
            f"{told(value)}"
        )
    return value


def checked_grid(name: str, value: object) -> tuple[int, int]:
    """Two whole numbers, rows and columns of patches.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    if (
        not isinstance(value, (tuple, list))
        or len(value) != 2
        or not all(isinstance(side, (int, np.integer)) for side in value)
    ):
        raise ConfigError(f"expected {name} to be two whole numbers, rows and columns; found {told(value)}")
    return int(value[0]), int(value[1])


def check_share(name: str, value: float, *, usual: float) -> None:
    """Refuse what is no share above 0 and up to 1; ``usual`` is what a message recommends.

    Raises
    ------
    ConfigError
        If the number is out of this range.
    """
    if not 0 < value <= 1:
        raise ConfigError(f"expected {name} above 0 and up to 1, found {value}; {usual} is usual")


def named(kind: str, known: Mapping[str, Named], name: str) -> Named:
    """Give what a user has asked for by its name; ``kind`` is what a message calls it, with its article.

    Raises
    ------
    ConfigError
        If there is nothing of that name.
    """
    if name not in known:
        raise ConfigError(f"expected {kind} of {', '.join(known)}, found {name!r}; use one of these names")
    return known[name]


def _as_array(value: object) -> Any:
    """Array of what was given, or None where there is none; what is read piece by piece is not loaded."""
    if all(hasattr(value, part) for part in ("shape", "ndim", "dtype")):
        return value if isinstance(value.dtype, np.dtype) else None  # type: ignore[attr-defined]
    if not isinstance(value, (list, tuple)):
        return None
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError):  # rows of different lengths
        return None


def told(value: object) -> str:
    """What was found, in a few words."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype} of shape {tuple(shape)}"
    if value is None:
        return "None"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= _TOLD else text[:_TOLD] + '...'}"
