"""Check the catalog."""

from __future__ import annotations

from pathlib import Path

from anoclust_core.errors import StoreError
from tasks.stores.checking.findings import Finding


def check_catalog(catalog: Path | str) -> list[Finding]:
    """Read the whole catalog, where there is one."""
    if isinstance(catalog, Path) and not catalog.exists():
        return []
    from tasks.stores.catalog.catalog import Catalog

    try:
        with Catalog.open(catalog) as opened:
            opened.check()
    except StoreError as error:
        return [Finding("catalog", str(error), "see its message")]
    return []
