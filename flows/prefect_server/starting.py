"""The wait for a Prefect server of our own: as long as its process lives, and said where it takes long."""

from __future__ import annotations

import atexit
import time
from contextlib import suppress
from typing import Any, Final

from anoclust_core.errors import ResourceError
from tasks.services import patience

SLOW_SECONDS: Final = 20.0
"""When it is said that a server is still starting; on a quiet machine it takes six seconds."""

ASK_SECONDS: Final = 5.0
"""How long a server that starts may take over one answer."""


def start_and_wait(server: Any, timeout: int | None = None) -> None:
    """Start the server that Prefect's clients share, and return when it answers.

    Prefect's own wait goes through proxies, goes on when the process is dead, and ends at the first slow answer.

    Parameters
    ----------
    server
        Prefect's `SubprocessASGIServer`.
    timeout
        Seconds; by default what Prefect is set to.

    Raises
    ------
    ResourceError
        If its process ends, or it does not answer in time.
    """
    import httpx
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    if server.running:
        return
    seconds = timeout or PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    server.server_process = process = server._run_uvicorn_command()
    atexit.register(server.stop)
    began, is_told = time.monotonic(), False
    with httpx.Client(trust_env=False, timeout=ASK_SECONDS) as client:
        while True:
            with suppress(httpx.TransportError):
                if client.get(f"{server.api_url}/health").is_success:
                    server.running = True
                    return
            took = time.monotonic() - began
            if process.poll() is not None:
                raise ResourceError(
                    f"the Prefect server that this command starts for itself has ended with code {process.returncode} "
                    "before it answered; run the same command with --debug to see the server's log"
                )
            if took > seconds:
                raise ResourceError(
                    f"the Prefect server that this command starts for itself did not answer within {seconds:.0f} "
                    "seconds; if the machine is busy, raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
                )
            if took > SLOW_SECONDS and not is_told:
                patience.tell(f"the Prefect server is still starting; waiting for it up to {seconds:.0f} seconds")
                is_told = True
            time.sleep(0.1)
