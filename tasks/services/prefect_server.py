"""A Prefect server that goes away while it is needed: waited for a while, reported once, and then no longer used.

Prefect alone tries every request again for a minute, asks again to note that it failed, and writes what its threads
could not send to the terminal. What is changed here are four places inside Prefect, see
``docs/decisions/0018-services-that-die.md``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from anoclust_core.errors import ResourceError
from anoclust_core.safe_text.masking import masked_text
from tasks.services import patience
from tasks.services.proxies import proxy_note

if TYPE_CHECKING:
    import httpx

RETRY_SECONDS: Final = 0.5
"""Between two attempts to reach a server that does not answer."""

PROBE_SECONDS: Final = 2.0
"""How long a server that was given up, or is slow, may take to say that it lives."""

NOBODY_THERE: Final = frozenset({502, 503, 504})
"""What a proxy answers in place of a server that it cannot reach; a server that is overloaded says 503 too."""


class ServerGoneError(ResourceError):
    """The Prefect server went away while it was needed."""


class Link:
    """What this process knows of its Prefect server. Requests of several threads go through it.

    Attributes
    ----------
    is_own
        Whether this process has started it.
    has_died
        Whether its process is known to have ended.
    wait_for_start
        Returns once it answers, where this process has started it; called before every request.
    """

    def __init__(self) -> None:
        self.is_own = False
        self.has_died: Callable[[], bool] = lambda: False
        self.wait_for_start: Callable[[], None] = lambda: None
        self.has_answered = False
        self._gone: str | None = None
        self._silent_since: float | None = None
        self._is_told = False
        self._told_complete: set[str] = set()
        self._lock = threading.Lock()

    def seconds_left(self) -> float:
        """How long one more attempt may take."""
        if self._gone is not None:
            return PROBE_SECONDS
        since = self._silent_since
        waited = 0.0 if since is None else time.monotonic() - since
        return max(PROBE_SECONDS, patience.PATIENCE_SECONDS - waited)

    def answered(self) -> None:
        """Note that it answers, even if it was given up before."""
        with self._lock:
            self.has_answered = True
            self._gone = self._silent_since = None
            self._is_told = False
            self._told_complete.clear()

    def failed(self, began: float, url: httpx.URL, found: str) -> None:
        """Note that an attempt failed that began then; returns where it is worth another one.

        Raises
        ------
        ServerGoneError
            If the server has been silent for too long, or was given up before.
        """
        with self._lock:
            self._silent_since = since = min(began, self._silent_since or began)
            waited = time.monotonic() - since
            if self._gone is None and (waited >= patience.PATIENCE_SECONDS or self.has_died()):
                self._gone = self._why(url, found)
            if self._gone is not None:
                raise ServerGoneError(self._gone)

    def check(self) -> None:
        """Raise if it was given up.

        Raises
        ------
        ServerGoneError
            If so.
        """
        if self._gone is not None:
            raise ServerGoneError(self._gone)

    def tell_waiting(self, url: httpx.URL) -> None:
        """Say that it is waited for, once until it answers."""
        with self._lock:
            if self._is_told or self._gone is not None:
                return
            self._is_told = True
        patience.tell_waiting(self._name(url))

    def tell_complete(self, what: str, error: BaseException) -> None:
        """Say that something is complete although the server could not be told of it, once until it answers."""
        with self._lock:
            if what in self._told_complete:
                return
            self._told_complete.add(what)
        reason = masked_text(str(error).partition(";")[0]) or type(error).__name__
        patience.tell(
            f"{what} is complete, but could not be reported to the Prefect server: {' '.join(reason.split())}"
        )

    def _name(self, url: httpx.URL) -> str:
        if self.is_own:
            return "the Prefect server that this command started for itself"
        return f"the Prefect server at {shown(url)}"

    def _why(self, url: httpx.URL, found: str) -> str:
        silence = "has stopped answering" if self.has_answered else "does not answer"
        cure = "" if self.is_own else "; check that it runs, or unset PREFECT_API_URL to run without it"
        return (
            f"{self._name(url)} {silence} ({found}); finished work is kept; run the same command to "
            f"resume{cure}{proxy_note(str(url))}"
        )


LINK: Final = Link()
"""That of this process: Prefect's clients share their server too."""


def shown(url: httpx.URL) -> str:
    """Address of a server without what a URL may hold besides: a password."""
    return f"{url.scheme}://{url.netloc.decode()}"


@contextmanager
def complete_anyway(what: str) -> Iterator[None]:
    """Publish a complete result; a server that does not accept it is reported, and is no reason to fail."""
    try:
        yield
    except Exception as error:
        # httpx and Prefect share no class for what a server does; all other errors go on as they are
        if not is_of_server(error):
            raise
        LINK.tell_complete(what, error)


def is_of_server(error: BaseException) -> bool:
    """Whether a Prefect server is at fault, or the way to it."""
    return isinstance(error, ServerGoneError) or type(error).__module__.partition(".")[0] in {"httpx", "prefect"}


def wait_for_events() -> None:
    """Wait until what was emitted is on its way, and see that the server is there to take it.

    Raises
    ------
    ServerGoneError
        If it is not.
    """
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker

    try:
        patience.answer_of(
            EventsWorker.instance().wait_until_empty, "the Prefect server", seconds=patience.PATIENCE_SECONDS
        )
    except TimeoutError as error:
        raise ServerGoneError("the Prefect server accepts no events now; the next night sends them") from error
    with get_client(sync_client=True) as client:
        failure = client.api_healthcheck()
    if failure:
        raise failure


