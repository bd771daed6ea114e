"""Prefect around a flow: its settings, a server of its own where none is named, and errors in our words."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final

from anoclust_core.errors import ConfigError, ResourceError
from anoclust_core.masking import masked_text
from tasks import telemetry

_UNKNOWN_TO_IT: Final = (401, 403)
"""Status of an answer to those who do not show the server's secret."""


def prepare_prefect(debug: bool) -> None:
    """Set what Prefect reads when it is imported; what the user has set stands.

    Nothing is sent out, and errors reach the user as this program's own messages.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


@contextmanager
def importing() -> Iterator[None]:
    """Import what a flow needs, timed.

    The garbage collector waits: nothing is garbage yet, and looking took it a sixth of the seconds. Nor does it look at
    what was imported later on: that took 0.7 s of every run.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with telemetry.timed("imports"):
            yield
        _leave_out_of_collections()
    finally:
        if was_enabled:
            gc.enable()


@cache
def _leave_out_of_collections() -> None:
    """Take all that there is now for lasting; once a process, for garbage among it would last too."""
    gc.freeze()


@contextmanager
def with_prefect(debug: bool) -> Iterator[None]:
    """Run flows inside the block, against the server that the user named or one that lives as long as this process.

    Nothing may have imported Prefect before. The block is best begun with the imports of the flow: a server of its own
    takes seconds to start, and does so meanwhile.
    """
    prepare_prefect(debug)
    with _own_server(), told_where_no_server_answers():
        yield


@contextmanager
def told_where_no_server_answers() -> Iterator[None]:
    """Say what to do where ``PREFECT_API_URL`` leads nowhere, or to a server that does not know us."""
    from httpx import HTTPStatusError

    try:
        yield
    except HTTPStatusError as error:
        if error.response.status_code not in _UNKNOWN_TO_IT:
            raise
        raise ConfigError(
            f"the Prefect server at {error.request.url.host} does not know us (status {error.response.status_code}); "
            "set PREFECT_API_AUTH_STRING to its secret: that of `anoclust up` is in PREFECT_HOME/anoclust/secret"
        ) from error
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        raise ResourceError(
            f"no Prefect server answers ({masked_text(str(error))}); start one with `prefect server start`, or unset "
            "PREFECT_API_URL to run without"
        ) from error


def _own_server() -> AbstractContextManager[Any]:
    """Where no server is given, Prefect starts one, which must not outlive this process.

    Nobody watches the heartbeat there, whose thread holds up the end of every flow for a second.
    """
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    if PREFECT_API_URL.value():
        return nullcontext()
    from flows.guard import start_own_server

    return temporary_settings({PREFECT_API_AUTH_STRING: start_own_server(), PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
