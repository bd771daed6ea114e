"""Every error that Anoclust raises on purpose, each with the exit code that the command line ends with."""

from __future__ import annotations

from typing import ClassVar


class AnoclustError(Exception):
    """Something the user can act on. The message says what was expected, what was found and what to do next."""

    exit_code: ClassVar[int] = 1


class ConfigError(AnoclustError):
    """A setting is unknown, malformed or contradicts another one."""

    exit_code = 2


class DatasetError(AnoclustError):
    """The input data cannot be used: no such folder, no image, a broken manifest."""

    exit_code = 3


class StoreError(AnoclustError):
    """Something kept on disk is missing, stale, incomplete or corrupt."""

    exit_code = 4


class ResourceError(AnoclustError):
    """The work does not fit into the memory that it may use."""

    exit_code = 5


class ArrayContractError(AnoclustError):
    """An array breaks the documented contract: shape, dtype, range, finiteness or unit norm."""

    exit_code = 6
