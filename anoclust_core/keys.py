"""Content keys, the one way to cache: ``key = digest(stage, config, keys of the inputs, algorithm version)``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

KEY_LENGTH: Final = 32
"""Hexadecimal digits of a content key: 128 bits."""


def content_key(stage: str, parts: Mapping[str, object]) -> str:
    """Digest of everything that a stage's result depends on.

    Parameters
    ----------
    stage
        Name of the stage; two stages with equal parts get different keys.
    parts
        JSON values by name. Their order does not matter; floats are written with all their digits.

    Returns
    -------
    key
        ``KEY_LENGTH`` hexadecimal digits.

    Raises
    ------
    TypeError
        If a part is not a JSON value: a key must not depend on how an object happens to print.
    ValueError
        If a number is not finite.

    Examples
    --------
    >>> content_key("pair", {"a": 1, "b": 2}) == content_key("pair", {"b": 2, "a": 1})
    True
    """
    text = json.dumps({"stage": stage, "parts": dict(parts)}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
