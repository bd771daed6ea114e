"""Check the catalog, and the journal of the store that can give it back."""

from __future__ import annotations

from pathlib import Path

from anoclust_core.errors import StoreError
from tasks.store_check.findings import Finding, finding
from tasks.stores.layout import StoreLayout

_NEW_JOURNAL = "`anoclust store rebuild-catalog` keeps it aside and writes a new one from the catalog"


def check_catalog(layout: StoreLayout, catalog: Path | str) -> list[Finding]:
    """Read the whole catalog and the whole journal, and see that the catalog is that of the store."""
    return [*_check_journal(layout), *_check_database(layout, catalog)]


def _check_database(layout: StoreLayout, catalog: Path | str) -> list[Finding]:
    from tasks.stores.catalog.catalog import Catalog
    from tasks.stores.catalog.identity import is_begun

    try:
        if is_begun(layout, catalog):
            with Catalog.open(catalog, store=layout, create=False) as opened:
                opened.check()
    except StoreError as error:
        return [Finding("catalog", str(error), "see its message")]
    return []


def _check_journal(layout: StoreLayout) -> list[Finding]:
    from tasks.stores.catalog.journal import Journal

    expected, found = None, []
    for number, entry in enumerate(Journal(layout.journal).entries(), start=1):
        if entry.position == 0:
            what = f"its line {number:,} fails its checksum"
        elif expected is not None and entry.position != expected and not entry.is_base:
            what = f"its line {number:,} is change {entry.position:,}, where {expected:,} should be"
        else:
            expected = entry.position + 1
            continue
        expected = None
        found.append(finding(layout, layout.journal, what, _NEW_JOURNAL))
    return found
