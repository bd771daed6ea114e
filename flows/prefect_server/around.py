"""Prefect around a flow: its settings, a server of its own where none is named, and errors in our words."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final, TypeVar

from anoclust_core.errors import AnoclustError, ConfigError, ResourceError
from anoclust_core.safe_text.masking import masked_text
from tasks import telemetry
from tasks.services.patience import hear_services
from tasks.services.prefect_server import LINK, ServerGoneError, is_of_server, make_patient, shown
from tasks.services.proxies import keep_proxies_from_loopback, proxy_note

Result = TypeVar("Result")

_PROXY_REFUSES: Final = 407
"""Status of a proxy's answer to those whom it does not know."""

_OUR_FAULT: Final = 500
"""Below it a server finds fault with what it was asked."""

_UNKNOWN_TO_IT: Final = (401, 403)
"""Status of an answer to those who do not show the server's secret."""


def prepare_prefect(debug: bool) -> None:
    """Set what Prefect reads when it is imported; what the user has set stands.

    Nothing is sent out, and errors reach the user as this program's own messages.
    """
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    hear_services()
    keep_proxies_from_loopback(os.environ.get("PREFECT_API_URL"))
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "CRITICAL")


@contextmanager
def importing() -> Iterator[None]:
    """Import what a flow needs, timed.

    The garbage collector waits: nothing is garbage yet, and looking took it a sixth of the seconds. Nor does it look at
    what was imported later on: that took 0.7 s of every run.
    """
    with without_collections():
        with telemetry.timed("imports"):
            yield
        _leave_out_of_collections()


@contextmanager
def without_collections() -> Iterator[None]:
    """Let the garbage collector wait for the end of the block."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def _leave_out_of_collections() -> None:
    """Take all that there is now for lasting; once per process, for garbage among it would last too."""
    gc.freeze()


@contextmanager
def with_prefect(debug: bool) -> Iterator[None]:
    """Run flows inside the block, against the server that the user named or one that lives as long as this process.

    Nothing may have imported Prefect before. The block is best begun with the imports of the flow: a server of its own
    takes seconds to start, and does so meanwhile.
    """
    prepare_prefect(debug)
    with _own_server(), told_where_no_server_answers():
        make_patient()
        yield


def start_ahead(debug: bool) -> None:
    """Start what `with_prefect` waits for, where flows are certain to follow: it starts while all else is imported."""
    prepare_prefect(debug)
    if _needs_own_server():
        from flows.prefect_server.own import own_server

        own_server().start()


@contextmanager
def told_where_no_server_answers() -> Iterator[None]:
    """Say what to do where a Prefect server cannot be reached, goes away or fails; whatever Prefect makes of that."""
    try:
        yield
    except AnoclustError:
        raise
    except Exception as error:
        # Prefect wraps a lost server in errors of many kinds; what is not about a server goes on as it is
        told = _told(error)
        if told is None:
            raise
        raise told from error


def kept_if_complete(name: str, what: str, flow: Callable[[], Result]) -> Result:
    """Call a flow; if its result is complete, a server that goes away at the end is no reason to fail.

    Parameters
    ----------
    name
        That the flow notes its result under, as its last step, see `telemetry.Telemetry.results`.
    what
        It makes, for the line that says that the server could not be told.
    flow
        Calls it.
    """
    results = telemetry.current().results
    results.pop(name, None)
    try:
        return flow()
    except Exception as error:
        # the same errors of many kinds; any other one, or one before the result was complete, goes on as it is
        if name not in results or not (is_of_server(error) or _told(error)):
            raise
        LINK.tell_complete(what, _told(error) or error)
        result: Result = results[name]
        return result


def _told(error: BaseException) -> AnoclustError | None:
    """Our words for an error of Prefect's, or None where no server is at fault."""
    from httpx import HTTPStatusError, TransportError

    causes = _behind(error)
    for cause in causes:
        if isinstance(cause, ServerGoneError):
            return ServerGoneError(str(cause))  # the same one, raised from what it led to, would be its own cause
    for cause in causes:
        if isinstance(cause, HTTPStatusError):
            status, url = cause.response.status_code, cause.request.url
            if status in _UNKNOWN_TO_IT:
                return ConfigError(
                    f"the Prefect server at {url.host} rejected the secret (status {status}); set "
                    "PREFECT_API_AUTH_STRING to the server's secret; for `anoclust up` it is in "
                    f"PREFECT_HOME/anoclust/secret{proxy_note(str(url))}"
                )
            if status < _OUR_FAULT and status != _PROXY_REFUSES:
                return None
            return ResourceError(
                f"the Prefect server at {shown(url)} answered with status {status}; see its log for the reason"
                f"{proxy_note(str(url))}"
            )
        if isinstance(cause, TransportError) or str(cause).startswith("Failed to reach API"):
            return _unreachable(error)
    return None


def _behind(error: BaseException) -> list[BaseException]:
    """An error and what led to it: Prefect hides what happened behind errors of its own."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) and cause not in found:
        found.append(cause)
    return found


def _unreachable(error: BaseException) -> ResourceError:
    from prefect.settings import PREFECT_API_URL

    return ResourceError(
        f"no Prefect server answers ({masked_text(str(error))}); start one with `prefect server start`, or unset "
        f"PREFECT_API_URL to run without one{proxy_note(PREFECT_API_URL.value() or '')}"
    )


def _own_server() -> AbstractContextManager[Any]:
    """Where no server is given, one of our own is started, which must not outlive this process.

    Nobody watches the heartbeat there, whose thread holds up the end of every flow for a second.
    """
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    if not _needs_own_server():
        return nullcontext()
    from flows.prefect_server.own import start_own_server

    server = start_own_server()
    return temporary_settings(
        {
            PREFECT_API_URL: server.url,
            PREFECT_API_AUTH_STRING: server.secret,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
    )


def _needs_own_server() -> bool:
    """Whether no server is given, but the one that this process may have started before; and one may be started."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    from flows.prefect_server.own import own_server

    given = PREFECT_API_URL.value()
    return given == own_server().url if given else bool(PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value())
