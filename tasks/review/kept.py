"""What was read once is kept while it holds: few things at a time, so that the server's memory stays bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar, cast

Made = TypeVar("Made")


class Kept:
    """The last results by key; a key names everything that its result follows from.

    Threads may ask at once; two that ask for the same new key may both make it.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Give what is kept under a key, or make it."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return cast("Made", self._found[key])
        made = make()
        with self._lock:
            self._found[key] = made
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return made
