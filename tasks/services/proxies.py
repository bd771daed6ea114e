"""Proxies of the environment: not used for this machine's own servers, and named if they are in the way."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from anoclust_core.safe_text.masking import masked

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Names of this machine that no proxy knows."""

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_PROXY: Final = "NO_PROXY"


def keep_proxies_from_loopback(*urls: str | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Keep this process, and those that it starts, from using a proxy to reach a server on this machine.

    A proxy that Prefect's clients cannot be made with is taken out altogether: with it they would not reach any server.

    Parameters
    ----------
    urls
        Of servers that are named; a host among them is added where it is this machine.
    environment
        What is changed.
    """
    for name in _named(_PROXIES, environment):
        if not _is_usable(environment[name]):
            del environment[name]
    if not any(_named(_PROXIES, environment)):
        return
    hosts = [*LOOPBACK, *(host for url in urls if url and _is_here(host := urlsplit(url).hostname or ""))]
    known = [part.strip() for name in _named((_NO_PROXY,), environment) for part in environment[name].split(",")]
    told = ",".join(dict.fromkeys(part for part in (*known, *hosts) if part))
    environment[_NO_PROXY] = environment[_NO_PROXY.lower()] = told  # some read one of them, some the other


def proxy_note(url: str) -> str:
    """Half a sentence that names the proxy between here and a server, without its password; nothing where none is.

    Examples
    --------
    >>> proxy_note("http://127.0.0.1:4200/api")
    ''
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(kind)
    if not proxy or not parts.hostname or _is_here(parts.hostname) or proxy_bypass(parts.hostname):
        return ""
    shown = masked(proxy if "://" in proxy else f"http://{proxy}")
    return (
        f"; the environment routes this through the proxy {shown} ({kind.upper()}_PROXY); to bypass it, add "
        f"{parts.hostname} to NO_PROXY"
    )


def _named(names: tuple[str, ...], environment: MutableMapping[str, str]) -> Iterator[str]:
    """Variables that are set to something, in either case."""
    return (name for upper in names for name in (upper, upper.lower()) if environment.get(name))


def _is_usable(proxy: str) -> bool:
    """Whether Prefect's clients can be made with a proxy; they look at it also where they would not use it."""
    import httpx

    try:
        found = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (ValueError, httpx.InvalidURL):
        return False
    return not found.url.scheme.startswith("socks") or find_spec("socksio") is not None


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by whatever address of its own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
