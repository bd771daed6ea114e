"""The wait for a Prefect server of our own: as long as its process lives, and said where it takes long."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from typing import Final

from tasks.services import patience
from tasks.services.prefect_server import ServerGoneError

SLOW_SECONDS: Final = 20.0
"""When it is said that a server is still starting; on a quiet machine it takes three seconds."""

ASK_SECONDS: Final = 5.0
"""How long a server that starts may take over one answer."""

PAUSE_SECONDS: Final = 0.05
"""Between two questions; one that nobody hears costs a thousandth of a second."""


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    """Return when a server that was started answers.

    Prefect's own wait goes through proxies, goes on when the process is dead, and ends at the first slow answer.

    Parameters
    ----------
    process
        The server's.
    url
        Of its API.

    Raises
    ------
    ServerGoneError
        If its process ends, or it does not answer in the time that Prefect is set to.
    """
    import httpx
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    seconds = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    began, is_told = time.monotonic(), False
    with httpx.Client(trust_env=False, timeout=ASK_SECONDS) as client:
        while True:
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    return
            took = time.monotonic() - began
            if process.poll() is not None:
                raise ServerGoneError(
                    f"the Prefect server that this command starts for itself has ended with code {process.returncode} "
                    "before it answered; run the same command with --debug to see the server's log"
                )
            if took > seconds:
                raise ServerGoneError(
                    f"the Prefect server that this command starts for itself did not answer within {seconds:.0f} "
                    "seconds; if the machine is busy, raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
                )
            if took > SLOW_SECONDS and not is_told:
                patience.tell(f"the Prefect server is still starting; waiting for it up to {seconds:.0f} seconds")
                is_told = True
            time.sleep(PAUSE_SECONDS)