def make_patient() -> None:
    """Let Prefect's clients in this process wait for a server as `Link` says, and give up at once when it is gone."""
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
    from prefect.client.orchestration import PrefectClient
    from prefect.events.clients import PrefectEventsClient

    if hasattr(PrefectHttpxSyncClient, "anoclust_is_patient"):
        return
    clients: list[Any] = [PrefectHttpxSyncClient, PrefectHttpxAsyncClient, PrefectClient, PrefectEventsClient]
    clients[0].anoclust_is_patient = True
    _patch_sync(clients[0])
    _patch_async(clients[1])
    _patch_logs(clients[2])
    _patch_events(clients[3])


def _patch_sync(client: Any) -> None:
    """Requests of flows and tasks."""
    from httpx import TransportError

    send_with_retry = client._send_with_retry

    def send_patiently(self: Any, request: httpx.Request, send: Any, *more: Any, **options: Any) -> httpx.Response:
        LINK.wait_for_start()

        def lives() -> bool:
            try:
                return _notes_health(send(_probe(self)))
            except TransportError:
                return False

        def attempt(request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
            while True:
                began = _begin(request)
                try:
                    response: httpx.Response = send(request, *args, **kwargs)
                    if response.status_code not in NOBODY_THERE or lives():
                        LINK.answered()
                        return response
                    found = f"status {response.status_code}"
                except TransportError as error:
                    if _is_for_prefect(error) or (_is_timeout(error) and lives()):
                        raise
                    found = _words(error)
                LINK.failed(began, request.url, found)
                time.sleep(RETRY_SECONDS)

        with patience.told_if_slow(lambda: LINK.tell_waiting(request.url)):
            response: httpx.Response = send_with_retry(self, request, attempt, *more, **options)
            return response

    client._send_with_retry = send_patiently


def _patch_async(client: Any) -> None:
    """The same for the requests of Prefect's own threads."""
    from httpx import TransportError

    send_with_retry = client._send_with_retry

    async def send_patiently(
        self: Any, request: httpx.Request, send: Any, *more: Any, **options: Any
    ) -> httpx.Response:
        LINK.wait_for_start()

        async def lives() -> bool:
            try:
                return _notes_health(await send(_probe(self)))
            except TransportError:
                return False

        async def attempt(request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
            while True:
                began = _begin(request)
                try:
                    response: httpx.Response = await send(request, *args, **kwargs)
                    if response.status_code not in NOBODY_THERE or await lives():
                        LINK.answered()
                        return response
                    found = f"status {response.status_code}"
                except TransportError as error:
                    if _is_for_prefect(error) or (_is_timeout(error) and await lives()):
                        raise
                    found = _words(error)
                LINK.failed(began, request.url, found)
                await asyncio.sleep(RETRY_SECONDS)

        with patience.told_if_slow(lambda: LINK.tell_waiting(request.url)):
            response: httpx.Response = await send_with_retry(self, request, attempt, *more, **options)
            return response

    client._send_with_retry = send_patiently


def _patch_logs(client: Any) -> None:
    """Log lines that cannot be sent any more: Prefect would write that to the terminal."""
    create_logs = client.create_logs

    async def create_logs_while_there(self: Any, logs: Any) -> None:
        with suppress(ServerGoneError):
            await create_logs(self, logs)

    client.create_logs = create_logs_while_there


def _patch_events(client: Any) -> None:
    """Events: every one is tried again for seconds, one after the other, also at the end of the process."""
    from httpx import URL

    reconnect = client._reconnect
    events = Link()  # a way of their own, that a proxy may block

    async def reconnect_while_there(self: Any) -> None:
        LINK.check()
        LINK.wait_for_start()
        events.has_died = LINK.has_died
        began = time.monotonic()
        try:
            await reconnect(self)
        except OSError as error:
            events.failed(began, URL(self._api_url), _words(error))
            raise
        events.answered()

    client._reconnect = reconnect_while_there


def _begin(request: httpx.Request) -> float:
    """Limit the time of an attempt; gives when it began."""
    request.extensions = {
        **request.extensions,
        "timeout": dict.fromkeys(("connect", "read", "write", "pool"), LINK.seconds_left()),
    }
    return time.monotonic()


def _probe(client: Any) -> httpx.Request:
    """Question that a server answers however busy its database is."""
    request: httpx.Request = client.build_request("GET", "/health", timeout=PROBE_SECONDS)
    return request


def _notes_health(response: httpx.Response) -> bool:
    """Whether that is what a living server says; a proxy says something else in its place."""
    lives = response.status_code == HTTPStatus.OK and response.text == "true"
    if lives:
        LINK.answered()
    return lives


def _is_for_prefect(error: Exception) -> bool:
    """Whether Prefect is left to tell: a first request that is refused ends at once, nothing is there to wait for."""
    from httpx import ConnectError, ProxyError

    return not LINK.has_answered and isinstance(error, (ConnectError, ProxyError))


def _is_timeout(error: Exception) -> bool:
    from httpx import TimeoutException

    return isinstance(error, TimeoutException)


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(": ").removesuffix(":")
