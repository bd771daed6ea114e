"""Verify a store: every checksum of every array, and every reference from one thing to another; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.stores import arrays, inventory
from tasks.stores.checking.catalog import check_catalog
from tasks.stores.checking.findings import LEFTOVER, PUT_ASIDE, Finding, finding
from tasks.stores.checking.parts import check_arrays, check_leftovers, check_manifests, check_results
from tasks.stores.checking.runs import check_nights, check_runs
from tasks.stores.layout import StoreLayout


@dataclass(frozen=True)
class Checked:
    """Outcome of a check: folders and bytes that were read, and what was found."""

    folders: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def damage(self) -> list[Finding]:
        """Findings that matter."""
        return [finding for finding in self.findings if not finding.is_harmless]


def check_store(
    layout: StoreLayout,
    categories: Sequence[str] = (),
    *,
    catalog: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read everything that a store holds for some categories, or for all.

    Parameters
    ----------
    layout
        The store.
    categories
        Names; all by default.
    catalog
        File or URL of the catalog; None where there is none.
    progress
        Called with (bytes read, bytes in all).

    Raises
    ------
    ConfigError
        If a category is not in the store.
    """
    names = inventory.chosen_folders(layout, categories)
    folders = [
        (kind, path)
        for name in names
        for kind in inventory.ARRAYS
        for path in inventory.array_folders(layout, kind, name)
    ]
    sealed = [(kind, path, inventory.tree_bytes(path)) for kind, path in folders if arrays.is_complete(path)]
    total, done = sum(size for _, _, size in sealed), 0
    findings = [
        finding(layout, path, "is incomplete", LEFTOVER, is_harmless=True)
        for _, path in folders
        if not arrays.is_complete(path)
    ]
    for kind, path, size in sealed:
        findings += check_arrays(layout, kind, path)
        done += size
        if progress:
            progress(done, total)
    for name in names:
        findings += check_leftovers(layout, name)
        findings += check_manifests(layout, name)
        findings += check_runs(layout, name)
        findings += check_results(layout, name)
        findings += check_nights(layout, name)
    if catalog is not None:
        findings += check_catalog(catalog)
    if not categories:
        findings += [
            finding(layout, path, "was damaged", PUT_ASIDE, is_harmless=True) for path, _ in inventory.damaged(layout)
        ]
    return Checked(len(sealed), total, tuple(sorted(findings, key=lambda finding: (finding.is_harmless, finding.path))))
