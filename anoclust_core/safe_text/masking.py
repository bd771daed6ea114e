"""Addresses without the secrets in them: the one place that decides what of an address may be shown.

What is not understood is hidden: better a message that says too little than a password in a log.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
"""What stands for a secret."""

_KNOWN: Final = (
    r"(?:(?:postgres(?:ql)?|sqlite|mysql|mariadb|mssql|oracle|redis|mongodb)(?:\+[a-z0-9]+)?"
    r"|https?|wss?|s3a?|gs|gcs|az|abfss?|s?ftp|ssh|smb|file|tcp|tls|ucx|slack|mailto|discord|msteams)"
)
"""Schemes that are told even where the rest of an address is hidden: no password is one of these."""

_DATABASE: Final = ("postgres", "sqlite", "mysql", "mariadb", "mssql", "oracle")
"""Beginnings of schemes where a user without a password is a name, not a token."""

_ADDRESS: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_REST: Final = re.compile(
    r"(?:(?P<user>[\w.%+~*-]*)(?P<password>:[^@/?#\s]*)?@)?"
    r"(?P<host>[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{0,5})?"
    r"(?P<path>/[^?#@\s=;'\"]*)?(?P<query>\?[^#@\s]*)?(?P<fragment>#[^@\s]*)?"
)
_PLAIN_USER: Final = re.compile(r"[\w.+~-]+")
_PLAIN_QUERY: Final = re.compile(
    r"\?(?:(?:host|hostaddr|port|dbname|sslmode|connect_timeout|application_name|target_session_attrs)=[\w./:%+-]*"
    r"(?:&(?!$)|$))*"
)
"""A query of nothing but what may be shown; any other parameter may be a password or a part of one."""

_LAST_PORT: Final = 65535
_SHORTEST: Final = 4

_IN_TEXT: Final = re.compile(
    rf"(?<![A-Za-z0-9+.-])(?:[A-Za-z][A-Za-z0-9+.-]*://|{_KNOWN}:/(?=[^/\s]*@))", re.IGNORECASE
)
"""How an address in a text begins; a Path has taken one of the two slashes away."""

_WORD: Final = re.compile(r"[^\s'\"<>`|]*[^\s'\"<>`|.,;:!)\]}]")
"""An address up to the sign behind it."""

_PAIR: Final = re.compile(
    r"""(?P<name>\b[\w-]*(?:passw|passf|passphrase|\bpass|pwd|secret|token|api_?key|auth_string)[\w-]*['"]?\s*[=:]\s*)
        (?P<value>'(?:\\.|''|[^'\\])*'|"(?:\\.|""|[^"\\])*"|[^\s,;&]+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""``password=...`` in a text, as the settings of a connection are written."""


def masked(address: str, *, path: bool = True) -> str:
    """What may be shown of an address: never a password, whatever way it is written.

    Shown are scheme, user, host, port, path and harmless parameters, and only where the whole address is understood
    in one way. A password that holds ``@``, ``/``, ``?`` or ``#`` as they are leaves open where it ends: then nothing
    but the scheme is shown, and of what is no address at all, nothing.

    Parameters
    ----------
    address
        A URL, or anything that was given for one.
    path
        False where the path is a secret as well: an address that messages are sent to.

    Examples
    --------
    >>> masked("postgresql://me:secret@host:5432/db"), masked("postgresql://host/db?password=secret")
    ('postgresql://me:***@host:5432/db', 'postgresql://host/db?***')
    >>> masked("postgresql://me:sec/ret@host/db"), masked("me:secret@host/db")
    ('postgresql://***', '***')
    >>> masked("https://hooks.example.com/services/T0/B0/secret", path=False)
    'https://hooks.example.com/***'
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return HIDDEN
    scheme, rest = found["scheme"], found["rest"]
    shown_scheme = f"{scheme}://" if re.fullmatch(_KNOWN, scheme, re.IGNORECASE) else ""
    if scheme == "sqlite" and rest.startswith("/") and "?" not in rest and path:
        return address  # a file, which has no password
    parts = _REST.fullmatch(rest)
    if parts is None or int((parts["port"] or ":0")[1:] or 0) > _LAST_PORT:
        return f"{shown_scheme}{HIDDEN}"
    authority = f"{_user(scheme, parts)}{parts['host']}{parts['port'] or ''}"
    return f"{scheme}://{authority}{_path(parts, shown=path)}{_query(parts)}"


def has_secret(address: str) -> bool:
    """Whether an address holds something that is not shown."""
    return masked(address) != address


def masked_text(text: str) -> str:
    """Any text with the addresses in it masked, and what is written as ``password=...``.

    A net below the places that know what is an address: error messages of libraries, and what users gave for a path.

    Examples
    --------
    >>> masked_text("Failed to reach API at http://me:secret@host/api/. Is it up?")
    'Failed to reach API at http://me:***@host/api/. Is it up?'
    >>> masked_text("connection to host=db password='my secret' failed")
    'connection to host=db password=*** failed'
    """
    done, at = [], 0
    while found := _IN_TEXT.search(text, at):
        word = _WORD.match(text, found.end())
        end = word.end() if word else found.end()
        shown = masked(text[found.start() : end]) if found.group().endswith("//") else f"{found.group()}{HIDDEN}"
        following = _IN_TEXT.search(text, end)
        behind = text.rfind("@", end, following.start() if following else len(text))
        if behind > 0:  # a password may have blanks and quotes in it: the address goes on up to its last @
            last = _WORD.match(text, behind + 1)
            end = last.end() if last else behind + 1
            shown = masked(text[found.start() : end])
        done += [text[at : found.start()], shown]
        at = end
    return _PAIR.sub(rf"\g<name>{HIDDEN}", "".join([*done, text[at:]]))


def without(text: str, *secrets: str | None) -> str:
    """Text in which every one of some secrets is hidden, as it is and as Python writes it in quotes.

    Those of less than four characters are no secrets, and stand in many a word.
    """
    known = [secret for secret in secrets if secret and len(secret) >= _SHORTEST]
    forms = {form for secret in known for form in (secret, repr(secret)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):  # one may hold another
        text = text.replace(form, HIDDEN)
    return text


def _user(scheme: str, parts: re.Match[str]) -> str:
    user, password = parts["user"], parts["password"]
    if user is None:
        return ""
    is_name = password is not None or scheme.lower().startswith(_DATABASE)
    shown = user if is_name and _PLAIN_USER.fullmatch(user) else HIDDEN if user else ""
    return f"{shown}@" if password is None else f"{shown}:{HIDDEN}@"


def _path(parts: re.Match[str], *, shown: bool) -> str:
    path = parts["path"] or ""
    return path if shown or path in ("", "/") else f"/{HIDDEN}"


def _query(parts: re.Match[str]) -> str:
    query = parts["query"] or ""
    shown = query if not query or _PLAIN_QUERY.fullmatch(query) else f"?{HIDDEN}"
    return f"{shown}#{HIDDEN}" if parts["fragment"] else shown
