"""Passwords on the command line: hidden from other users of the machine, who can see every process's arguments."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Final

from anoclust_core.safe_text.masking import HIDDEN, masked, masked_text

_GIVEN: Final = "_ANOCLUST_ARGUMENTS"
"""Variable that the arguments are handed over in: only the user's own processes can read it."""

_ADDRESSES: Final = {"--catalog": True, "--notify": False}
"""Flags that take an address, and whether its path may be shown."""

_WITHOUT_SCHEME: Final = re.compile(r"[^\s/:]+:[^\s]+@[^\s/]+(/\S*)?|.*\bpassword\s*=.*", re.DOTALL)
"""How an address looks whose scheme was forgotten."""


def hide_secrets() -> None:
    """Start this process again under the same number, with passwords in a variable instead of among its arguments.

    ``ps`` shows the arguments of every process to everybody, for as long as it runs. Does nothing where none is secret.
    """
    given = os.environ.pop(_GIVEN, None)
    if given is not None:
        sys.argv[1:] = json.loads(given)
        return
    shown = shown_arguments(sys.argv[1:])
    if shown == sys.argv[1:]:
        return
    start = sys.orig_argv[: len(sys.orig_argv) - len(shown)]
    environment = {**os.environ, _GIVEN: json.dumps(sys.argv[1:])}
    os.execve(sys.executable, [*start, *shown], environment)  # noqa: S606


def shown_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments without secrets.

    Examples
    --------
    >>> shown_arguments(["nightly", "DATA", "--catalog", "postgresql://me:secret@host/x"])
    ['nightly', 'DATA', '--catalog', 'postgresql://me:***@host/x']
    """
    shown = []
    before = ""
    for argument in arguments:
        flag, is_joined, value = argument.partition("=")
        if before in _ADDRESSES:
            shown.append(_address(argument, path=_ADDRESSES[before]))
        elif is_joined and flag in _ADDRESSES:
            shown.append(f"{flag}={_address(value, path=_ADDRESSES[flag])}")
        else:
            shown.append(HIDDEN if _WITHOUT_SCHEME.fullmatch(argument) else masked_text(argument))
        before = argument
    return shown


def _address(value: str, *, path: bool) -> str:
    """A flag's address; a word such as ``auto``, and the kind and name of a block, are none."""
    return value if re.fullmatch(r"[a-z-]+(/[\w-]{1,40})?", value) else masked(value, path=path)
