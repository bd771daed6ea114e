"""What all of localisation asks of feature maps and anomaly maps."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import NUMBERS, checked_array, told
from anoclust_core.errors import ArrayContractError, ConfigError


class FeatureStack(Protocol):
    """Feature maps of many images, ``(n_images, dim, height, width)``: an array, or a memory-mapped one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, features, height and width."""
        ...

    def __getitem__(self, image: int, /) -> Any:
        """Feature map of one image, ``(dim, height, width)``."""
        ...


def check_stack(features: FeatureStack, *, at_least: int = 1) -> tuple[int, int, int, int]:
    """Shape of a stack of feature maps; its values are checked when they are read.

    Raises
    ------
    ArrayContractError
        If it is not four-dimensional, is empty along an axis or has too few images.
    """
    shape = tuple(getattr(features, "shape", ()))
    kind = getattr(getattr(features, "dtype", None), "kind", "f")  # a stack need not tell it
    if kind not in NUMBERS or len(shape) != 4 or 0 in shape or shape[0] < at_least:
        raise ArrayContractError(
            f"feature maps must be (n_images, dim, height, width) with at least {at_least} images; found "
            f"{told(features)}"
        )
    return shape[0], shape[1], shape[2], shape[3]


def check_feature_map(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """One image's feature map ``(dim, height, width)``, finite, as float32; else an `ArrayContractError`.

    It stays as it lies in memory, cell by cell or channel by channel: turning it takes longer than most that is done
    with it.
    """
    return _check(features, "a feature map", "(dim, height, width)")


def check_map(anomaly_map: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """One anomaly map ``(height, width)``, finite, as float32; else an `ArrayContractError`."""
    return _check(anomaly_map, "an anomaly map", "(height, width)")


def check_maps(maps: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Anomaly maps ``(n_images, height, width)``, finite, as float32; else an `ArrayContractError`."""
    return _check(maps, "anomaly maps", "(n_images, height, width)")


def check_positive(value: float, name: str) -> float:
    """Give a setting back if it is a positive finite number.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number; found {value}")
    return value


def check_count(value: int, name: str, *, at_least: int = 1) -> int:
    """Give a setting back if it is large enough.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if value < at_least:
        raise ConfigError(f"{name} must be at least {at_least}; found {value}")
    return value


def _check(values: NDArray[np.floating[Any]], name: str, shape: str) -> NDArray[np.float32]:
    """Refuse what has other dimensions, is empty along an axis, or has a value that is not finite in float32."""
    values = checked_array(name, values, shape, least=1)
    with np.errstate(over="ignore"):
        checked = np.asarray(values, np.float32)
    if not np.isfinite(checked).all():
        raise ArrayContractError(f"expected {name} to be finite, found NaN or infinity")
    return checked
