"""Numbers of things in words."""

from __future__ import annotations


def counted(count: float, what: str) -> str:
    """So many things, in the singular or the plural.

    Examples
    --------
    >>> counted(1, "image"), counted(1200, "new part")
    ('1 image', '1,200 new parts')
    """
    return f"{count:,.0f} {what}{plural_s(count)}"


def plural_s(count: float) -> str:
    """The s of a plural, or nothing of one thing."""
    return "" if count == 1 else "s"
