"""Every error that Anoclust raises on purpose, each with the exit code that the command line ends with."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

NOTHING_CAME: Final = 9
"""Exit code of a night that ended well and found no image to look at."""


class AnoclustError(Exception):
    """Something you can act on. The message says what was expected, what was found and what to do next."""

    exit_code: ClassVar[int] = 1


class ConfigError(AnoclustError):
    """A flag or setting is unknown, malformed or contradicts another one; or a Prefect server rejects the secret."""

    exit_code = 2


class DatasetError(AnoclustError):
    """The input data cannot be used: no such folder, no image, a broken manifest."""

    exit_code = 3


class StoreError(AnoclustError):
    """Something kept on disk is missing, stale, incomplete or corrupt."""

    exit_code = 4


class DamagedError(StoreError):
    """A folder or file of the store is not what was written: a failed checksum, a lost part, cut-off text.

    Parameters
    ----------
    found
        What is wrong with what.
    folder
        The folder or file to put aside; a run rebuilds what it held.
    """

    def __init__(self, found: str, folder: Path) -> None:
        super().__init__(f"{found}; run again to rebuild it")
        self.found = found
        self.folder = folder

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, Path]]:
        """Take the folder along between processes: Dask sends a worker's error as a pickle."""
        return type(self), (self.found, self.folder)


class ResourceError(AnoclustError):
    """A resource is missing: memory, or a Dask scheduler or Prefect server that keeps answering."""

    exit_code = 5


class ArrayContractError(AnoclustError):
    """An array breaks the documented contract: shape, dtype, range, finiteness or unit norm."""

    exit_code = 6


class TrainingError(AnoclustError):
    """Training diverged: the loss is NaN or infinite, and nothing learnt since can be used."""

    exit_code = 8


class BusyError(AnoclustError):
    """Another run of the same category is in progress; the message says which."""

    exit_code = 7


class CaptureError(AnoclustError):
    """No new image says when it was taken in the way that `--captured` asks for.

    It would get the wrong night, so that nothing is recorded.
    """

    exit_code = 10
