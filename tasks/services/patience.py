"""Services that stop answering: reported after a few seconds, given up within half a minute."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, Timer
from typing import Final, TypeVar

Result = TypeVar("Result")

QUIET_SECONDS: Final = 5.0
"""How long a service may be silent before a line says that it is waited for."""

PATIENCE_SECONDS: Final = 20.0
"""How long a service may be silent before a run gives up; one that is restarted is back long before."""


_log: Final = logging.getLogger("anoclust.services")


def hear_services() -> None:
    """Let what `tell` says reach standard error, whatever Prefect makes of the root logger.

    A handler that somebody gave the logger stays.
    """
    if not _log.handlers and logging.lastResort is not None:
        _log.addHandler(logging.lastResort)
        _log.propagate = False


def tell(line: str) -> None:
    """Say something at once, also from a process or a thread that no progress bar belongs to."""
    _log.warning("anoclust: %s", line)


def tell_waiting(what: str) -> None:
    """Say what is waited for."""
    tell(f"{what} does not answer; waiting up to {PATIENCE_SECONDS:.0f} seconds")


@contextmanager
def told_if_slow(say: Callable[[], None]) -> Iterator[None]:
    """Let ``say`` tell what is waited for where the block takes long."""
    timer = Timer(QUIET_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def answer_of(call: Callable[[], Result], what: str, *, seconds: float) -> Result:
    """Wait for the answer of a service that may hang for ever, and say so meanwhile.

    Parameters
    ----------
    call
        Asks the service. It runs in a thread, which is left behind where the answer does not come.
    what
        What is waited for, as in ``the Dask scheduler at tcp://host:8786``.
    seconds
        How long.

    Raises
    ------
    TimeoutError
        If there is no answer in time.
    BaseException
        What the call raised.
    """
    answers: list[Result] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            failures.append(error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    with told_if_slow(lambda: tell_waiting(what)):
        asking.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return answers[0]
